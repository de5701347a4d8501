"""A run on disk; imports nothing, so that `rggan.run.places` stays light."""
