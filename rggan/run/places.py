"""File names of a run folder and of a snapshot, and how a trained generator is found."""

from __future__ import annotations

import os
from pathlib import Path

OPTIONS = "config.json"  # the options of the run
DATA = "data.jsonl"  # how its images were prepared and sampled, then a line for each
STATS = "stats.jsonl"  # a line for each tick
METRICS = "metrics.jsonl"  # a line for each evaluation of `rggan evaluate`
LOG = "log.txt"
TRACKED = "track.json"  # its id for trackers, and what each of them has
BEST, LAST = "best", "last"  # its snapshots
CHECKPOINTS = "checkpoints"  # training states
REALS, PROGRESS, PLOT = "reals.png", "progress.png", "plot.png"
PAGE, COMPARISON, FILM = "page.html", "comparison.html", "training.webp"
HEALTH = "health.json"  # what a look over its pictures found
LOCK, METRICS_LOCK = ".lock", ".metrics.lock"

WEIGHTS = "generator.safetensors"  # of a snapshot
CONFIG = "config.json"  # of a snapshot: its network, and how it was trained


def fakes(kimg: int) -> str:
    """Returns the file name of the sample sheet at `kimg`.

    >>> fakes(40)
    'fakes000040.png'
    """
    return f"fakes{kimg:06d}.png"


def replays(snapshot: str = BEST) -> str:
    """Returns the file name of the sheet of a snapshot's samples with their nearest training images.

    >>> replays(), replays("last")
    ('replays.png', 'replays-last.png')
    """
    return "replays.png" if snapshot == BEST else f"replays-{snapshot}.png"


def find_weights(path: Path) -> Path | None:
    """Finds the weights of a trained generator: the file itself, a snapshot folder's, a run folder's best; else None.

    A file may have any name; its content is not checked.

    >>> find_weights(Path("nowhere")) is None
    True
    """
    places = (path, path / WEIGHTS, path / BEST / WEIGHTS)
    return next((place for place in places if os.path.isfile(place)), None)  # False for a name that no file can have
