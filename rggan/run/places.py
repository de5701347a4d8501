"""What lies where in a run folder and in a snapshot, by name; and where a trained generator is found."""

from __future__ import annotations

import os
from pathlib import Path

OPTIONS = "config.json"  # of a run: what it is trained with
DATA = "data.jsonl"  # how its images were made and drawn, then a line for each
STATS = "stats.jsonl"  # a line for each tick
METRICS = "metrics.jsonl"  # a line for each evaluation that it was given
LOG = "log.txt"
BEST, LAST = "best", "last"  # its snapshots
CHECKPOINTS = "checkpoints"  # what it continues from
REALS, PROGRESS, PLOT = "reals.png", "progress.png", "plot.png"
LOCK, METRICS_LOCK = ".lock", ".metrics.lock"

WEIGHTS = "generator.safetensors"  # of a snapshot
CONFIG = "config.json"  # of a snapshot: what its network is, and how it was trained


def fakes(kimg: int) -> str:
    """The sheet of generated pictures after so many kimg.

    >>> fakes(40)
    'fakes000040.png'
    """
    return f"fakes{kimg:06d}.png"


def replays(snapshot: str = BEST) -> str:
    """The sheet of the samples of a snapshot beside their nearest training images.

    >>> replays(), replays("last")
    ('replays.png', 'replays-last.png')
    """
    return "replays.png" if snapshot == BEST else f"replays-{snapshot}.png"


def find_weights(path: Path) -> Path | None:
    """The weights of a trained generator: the file itself, a snapshot folder's, or a run folder's best; None: none.

    A file may have any name; what it holds is not looked at.

    >>> find_weights(Path("nowhere")) is None
    True
    """
    places = (path, path / WEIGHTS, path / BEST / WEIGHTS)
    return next((place for place in places if os.path.isfile(place)), None)  # False for a name that no file can have
