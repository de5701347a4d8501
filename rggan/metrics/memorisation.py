"""Memorisation test: does a generator replay its training images?

Samples are compared with their nearest training images by structure at 32x32: invariant to brightness and contrast,
over flips, shifts and slight crops. A copy is much nearer to one training image than to any other; a blurry or
average-looking sample is about as near to many. So the statistic is the *ratio* of the nearest to the second-nearest
distance, and its threshold is calibrated on reference images: real ones that the generator cannot have copied.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rggan.data.audit.duplicates import COLOR_SIDE, SIDE, near_duplicates
from rggan.metrics.features import Parts
from rggan.metrics.structure import (
    FLAT,
    RESOLUTION,
    SIDES,
    at_place,
    both_ways,
    distances,
    read,
    shrunk,
    thumbnails,
)

COARSE = ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4))  # positions of the windows that have thumbnails
CANDIDATES = 16  # groups compared exactly; measured: 32 found 1 % more copies of digits, none of photographs
# Training images closer than this form a group. Not larger: fresh real images keep their near-duplicates, so the more
# training images are merged, the less they represent fresh ones (at 0.3, 10 % of fresh digits lay below the 1 %
# threshold).
DUPLICATE = 0.15
LIKELY = 0.85  # correlation of thumbnails below which no pair was that close
YARDSTICK = 2000  # reference images at most
SIGNIFICANT = 1e-3
EXCESS = 2.0  # minimum ratio of the rate to the expected one: with many samples a tiny excess is significant
BLOCK = 500  # samples of one product with all training images: 100 MB at 50,000
PAIRS = 512  # compared at once: 40 MB


@dataclass(frozen=True, eq=False)
class Memorisation:
    """The result of a `Memoriser`.

    samples, copies: the number of samples, and of those below the threshold.
    expected: the expected share of fresh real images below it, over random reference sets, 0..1.
    p_value: probability that at least as many of `samples` fresh real images lie below it.
    threshold: the ratio below which a sample counts as a copy, 0..1.
    yardstick, yardstick_count: the kind of reference images that set the threshold, and their number.
    training_count: training images, duplicates included.
    nearest, second: int64 [S], the nearest training image and the nearest of another group of near-duplicates.
    ratios: float32 [S], distance to the first over distance to the second, 0 (the image itself) .. 1.
    """

    samples: int
    copies: int
    expected: float
    p_value: float
    threshold: float
    yardstick: Literal["held-out", "leave-one-out"]
    yardstick_count: int
    training_count: int
    nearest: Tensor
    second: Tensor
    ratios: Tensor

    @property
    def rate(self) -> float:
        """The share of copies among the samples, 0..1."""
        return self.copies / self.samples

    @property
    def replays(self) -> bool:
        """Whether the number of copies is significant, and more than twice the expected one."""
        return self.p_value < SIGNIFICANT and self.rate > EXCESS * self.expected

    def lines(self) -> list[str]:
        """Returns the result as sentences: rate, reference images, verdict, and limitations."""
        real = "held-out images" if self.yardstick == "held-out" else "training images, each against the others"
        lines = [
            f"{self.rate:.1%} of {self.samples} samples look like copies of a training image; flipped, shifted, "
            "slightly cropped, brighter and recompressed ones count.",
            f"Of fresh real images {self.expected:.1%} would look so too, judged by {self.yardstick_count} {real} "
            f"(p = {self.p_value:.1g}).",
            "The generator replays training images."
            if self.replays
            else "That is not more than chance explains: no replay was found.",
        ]
        if self.yardstick == "leave-one-out":
            # The same rule as `replays`, for every possible count.
            tails = chances(self.samples, self.yardstick_count, rank(self.yardstick_count), in_pairs=True)
            least = EXCESS * self.expected * self.samples
            shown = next((k for k, p in enumerate(tails) if p < SIGNIFICANT and k > least), None)
            counts = (
                "no rate counts with so few samples" if shown is None else f"{shown / self.samples:.1%} and more count"
            )
            lines.append(
                f"No images were held out, and {self.yardstick_count} resolve {1 / self.yardstick_count:.1%}: {counts} "
                "as replay. A high rate shows replay; a low rate does not show that something new is made: "
                "recombined or strongly changed training images are not found."
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """All but the tensors."""
        names = ("samples", "copies", "rate", "expected", "p_value", "replays", "threshold")
        return {name: getattr(self, name) for name in (*names, "yardstick", "yardstick_count", "training_count")}


class Found(NamedTuple):
    """Per image: indices of the nearest training image and the nearest of another group; ratio of the distances."""

    nearest: Tensor
    second: Tensor
    ratios: Tensor


class Memoriser:
    """The training images at 32x32, their groups of near-duplicates, and the calibrated threshold.

    At 50,000 images it takes 0.4 GB, and 1 GB while computing. It is deterministic.

    Args:
        training: uint8 [N, C, H, W], or `Parts`; at least three that are not near-duplicates.
        held_out: real images that did not train the generator, as reference. Without them each training image is
            compared with the others (leave-one-out): equally good with many images, coarse with few.

    Raises:
        ValueError: fewer than three different training images, no held-out image, or tensors of another kind.

    >>> stripes = torch.arange(32).expand(20, 1, 32, 32) * torch.linspace(0.05, 1, 20)[:, None, None, None]
    >>> training = (stripes.sin() * 100 + 128).to(torch.uint8)
    >>> found = Memoriser(training)(training[:8].flip(3))
    >>> found.nearest.tolist(), found.replays
    ([0, 1, 2, 3, 4, 5, 6, 7], True)
    """

    @torch.no_grad()
    def __init__(self, training: Tensor | Parts, held_out: Tensor | Parts | None = None, device: str = "cpu") -> None:
        self.device = device
        self.pixels = read(training, device)  # uint8 [N, 3, 32, 32]
        windows = [at_place(self.pixels, place) for place in COARSE]
        self.thumbnails = torch.stack([torch.cat([thumbnails(x) for x in w.split(1000)]) for w in windows])
        self.group = torch.arange(len(self.pixels), device=device)
        self._link()
        _, self.group, sizes = self.group.unique(return_inverse=True, return_counts=True)
        if len(sizes) < 3:
            raise ValueError(
                f"Memorisation needs at least 3 different training images; {len(self.pixels)} make {len(sizes)}."
            )
        if held_out is None:
            self.yardstick: Literal["held-out", "leave-one-out"] = "leave-one-out"
            index = torch.arange(len(self.group), device=device)
            firsts = spread(index.new_full((len(sizes),), len(index)).scatter_reduce(0, self.group, index, "amin"))
            found = self._search(self.pixels[firsts], self.group[firsts])
        else:
            self.yardstick = "held-out"
            found = self._search(spread(read(held_out, device)))
        self.count = len(found.ratios)
        self.rank = rank(self.count)
        self.threshold = found.ratios.sort().values[self.rank - 1].item()

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> Memorisation:
        """Tests samples, uint8 [S, C, H, W], S >= 1, of any size and channels."""
        found = self._search(read(samples, self.device))
        copies = int((found.ratios < self.threshold).sum())
        tails = chances(len(samples), self.count, self.rank, self.yardstick == "leave-one-out")
        return Memorisation(
            samples=len(samples),
            copies=copies,
            expected=self.rank / (self.count + 1),
            p_value=tails[copies],
            threshold=self.threshold,
            yardstick=self.yardstick,
            yardstick_count=self.count,
            training_count=len(self.pixels),
            nearest=found.nearest,
            second=found.second,
            ratios=found.ratios,
        )

    def _link(self) -> None:
        """Assigns equal images, near-duplicates and those closer than `DUPLICATE` the same number in `group`."""
        first: dict[bytes, int] = {}
        links: list[tuple[int, int]] = []
        deviations = torch.cat([part.float().std(dim=(1, 2, 3), correction=0) for part in self.pixels.split(1000)])
        for index, (pixels, flat) in enumerate(
            zip(self.pixels.cpu().numpy(), (deviations < FLAT).tolist(), strict=True)
        ):
            content = b"" if flat else hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
            links.append((index, first.setdefault(content, index)))
        grey = [F.avg_pool2d(part.float().mean(1), RESOLUTION // SIDE).flatten(1) for part in self.pixels.split(1000)]
        colors = [F.avg_pool2d(part.float(), RESOLUTION // COLOR_SIDE).flatten(1) for part in self.pixels.split(1000)]
        for group in near_duplicates(torch.cat(grey).cpu().numpy(), torch.cat(colors).cpu().numpy()):
            links += [(group[0], index) for index in group]
        self._join(links)
        links = []
        for rows in torch.arange(len(self.pixels), device=self.device).split(BLOCK):
            near, likeness = self._candidates(self.pixels[rows], self.group[rows], count=4, coarse=COARSE[:1])
            row, column = (likeness >= LIKELY).nonzero(as_tuple=True)
            for ours, other in zip(rows[row].split(PAIRS), near[row, column].split(PAIRS), strict=True):
                close = distances(self.pixels[ours], self.pixels[other][:, None])[:, 0] < DUPLICATE
                links += zip(ours[close].tolist(), other[close].tolist(), strict=True)
        self._join(links)

    def _join(self, links: list[tuple[int, int]]) -> None:
        for a, b in links:
            old, new = self.group[a], self.group[b]
            if old != new:
                self.group[self.group == old] = new.clone()

    def _candidates(
        self, images: Tensor, own: Tensor | None, count: int, coarse: tuple[tuple[int, int], ...]
    ) -> tuple[Tensor, Tensor]:
        """Returns the best candidate of each of the `count` best groups, except the own one: indices, correlations.

        images: uint8 [B, 3, 32, 32]; own: int64 [B], the groups they belong to -> int64 and float32 [B, count]
        """
        likeness = torch.full((len(images), len(self.pixels)), -1.0, device=self.device)
        for side in SIDES if len(coarse) > 1 else SIDES[:1]:
            for view in both_ways(images):
                look = thumbnails(shrunk(view, side))
                # Only the largest can be shifted.
                for known in self.thumbnails[: len(coarse) if side == RESOLUTION else 1]:
                    torch.maximum(likeness, look @ known.T, out=likeness)
        if own is not None:
            likeness.masked_fill_(own[:, None] == self.group, -2)
        sizes = self.group.bincount()
        several = (sizes[self.group] > 1).nonzero()[:, 0]
        if len(several):  # otherwise one large group could fill all candidates
            _, group = self.group[several].unique(return_inverse=True)
            part = likeness[:, several]
            best = part.new_full((len(images), int(group.max()) + 1), -2)
            best = best.scatter_reduce(1, group.expand(len(images), -1), part, "amax")
            likeness[:, several] = part.masked_fill(part < best[:, group], -2)
        values, index = likeness.topk(min(count, len(self.pixels)))
        return index, values

    def _search(self, images: Tensor, own: Tensor | None = None) -> Found:
        """Searches the neighbours of uint8 [M, 3, 32, 32], ignoring the groups `own` [M]. The result is on the CPU."""
        found = []
        for start in range(0, len(images), BLOCK):
            block = images[start : start + BLOCK]
            index, likeness = self._candidates(
                block, None if own is None else own[start : start + BLOCK], CANDIDATES, COARSE
            )
            step = max(1, PAIRS // index.shape[1])
            pairs = zip(block.split(step), index.split(step), strict=True)
            distance = torch.cat([distances(image, self.pixels[others]) for image, others in pairs])
            distance.masked_fill_(likeness <= -2, math.inf)
            first, place = distance.min(dim=1)
            nearest = index.gather(1, place[:, None])
            others = distance.masked_fill(self.group[index] == self.group[nearest], math.inf)
            second, place = others.min(dim=1)
            # If both are 0, or there is no second one, the nearest image is not distinguished: 1.
            ratios = torch.where((second > 0) & second.isfinite(), first / second, 1)
            found.append(Found(nearest[:, 0], index.gather(1, place[:, None])[:, 0], ratios))
        return Found(*(torch.cat(parts).cpu() for parts in zip(*found, strict=True)))


def spread(rows: Tensor) -> Tensor:
    """Returns at most `YARDSTICK` of the rows, evenly spaced."""
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), YARDSTICK)).round().long().to(rows.device)]


def rank(count: int) -> int:
    """Returns which of `count` sorted ratios is the threshold: their first percentile, or the smallest if few."""
    return max(1, round(count / 100))


def chances(samples: int, count: int, rank: int, in_pairs: bool = False) -> list[float]:
    """Returns P(K >= k), k = 0..samples, if K of `samples` values lie below the `rank`-th smallest of `count` others.

    All values come from one continuous distribution. The probability below that order statistic is distributed as
    Beta(rank, count - rank + 1), so K is beta-binomial: exact at any size, if the values are independent.

    in_pairs: for leave-one-out ratios, which come in pairs: two images that are each other's nearest both get a low
        one. Then each counts half, which keeps the mean and about doubles the variance. This is a heuristic; with it,
        the rate of false positives on digits is about the nominal one.

    >>> [round(p, 4) for p in chances(samples=2, count=3, rank=1)]  # 5! / (3! 2!) orders
    [1.0, 0.4, 0.1]
    """
    from scipy.stats import betabinom  # SciPy takes a second to import

    weight = 0.5 if in_pairs else 1.0
    a, b = weight * rank, weight * (count - rank + 1)
    tails: list[float] = betabinom.sf(np.arange(samples + 1) - 1, samples, a, b).tolist()
    return tails
