"""Weights & Biases. Its own environment decides: WANDB_MODE=offline, WANDB_PROJECT, WANDB_DIR and others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rggan.errors import UserError
from rggan.training.track import Tracked, Tracker

try:
    import wandb
except ModuleNotFoundError as error:
    raise UserError('it needs one more library: pip install "rggan[wandb]".') from error


def unless_said(variable: str, value: str) -> str:
    """What the environment says, which an argument would override."""
    return os.environ.get(variable) or value


class WandB(Tracker):
    """Scalars, samples and options of a run in the project `rggan`, or that of WANDB_PROJECT."""

    def open(self, run: Tracked) -> None:
        self.run: Any = wandb.init(
            project=unless_said("WANDB_PROJECT", "rggan"),
            name=unless_said("WANDB_NAME", run.name),
            id=unless_said("WANDB_RUN_ID", run.id),
            dir=unless_said("WANDB_DIR", str(run.path)),
            resume="allow",
            config={**run.options, "images": run.images},
        )

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        pictures = {} if picture is None else {"samples": wandb.Image(str(picture))}
        self.run.log({**values, **pictures}, step=step, commit=True)

    def close(self, ended: bool) -> None:
        self.run.finish(exit_code=0 if ended else 1)
