"""The numbers that a run has been given: metrics.jsonl in its folder, a line for each evaluation."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rggan.evaluation.measure import Evaluation
from rggan.evaluation.subject import Subject
from rggan.files import write_whole

FILE = "metrics.jsonl"
BEST = "best"
WAIT = 60  # seconds for another process that writes there


def append(found: Evaluation) -> None:
    """Keep an evaluation in the run that its generator belongs to, if it does; where that cannot be, a note says so."""
    subject = found.subject
    if subject.run is None or subject.generator is None or subject.options is None:
        return
    kimg = subject.generator.config.get("trained", {}).get("kimg")
    assert subject.weights is not None
    row = {"seed": subject.options.seed, "snapshot": snapshot_name(subject), "kimg": kimg}
    row |= {"weights": file_hash(subject.weights), **found.to_json()}
    try:
        with FileLock(subject.run / ".metrics.lock", timeout=WAIT):
            path = subject.run / FILE
            before = path.read_bytes() if path.is_file() else b""
            if before and not before.endswith(b"\n"):
                before += b"\n"
            write_whole(path, before + json.dumps(row).encode() + b"\n")
    except (OSError, Timeout) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "another process holds it"
        found.notes.append(f"These numbers are not kept in {subject.run / FILE}: {reason}.")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def snapshot_name(subject: Subject) -> str:
    """Which folder of the run the generator lies in: 'best', which stands for the run, or 'last'."""
    path = Path(subject.name)
    folder = path.parent if path.is_file() else path
    assert subject.run is not None
    return BEST if folder.resolve() == subject.run.resolve() else folder.name


def read(run: Path) -> list[dict[str, Any]]:
    """The evaluations of a run, oldest first; lines that are none are passed over."""
    path = run / FILE
    rows = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and "subject" in row]
