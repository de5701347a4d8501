"""Data sets that fit neither memory nor a cache: shards, read as a stream while a network trains on them."""
