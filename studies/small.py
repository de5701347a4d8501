"""The tables and pictures of docs/small.md: what runs/small.sh trained and runs/receipts.sh measured.

    python -m studies.small OUT        # reads OUT/FAMILY/SEED/..., writes studies/results/small.jsonl and the pictures
    python -m studies.small            # prints the tables of studies/results/small.jsonl

A row is a generator: the whole one, a rung of its ladder, the whole one trained on as long as the last rung (`longer`),
or a dense one of half the channels. Its KID is that of the reporting network. Times are the medians of a receipt, and
`faster` is the quotient within that receipt.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from rggan import Generator
from rggan.generation.sheets import labelled_rows
from rggan.report.plot import save_figure
from studies.paired import by_seed, mean_sd
from studies.places import IMAGES, RESULTS
from studies.queue import Row, done_rows

ROWS = RESULTS / "small.jsonl"
FAMILIES = {"fastgan": "FastGAN, 64x64, a hundred faces", "sngan": "SNGAN, 32x32, 5,000 images of CIFAR-10"}
WHOLE, LONGER = "whole", "longer"
PICTURES = 12  # of each generator


def of_place(place: Path) -> list[Row]:
    """The rows of one seed."""
    found: dict[str, dict[str, Any]] = {}
    for folder in sorted(place.glob("*/kid.json")):
        found[folder.parent.name] = json.loads(folder.read_text())["kid"]
    for rung in json.loads((place / "ladder" / "ladder.json").read_text())[1:]:
        found[f"rung {rung['target']:g}"] = rung["kid"]
    rows = []
    for arm, kid in found.items():
        row: Row = {"stage": place.parent.name, "arm": arm, "seed": int(place.name), "value": None}
        row |= {"kid": kid["value"], "interval": kid["interval"]}
        row |= {"parameters": generator_of(place, arm).parameters}
        receipt = place / f"receipt-{arm.removeprefix('rung ')}.json"
        if receipt.is_file():
            told = json.loads(receipt.read_text())
            names = ("bytes", "macs", "milliseconds")
            row |= {name: told["small"][name] for name in names}
            row |= {WHOLE: {name: told["whole"][name] for name in ("parameters", *names)}}
        rows.append(row)
    return rows


def generator_of(place: Path, arm: str) -> Generator:
    """The generator of an arm, whose best snapshot it is, or that of the ladder's folder."""
    rung = arm.removeprefix("rung ")
    return Generator.from_pretrained(place / "ladder" / rung if rung != arm else place / arm / "latest")


def order(rows: Sequence[Row]) -> list[str]:
    """The arms, the whole one first, then the rungs, then the dense ones."""
    arms = {row["arm"] for row in rows}
    rungs = sorted((arm for arm in arms if arm.startswith("rung ")), reverse=True)
    return [arm for arm in (WHOLE, LONGER, *rungs, *sorted(a for a in arms if a.startswith("dense"))) if arm in arms]


def table(rows: Sequence[Row], family: str) -> list[str]:
    """A line for each generator of a family."""
    own = [row for row in rows if row["stage"] == family]
    lines = [
        "| generator | seeds | parameters (times fewer) | multiplications, times fewer | PyTorch, batch 1 / 64, times "
        "faster | onnxruntime, batch 1 / 64, times faster | KID of each seed | mean ± sd |",
        "|---|---|---|---|---|---|---|---|",
    ]
    most = max(row["parameters"] for row in own)
    for arm in order(own):
        found = by_seed(rows, family, arm)
        size = statistics.mean(row["parameters"] for row in found.values())
        timed = [row for row in found.values() if "milliseconds" in row]
        macs = f"{statistics.mean(row[WHOLE]['macs'] / row['macs'] for row in timed):.2f}" if timed else ""
        cells = [arm, len(found), f"{size:,.0f} ({most / size:.2f})", macs]
        cells += [faster(timed, runtime) for runtime in ("PyTorch", "onnxruntime")]
        cells += [" / ".join(f"{row['kid']:.3f}" for _, row in sorted(found.items())), mean_sd(found, "kid")]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def faster(rows: Sequence[Row], runtime: str) -> str:
    """The mean quotients of batches of 1 and 64.

    >>> small, whole = ({"milliseconds": {"PyTorch": {"1": x, "64": 10 * x}}} for x in (2.0, 5.0))
    >>> faster([{**small, "whole": whole}], "PyTorch"), faster([], "PyTorch")
    ('2.50 / 2.50', '')
    """
    if not rows:
        return ""
    means = []
    for batch in ("1", "64"):
        before, after = (
            [row["milliseconds"][runtime][batch] for row in side] for side in ([r[WHOLE] for r in rows], rows)
        )
        means.append(statistics.mean(x / y for x, y in zip(before, after, strict=True)))
    return " / ".join(f"{mean:.2f}" for mean in means)


def draw(rows: Sequence[Row]) -> Figure:
    """Quality over the time of a batch of 64 in PyTorch: the ladder, and dense generators."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (family, title) in zip(figure.subplots(1, 2), FAMILIES.items(), strict=True):
        own = [row for row in rows if row["stage"] == family]
        points: dict[str, tuple[float, float]] = {}
        for arm in order(own):
            found = by_seed(rows, family, arm)
            share = shares(found)
            if share is None:
                continue
            points[arm] = share, statistics.mean(row["kid"] for row in found.values())
            ladder = arm.startswith("rung")
            colour = "tab:blue" if ladder else "tab:orange"
            values = [row["kid"] for row in found.values()]
            axes.plot([share] * len(values), values, "o", color=colour, alpha=0.35, markersize=5)
            axes.annotate(arm, points[arm], xytext=(6, 4), textcoords="offset points", fontsize=8)
        for name, colour, arms in (
            ("rungs of the ladder", "tab:blue", [arm for arm in points if arm.startswith("rung")]),
            (
                "dense, as long as the last rung",
                "tab:orange",
                [arm for arm in points if arm == LONGER or "dense" in arm],
            ),
        ):
            line = sorted(points[arm] for arm in arms)
            if not line:
                continue
            axes.plot(*zip(*line, strict=True), "o-", color=colour, label=name)
        if WHOLE in points:
            axes.plot(
                *points[WHOLE],
                "s",
                color="tab:orange",
                fillstyle="none",
                label="the whole one that the ladder begins with",
            )
        axes.set(title=title, xlabel="time of a batch of 64, share of the whole one's", ylabel="KID (lower is better)")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    return figure


def shares(found: Mapping[int, Row]) -> float | None:
    """The time of a batch of 64 in PyTorch, as a share of the whole one's; None where it was not measured."""
    arm = next(iter(found.values()))["arm"]
    if arm in (WHOLE, LONGER):
        return 1.0
    timed = [row for row in found.values() if "milliseconds" in row]
    if not timed:
        return None
    return statistics.mean(
        row["milliseconds"]["PyTorch"]["64"] / row[WHOLE]["milliseconds"]["PyTorch"]["64"] for row in timed
    )


def main(out: Path | None) -> None:
    if out is not None:
        places = sorted(path.parent.parent for path in out.glob("*/*/ladder/ladder.json"))
        rows = [row for place in places for row in of_place(place)]
        ROWS.write_text("".join(json.dumps(row) + "\n" for row in rows))
        save_figure(draw(rows), IMAGES / "small.png")
        for family in FAMILIES:
            place = next((place for place in places if place.parent.name == family), None)
            if place is None:
                continue
            arms = order([row for row in rows if row["stage"] == family])
            images = [generator_of(place, arm).images(range(PICTURES)) for arm in arms]
            labelled_rows(torch.cat(images), arms).save(IMAGES / f"small-{family}.png")
    for family, title in FAMILIES.items():
        if not any(row["stage"] == family for row in done_rows(ROWS)):
            continue
        print(f"\n{title}\n")
        print("\n".join(table(done_rows(ROWS), family)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
