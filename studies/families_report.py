"""The tables and the figure of the families study in docs/results.md, from studies/results/families.jsonl.

    python -m studies.families_report       # prints the tables, writes docs/images/families.png

On CIFAR-10 fd-small (column `fid`) against the test images; on a hundred faces the KID against these, for
a distance with a hundred reference images means nothing. Ratios to dense are over paired seeds,
with their 95 % t interval on the logarithm.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rggan.report.plot import score_axis
from studies.families import FAMILIES, ROWS
from studies.paired import by_seed, copies, mean_sd, ratio
from studies.places import IMAGES
from studies.queue import Row, done_rows

FIGURE = IMAGES / "families.png"
DATA = {"3-cifar": ("CIFAR-10, n = 1,000, 32x32", "fid", "fd-small"), "3-faces": ("100 faces, 64x64", "kid", "KID")}


def table(rows: Sequence[Row], stage: str) -> list[str]:
    """A line for each family and arm."""
    _, key, name = DATA[stage]
    lines = [
        f"| network | arm | seeds | {name} (mean ± sd) | ratio to dense | copies in 1,000 samples (mean; expected) "
        "| density G / D, scored | flips |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for family in FAMILIES:
        dense = by_seed(rows, stage, f"{family} dense")
        for arm in ("dense", "RG-GAN"):
            found = by_seed(rows, stage, f"{family} {arm}")
            if not found:
                continue
            against = ratio(found, dense, key, arm == "dense")
            density = " / ".join(f"{statistics.mean(r[f'density_{n}'] for r in found.values()):.2f}" for n in "gd")
            flips = ", ".join(str(row["flips"]) for row in found.values())
            lines.append(
                f"| {family} | {arm} | {len(found)} | {mean_sd(found, key)} | {against} | {copies(found)} | {density} "
                f"| {flips} |"
            )
    return lines


def dot_plot(rows: Sequence[Row], path: Path = FIGURE) -> None:
    """A dot for each run, the two arms of a seed joined."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, (stage, (title, key, name)) in zip(figure.subplots(1, len(DATA)), DATA.items(), strict=True):
        for place, family in enumerate(FAMILIES):
            dense, ours = (by_seed(rows, stage, f"{family} {arm}") for arm in ("dense", "RG-GAN"))
            for seed in dense.keys() & ours.keys():
                ends = (dense[seed][key], ours[seed][key])
                axes.plot((place - 0.15, place + 0.15), ends, color="0.8", zorder=0)
            for x, found, colour, arm in ((-0.15, dense, "0.3", "dense"), (0.15, ours, "tab:blue", "RG-GAN")):
                values = [row[key] for row in found.values()]
                label = None if place else arm
                axes.plot([place + x] * len(values), values, "o", color=colour, alpha=0.8, label=label)
        axes.set_xticks(range(len(FAMILIES)), list(FAMILIES))
        score_axis(axes, [row[key] for row in rows if row["stage"] == stage])
        axes.set(title=title, ylabel=f"{name}, reporting extractor")
        if axes.get_yscale() == "linear":
            axes.set_ylim(0, None)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    rows = done_rows(ROWS)
    for stage, (title, _, _) in DATA.items():
        print(f"{title}\n\n" + "\n".join(table(rows, stage)) + "\n")
    dot_plot(rows)


if __name__ == "__main__":
    main()
