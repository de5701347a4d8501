"""A queue of jobs, each with its own file for its row of results. Any number of processes share it and may be killed.

A job is done when its row is there whole, in OUT/rows; `finish` runs one that is not done and that no other process
holds. Locks only spare work that would be done twice: no row is lost without them (network file systems).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rggan.files import flush_folder, write_whole
from studies.places import ROOT

Row = dict[str, Any]
SHOWN = ("fid", "kid", "best", "last")  # of a row, when its job is done


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

    @property
    def name(self) -> str:
        """Its key as a word that no shell and no file system takes for something else.

        >>> Job("2", "RG-GAN, hard", 0, 0.5).name
        '2_RG-GAN_hard_0.5_seed_0'
        """
        return self.key.replace(" ", "_").replace(",", "")

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether the training states stay when it is done, for checks that need them."""
        return False

    def folder(self, out: Path) -> Path:
        """Where its run is kept."""
        return out / "runs" / self.name

    def data(self, cifar: Path) -> Path:
        """What it trains on."""
        return cifar / "train"

    def train_options(self) -> dict[str, Any]:
        """All options of the run."""
        return {**self.options, "seed": self.seed}

    def run(self, cifar: Path, out: Path) -> Row:
        """Train, or go on where it was stopped, and evaluate.

        Returns:
            The row of results, with at least stage, arm, seed, value and seconds.
        """
        raise NotImplementedError

    def tidy(self, out: Path) -> None:
        """Remove what is needed until its row is there, and no longer."""
        if not self.keeps_checkpoints:
            for states in self.folder(out).glob("0*/checkpoints"):
                shutil.rmtree(states, ignore_errors=True)


def done_rows(path: Path) -> list[Row]:
    """The rows of all finished jobs in a file of rows; [] where there is no such file.

    Raises:
        SystemExit: a line is no row.
    """
    rows = []
    for number, line in enumerate(path.read_text().splitlines() if path.is_file() else (), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise SystemExit(f"{path}: line {number} is no row of results; mend or remove it.") from error
    return rows


def row_of(job: Job, out: Path) -> Row | None:
    """The row of a finished job; None where it has none, or a damaged one."""
    path = row_file(job, out)
    return read_row(path, job.key) if path.is_file() else None


def row_file(job: Job, out: Path) -> Path:
    return out / "rows" / f"{job.name}.json"


def read_row(path: Path, key: str) -> Row | None:
    """What the file holds, if that is a row of this key."""
    try:
        row = json.loads(path.read_bytes())
        return row if key_of(row) == key else None
    except (ValueError, TypeError, KeyError):  # cut short, or something else than a row
        return None


def write_row(job: Job, out: Path, row: Row) -> None:
    write_alone(row_file(job, out), json.dumps(row) + "\n")


def write_alone(path: Path, text: str) -> None:
    """Write a file whole or not at all, also where other processes, or machines, write the same one at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    write_whole(mine, text.encode())
    os.replace(mine, path)
    flush_folder(path.parent)


def finish(job: Job, cifar: Path, out: Path) -> bool:
    """Run a job that is not done yet. False: another process holds it.

    Raises:
        SystemExit: its training or its evaluation failed.
    """
    if row_of(job, out) is None:
        (out / "locks").mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(out / "locks" / f"{job.name}.lock", timeout=0):
                if row_of(job, out) is None:  # nobody has finished it meanwhile
                    print(job.key, flush=True)
                    row = job.run(cifar, out)
                    write_row(job, out, row)
                    values = {name: row[name] for name in SHOWN if row.get(name) is not None}
                    shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
                    print(f"  {shown} in {row['seconds']} s", flush=True)
        except Timeout:
            return False
    job.tidy(out)
    return True


def work(cifar: Path, out: Path, jobs: Iterable[Job]) -> None:
    """Run each job that is not done and that no other process holds."""
    for job in jobs:
        finish(job, cifar, out)


def commit() -> str:
    """The commit of the code that is running; with + where files were changed since."""
    described = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return described.stdout.strip()
