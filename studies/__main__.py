"""The command line of all studies: their jobs one after another, or as a list for a cluster.

    python -m studies list  STUDY [STAGE...] --out OUT    # its jobs, and which are done
    python -m studies work  STUDY [STAGE...] --out OUT    # do the others; several workers share them
    python -m studies jobs  STUDY [STAGE...] --out OUT    # write OUT/jobs.txt: a command a line, each does one job
    python -m studies run   STUDY --job NAME --out OUT    # such a command
    python -m studies merge STUDY --out OUT               # the rows of all finished jobs as one file, OUT/rows.jsonl

STUDY is baselines, capacity, families, projected, transfer, or a module of your own, `my.study`, with a function
`stages(pictures)` that returns {stage: its jobs} (studies/queue.py). All of these commands may be killed and given
again: a finished job is not done twice, and a training goes on from its last state. A process takes one core, or
OMP_NUM_THREADS. Exit codes of `run`: 0 the job is done, now or before; 75 another process is at it; else it failed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from studies.merge import adopt, merge, missing
from studies.queue import Job, finish, work, write_alone

STUDIES = ("baselines", "capacity", "families", "projected", "transfer")
HELD = 75  # EX_TEMPFAIL of sysexits.h: try again later


def main(words: Sequence[str] | None = None) -> int:
    """The exit code."""
    given = parsed(words)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
    stages: dict[str, list[Job]] = stages_of(given.study, given.pictures)
    if unknown := [name for name in given.stages if name not in stages]:
        raise SystemExit(f"{given.study} has no stage {unknown[0]}; it has {', '.join(stages)}.")
    jobs = [job for name in given.stages or stages for job in stages[name]]
    if given.command == "run":
        return run(jobs, given)
    rows = given.rows or given.out / "rows.jsonl"
    adopt(jobs, given.out, rows)
    if given.command == "merge":
        left_out = merge([job for each in stages.values() for job in each], given.out, rows)
        print(f"{len(jobs) - len(missing(jobs, given.out))} of {len(jobs)} jobs have a row in {rows}")
        print(*(f"left out: {line}" for line in left_out), sep="\n", end="\n" if left_out else "", file=sys.stderr)
        return 1 if left_out else 0
    undone = {job.key for job in missing(jobs, given.out)}
    if given.command == "list":
        print(*(f"{'    ' if job.key in undone else 'done'} {job.name}" for job in jobs), sep="\n")
        return 0
    check_folders(jobs, given.cifar)
    if given.command == "work":
        work(given.cifar, given.out, jobs)
        return 0
    path = given.out / "jobs.txt" if given.list is None else given.list
    write_alone(path, "".join(line_of(job, given) + "\n" for job in jobs))
    print(f"{path}: {len(jobs)} jobs, {len(jobs) - len(undone)} of them done")
    return 0


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("list", "work", "jobs", "run", "merge"))
    parser.add_argument("study", metavar="STUDY")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="only these, in this order (all)")
    parser.add_argument(
        "--cifar", type=Path, default=Path("cifar10"), help="train/ and test/, a folder a class (cifar10)"
    )
    parser.add_argument("--pictures", type=Path, default=Path("pictures"), help="the study's other pictures (pictures)")
    parser.add_argument("--out", type=Path, required=True, help="runs, rows, locks; the same for all jobs of a study")
    parser.add_argument(
        "--rows", type=Path, help="rows of earlier jobs, not run again; merge adds to it (OUT/rows.jsonl)"
    )
    parser.add_argument("--list", type=Path, help="where `jobs` writes the list (OUT/jobs.txt)")
    parser.add_argument("--job", metavar="NAME", help="the job that `run` does, as `list` names it")
    found = parser.parse_intermixed_args(words)
    if (found.command == "run") == (found.job is None):
        parser.error("`run`, and nothing else, takes --job NAME")
    for name in ("cifar", "pictures", "out"):
        setattr(found, name, Path(os.path.abspath(getattr(found, name))))  # the list may be read in another folder
    return found


def stages_of(study: str, pictures: Path) -> dict[str, list[Job]]:
    """{stage: its jobs} of a study of ours, or of a module.

    >>> list(stages_of("transfer", Path("emoji")))
    ['source', 'faces']
    """
    if study not in STUDIES and "." not in study:
        raise SystemExit(f"There is no study {study}; there are {', '.join(STUDIES)}, and modules, as in my.study.")
    return importlib.import_module(f"studies.{study}" if study in STUDIES else study).stages(pictures)


def check_folders(jobs: Sequence[Job], cifar: Path) -> None:
    """
    Raises:
        SystemExit: pictures of a job are missing, which would fail only when its turn comes.
    """
    for job in jobs:
        if not job.data(cifar).exists():
            raise SystemExit(f"{job.name} trains on {job.data(cifar)}, which is not there: --cifar, --pictures.")


def line_of(job: Job, given: argparse.Namespace) -> str:
    """The command that does one job, for any shell in any folder."""
    folders = [f"--{name}={getattr(given, name)}" for name in ("cifar", "pictures", "out")]
    words = [sys.executable, "-m", "studies", "run", given.study, "--job", job.name, *folders]
    return f"cd {shlex.quote(os.getcwd())} && {shlex.join(words)}"


def run(jobs: Sequence[Job], given: argparse.Namespace) -> int:
    """Do one job."""
    named = [job for job in jobs if job.name == given.job]
    if not named:
        raise SystemExit(f"{given.study} has no job {given.job}; `python -m studies list {given.study}` names them.")
    if finish(named[0], given.cifar, given.out):
        return 0
    print(f"{given.job}: another process is at it.", file=sys.stderr)
    return HELD


if __name__ == "__main__":
    sys.exit(main())
