"""TensorBoard: event files in the run folder; `tensorboard --logdir runs` shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rggan.errors import UserError
from rggan.training.track import Tracked, Tracker

try:
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams
except ModuleNotFoundError as error:
    raise UserError('it needs one more library: pip install "rggan[tensorboard]".') from error

FOLDER = "tensorboard"  # in the run folder


class TensorBoard(Tracker):
    """Scalars, samples, and the options as text and as hyperparameters."""

    writer: Any

    def open(self, run: Tracked) -> None:
        self.folder = run.path / FOLDER
        first = not self.folder.exists()
        self.writer = SummaryWriter(str(self.folder))
        if first:
            for name, values in (("options", run.options), ("images", run.images)):
                self.writer.add_text(name, f"```json\n{json.dumps(values, indent=2)}\n```", 0)
            plain = {name: v if isinstance(v, int | float | str) else json.dumps(v) for name, v in run.options.items()}
            for summary in hparams(plain, {"evaluation/score": 0.0}):  # add_hparams would make a folder of its own
                self.writer.file_writer.add_summary(summary)

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        if picture is not None:
            pixels = np.asarray(Image.open(picture))
            self.writer.add_image("samples", pixels, step, dataformats="HW" if pixels.ndim == 2 else "HWC")
        self.writer.flush()

    def rewind(self, step: int) -> bool:
        self.writer.close()
        self.writer = SummaryWriter(str(self.folder), purge_step=step + 1)
        return True

    def close(self, ended: bool) -> None:
        self.writer.close()
