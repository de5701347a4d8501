"""The tables and figures of the capacity study in docs/results.md, from studies/results/capacity.jsonl.

    python -m studies.capacity_report       # prints the tables, writes docs/images/capacity*.png

Ratios are over paired seeds: geometric mean, and the 95 % t interval of the log ratio. The claims that were fixed
beforehand are tested one-sided and adjusted after Holm over all five; one with fewer than two pairs counts as p = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rggan.metrics.uncertainty import holm
from studies.capacity import ROWS
from studies.paired import by_seed, p_value, pairs, ratio_ci
from studies.places import IMAGES
from studies.queue import Row, done_rows

CLAIMS = {  # name: (stage, arm, against, no more than)
    "(a) adaptive D against dense, 100 images": ("a", "adaptive", "dense", 1.0),
    "(b) the same, 1,000 images": ("b", "adaptive", "dense", 1.0),
    "(c) the same with DiffAugment, 100 images": ("c", "adaptive", "dense", 1.0),
    "(d) G at half of its weights besides, against adaptive": ("a", "half G", "adaptive", 1.05),
    "(e) finale against the same drop of the rate": ("e", "finale", "drop", 1.0),
}
END_POINTS = {"best": "snapshot with the best validation score", "last": "mean of the last quarter"}
COLORS = {"dense": "tab:red", "adaptive": "tab:blue"}


def curves_table(rows: Sequence[Row]) -> list[str]:
    """A line for each run of the pilot and of the tuning."""
    lines = [
        "| stage | arm | images | value | at best validation score | last quarter | lowest at kimg |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["stage"].startswith(("pilot", "tune")):
            lowest = min(row["curve"], key=lambda point: point["fid"])
            value = "" if row["stage"].startswith("pilot") else f"{row['value']:g}"
            lines.append(
                f"| {row['stage']}, seed {row['seed']} | {row['arm']} | {row['options']['max_images']} | {value} "
                f"| {row['best']:.1f} | {row['last']:.1f} | {lowest['fid']:.1f} at {lowest['kimg']:.0f} |"
            )
    return lines


def seeds_table(rows: Sequence[Row], stage: str = "a") -> list[str]:
    """A line for each run of a stage."""
    lines = [
        "| seed | arm | at best validation score | last quarter | D's density: least, last |",
        "|---|---|---|---|---|",
    ]
    for row in sorted((row for row in rows if row["stage"] == stage), key=lambda row: (row["seed"], row["arm"])):
        densities = [point["density_d"] for point in row["curve"]]
        lines.append(
            f"| {row['seed']} | {row['arm']} | {row['best']:.1f} | {row['last']:.1f} "
            f"| {min(densities):.2f}, {densities[-1]:.2f} |"
        )
    return lines


def claims_table(rows: Sequence[Row]) -> list[str]:
    """A line for each claim: ratios at both end points, and the adjusted p-value at the first."""
    lines = ["| claim | pairs | at best validation score | last quarter | p (best), Holm |", "|---|---|---|---|---|"]
    found = []
    for stage, arm, other, most in CLAIMS.values():
        both = {key: pairs(by_seed(rows, stage, arm), by_seed(rows, stage, other), key) for key in ("best", "last")}
        found.append((both, p_value(both["best"], most)))
    adjusted = holm([p for _, p in found])
    for name, (both, _), p in zip(CLAIMS, found, adjusted, strict=True):
        count = len(both["best"][0])
        told = [ratio_ci(both[key]) if count > 1 else "not measured" for key in ("best", "last")]
        lines.append(f"| {name} | {count} | {told[0]} | {told[1]} | {p:.3f} |")
    return lines


def controls_table(rows: Sequence[Row]) -> list[str]:
    """Every arm of 100 images without augmentation: its means, and its ratios to dense and to adaptive.

    Ratios are over the seeds that both have; their intervals are of 95 % each, not simultaneous: no test.
    """
    lines = [
        "| arm | seeds | best (mean) | last quarter (mean) | to dense: best | last quarter | to adaptive: best "
        "| last quarter |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for stage, arm in dict.fromkeys((row["stage"], row["arm"]) for row in rows if row["stage"] in ("a", "e")):
        found = by_seed(rows, stage, arm)
        told = [f"{sum(row[key] for row in found.values()) / len(found):.1f}" for key in ("best", "last")]
        for other in ("dense", "adaptive"):
            for key in ("best", "last"):
                both = pairs(found, by_seed(rows, "a", other), key)
                told.append("1" if arm == other else ratio_ci(both) if len(both[0]) > 1 else "-")
        lines.append(f"| {arm} | {len(found)} | {' | '.join(told)} |")
    return lines


def regret_table(rows: Sequence[Row]) -> list[str]:
    """fd-small at the snapshot that a validation score chooses, over the lowest of its run: mean over all curves."""
    lines = ["| validation score | mean regret | worst |", "|---|---|---|"]
    for name, validation in VALIDATION.items():
        regrets = [regret(row["curve"], validation) for row in rows]
        lines.append(f"| {name} | {sum(regrets) / len(regrets):.4f} | {max(regrets):.3f} |")
    return lines


def regret(curve: Sequence[Row], validation: Callable[[Sequence[Row]], list[float]]) -> float:
    """fd-small at the chosen snapshot, over the lowest of the run.

    >>> curve = [{"fid": 20.0, "s": 1.0}, {"fid": 10.0, "s": 2.0}]
    >>> regret(curve, lambda points: [point["s"] for point in points])
    2.0
    """
    values = validation(curve)
    return float(curve[values.index(min(values))]["fid"] / min(point["fid"] for point in curve))


def smoothed(values: Sequence[float], before: float, after: float) -> list[float]:
    """Weighted geometric means of each value (weight 2) and its neighbours (`before`, `after`).

    >>> smoothed([1.0, 1.0, 1.0], 1, 1)
    [1.0, 1.0, 1.0]
    """
    found = []
    for place in range(len(values)):
        near = [(place - 1, before), (place, 2.0), (place + 1, after)]
        taken = [(values[i], weight) for i, weight in near if 0 <= i < len(values) and weight]
        total = sum(weight for _, weight in taken)
        found.append(math.exp(sum(weight * math.log(max(1e-6, value)) for value, weight in taken) / total))
    return found


VALIDATION: dict[str, Callable[[Sequence[Row]], list[float]]] = {
    "KID of 250 samples": lambda points: [point["kid_250"] for point in points],
    "KID of 500 samples (what the runs did)": lambda points: [point["score"] for point in points],
    "KID of 1,000 samples": lambda points: [point["kid_1000"] for point in points],
    "500, smoothed over both neighbours": lambda points: smoothed([point["score"] for point in points], 1, 1),
    "1,000, smoothed over both neighbours": lambda points: smoothed([point["kid_1000"] for point in points], 1, 1),
    "1,000, smoothed over the one before": lambda points: smoothed([point["kid_1000"] for point in points], 1, 0),
    "500, times 1 + r_t / 2": lambda points: [point["score"] * (1 + max(0, point["d_sign"]) / 2) for point in points],
    "1,000, times 1 + D's gap / 20": lambda points: [
        point["kid_1000"] * (1 + (point["d_on_train"] - point["d_test"]) / 20) for point in points
    ],
}


def curves_figure(rows: Sequence[Row], path: Path) -> None:
    """fd-small over kimg of every seed of claim (a), and below it D's density."""
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    told: set[str] = set()
    for row in rows:
        if row["stage"] != "a" or row["arm"] not in COLORS:
            continue
        kimg = [point["kimg"] for point in row["curve"]]
        label = None if row["arm"] in told else row["arm"]
        told.add(row["arm"])
        style = {"color": COLORS[row["arm"]], "alpha": 0.8}
        above.plot(kimg, [point["fid"] for point in row["curve"]], label=label, **style)
        below.plot(kimg, [point["density_d"] for point in row["curve"]], **style)
    above.set_yscale("log")
    ticks = [25, 30, 40, 50, 60, 80]
    above.set_yticks(ticks, list(map(str, ticks)))
    above.tick_params(axis="y", which="minor", labelleft=False)
    above.set_ylabel("fd-small (reporting extractor)")
    above.legend(frameon=False, title="discriminator")
    below.set(ylabel="D's density", xlabel="kimg (thousands of real images that D has seen)", ylim=(0, 1.05))
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def dot_plot(rows: Sequence[Row], path: Path) -> None:
    """A dot for each seed of every arm of 100 images, at both end points."""
    arms = list(dict.fromkeys((row["stage"], row["arm"]) for row in rows if row["stage"] in ("a", "e")))
    figure = Figure(figsize=(9, 0.42 * len(arms) + 1.4), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, 2, sharey=True), END_POINTS.items(), strict=True):
        for place, (stage, arm) in enumerate(arms):
            values = [row[key] for row in by_seed(rows, stage, arm).values()]
            axes.plot(values, [place] * len(values), "o", color=COLORS.get(arm, "0.35"), alpha=0.7)
            axes.plot(sum(values) / len(values), place, "|", color="black", markersize=16)
        axes.set(title=title, xlabel="fd-small (reporting extractor), lower is better")
        axes.set_yticks(range(len(arms)), [arm for _, arm in arms])
        axes.grid(alpha=0.3)
    figure.axes[0].invert_yaxis()
    figure.savefig(path, dpi=110)


def main() -> None:
    rows = done_rows(ROWS)
    for table in (curves_table, seeds_table, claims_table, controls_table, regret_table):
        print("\n".join(table(rows)) + "\n")
    curves_figure(rows, IMAGES / "capacity.png")
    dot_plot(rows, IMAGES / "capacity_controls.png")


if __name__ == "__main__":
    main()
