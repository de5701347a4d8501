"""The transfer study: does a generator of other pictures help on a hundred, and do D's frozen blocks?

    python -m studies list|work|jobs transfer [DATA...] --pictures EMOJI_FOLDER --out OUT    # studies/__main__.py

EMOJI_FOLDER holds emoji/ and faces100/, which have no picture in common. `source` trains a FastGAN on the emoji for
each seed; `faces` trains one on the hundred faces, from scratch and from that source, whose job must be done before.
The reporting extractor evaluates each run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.families import FamilyJob
from studies.places import RESULTS
from studies.projected import COMMON, EVALUATIONS, FASTGAN
from studies.queue import Row, row_of

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
        source = source_of(self.seed, self.faces or Path())
        runs = list(source.folder(out).glob("0*"))
        if row_of(source, out) is None or not runs:
            raise SystemExit(f"{self.key} begins with the networks of {source.key}: run stage source first.")
        return {"init": runs[0]}


def source_of(seed: int, faces: Path) -> TransferJob:
    """The job that trains on the emoji beside `faces`."""
    kimg = KIMG["source"]
    return TransferJob("source", SOURCE, seed, kimg, options(kimg), faces.parent / "emoji")


def stages(pictures: Path = Path("emoji")) -> dict[str, list[TransferJob]]:
    """{data set: its jobs}, those of a seed beside each other. pictures: the folder of emoji/ and faces100/."""
    faces = pictures / "faces100"
    return {
        "source": [source_of(seed, faces) for seed in range(3)],
        "faces": [
            TransferJob("faces", arm, seed, KIMG["faces"], {**options(KIMG["faces"]), **taken}, faces)
            for seed in range(3)
            for arm, taken in ARMS.items()
        ],
    }
