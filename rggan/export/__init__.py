"""A trained generator for where people need it: other formats, smaller files, a page."""
