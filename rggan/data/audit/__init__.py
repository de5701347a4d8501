"""Data audit before training: problems of a set of pictures, and a cleaned copy of it."""
