"""The two steps, the loop around them, and what it keeps."""
