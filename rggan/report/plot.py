"""Plots of one run over kimg: score, densities and their signal, D's outputs, grown and pruned weights, each layer."""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter

from rggan.errors import one_line
from rggan.files import write_whole
from rggan.report.verdict import Scale, short

Row = dict[str, Any]
NETWORKS = {"g": ("generator", "tab:green"), "d": ("discriminator", "tab:orange")}
OUTPUTS = {  # key in a row: label, colour, line
    "d_real": ("real (in training)", "tab:blue", "-"),
    "d_fake": ("generated (in training)", "tab:red", "-"),
    "d_train": ("training set", "tab:blue", ":"),
    "d_held_out": ("held-out set", "tab:purple", ":"),
}
SHARES = (  # key in a row, label, colour, line
    ("copies", "copies among the samples", "tab:red", "--"),
    ("aug_p", "ADA's p", "tab:purple", ":"),
)
CHANGES = {"births": ("grown", "-"), "deaths": ("pruned", ":")}  # key in a layer of a row: label, line
SIGNALS = {"r_t": "mean sign of D", "r_v": "D's gap on held-out", "balance": "balance of the game"}
KIMG = "kimg (thousands of real images that D has seen)"
SHADE = "0.88"
LONGEST = 26  # characters of a layer's name


def plot_run(rows: Sequence[Row], path: Path, title: str = "", scale: Scale | None = None) -> None:
    """Draw score and densities of a run (the rows of its stats.jsonl) into a PNG; of one that was never pruned, its
    score and D's outputs. Dense phases are shaded.

    Raises:
        OSError: it cannot be written.
    """
    found = panels_of(rows, scale)[:2]
    figure = Figure(figsize=(8, max(4, 1 + 2 * len(found))), layout="constrained")
    stack(figure, list(figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]), found, rows)
    figure.suptitle(plain(title))
    save_figure(figure, path)


def panels_of(rows: Sequence[Row], scale: Scale | None) -> list[Callable[..., None]]:
    """What draws the panels over kimg, those of which the rows tell something, the most important first."""
    panels: list[Callable[..., None]] = [partial(draw_score, scale=scale)]
    if pruned(rows):
        panels.append(draw_densities)
    if any(known(row.get(f"signal_{network}")) for row in rows for network in NETWORKS):
        panels.append(draw_signal)
    if any(known(row.get(key)) for row in rows for key in OUTPUTS):
        panels.append(draw_outputs)
    if not pruned(rows) and any(known(row.get(key)) for row in rows for key, *_ in SHARES):
        panels.append(draw_densities)  # the shares alone
    return panels


def pruned(rows: Sequence[Row]) -> bool:
    """Whether any weight was ever pruned."""
    return any(row[f"density_{network}"] < 1 for row in rows for network in NETWORKS)


def run_figure(rows: Sequence[Row], title: str = "", scale: Scale | None = None) -> Figure:
    """Draws everything that the rows of a run contain; panels without data are left out. Dense phases are shaded."""
    panels = panels_of(rows, scale)
    networks = [network for network in NETWORKS if layer_names(rows, network)]
    if any(known(change) for network in networks for change in changes(rows, network, "births")):
        panels.append(draw_changes)
    names = {network: layer_names(rows, network) for network in networks}
    height = max(2.3 * len(panels) + 0.6, 0.21 * sum(map(len, names.values())) + 1.5)
    figure = Figure(figsize=(15 if networks else 8.5, height), layout="constrained")
    columns = figure.add_gridspec(1, 2 if networks else 1, width_ratios=(8, 7) if networks else None)
    left = columns[0].subgridspec(len(panels), 1)
    first = figure.add_subplot(left[0])
    stack(figure, [first, *(figure.add_subplot(left[i], sharex=first) for i in range(1, len(panels)))], panels, rows)
    if networks:
        right = columns[1].subgridspec(len(networks), 1, height_ratios=[len(names[network]) for network in networks])
        maps = [figure.add_subplot(right[i]) for i in range(len(networks))]
        for axes, network in zip(maps, networks, strict=True):
            draw_layers(axes, rows, network)
        bottom(maps)
        figure.colorbar(maps[0].collections[0], ax=maps, label="density of the layer", aspect=40, pad=0.01)
    figure.suptitle(plain(title))
    return figure


def stack(figure: Figure, panels: Sequence[Axes], draw: Sequence[Callable[..., None]], rows: Sequence[Row]) -> None:
    """Draws panels over one kimg axis, each with its legend above the axes."""
    for axes, drawing in zip(panels, draw, strict=True):
        drawing(axes, rows)
        shade(axes, rows, "dense phase" if axes is panels[0] else None)
        axes.grid(alpha=0.3)
        legend_above(axes)
        axes.set_xlim(0, 1.01 * rows[-1]["kimg"])
    bottom(panels)
    figure.align_ylabels(panels)


def bottom(panels: Sequence[Axes]) -> None:
    """Labels the x axis of the lowest panel only."""
    for axes in panels[:-1]:
        axes.tick_params(labelbottom=False)
    panels[-1].set_xlabel(KIMG)


def legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=5,
        frameon=False,
        borderaxespad=0.1,
        fontsize="small",
        columnspacing=1.0,
    )


def draw_score(axes: Axes, rows: Sequence[Row], scale: Scale | None = None) -> None:
    best = min(rows, key=lambda row: row["score"])
    axes.plot(series(rows, "kimg"), series(rows, "score"), color="tab:blue", marker=".", label="score")
    axes.plot(
        *(best["kimg"], best["score"], "o"),
        color="tab:red",
        label=f"best: {best['score']:.4g} at {best['kimg']:.4g} kimg",
    )
    score_axis(axes, series(rows, "score"))
    if scale is not None:
        draw_scale(axes, series(rows, "score"), scale)


def draw_scale(axes: Axes, scores: Sequence[float], scale: Scale) -> None:
    """Lines where real pictures and noise score. The axis reaches out for them only where they are near."""
    low, high = axes.get_ylim()
    span = max(scores) - min(scores)
    logarithmic = axes.get_yscale() == "log"
    least, most = (low / 10, high * 3) if logarithmic else (low - span, high + span)
    ends = [low, high]
    for value, name, line in ((scale.noise, "noise", ":"), (scale.halves, "real pictures", "--")):
        axes.axhline(value, color="0.35", linewidth=1, linestyle=line, label=f"{name}: {short(value)}")
        if least < value < most:
            ends += [value * 0.9, value * 1.1] if logarithmic else [value - 0.05 * span, value + 0.05 * span]
    axes.set_ylim(min(ends), max(ends))


def score_axis(axes: Axes, scores: Sequence[float]) -> None:
    """Uses a logarithmic axis if all scores are positive and the first ones are orders of magnitude above the rest."""
    if min(scores) > 0 and max(scores) > 10 * min(scores):
        axes.set_yscale("log")
        for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatter(PlainLog(minor_thresholds=(2, 1)))
    axes.set_ylabel("score (lower is better)")


class PlainLog(LogFormatter):
    """0.06 instead of 6e-02."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def draw_densities(axes: Axes, rows: Sequence[Row]) -> None:
    for network, (name, color) in NETWORKS.items() if pruned(rows) else ():
        width = 2.8 if network == "g" else 1.2  # keeps both visible if they coincide
        values = series(rows, f"density_{network}")
        axes.plot(series(rows, "kimg"), values, marker=".", label=name, color=color, linewidth=width)
    for key, label, color, line in SHARES:
        values = series(rows, key)
        if any(map(known, values)):
            axes.plot(series(rows, "kimg"), values, label=label, color=color, linestyle=line)
    axes.set(ylim=(0, 1.04), ylabel="density (kept / all)" if pruned(rows) else "share")


def draw_signal(axes: Axes, rows: Sequence[Row]) -> None:
    """The signal that an 'auto' density follows, and its set point."""
    name = next((row["signal"] for row in rows if row.get("signal") in SIGNALS), "signal")
    drawn: set[float] = set()
    for network, (called, color) in NETWORKS.items():
        values, points = series(rows, f"signal_{network}"), series(rows, f"set_point_{network}")
        if not any(map(known, values)) or (drawn and points[-1] in drawn):
            continue  # both networks follow the same signal
        axes.plot(series(rows, "kimg"), values, marker=".", color=color, label=f"{name}, for the {called}")
        axes.plot(series(rows, "kimg"), points, "--", color=color, linewidth=1, label="its set point")
        drawn.add(points[-1])
    axes.set_ylabel(SIGNALS.get(name, name))


def draw_outputs(axes: Axes, rows: Sequence[Row]) -> None:
    """D's mean outputs."""
    axes.axhline(0, color="0.4", linewidth=0.8)
    for key, (name, color, line) in OUTPUTS.items():
        values = series(rows, key)
        if any(map(known, values)):
            axes.plot(series(rows, "kimg"), values, line, marker=".", color=color, label=name)
    axes.set_ylabel("mean output of D")


def draw_changes(axes: Axes, rows: Sequence[Row]) -> None:
    """Grown and pruned weights per tick; gaps in dense phases."""
    highest = 0.0
    for network, (name, color) in NETWORKS.items():
        for key, (what, line) in CHANGES.items():
            values = changes(rows, network, key)
            if any(map(known, values)):
                axes.plot(series(rows, "kimg"), values, line, marker=".", color=color, label=f"{what}, {name}")
                highest = max(highest, *filter(known, values))
    bottom, top = -0.02 * highest, 1.05 * highest
    if highest > 100:  # the first ticks prune far more than later ones
        axes.set_yscale("symlog", linthresh=1)
        bottom, top = -0.3, 1.6 * highest
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if value == round(value) else f"{value:g}")
    )
    axes.set(ylim=(bottom, max(1.0, top)), ylabel="weights per tick")


def draw_layers(axes: Axes, rows: Sequence[Row], network: str) -> None:
    """A row for each layer, the first at the top. Dense phases, in which all weights are in use, are grey."""
    names = layer_names(rows, network)
    density = [
        [math.nan if row["phase"] == "dense" else number(layers(row, network).get(name), "density") for row in rows]
        for name in names
    ]
    edges = [0.0, *series(rows, "kimg")]
    axes.pcolormesh(edges, np.arange(len(names) + 1), np.ma.masked_invalid(density), vmin=0, vmax=1, cmap="viridis")
    shade(axes, rows)
    axes.set_yticks(np.arange(len(names)) + 0.5, [short_name(name) for name in names], fontsize="small")
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, edges[-1]), ylim=(len(names), 0))
    called, color = NETWORKS[network]
    grey = " (grey: dense phase)" if any(dense_phases(rows)) else ""
    axes.set_title(f"layers of the {called}{grey}", loc="left", fontsize="small", color=color)


def shade(axes: Axes, rows: Sequence[Row], label: str | None = None) -> None:
    """Shades the dense phases grey."""
    for start, end in dense_phases(rows):
        axes.axvspan(start, end, color=SHADE, zorder=0, linewidth=0, label=label)
        label = None


def dense_phases(rows: Sequence[Row]) -> Iterator[tuple[float, float]]:
    """Yields (start, end) in kimg; a row covers the time since the previous row. Nothing if all is dense.

    >>> rows = [{"kimg": i + 1, "phase": phase} for i, phase in enumerate(("prune", "dense", "dense", "prune"))]
    >>> list(dense_phases(rows))
    [(1, 3)]
    """
    if all(row["phase"] == "dense" for row in rows):
        return
    starts = [0.0, *(row["kimg"] for row in rows[:-1])]
    ticks = [(row["phase"], start, row["kimg"]) for start, row in zip(starts, rows, strict=True)]
    for phase, group in itertools.groupby(ticks, key=lambda tick: tick[0]):
        spans = list(group)
        if phase == "dense":
            yield spans[0][1], spans[-1][2]


def layers(row: Row, network: str) -> dict[str, Any]:
    """Returns the layer statistics of a network in a row; {} for an older run or a network that is not pruned."""
    told = row.get("layers")
    told = told.get(network) if isinstance(told, dict) else None
    return told if isinstance(told, dict) else {}


def layer_names(rows: Sequence[Row], network: str) -> list[str]:
    """Returns the layers' names in network order."""
    return list(dict.fromkeys(name for row in rows for name in layers(row, network)))


def changes(rows: Sequence[Row], network: str, key: str) -> list[float]:
    """Returns the grown or pruned weights of each tick, summed over all layers; NaN where nothing was counted.

    >>> pruned = {"layers": {"g": {"a": {"births": 1}, "b": {"births": 3}}}}
    >>> changes([pruned, {"layers": {"g": {"a": {}}}}], "g", "births")
    [4.0, nan]
    """
    counts = [[number(layer, key) for layer in layers(row, network).values()] for row in rows]
    return [sum(filter(known, count)) if any(map(known, count)) else math.nan for count in counts]


def series(rows: Sequence[Row], key: str) -> list[float]:
    """Returns one number per row; NaN, which leaves a gap in the line, if it is missing."""
    return [number(row, key) for row in rows]


def number(found: Any, key: str) -> float:
    value = found.get(key) if isinstance(found, dict) else None
    return float(value) if isinstance(value, int | float) else math.nan


def known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def short_name(name: str) -> str:
    """
    >>> short_name("blocks.0.conv1.weight"), short_name("a.very.long.way.down.to.the.layer.weight")
    ('blocks.0.conv1', '…ong.way.down.to.the.layer')
    """
    name = name.removesuffix(".weight") or name
    return plain(name if len(name) <= LONGEST else "…" + name[-LONGEST + 1 :])


def plain(text: str) -> str:
    """Escapes text for matplotlib: no line breaks, no mathtext."""
    return one_line(text).replace("$", r"\$")


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG atomically.

    Raises:
        OSError: it cannot be written.
    """
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the font may lack characters of a name
        figure.savefig(picture, format="png", dpi=110)
    write_whole(path, picture.getvalue())
