"""Which charts the evaluations of one run, or of several, make, and each layer's density as a small picture."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image

from rggan.report.page.charts import Chart, Level, Series
from rggan.report.plot import (
    CHANGES,
    NETWORKS,
    OUTPUTS,
    SIGNALS,
    Row,
    changes,
    dense_phases,
    known,
    layer_names,
    layers,
    number,
    series,
)

BLUE, ORANGE, GREEN, RED, PURPLE = range(5)  # places in the page's palette
OF_NETWORK = {"g": GREEN, "d": ORANGE}
OF_OUTPUT = {"d_real": BLUE, "d_fake": RED, "d_train": GREEN, "d_held_out": PURPLE}
LOWER = "lower is better"
SURE = "1: D is sure of every training picture, as it is where it overfits; 0: it cannot tell."
COLUMNS = 400  # pixels of a map of layers
GREY = (128, 128, 128)  # a dense phase


def run_charts(rows: Sequence[Row], levels: Mapping[str, float], unit: str) -> list[Chart]:
    """Everything that the rows contain, the score first; charts without data are left out.

    Args:
        levels: {name: score} of what the score is compared with. unit: of the score.
    """
    if not rows:
        return []
    kimg = series(rows, "kimg")

    def line(name: str, key: str, place: int, style: str = "") -> Series:
        return Series(name, kimg, series(rows, key), place, style)

    found = [Level(name, value) for name, value in levels.items() if known(value)]
    densities = [
        *(line(name, f"density_{network}", OF_NETWORK[network]) for network, (name, _) in NETWORKS.items()),
        line("copies of training pictures", "copies", RED, "dashed"),
        line("probability of augmentation", "aug_p", PURPLE, "dashed"),
    ]
    outputs = [line(name, key, OF_OUTPUT[key], dashed(dash)) for key, (name, _, dash) in OUTPUTS.items()]
    counts = [
        Series(f"{what}, {name}", kimg, changes(rows, network, key), OF_NETWORK[network], dashed(dash))
        for network, (name, _) in NETWORKS.items()
        for key, (what, dash) in CHANGES.items()
    ]
    signs = [line("r_t", "d_sign", BLUE), *set_points(rows, "r_t")]
    made = [
        Chart("Score", unit, [line("score", "score", BLUE)], levels=found, scale="log"),
        Chart("Density", "share of the weights in use", densities, limits=(0, 1.03)),
        Chart("Sign of D (r_t)", "mean sign of D on training pictures", signs, limits=(-1.05, 1.05), note=SURE),
        *signals(rows),
        Chart("Outputs of D", "mean output", outputs),
        Chart("Changed weights", "weights per evaluation", counts, scale="counts"),
    ]
    bands = list(dense_phases(rows))
    shown = [dataclasses.replace(chart, series=[each for each in chart.series if each.known]) for chart in made]
    return [dataclasses.replace(chart, bands=bands) for chart in shown if chart.series]


def dashed(style: str) -> str:
    return "" if style == "-" else "dashed"


def set_points(rows: Sequence[Row], signal: str) -> list[Series]:
    """What 'auto' densities hold the signal at, one line for both networks if they hold the same."""
    theirs = [row if row.get("signal") == signal else {} for row in rows]
    points = {network: series(theirs, f"set_point_{network}") for network in NETWORKS}
    same = points["g"] == points["d"]
    return [
        Series("set point" if same else f"set point, {name}", series(rows, "kimg"), points[network], RED, "dashed")
        for network, (name, _) in NETWORKS.items()
        if any(map(known, points[network])) and not (same and network == "d")
    ]


def signals(rows: Sequence[Row]) -> list[Chart]:
    """The signal that an 'auto' density follows, where it is not the sign of D."""
    name = next((row["signal"] for row in rows if row.get("signal") in SIGNALS), "r_t")
    if name == "r_t":
        return []
    lines = [
        Series(f"{name}, for the {called}", series(rows, "kimg"), series(rows, f"signal_{each}"), OF_NETWORK[each])
        for each, (called, _) in NETWORKS.items()
    ]
    return [Chart("Signal that the density follows", SIGNALS[name], [*lines, *set_points(rows, name)])]


@dataclass(frozen=True)
class LayerMap:
    """The density of each layer of a network over kimg.

    picture: a row of pixels for each layer, `COLUMNS` wide. values: [layer][evaluation], None where it is unknown.
    """

    network: str
    names: Sequence[str]
    picture: Image.Image
    kimg: Sequence[float]
    values: Sequence[Sequence[float | None]]
    dense: bool


def layer_maps(rows: Sequence[Row]) -> list[LayerMap]:
    """Of each network that is pruned."""
    return [layer_map(rows, network, names) for network in NETWORKS if (names := layer_names(rows, network))]


def layer_map(rows: Sequence[Row], network: str, names: Sequence[str]) -> LayerMap:
    """A row covers the time since the row before. Dense phases, in which all weights are in use, are grey."""
    kimg = series(rows, "kimg")
    values = [[number(layers(row, network).get(name), "density") for row in rows] for name in names]
    phase = f"phase_{network}"
    dense = [row.get(phase, row["phase"]) == "dense" for row in rows]
    middles = (np.arange(COLUMNS) + 0.5) * (kimg[-1] / COLUMNS)
    columns = [min(bisect.bisect_left(kimg, middle), len(rows) - 1) for middle in middles]
    colours = matplotlib.colormaps["viridis"](np.nan_to_num(np.array(values)), bytes=True)[:, :, :3].copy()
    colours[:, dense] = GREY
    colours[~np.isfinite(np.array(values))] = GREY
    return LayerMap(
        network=NETWORKS[network][0],
        names=[name.removesuffix(".weight") or name for name in names],
        picture=Image.fromarray(colours[:, columns]),
        kimg=kimg,
        values=[[value if math.isfinite(value) else None for value in each] for each in values],
        dense=any(dense),
    )
