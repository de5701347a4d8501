"""Scores of anything that makes or holds pictures, with their uncertainty and where they come from."""
