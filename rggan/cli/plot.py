"""rggan plot: a run, or several, as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from rggan.cli.spelling import flags, spelled
from rggan.config import TrainConfig
from rggan.errors import UserError, make_folder
from rggan.evaluation.arms import once
from rggan.report.comparison import comparison_figure, read_curves
from rggan.report.plot import run_figure, save_figure
from rggan.report.verdict import Scale
from rggan.run.folder import Run
from rggan.run.log import say
from rggan.run.places import PLOT


@dataclass(frozen=True)
class PlotConfig:
    """Draw a run: score, densities, D's outputs, grown and pruned weights, each layer's density. Or compare several."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, also of runs that are still training."""
    out: Path | None = None
    """The picture, a .png; without it plot.png: of one run in its folder, of several in the current one."""


def plot(config: PlotConfig, console: Console) -> Path:
    """Returns where the picture is.

    Raises:
        UserError: no runs, or something is none; another kind of picture than .png; none of them was evaluated yet;
            the picture cannot be written.
    """
    if not config.runs:
        raise UserError("Say which runs to draw: rggan plot RUN...")
    if config.out is not None and config.out.suffix.lower() != ".png":
        raise UserError(f"--out is a picture whose name ends in .png, not {config.out}.")
    found = {path: read_curves(path) for path in once(config.runs)}
    runs = [curves for curves in found.values() if curves is not None]
    early = [path for path, curves in found.items() if curves is None]
    if not runs:
        has = f"{early[0]} has" if len(early) == 1 else f"{', '.join(map(str, early))} have"
        raise UserError(f"{has} no evaluations to draw yet: the first comes after --snap kimg of training.")
    for path in early:
        line = f"{path} is left out: it has no evaluations to draw yet."
        say(console, line)
    if len(runs) == 1:
        (run,) = runs
        out = config.out or run.path / PLOT
        figure = run_figure(run.rows, run.path.resolve().name, Scale.of(Run(run.path).data_head()))
    else:
        out = config.out or Path(PLOT)
        figure = comparison_figure(runs, partial(spelled, options=flags(TrainConfig)))
    make_folder(out.parent)
    try:
        save_figure(figure, out)
    except OSError as error:
        raise UserError(f"Cannot write {out}: {error.strerror or error}.") from error
    told = f"{len(runs)} run{'s' * (len(runs) > 1)} in {out}"
    say(console, told)
    return out
