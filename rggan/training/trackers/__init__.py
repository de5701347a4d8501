"""Trackers, each by its own library, which is imported only where it is asked for."""
