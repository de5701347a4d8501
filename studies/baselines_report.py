"""The tables and figures of the first study in docs/results.md, from studies/results/baselines.jsonl.

    python -m studies.baselines_report      # prints the tables, writes docs/images/baselines*.png

Primary claims, on the snapshot with the best validation score, by fd-small (column `fid`): the ratio to dense over
paired seeds, its 95 % t interval on the logarithm, one-sided p-values, adjusted after Holm over the three claims
(one that was not measured counts as p = 1). Other arms are described by simultaneous intervals (Bonferroni over the
arms), not tested.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from rggan.metrics.uncertainty import holm
from studies.baselines import ROWS
from studies.paired import by_seed, mean_sd, p_value, pairs, ratio_ci
from studies.places import IMAGES
from studies.queue import Row, done_rows

NO_WORSE = 1.05  # claim (c)


def tuning_table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| arm | hyperparameter | value | fd-small against training images | validation score | density G / D |",
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
        "| arm | seeds | fd-small (mean ± sd) | ratio to dense | validation score, last quarter "
        "| density G / D, scored | D: training - test images |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in arms:
        found = by_seed(rows, stage, arm)
        paired = pairs(found, dense)
        told = "1" if arm == "dense" else "-"
        if arm != "dense" and len(paired[0]) > 1:
            others = len(arms) - 2
            told = ratio_ci(paired) if arm == "RG-GAN" else f"{ratio_ci(paired, others)}, simultaneous"
        gaps = {s: {"gap": r["d_train"] - r["d_held_out"]} for s, r in found.items() if "d_train" in r}
        densities = f"{mean_sd(found, 'density_g').split(' ')[0]} / {mean_sd(found, 'density_d').split(' ')[0]}"
        lines.append(
            f"| {arm} | {len(found)} | {mean_sd(found, 'fid')} | {told} | {mean_sd(found, 'steering_last_quarter')} "
            f"| {densities} | {mean_sd(gaps, 'gap')} |"
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
        lines.append(f"| {name} | {len(paired[0])} | {ratio_ci(paired)} | {p_value(paired, below):.3f} | {p:.3f} |")
    return lines


def secondary(rows: Sequence[Row]) -> list[str]:
    """The secondary endpoint, described: the mean validation score over the last quarter of a run."""
    paired = pairs(by_seed(rows, "2", "RG-GAN"), by_seed(rows, "2", "dense"), "steering_last_quarter")
    return [f"RG-GAN to dense, mean validation score of the last quarter: {ratio_ci(paired)}, {len(paired[0])} pairs."]


def dot_plot(rows: Sequence[Row], stage: str, path: Path, title: str) -> None:
    """A dot for each seed and arm; pairs of dense and RG-GAN joined."""
    arms = list(dict.fromkeys(row["arm"] for row in rows if row["stage"] == stage))
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, arm in enumerate(arms):
        found = by_seed(rows, stage, arm)
        values = [row["fid"] for row in found.values()]
        axes.plot([place] * len(values), values, "o", color="tab:blue" if "RG-GAN" in arm else "0.35", alpha=0.8)
        axes.hlines(statistics.mean(values), place - 0.25, place + 0.25, color="tab:red", label="" if place else "mean")
    if {"dense", "RG-GAN"} <= set(arms):
        dense, ours = by_seed(rows, stage, "dense"), by_seed(rows, stage, "RG-GAN")
        for seed in dense.keys() & ours.keys():
            ends = (arms.index("dense"), arms.index("RG-GAN"))
            axes.plot(ends, (dense[seed]["fid"], ours[seed]["fid"]), color="0.8", zorder=0, linewidth=1)
    axes.set_xticks(range(len(arms)), [arm.replace("RG-GAN ", "RG-GAN\n") for arm in arms], rotation=20, ha="right")
    axes.set(ylabel="fd-small (reporting extractor)\n(10,000 samples, 10,000 test images)", title=title)
    axes.legend(frameon=False)
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=110)


def curves(rows: Sequence[Row], path: Path) -> None:
    """The validation score over kimg: a thin line for each seed, a thick one for the mean."""
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
    axes.set(yscale="log", xlabel="kimg (thousands of real images that D has seen)", ylabel="validation score (KID)")
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(LogFormatter(minor_thresholds=(2, 1)))
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=110)


def main() -> None:
    rows = done_rows(ROWS)
    print("\n".join([*tuning_table(rows), "", *arms_table(rows, "2"), "", *claims(rows), *secondary(rows)]))
    if by_seed(rows, "2b", "RG-GAN"):
        print("\n".join(["", *arms_table(rows, "2b")]))
    dot_plot(rows, "2", IMAGES / "baselines.png", "200 CIFAR-10 images, no augmentation: a dot for each seed")
    curves(rows, IMAGES / "baselines-curves.png")


if __name__ == "__main__":
    main()
