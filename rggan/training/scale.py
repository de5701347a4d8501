"""The scale of a run's score: what real pictures and noise score, computed once when it starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rggan.data import ImageSet
from rggan.metrics import Kernel, Score, extract, frechet_distance
from rggan.metrics.distances import kernel
from rggan.report.verdict import Scale

FEWEST = 4  # training images: each half needs two
OF_KERNEL, NOISE = 500, 250  # training images and images of noise of a kernel distance
SPLITS = 256  # random ones, over which the kernel distance's spread is taken
BLOCK = 512  # rows of the kernel matrix in memory at once


@dataclass(frozen=True)
class UniformNoise:
    """`count` images of uniform noise of one shape [C, H, W], always the same; drawn as they are read."""

    count: int
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return self.count

    def parts(self, batch: int) -> Iterator[Tensor]:
        own = torch.Generator().manual_seed(0)  # the run's random numbers stay where they are
        for start in range(0, self.count, batch):
            shape = (min(batch, self.count - start), *self.shape)
            yield torch.randint(256, shape, dtype=torch.uint8, generator=own)


def scale_of(score: Score, data: ImageSet, held_out: ImageSet | None, samples: int) -> Scale | None:
    """What real pictures and noise score; None for fewer than four training images.

    Two sets of real images are compared: training images with the held-out ones, or two halves of the training images
    where none are held out. With the Fréchet distance, whose bias depends on the counts, they and the noise are as
    many as the score compares. The kernel distance is unbiased, so fewer do; of real images it varies around 0, and
    how far it typically does is taken: the root mean square over random splits into sets of these sizes. That falls
    as 1 / n + 1 / m with their sizes (Gretton et al. 2012), by which it is brought to those of the score.

    Args:
        data: the training images. held_out: the score's reference; None: that is `data`.
        samples: images of a generator that are scored.
    """
    if len(data) < FEWEST:
        return None
    if not isinstance(score.distance, Kernel):
        one, other = evenly(data, samples), held_out
        if other is None:
            one, other = data.take(np.arange(0, len(data), 2)), data.take(np.arange(1, len(data), 2))
        halves = frechet_distance(score.statistics(one), score.statistics(other))
        return Scale(halves, score(UniformNoise(samples, data.shape)), (len(one), len(other)))
    known = score.distance.reference
    count = (len(known) + 1) // 2
    features = known
    if held_out is not None:
        count = min(samples, len(data), OF_KERNEL)
        features = torch.cat([extract(score.network, evenly(data, count)), known])
    sizes = count, len(features) - count
    larger = (1 / samples + 1 / len(known)) / (1 / sizes[0] + 1 / sizes[1])
    noise = score(UniformNoise(min(samples, NOISE), data.shape))
    return Scale(typical_distance(features, count) * larger, noise, sizes)


def evenly(data: ImageSet, count: int) -> ImageSet:
    """At most so many images, from all over the set."""
    count = min(count, len(data))
    return data.take(np.arange(count) * len(data) // count)


def typical_distance(features: Tensor, count: int) -> float:
    """The root mean square of the kernel distance between `count` rows drawn from float64 [N, D] and the others."""
    total = len(features)
    rest = total - count
    draw = np.random.default_rng(0)
    drawn = np.stack([draw.permutation(total) < count for _ in range(SPLITS)], axis=1)
    inside = torch.from_numpy(drawn).to(features)
    sums = torch.cat([inside, torch.ones_like(inside[:, :1])], dim=1)
    rows = torch.arange(total, device=features.device)
    found = torch.zeros_like(sums)
    for block in rows.split(BLOCK):
        values = kernel(features[block], features)
        values[torch.arange(len(block), device=values.device), block] = 0
        found[block] = values @ sums
    own = (inside * found[:, :-1]).sum(dim=0)
    across = ((1 - inside) * found[:, :-1]).sum(dim=0)
    others = found[:, -1].sum() - own - 2 * across
    values = own / (count * (count - 1)) + others / (rest * (rest - 1)) - 2 * across / (count * rest)
    return values.square().mean().sqrt().item()
