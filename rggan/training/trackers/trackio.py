"""trackio: a database on this machine (TRACKIO_DIR), shown by `trackio show`; TRACKIO_SPACE_ID sends it to a Space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rggan.errors import UserError
from rggan.training.track import Tracked, Tracker

try:
    import trackio
except ModuleNotFoundError as error:
    raise UserError('it needs one more library: pip install "rggan[trackio]".') from error

PROJECT = "rggan"


class Trackio(Tracker):
    """Scalars, samples and options of a run in the project `rggan`."""

    def open(self, run: Tracked) -> None:
        self.run: Any = trackio.init(
            project=PROJECT,
            name=f"{run.name}-{run.id}",  # runs of other folders may have the same name, and it is all that they go by
            resume="allow",
            config={**run.options, "images": run.images},
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        pictures = {} if picture is None else {"samples": trackio.Image(str(picture))}
        self.run.log({**values, **pictures}, step=step)

    def close(self, ended: bool) -> None:
        self.run.finish()
