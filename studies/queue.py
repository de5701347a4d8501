"""A queue of jobs in two files: rows of results, and locks. Any number of workers share it and may be stopped.

A job is done when its row is in the file of results; a worker takes each job that is not done and that no other holds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from studies.places import ROOT

Row = dict[str, Any]


def key_of(row: Row) -> str:
    """What tells a job from all others.

    >>> key_of({"stage": "2", "arm": "dense", "seed": 0, "value": 0.001, "fid": 60.0})
    '2 dense 0.001 seed 0'
    """
    return f"{row['stage']} {row['arm']} {row['value']} seed {row['seed']}"


@dataclass(frozen=True)
class Job:
    """One training run and its evaluation.

    Args:
        stage: the part of the study. arm: the method that is compared. seed: pairs the arms.
        value: of the hyperparameter that is tuned, or whatever else tells jobs of one arm apart.
        options: of `TrainConfig`.
    """

    stage: str
    arm: str
    seed: int
    value: Any
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return key_of(vars(self))

    def folder(self, out: Path) -> Path:
        """Where its run is kept."""
        return out / "runs" / self.key.replace(" ", "_").replace(",", "")

    def data(self, cifar: Path) -> Path:
        """What it trains on."""
        return cifar / "train"

    def train_options(self) -> dict[str, Any]:
        """All options of the run."""
        return {**self.options, "seed": self.seed}

    def run(self, cifar: Path, out: Path) -> Row:
        """Train and evaluate; the row of results, with at least stage, arm, seed, value and seconds."""
        raise NotImplementedError


def done_rows(path: Path) -> list[Row]:
    """The rows of all finished jobs; [] where there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def work(cifar: Path, out: Path, rows: Path, jobs: Iterable[Job]) -> None:
    """Run each job that has no row in the file `rows` and that no other worker holds."""
    (out / "locks").mkdir(parents=True, exist_ok=True)
    for job in jobs:
        lock = FileLock(out / "locks" / f"{job.key.replace(' ', '_')}.lock", timeout=0)
        try:
            with lock:
                if job.key in {key_of(row) for row in done_rows(rows)}:
                    continue
                print(job.key, flush=True)
                row = job.run(cifar, out)
                with FileLock(out / "rows.lock"), rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                values = {name: row[name] for name in ("fid", "kid", "best", "last") if row.get(name) is not None}
                shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
                print(f"  {shown} in {row['seconds']} s", flush=True)
        except Timeout:
            continue


def act(arguments: argparse.Namespace, jobs: Iterable[Job]) -> None:
    """The command: `work` runs the jobs, `list` says which are done.

    arguments: command, cifar, out, rows.
    """
    if arguments.command == "work":
        work(arguments.cifar, arguments.out, arguments.rows, jobs)
        return
    done = {key_of(row) for row in done_rows(arguments.rows)}
    for job in jobs:
        print("done" if job.key in done else "    ", job.key)


def commit() -> str:
    """The commit of the code that is running; with + where files were changed since."""
    described = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return described.stdout.strip()
