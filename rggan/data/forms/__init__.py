"""Input forms: one file for each, which offers a `FORM` and knows nothing of the others' forms."""
