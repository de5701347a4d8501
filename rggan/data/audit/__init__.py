"""A look over a set of pictures before training, and a cleaned copy of it."""
