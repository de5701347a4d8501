"""The rows that jobs have written, each in its own file, as one file of rows: nothing is lost, no row comes twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from studies.queue import Job, Row, done_rows, key_of, read_row, row_file, row_of, write_alone, write_row


def adopt(jobs: Sequence[Job], out: Path, rows: Path) -> None:
    """Give each job the row that the file `rows` has of it, so that it is not run again in `out`."""
    found = {key_of(row): row for row in done_rows(rows)}
    for job in jobs:
        if job.key in found and row_of(job, out) is None:
            write_row(job, out, found[job.key])


def merge(jobs: Sequence[Job], out: Path, rows: Path) -> list[str]:
    """Add the rows of these jobs to the file `rows`, in the jobs' order; the same rows give the same file.

    Its own rows stay, those of other jobs first. It may be killed, and run while jobs finish or another merges: one
    more merge has whatever this one missed.

    Returns:
        What was left out, and why.
    """
    there: dict[str, Row] = {key_of(row): row for row in done_rows(rows)}
    merged, left_out = dict(there), []
    names = {row_file(job, out).name: job for job in jobs}
    for path in sorted((out / "rows").glob("[!.]*")):  # what begins with a dot was never finished
        job = names.get(path.name)
        row = read_row(path, job.key) if job else None
        if job is None:
            left_out.append(f"{path}: no job of this study")
        elif row is None:
            left_out.append(f"{path}: damaged, or no row of this job; run the job again")
        elif merged.setdefault(job.key, row) != row:
            left_out.append(f"{path}: {rows} has another row of this job; remove one of them")
    if len(merged) > len(there):
        order = {job.key: place for place, job in enumerate(jobs)}
        lines = sorted(merged.values(), key=lambda row: order.get(key_of(row), -1))
        write_alone(rows, "".join(json.dumps(row) + "\n" for row in lines))
    return left_out


def missing(jobs: Sequence[Job], out: Path) -> list[Job]:
    """The jobs that are not done."""
    return [job for job in jobs if row_of(job, out) is None]
