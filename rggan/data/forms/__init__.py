"""Input forms: one file each, which defines a `FORM`."""
