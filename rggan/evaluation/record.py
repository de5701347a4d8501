"""What is kept of an evaluation in the run that its generator belongs to."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rggan.evaluation.measure import Evaluation
from rggan.evaluation.subject import Subject
from rggan.run.places import BEST, METRICS


def append(found: Evaluation) -> None:
    """Keep an evaluation in the run that its generator belongs to, if it does; where that cannot be, a note says so."""
    subject = found.subject
    if subject.run is None or subject.generator is None:
        return
    kimg = subject.generator.config.get("trained", {}).get("kimg")
    assert subject.weights is not None
    seed = (subject.run.options() or {}).get("seed")
    row = {"seed": seed, "snapshot": snapshot_name(subject), "kimg": kimg}
    row |= {"weights": file_hash(subject.weights), **found.to_json()}
    try:
        subject.run.append_evaluation(row)
    except OSError as error:
        reason = error.strerror or "another process holds it"
        found.notes.append(f"These numbers are not kept in {subject.run.path / METRICS}: {reason}.")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def snapshot_name(subject: Subject) -> str:
    """Which folder of the run the generator lies in: 'best', which stands for the run, or 'last'."""
    path = Path(subject.name)
    folder = path.parent if path.is_file() else path
    assert subject.run is not None
    return BEST if folder.resolve() == subject.run.path.resolve() else folder.name
