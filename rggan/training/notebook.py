"""A run as it is watched in a notebook: its samples and its curves, drawn anew in place at each evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from rggan.run.folder import Row, Run
from rggan.run.places import PROGRESS, fakes
from rggan.training.callbacks import Callback


class Watched(Callback):
    """Shows the newest sheet of samples and progress.png below the cell that trains.

    Args:
        draw: draws the run's progress.png.
    """

    def __init__(self, draw: Callable[[Run], None]) -> None:
        self.draw = draw
        self.shown: dict[str, Any] = {}

    def begin(self, run: Path) -> None:
        self.run, self.shown = Run(run), {}

    def tick(self, row: Row, snapshot: nn.Module) -> None:
        self.draw(self.run)
        for name in (fakes(round(row["kimg"])), PROGRESS):
            with contextlib.suppress(OSError):  # a full disk: the run itself tells of it
                self.show("progress" if name == PROGRESS else "samples", (self.run.path / name).read_bytes())

    def show(self, place: str, png: bytes) -> None:
        from IPython.display import Image, display

        if place in self.shown:
            self.shown[place].update(Image(png))
        else:
            self.shown[place] = display(Image(png), display_id=True)
