"""The studies behind docs/results.md: plans, job queue, statistics. Not installed; run from the root of the repository.

`python -m studies --help`; `results/` holds the rows, one JSON object a line for each finished job.
"""
