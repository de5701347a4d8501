"""What the study found: the tables of docs/results.md and the pictures beside them, from docs/study.jsonl.

    python runs/study_report.py            # prints the tables, writes docs/images/study*.png

Primary claims, on the snapshot that steering chose, by Frechet distance of the reporting network: the ratio to dense
over paired seeds, its 95 % t interval on the logarithm, one-sided p-values, adjusted after Holm over the three claims
(one that was not measured counts as p = 1). Other arms are described by simultaneous intervals (Bonferroni over the
arms), not tested.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from scipy import stats

from rggan.metrics.uncertainty import paired_ratio

DOCS = Path(__file__).parents[1] / "docs"
Row = dict[str, Any]
NO_WORSE = 1.05  # claim (c)


def by_seed(rows: Sequence[Row], stage: str, arm: str) -> dict[int, Row]:
    return {row["seed"]: row for row in rows if row["stage"] == stage and row["arm"] == arm}


def pairs(ours: dict[int, Row], others: dict[int, Row], key: str = "fid") -> tuple[list[float], list[float]]:
    """The numbers (Frechet distances) of the seeds that both have."""
    seeds = sorted(ours.keys() & others.keys())
    return [ours[seed][key] for seed in seeds], [others[seed][key] for seed in seeds]


def told_ratio(paired: tuple[list[float], list[float]], comparisons: int = 1) -> str:
    """The ratio and its interval, of 95 % for all comparisons together."""
    ratio = paired_ratio(*paired, level=1 - 0.05 / comparisons)
    return f"{ratio.value:.3f} ({ratio.interval.low:.3f} to {ratio.interval.high:.3f})"


def p_value(paired: tuple[list[float], list[float]], below: float = 1.0) -> float:
    """One-sided: of ratios like these or smaller ones, if the true one were `below`; 1 without two pairs."""
    if len(paired[0]) < 2:
        return 1.0
    logs = [math.log(one / other) for one, other in zip(*paired, strict=True)]
    return float(stats.ttest_1samp(logs, math.log(below), alternative="less").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = running
    return adjusted


def mean_of(rows: dict[int, Row], key: str) -> str:
    values = [row[key] for row in rows.values()]
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.3g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3g}{spread}"


def tuning_table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| arm | knob | value | FID against training images | steering score | density G / D |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["stage"] == "1":
            density = f"{row['density_g']:.2f} / {row['density_d']:.2f}"
            lines.append(
                f"| {row['arm']} | {row['knob']} | {row['value']:g} | {row['fid']:.1f} | {row['steering']:.3f} "
                f"| {density} |"
            )
    return lines


def arms_table(rows: Sequence[Row], stage: str) -> list[str]:
    """Each arm: its means, and its ratio to dense."""
    arms = list(dict.fromkeys(row["arm"] for row in rows if row["stage"] == stage))
    dense = by_seed(rows, stage, "dense")
    lines = [
        "| arm | seeds | FID (mean ± sd) | ratio to dense | steering, last quarter | density G / D, scored "
        "| D: training - test images |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in arms:
        found = by_seed(rows, stage, arm)
        paired = pairs(found, dense)
        told = "1" if arm == "dense" else "-"
        if arm != "dense" and len(paired[0]) > 1:
            others = len(arms) - 2
            told = told_ratio(paired) if arm == "RG-GAN" else f"{told_ratio(paired, others)}, simultaneous"
        gaps = {s: {"gap": r["d_train"] - r["d_held_out"]} for s, r in found.items() if "d_train" in r}
        densities = f"{mean_of(found, 'density_g').split(' ')[0]} / {mean_of(found, 'density_d').split(' ')[0]}"
        lines.append(
            f"| {arm} | {len(found)} | {mean_of(found, 'fid')} | {told} | {mean_of(found, 'steering_last_quarter')} "
            f"| {densities} | {mean_of(gaps, 'gap')} |"
        )
    return lines


def claims(rows: Sequence[Row]) -> list[str]:
    """The primary claims that have runs, with Holm-adjusted p-values."""
    ours, dense = by_seed(rows, "2", "RG-GAN"), by_seed(rows, "2", "dense")
    augmented = pairs(by_seed(rows, "2b", "RG-GAN"), by_seed(rows, "2b", "dense"))
    candidates = [
        ("(a) better than dense, n = 200", pairs(ours, dense), 1.0),
        ("(b) better than dense, both with DiffAugment", augmented, 1.0),
        (f"(c) at half of G's weights, at most {NO_WORSE} of dense", pairs(ours, dense), NO_WORSE),
    ]
    adjusted = holm([p_value(paired, below) for _, paired, below in candidates])
    lines = ["| claim | pairs | ratio (95 % interval) | p (one-sided) | p after Holm |", "|---|---|---|---|---|"]
    for (name, paired, below), p in zip(candidates, adjusted, strict=True):
        if len(paired[0]) < 2:
            lines.append(f"| {name} | not measured | | | |")
            continue
        lines.append(f"| {name} | {len(paired[0])} | {told_ratio(paired)} | {p_value(paired, below):.3f} | {p:.3f} |")
    return lines


def secondary(rows: Sequence[Row]) -> list[str]:
    """The secondary endpoint, described: the mean of the score that steers over the last quarter of a run."""
    paired = pairs(by_seed(rows, "2", "RG-GAN"), by_seed(rows, "2", "dense"), "steering_last_quarter")
    return [f"RG-GAN to dense, mean steering score of the last quarter: {told_ratio(paired)}, {len(paired[0])} pairs."]


def dots(rows: Sequence[Row], stage: str, path: Path, title: str) -> None:
    """A dot for each seed and arm; pairs of dense and RG-GAN joined."""
    arms = list(dict.fromkeys(row["arm"] for row in rows if row["stage"] == stage))
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, arm in enumerate(arms):
        found = by_seed(rows, stage, arm)
        values = [row["fid"] for row in found.values()]
        axes.plot([place] * len(values), values, "o", color="tab:blue" if "RG-GAN" in arm else "0.35", alpha=0.8)
        axes.hlines(
            statistics.mean(values), place - 0.25, place + 0.25, color="tab:red", label=None if place else "mean"
        )
    if {"dense", "RG-GAN"} <= set(arms):
        dense, ours = by_seed(rows, stage, "dense"), by_seed(rows, stage, "RG-GAN")
        for seed in dense.keys() & ours.keys():
            ends = (arms.index("dense"), arms.index("RG-GAN"))
            axes.plot(ends, (dense[seed]["fid"], ours[seed]["fid"]), color="0.8", zorder=0, linewidth=1)
    axes.set_xticks(range(len(arms)), [arm.replace("RG-GAN ", "RG-GAN\n") for arm in arms], rotation=20, ha="right")
    axes.set(ylabel="FID, reporting network\n(10,000 samples, 10,000 test images)", title=title)
    axes.legend(frameon=False)
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=110)


def curves(rows: Sequence[Row], path: Path) -> None:
    """The score that steers over kimg: a thin line for each seed, a thick one for the mean."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    colours = ("0.3", "tab:blue", "tab:green", "tab:orange", "tab:purple", "tab:red", "tab:brown", "tab:pink")
    arms = list(dict.fromkeys(row["arm"] for row in rows if row["stage"] == "2"))
    for arm, colour in zip(arms, colours, strict=False):
        series = [row["scores"] for row in by_seed(rows, "2", arm).values()]
        kimg = [10 * (i + 1) for i in range(len(series[0]))]
        for scores in series:
            axes.plot(kimg, scores, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(kimg, [statistics.mean(at) for at in zip(*series, strict=True)], color=colour, label=arm, linewidth=2)
    axes.set(yscale="log", xlabel="kimg (thousands of real images that D has seen)", ylabel="score that steers (KID)")
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(LogFormatter(minor_thresholds=(2, 1)))
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=110)


def main() -> None:
    rows = [json.loads(line) for line in (DOCS / "study.jsonl").read_text().splitlines()]
    print("\n".join([*tuning_table(rows), "", *arms_table(rows, "2"), "", *claims(rows), *secondary(rows)]))
    if by_seed(rows, "2b", "RG-GAN"):
        print("\n".join(["", *arms_table(rows, "2b")]))
    dots(rows, "2", DOCS / "images" / "study.png", "200 CIFAR-10 images, no augmentation: a dot for each seed")
    curves(rows, DOCS / "images" / "study-curves.png")


if __name__ == "__main__":
    main()
