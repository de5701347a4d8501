"""The tables and pictures of the projected study in docs/results.md, from studies/results/projected.jsonl and its runs.

    python -m studies.projected_report                          # prints the tables
    python -m studies.projected_report --runs OUT --data NAME   # and writes docs/images/projected-NAME.png

The pictures are those of the same seeds from the best snapshot of each arm's run with seed 0. The KID (on CIFAR-10
fd-small, column `fid`) is of the reporting network. Ratios are over paired seeds, with their 95 % t interval on the
logarithm.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from rggan import Generator
from rggan.generation.sheets import labelled_rows
from studies.paired import by_seed, copies, mean_sd, ratio
from studies.places import IMAGES
from studies.projected import ARMS, DATA, ROWS, stages
from studies.queue import Row, done_rows

DISTANCE = {"faces64": ("kid", "KID"), "faces128": ("kid", "KID"), "cifar": ("fid", "fd-small")}
COLUMNS = 12
AGAINST = ("FastGAN", "projected, dense")  # what ratios are to


def table(rows: Sequence[Row], data: str) -> list[str]:
    """A line for each arm that has rows."""
    key, name = DISTANCE[data]
    lines = [
        f"| arm | seeds | {name} (mean ± sd) | ratio to FastGAN | ratio to projected, dense | validation score, last "
        "quarter | copies in 1,000 samples (mean; expected) | density D, last |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in ARMS:
        found = by_seed(rows, data, arm)
        if not found:
            continue
        ratios = [ratio(found, by_seed(rows, data, other), key, arm == other) for other in AGAINST]
        density = f"{statistics.mean(row['last_density_d'] for row in found.values()):.2f}"
        cells = [
            arm,
            len(found),
            mean_sd(found, key),
            *ratios,
            mean_sd(found, "steering_last_quarter"),
            copies(found),
            density,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def pictures(out: Path, data: str) -> Image.Image:
    """A row of pictures for each arm whose run with seed 0 is finished."""
    images, names = [], []
    for job in stages()[data]:
        found = sorted(job.folder(out).glob("0*/best"))
        if job.seed == 0 and found:
            images.append(Generator.from_pretrained(found[0]).images(range(COLUMNS)))
            names.append(job.arm)
    return labelled_rows(torch.cat(images), names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--data", choices=tuple(DATA), default="faces64")
    arguments = parser.parse_args()
    rows = done_rows(ROWS)
    for data in DATA:
        if any(row["stage"] == data for row in rows):
            print(f"{data}\n\n" + "\n".join(table(rows, data)) + "\n")
    if arguments.runs is not None:
        pictures(arguments.runs, arguments.data).save(IMAGES / f"projected-{arguments.data}.png")


if __name__ == "__main__":
    main()
