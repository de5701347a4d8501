"""The transfer study: does a generator of other pictures help on a hundred, and do D's frozen blocks?

    python -m studies.transfer CIFAR10_FOLDER EMOJI_FOLDER OUT list            # the jobs, and which are done
    python -m studies.transfer CIFAR10_FOLDER EMOJI_FOLDER OUT work [DATA...]  # do the others; may run twice

EMOJI_FOLDER holds emoji/ and faces100/, which have no picture in common. `source` trains a FastGAN on the emoji for
each seed; `faces` trains one on the hundred faces, from scratch and from that source, whose job must be done before.
Each job appends one row to studies/results/transfer.jsonl, evaluated with the reporting extractor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.families import FamilyJob, main
from studies.places import RESULTS
from studies.projected import COMMON, EVALUATIONS, FASTGAN
from studies.queue import Row

ROWS = RESULTS / "transfer.jsonl"
KIMG = {"source": 12, "faces": 8}
SOURCE = "emoji"
FROM_SCRATCH = "from scratch"
ARMS: dict[str, dict[str, Any]] = {
    FROM_SCRATCH: {},
    "from the emoji": {"freeze_d": 0},
    "from the emoji, freeze_d 2": {"freeze_d": 2},  # of four blocks
}


def options(kimg: float) -> dict[str, Any]:
    """The options of a run of this length, without its seed.

    >>> options(8)["snap"]
    0.8
    """
    size = {"resolution": 64, "batch": 16, "rule": "none"}
    return {**COMMON, **FASTGAN, **size, "kimg": kimg, "snap": kimg / EVALUATIONS}


@dataclass(frozen=True)
class TransferJob(FamilyJob):
    """A run that may begin with the networks of the source with its seed."""

    @property
    def keeps_checkpoints(self) -> bool:
        return self.stage == "source"

    def folders(self, out: Path) -> Row:
        if "freeze_d" not in self.options:
            return {}
        (source,) = source_of(self.seed, self.faces or Path()).folder(out).glob("0*")
        return {"init": source}


def source_of(seed: int, faces: Path) -> TransferJob:
    """The job that trains on the emoji beside `faces`."""
    kimg = KIMG["source"]
    return TransferJob("source", SOURCE, seed, kimg, options(kimg), faces.parent / "emoji")


def jobs(names: list[str] | None = None, emoji: Path = Path("emoji")) -> Iterator[TransferJob]:
    """Every job, those of a seed beside each other."""
    faces = emoji / "faces100"
    for data in names or KIMG:
        for seed in range(3):
            if data == "source":
                yield source_of(seed, faces)
                continue
            for arm, taken in ARMS.items():
                yield TransferJob(data, arm, seed, KIMG[data], {**options(KIMG[data]), **taken}, faces)


if __name__ == "__main__":
    main(__doc__, ROWS, jobs)
