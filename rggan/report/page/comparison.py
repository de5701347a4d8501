"""Several runs side by side: what differs, curves, samples at the same kimg."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rggan.errors import UserError
from rggan.files import write_whole
from rggan.options import HERE
from rggan.report.page.charts import Chart, Series
from rggan.report.page.content import Content, gather
from rggan.report.page.curves import LOWER
from rggan.report.page.options import shown
from rggan.report.page.page import environment
from rggan.report.page.sheets import BUDGET
from rggan.report.plot import series
from rggan.run.differ import meant
from rggan.run.folder import Run

COLOURS = 10  # of the page's palette
CURVES = {
    "score": ("Score", LOWER, None, "log"),
    "density_g": ("Density of the generator", "share of the weights in use", (0, 1.03), "linear"),
    "density_d": ("Density of the discriminator", "share of the weights in use", (0, 1.03), "linear"),
    "d_sign": ("Sign of D (r_t)", "mean sign of D on training pictures", (-1.05, 1.05), "linear"),
    "copies": ("Copies", "share of the samples that are copies of training pictures", (0, 1.03), "linear"),
}


@dataclass(frozen=True)
class Difference:
    """An option in which runs differ, as each of them has it."""

    name: str
    values: Sequence[str]


def write_comparison(runs: Sequence[Run], path: Path) -> None:
    """Make one page of several runs.

    Raises:
        UserError: none of them has anything to show. OSError: it cannot be written.
    """
    found = [gather(run, look=False, budget=BUDGET // len(runs)) for run in runs]
    if not any(each.rows or each.samples.sheets for each in found):
        raise UserError(f"There is nothing to compare yet: none of {', '.join(map(str, runs))} has samples or scores.")
    write_whole(path, comparison_page(found, names(runs)).encode())


def names(runs: Sequence[Run]) -> list[str]:
    """The folders' names, with the one above where they are the same."""
    short = [run.path.resolve().name for run in runs]
    return short if len(set(short)) == len(short) else [f"{run.path.resolve().parent.name}/{run.name}" for run in runs]


def comparison_page(runs: Sequence[Content], names: Sequence[str]) -> str:
    """The page of several runs, in this order."""
    stops = sorted({sheet.kimg for run in runs for sheet in run.samples.sheets})
    return (
        environment()
        .get_template("comparison.html")
        .render(
            runs=list(zip(names, runs, strict=True)),
            charts=curves(runs, names),
            differences=differences(runs),
            notes=notes(runs),
            stops=stops,
        )
    )


def curves(runs: Sequence[Content], names: Sequence[str]) -> list[Chart]:
    """A chart for each number, with a line for each run that has it."""
    made = []
    for key, (title, unit, limits, scale) in CURVES.items():
        lines = [
            Series(name, series(run.rows, "kimg"), series(run.rows, key), place % COLOURS)
            for place, (name, run) in enumerate(zip(names, runs, strict=True))
        ]
        known = [line for line in lines if line.known]
        if known:
            made.append(Chart(title, unit, known, limits=limits, scale=scale))
    return made


def differences(runs: Sequence[Content]) -> list[Difference]:
    """Options that have an effect in a run, and differ between runs."""
    options = [meant(run.options) for run in runs]
    names = dict.fromkeys(name for each in options for name in each if name not in HERE)
    return [
        Difference(name, [shown(each.get(name)) for each in options])
        for name in names
        if len({json.dumps(each.get(name)) for each in options}) > 1
    ]


def notes(runs: Sequence[Content]) -> list[str]:
    """What stands in the way of comparing them."""
    told = []
    if distinct(run.head.get("key") for run in runs) > 1:
        told.append("These runs were trained on different pictures.")
    if distinct(json.dumps(run.score_of, sort_keys=True) for run in runs if run.score_of) > 1:
        told.append("Their scores do not compare: they are of other numbers of samples, or against other pictures.")
    return told


def distinct(values: Any) -> int:
    """How many different ones there are, but for None.

    >>> distinct(["a", "b", None, "a"])
    2
    """
    return len({value for value in values if value is not None})
