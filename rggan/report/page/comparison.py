"""Several runs side by side: what differs, curves, samples at the same kimg, evaluations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rggan.errors import UserError
from rggan.files import write_whole
from rggan.generation.discreet import told
from rggan.options import HERE
from rggan.report.page.charts import Chart, Series
from rggan.report.page.content import Content, gather
from rggan.report.page.curves import LOWER
from rggan.report.page.evaluations import Evaluated, evaluated
from rggan.report.page.options import shown
from rggan.report.page.page import environment
from rggan.report.page.sheets import BUDGET
from rggan.report.plot import Row, series
from rggan.run.differ import labels, meant, numbered
from rggan.run.folder import Run

COLOURS = 10  # of the page's palette
STYLES = ("", "dashed", "dotted", "dashdot")  # of the runs of an arm
THIN, THICK, STEP = 2.0, 6.0, 2.0  # pixels: lines of the last arm, at most of the first, more from one to the next
MORE = 1.2  # pixels of a broken line, so that it is seen on the first one of its arm
SHIFT = 6  # pixels: half of what repeats in a dashed line
CURVES = {
    "score": ("Score", LOWER, None, "log"),
    "density_g": ("Density of the generator", "share of the weights in use", (0, 1.03), "linear"),
    "density_d": ("Density of the discriminator", "share of the weights in use", (0, 1.03), "linear"),
    "d_sign": ("Sign of D (r_t)", "mean sign of D on training pictures", (-1.05, 1.05), "linear"),
    "copies": ("Copies", "share of the samples that are copies of training pictures", (0, 1.03), "linear"),
}


@dataclass(frozen=True)
class Shown:
    """How a run is told from the others.

    name: of its folder. arm: what its arm differs in; "" where that is nothing. short: which run of the arm it is.
    place, style, width, shift: of its lines, see `Series`.
    """

    name: str
    arm: str
    short: str
    place: int
    style: str
    width: float
    shift: float

    @property
    def title(self) -> str:
        return ", ".join(filter(None, (self.arm, self.short)))

    def line(self, rows: Sequence[Row], key: str) -> Series:
        kimg, values = series(rows, "kimg"), series(rows, key)
        return Series(self.short, kimg, values, self.place, self.style, self.width, self.shift, self.arm)


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
    arms = arms_of([each.options for each in found])
    write_whole(path, comparison_page(found, names(runs), arms, evaluated(runs, arms)).encode())


def names(runs: Sequence[Run]) -> list[str]:
    """The folders' names, with a number where they are the same."""
    return numbered([run.path.resolve().name for run in runs], [str(run.path.resolve()) for run in runs])


def arms_of(options: Sequence[dict[str, Any]]) -> list[list[int]]:
    """The places of the runs of each arm, which differ in nothing but the seed.

    >>> arms_of([{"rule": "none"}, {"rule": "threshold"}, {"rule": "none", "seed": 1}])
    [[0, 2], [1]]
    """
    found: dict[str, list[int]] = {}
    for place, label in enumerate(labels(options)):
        found.setdefault(label, []).append(place)
    return list(found.values())


def tell_apart(names: Sequence[str], options: Sequence[dict[str, Any]], arms: Sequence[Sequence[int]]) -> list[Shown]:
    """A colour and a width for each arm, a style for each run of it."""
    found = {}
    arm_names = labels(options)
    for number, arm in enumerate(arms):
        seeds = [f"seed {options[place].get('seed')}" for place in arm]
        for run, (place, seed) in enumerate(zip(arm, seeds, strict=True)):
            name, title = names[place], arm_names[place]
            if len(arm) == 1:
                short = "" if title else name
            else:
                short = seed if len(set(seeds)) == len(seeds) and (title or len(arms) == 1) else name
            width = THIN + min(STEP, (THICK - THIN) / max(1, len(arms) - 1)) * (len(arms) - 1 - number)
            style, shift = STYLES[run % len(STYLES)], SHIFT * (number % 2)  # dashes of one arm in the gaps of the next
            found[place] = Shown(
                name, title, short, number % COLOURS, style, round(width + MORE * bool(style), 2), shift
            )
    return [found[place] for place in range(len(names))]


def columns(runs: int, most: int) -> int:
    """Up to this many; as few empty places in the last row as can be.

    >>> [columns(runs, 4) for runs in (2, 3, 4, 5, 6, 7, 8, 9)], [columns(runs, 3) for runs in (3, 4, 5)]
    ([2, 3, 4, 3, 3, 4, 4, 3], [3, 2, 3])
    """
    return runs if runs <= most else min((most, most - 1), key=lambda wide: -runs % wide)


def comparison_page(
    runs: Sequence[Content], names: Sequence[str], arms: Sequence[Sequence[int]], evaluations: Evaluated
) -> str:
    """The page of several runs, in this order."""
    stops = sorted({sheet.kimg for run in runs for sheet in run.samples.sheets})
    shown = tell_apart(names, [run.options for run in runs], arms)
    ordered = [place for arm in arms for place in arm]
    return (
        environment()
        .get_template("comparison.html")
        .render(
            runs=list(zip(shown, runs, strict=True)),
            wide=columns(len(runs), 4),
            middle=columns(len(runs), 3),
            charts=curves([runs[place] for place in ordered], [shown[place] for place in ordered]),
            evaluations=evaluations,
            differences=differences(runs),
            notes=notes(runs),
            stops=stops,
        )
    )


def curves(runs: Sequence[Content], shown: Sequence[Shown]) -> list[Chart]:
    """A chart for each number, with a line for each run that has it."""
    made = []
    for key, (title, unit, limits, scale) in CURVES.items():
        lines = [each.line(run.rows, key) for each, run in zip(shown, runs, strict=True)]
        known = [line for line in lines if line.known]
        if known:
            made.append(Chart(title, unit, known, limits=limits, scale=scale))
    return made


def differences(runs: Sequence[Content]) -> list[Difference]:
    """Options that have an effect in a run, and differ between runs."""
    options = [meant(run.options) for run in runs]
    names = dict.fromkeys(name for each in options for name in each if name not in HERE)
    return [
        Difference(name, [shown(told(each.get(name))) for each in options])
        for name in names
        if len({json.dumps(each.get(name)) for each in options}) > 1
    ]


def notes(runs: Sequence[Content]) -> list[str]:
    """What stands in the way of comparing them."""
    found = []
    if distinct(run.head.get("key") for run in runs) > 1:
        found.append("These runs were trained on different pictures.")
    if distinct(json.dumps(run.score_of, sort_keys=True) for run in runs if run.score_of) > 1:
        found.append(
            "Their scores do not compare: they are by other networks, of other numbers of samples, or against "
            "other pictures."
        )
    return found


def distinct(values: Any) -> int:
    """How many different ones there are, but for None.

    >>> distinct(["a", "b", None, "a"])
    2
    """
    return len({value for value in values if value is not None})
