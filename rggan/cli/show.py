"""rggan show: a run, or several, as one page that works offline."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from rggan.errors import UserError, make_folder
from rggan.evaluation.arms import once
from rggan.report.page.comparison import write_comparison
from rggan.report.page.film import write_film
from rggan.report.page.page import write_page
from rggan.run.folder import Run
from rggan.run.log import say
from rggan.run.places import COMPARISON, FILM, PAGE

ENOUGH = 3  # sheets, below which a film hardly moves


@dataclass(frozen=True)
class ShowConfig:
    """Make one HTML file of a run: samples over the training, curves, layers, options, verdict. Or compare several."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, also of runs that are still training."""
    out: Path | None = None
    """The page, an .html; without it page.html: of one run in its folder, of several comparison.html in the current
    one."""
    film: bool = False
    """Write the samples over the training as an animated picture too: training.webp in the run's folder."""
    open: bool = False
    """Open the page in the browser."""


def show(config: ShowConfig, console: Console) -> Path:
    """Returns where the page is.

    Raises:
        UserError: no runs, or something is none; another kind of file than .html; nothing to show; a file cannot be
            read or written.
    """
    if not config.runs:
        raise UserError("Say which runs to show: rggan show RUN...")
    if config.out is not None and config.out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out is a page whose name ends in .html, not {config.out}.")
    runs = [Run.named(path) for path in once(config.runs)]
    if config.film and len(runs) > 1:
        raise UserError("--film is of one run: show one at a time.")
    out = config.out or (runs[0].path / PAGE if len(runs) == 1 else Path(COMPARISON))
    make_folder(out.parent)
    try:
        if len(runs) == 1:
            write_page(runs[0], out)
        else:
            write_comparison(runs, out)
        told = [f"{len(runs)} run{'s' * (len(runs) > 1)} in {out}"]
        if config.film:
            film = runs[0].path / FILM
            count = write_film(runs[0], film)
            few = "; `snap` says how many: a smaller one makes a longer film" if count < ENOUGH else ""
            told.append(f"{count} sheet{'s' * (count != 1)} in {film}{few}")
    except OSError as error:
        raise UserError(f"Cannot write {error.filename or out}: {error.strerror or error}.") from error
    say(console, *told)
    if config.open:
        webbrowser.open(out.resolve().as_uri())
    return out
