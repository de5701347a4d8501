"""One picture of a run: the score, and the densities of both networks, over kimg."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from rggan.files import write_whole


def plot_run(rows: Sequence[dict[str, Any]], path: Path, title: str = "") -> None:
    """Draw the ticks of a run (as in stats.jsonl) into a PNG. Dense phases are shaded.

    The first scores can be orders of magnitude above the rest, so the score's axis is logarithmic as
    long as all scores are positive.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    kimg = [row["kimg"] for row in rows]
    scores = [row["score"] for row in rows]
    above.plot(kimg, scores, color="tab:blue", marker=".", label="score")
    best = min(range(len(rows)), key=scores.__getitem__)
    above.plot(kimg[best], scores[best], "o", color="tab:red", label=f"best: {scores[best]:.4g}")
    if min(scores) > 0 and max(scores) > 10 * min(scores):
        above.set_yscale("log")
        for formatter in (above.yaxis.set_major_formatter, above.yaxis.set_minor_formatter):
            formatter(LogFormatter(minor_thresholds=(2, 1)))
    above.set_ylabel("score (lower is better)")
    below.plot(kimg, [row["density_g"] for row in rows], label="generator", color="tab:green")
    below.plot(kimg, [row["density_d"] for row in rows], label="discriminator", color="tab:orange")
    if all("copies" in row for row in rows):
        copies = [row["copies"] for row in rows]
        below.plot(kimg, copies, label="copies among the samples", color="tab:red", linestyle="--")
    below.set(ylim=(0, 1.02), ylabel="density", xlabel="kimg (thousands of real images that D has seen)")
    starts = [0.0, *kimg[:-1]]
    dense = [i for i, row in enumerate(rows) if row["phase"] == "dense"]
    for number, i in enumerate(dense):
        for axes in (above, below):
            label = "dense phase" if number == 0 and axes is below else None
            axes.axvspan(starts[i], kimg[i], color="0.9", zorder=0, linewidth=0, label=label)
    for axes in (above, below):
        axes.legend(loc="best", frameon=False)
        axes.grid(alpha=0.3)
        axes.set_xlim(0, math.ceil(kimg[-1]))
    above.set_title(title)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110)
    write_whole(path, picture.getvalue())
