"""Which extractor sees what? The kernel distance of damaged pictures: studies/results/extractors.jsonl.

    python -m studies.extractors CIFAR10_TEST_FOLDER EMOJI_FOLDER FACES_FOLDER

Pictures are split into random halves, and one half is compared with the other after it was damaged. The unit is the
noise floor: the root mean square of the distance between undamaged halves, over the splits. Damages are weak: blur by
0.6 pixels, noise of standard deviation 6 of 255, JPEG of quality 60, two of ten modes left out (classes, or clusters by
8x8 pixels, which no network made), and an eighth of the pictures eight times.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rggan.data import load_images
from rggan.files import write_whole
from rggan.metrics import kernel_distance
from rggan.metrics.extractors import load_extractor
from rggan.metrics.features import resized
from studies.places import RESULTS
from studies.score_figure import damaged

DAMAGES = {"blur": 2, "noise": 1, "JPEG": 1}  # with their strengths
SPLITS, MODES, COPIES = 10, 10, 8
SIZES = (64, 128)  # to which the pretrained network gets the pictures resized
COLUMNS = [*DAMAGES, "dropped modes", "copies"]

Seer = Callable[[Tensor], Tensor]  # uint8 [N, 3, H, W] -> features [N, D]


def seers() -> dict[str, Seer]:
    """All extractors of the table by name."""
    imagenet = load_extractor("imagenet")

    def at(side: int) -> Seer:
        return lambda images: imagenet(resized(images.float(), side))

    plain: dict[str, Seer] = {name: load_extractor(name) for name in ("steering", "reporting")}
    return plain | {f"imagenet at {side}": at(side) for side in SIZES}


@torch.no_grad()
def seen(seer: Seer, images: Tensor) -> Tensor:
    return torch.cat([seer(part) for part in images.split(50)]).double()


def clusters(images: Tensor, count: int = MODES) -> Tensor:
    """int64 [N] of 0..count-1, by k-means of the pictures at 8x8 pixels, the largest cluster last.

    >>> both = torch.cat([torch.zeros(2, 3, 16, 16), torch.full((3, 3, 16, 16), 255)])
    >>> clusters(both, 2).tolist()
    [0, 0, 1, 1, 1]
    """
    pixels = F.interpolate(images.float(), (8, 8), mode="area").flatten(1)
    middles = [pixels[0]]
    while len(middles) < count:  # as far apart as can be
        middles.append(pixels[torch.cdist(pixels, torch.stack(middles)).amin(dim=1).argmax()])
    centres = torch.stack(middles)
    for _ in range(20):
        nearest = torch.cdist(pixels, centres).argmin(dim=1)
        centres = torch.stack([pixels[nearest == k].mean(dim=0) for k in range(count)])
    order = nearest.bincount(minlength=count).argsort()
    return order.argsort()[nearest]


def splits(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    own = torch.Generator().manual_seed(0)
    for _ in range(SPLITS):
        order = torch.randperm(count, generator=own)
        yield order[: count // 2], order[count // 2 :]


def rises(clean: Tensor, others: dict[str, Tensor], modes: Tensor) -> dict[str, float]:
    """The noise floor, and the mean distance of each damage in its units.

    clean: features [N, D]. others: {damage: features of the same pictures damaged}. modes: int64 [N].
    """
    found: dict[str, list[float]] = {}
    for one, other in splits(len(clean)):
        real = clean[one]
        sets = {"clean": clean[other], **{name: features[other] for name, features in others.items()}}
        sets["dropped modes"] = clean[other[modes[other] < MODES - 2]]
        sets["copies"] = clean[other[: len(other) // COPIES].repeat(COPIES)]
        for name, features in sets.items():
            found.setdefault(name, []).append(kernel_distance(features, real).value)
    floor = math.sqrt(sum(x * x for x in found.pop("clean")) / SPLITS)
    return {"floor": floor, **{name: sum(values) / SPLITS / floor for name, values in found.items()}}


def rows(name: str, source: str, side: int, count: int) -> Iterator[dict[str, Any]]:
    """One for each extractor."""
    data = load_images(source, side, channels="rgb", max_images=count)
    images = data.images[:]
    modes = clusters(images) if data.labels is None else data.labels
    bad = {damage: damaged(images, damage, strength) for damage, strength in DAMAGES.items()}
    for extractor, seer in seers().items():
        began = time.process_time()
        clean = seen(seer, images)
        spent = (time.process_time() - began) / len(images) * 1000
        others = {damage: seen(seer, each) for damage, each in bad.items()}
        about = {"pictures": name, "size": side, "images": len(images), "extractor": extractor}
        yield {**about, **rises(clean, others, modes), "cpu_ms": spent}


def table(found: list[dict[str, Any]]) -> list[str]:
    """In Markdown.

    >>> row = dict.fromkeys(COLUMNS, 1.25) | {"pictures": "a", "size": 32, "images": 9, "extractor": "b", "cpu_ms": 4}
    >>> table([row])[-1]
    '| a, 9 | 32 | b | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 | 4 |'
    """
    lines = [
        "| pictures | size | extractor | " + " | ".join(COLUMNS) + " | ms of a core |",
        "|---|---|---" + "|---:" * 6 + "|",
    ]
    for row in found:
        cells = [f"{row['pictures']}, {row['images']}", str(row["size"]), row["extractor"]]
        cells += [f"{row[column]:.1f}" if row[column] < 9.95 else f"{row[column]:.0f}" for column in COLUMNS]
        lines.append("| " + " | ".join([*cells, f"{row['cpu_ms']:.0f}"]) + " |")
    return lines


def main(cifar: str, emoji: str, faces: str) -> None:
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for what in (("CIFAR-10", cifar, 32, 500), ("emoji", emoji, 64, 400), ("emoji", emoji, 128, 400)):
        found += rows(*what)
    found += rows("faces", faces, 128, 100)
    write_whole(RESULTS / "extractors.jsonl", "".join(json.dumps(row) + "\n" for row in found).encode())
    print("\n".join(table(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
