"""Content -> HTML. Everything shown is escaped: names of pictures and classes may be anything."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rggan.config import TrainConfig
from rggan.files import write_whole
from rggan.generation.discreet import shown
from rggan.report.page.charts import label
from rggan.report.page.content import Content, gather
from rggan.report.page.sheets import embedded
from rggan.report.plot import Row
from rggan.report.verdict import NAMES
from rggan.run.folder import Run
from rggan.run.places import PAGE
from rggan.run.versions import versions

COLUMNS = ("tick", "kimg", "score", "diversity", "density_g", "density_d", "d_sign", "copies", "aug_p", "phase")

OPTIONS = {*(each.name for each in dataclasses.fields(TrainConfig)), "fix", "near"}  # of train and of check
OPTIONS |= {"reference", "features", "samples", "metrics"}  # of evaluate


class Metric(NamedTuple):
    """A value of `rggan evaluate`. generator: the snapshot, and its kimg."""

    generator: str
    name: str
    value: float
    interval: Sequence[float] | None
    against: str


@cache
def environment() -> Environment:
    """The templates, which escape whatever they are given."""
    made = Environment(
        loader=PackageLoader("rggan.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"number": label, "share": share, "cell": cell, "embedded": embedded, "fields": dataclasses.asdict}
    templates = Path(__file__).parent / "templates"
    made.globals |= {
        "version": versions()["rggan"],
        "style": Markup((templates / "page.css").read_text("utf-8")),  # ours
        "script": Markup((templates / "page.js").read_text("utf-8")),
        "verdicts": NAMES,
        "options": OPTIONS,
    }
    return made


def run_page(run: Content) -> str:
    """The page of one run."""
    columns = [name for name in COLUMNS if any(name in row for row in run.rows)]
    rows = [{name: row.get(name) for name in columns} for row in run.rows]
    return (
        environment()
        .get_template("run.html")
        .render(
            run=dataclasses.replace(run, rows=rows),
            best=run.best,
            stops=[sheet.kimg for sheet in run.samples.sheets],
            columns=columns,
            metrics=metrics(run.evaluations),
        )
    )


def metrics(evaluations: Sequence[Row]) -> list[Metric]:
    """All values of all evaluations, the newest last."""
    found = []
    for row in evaluations:
        kimg = row.get("kimg")
        at = f", {label(kimg)} kimg" if isinstance(kimg, int | float) else ""
        for name, number in row.items():
            if isinstance(number, dict) and isinstance(number.get("value"), int | float):
                generator = f"{row.get('snapshot', '?')}{at}"
                by = provenance if isinstance(provenance := number.get("provenance"), dict) else {}
                found.append(Metric(generator, name, number["value"], interval_of(number), against(by)))
    return found


def against(provenance: Mapping[str, Any]) -> str:
    """
    >>> against({"samples": 500, "reference_images": 541, "reference": "digits"})
    '500 samples against 541 of digits'
    """
    count, name = provenance.get("reference_images"), shown(str(provenance.get("reference")))
    return f"{provenance.get('samples')} samples against {count} of {name}"


def interval_of(number: Mapping[str, Any]) -> list[float] | None:
    """
    >>> interval_of({"interval": [0.5, 2]}), interval_of({"interval": "wide"}), interval_of({})
    ([0.5, 2], None, None)
    """
    found = number.get("interval")
    known = isinstance(found, list) and len(found) == 2 and all(isinstance(end, int | float) for end in found)
    return found if known else None


def share(value: float | None) -> str:
    """
    >>> share(0.256), share(None)
    ('26 %', '')
    """
    return "" if value is None else f"{100 * value:.0f} %"


def cell(value: Any) -> str:
    """
    >>> cell(0.123456), cell(None), cell("dense"), cell(True)
    ('0.1235', '', 'dense', 'True')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return label(value) if math.isfinite(value) else "-"


def write_page(run: Run, path: Path | None = None, look: bool = True) -> Path:
    """Make the page of a run and write it, into its folder unless told otherwise; returns where it is.

    Args:
        look: look over the run's pictures where that takes seconds and nobody did.

    Raises:
        UserError: files of the run are there and cannot be read. OSError: the page cannot be written.
    """
    path = path or run.path / PAGE
    write_whole(path, run_page(gather(run, look)).encode())
    return path
