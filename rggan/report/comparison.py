"""Comparison plot of several runs: scores and densities over kimg, one colour and kind of line per arm."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rggan.errors import UserError
from rggan.report.plot import KIMG, NETWORKS, Row, plain, score_axis, series
from rggan.run.differ import in_backticks, labels
from rggan.run.folder import Run
from rggan.run.places import STATS

WIDEST = 100  # characters of a line of the legend
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)))
WIDEST_LINE, THINNEST_LINE = 4.0, 1.2  # later ones are thinner, and dashed: those below are seen where they coincide
COLOURS = 10  # in matplotlib's default cycle; more arms take colours from a colormap


@dataclass(frozen=True)
class Curves:
    """The data of a run for a plot: its options, and its ticks."""

    path: Path
    options: dict[str, Any]
    rows: list[Row]

    @property
    def best(self) -> Row:
        return min(self.rows, key=lambda row: row["score"])


def read_curves(path: Path) -> Curves | None:
    """None where it was not evaluated yet; raises UserError where it is no run, or cannot be read."""
    run = Run.named(path)
    try:
        rows = run.rows()
    except OSError as error:
        raise UserError(f"Cannot read {path / STATS}: {error.strerror or error}.") from error
    rows = [row for row in rows if math.isfinite(row["kimg"]) and math.isfinite(row["score"])]
    return Curves(path, run.options() or {}, rows) if rows else None


def comparison_figure(runs: Sequence[Curves], spell: Callable[[str], str] = str) -> Figure:
    """Draws a line for each run, with a dot at its best; runs whose options differ only in the seed share a colour.

    spell: how the labels name options, which stand in backticks there.
    """
    found = arms(runs)
    legend = [textwrap.fill(spell(entry(label, group)), WIDEST) for label, group in found.items()]
    lines = sum(text.count("\n") + 1 for text in legend)
    figure = Figure(figsize=(9, 8 + 0.2 * lines), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    handles = []
    for place, (group, text) in enumerate(zip(found.values(), legend, strict=True)):
        color = colour(place, len(found))
        width = WIDEST_LINE - (WIDEST_LINE - THINNEST_LINE) * place / max(1, len(found) - 1)
        look = {"color": color, "linestyle": LINES[place % len(LINES)], "linewidth": width}
        handles.append(Line2D([], [], **look, label=plain_lines(text)))
        for run in group:
            kimg = series(run.rows, "kimg")
            panels[0].plot(kimg, series(run.rows, "score"), **look)
            for axes, network in zip(panels[1:], NETWORKS, strict=True):
                axes.plot(kimg, series(run.rows, f"density_{network}"), **look)
            panels[0].plot(run.best["kimg"], run.best["score"], "o", color=color, markeredgecolor="black", zorder=3)
    dot = Line2D([], [], linestyle="", marker="o", color="white", markeredgecolor="black", label="best of a run")
    score_axis(panels[0], [row["score"] for run in runs for row in run.rows])
    for axes, (name, _) in zip(panels[1:], NETWORKS.values(), strict=True):
        axes.set(ylim=(0, 1.04), ylabel=f"density of the\n{name}")
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.set_xlim(0, 1.01 * max(run.rows[-1]["kimg"] for run in runs))
    panels[-1].set_xlabel(KIMG)
    figure.align_ylabels(panels)
    figure.legend(handles=[*handles, dot], loc="outside upper left", frameon=False, fontsize="small")
    return figure


def arms(runs: Sequence[Curves]) -> dict[str, list[Curves]]:
    """Groups runs whose options differ only in the seed (or in paths), labelled by the options in which arms differ."""
    found: dict[str, list[Curves]] = {}
    for run, label in zip(runs, labels([run.options for run in runs], in_backticks), strict=True):
        found.setdefault(label or "the same options", []).append(run)
    return found


def entry(label: str, group: Sequence[Curves]) -> str:
    """Returns the legend entry: the arm, the number of runs, and the range of their best scores."""
    bests = sorted(run.best["score"] for run in group)
    if len(bests) == 1:
        return f"{label}: best {bests[0]:.4g}"
    return f"{label}: {len(bests)} runs, best {bests[0]:.4g} to {bests[-1]:.4g}"


def plain_lines(text: str) -> str:
    return "\n".join(map(plain, text.splitlines()))


def colour(place: int, count: int) -> Any:
    if count <= COLOURS:
        return f"C{place}"
    return matplotlib.colormaps["turbo"](0.05 + 0.9 * place / (count - 1))
