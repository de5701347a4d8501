"""Runs as one HTML page that works offline."""
