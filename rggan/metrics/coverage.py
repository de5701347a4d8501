"""Precision, recall, density and coverage: fidelity and diversity by nearest neighbours in feature space.

Distances are computed blockwise by matrix products; where rounding could decide a comparison, the pair is recomputed
as a sum of squared differences, so that the counts are exact.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rggan.metrics.metric import Better, Features, Metric
from rggan.metrics.uncertainty import Range

ROWS, COLUMNS = 1024, 4096  # of a block of distances
SPARE = 4  # neighbours beyond the k-th that are recomputed exactly, including the image itself
MARGIN = 1e-10  # relative to the squared norms: far above the rounding error of a float64 product
PAIRS = 1 << 15  # recomputed at a time
PR_K, DC_K = 3, 5  # as published
OF_REFERENCE = ("recall", "coverage")  # shares of the real images, which are the same for each generator


class PRDC(NamedTuple):
    """Shares in 0..1; only density may exceed 1.

    precision, recall: Kynkäänniemi et al. 2019, eq. 2 (k = 3): the share of generated images inside the k-NN balls of
        real ones, and of real images inside those of generated ones.
    density, coverage: Naeem et al. 2020, eq. 3 and 4 (k = 5): the number of real balls that contain a generated image,
        divided by k, on average; the share of real images whose ball contains a generated one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


class Balls:
    """Features [N, D], each with the squared distance to its k-th nearest neighbour (k < N), for each of `ks`.

    >>> Balls(torch.tensor([[0.0], [1.0], [3.0]]), (1, 2)).radii
    {1: tensor([1., 1., 4.], dtype=torch.float64), 2: tensor([9., 4., 9.], dtype=torch.float64)}
    """

    def __init__(self, features: Tensor, ks: tuple[int, ...] = (PR_K, DC_K)) -> None:
        if len(features) <= max(ks):
            raise ValueError(f"{len(features)} images have no {max(ks)} nearest others")
        self.features = features.double()
        nearest = self.nearest(max(ks))
        self.radii = {k: nearest[:, k - 1].clone() for k in ks}

    def nearest(self, k: int) -> Tensor:
        """Returns the squared distances to the k nearest neighbours, in rising order, [N, k]."""
        x = self.features
        centred = x - x.mean(dim=0)  # products lose precision far from 0
        found = []
        for top in range(0, len(x), ROWS):
            rows = torch.arange(top, min(top + ROWS, len(x)), device=x.device)
            best, places = x.new_empty(len(rows), 0), rows.new_empty(len(rows), 0)
            for left in range(0, len(x), COLUMNS):
                part = squared(centred[rows], centred[left : left + COLUMNS])
                columns = torch.arange(left, left + part.shape[1], device=x.device)
                best = torch.cat([best, part], dim=1)
                places = torch.cat([places, columns.expand(len(rows), -1)], dim=1)
                best, kept = best.topk(min(k + SPARE, best.shape[1]), largest=False)
                places = places.gather(1, kept)
            exact = (x[rows, None] - x[places]).square().sum(dim=2)
            exact[places == rows[:, None]] = torch.inf  # no image is its own neighbour
            found.append(exact.sort(dim=1).values[:, :k])
        return torch.cat(found)


def squared(x: Tensor, y: Tensor) -> Tensor:
    """Returns squared distances [N, M] by a matrix product, with an error far below `MARGIN` of the squared norms."""
    norms = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
    return norms.sub_(x @ y.T, alpha=2)


def prdc(real: Balls, fake: Balls) -> PRDC:
    """Computes precision, recall, density and coverage. Balls are closed.

    `real` needs radii for k = 3 and 5, `fake` for 3.

    >>> x = torch.arange(20.0)[:, None]
    >>> prdc(Balls(x), Balls(x))
    PRDC(precision=1.0, recall=1.0, density=1.34, coverage=1.0)
    >>> prdc(Balls(x), Balls(x + 100))
    PRDC(precision=0.0, recall=0.0, density=0.0, coverage=0.0)
    """
    x, y = real.features, fake.features
    centre = x.mean(dim=0)
    a, b = x - centre, y - centre
    limit = MARGIN * 2 * max(a.square().sum(dim=1).max().item(), b.square().sum(dim=1).max().item())
    precise = torch.zeros(len(y), dtype=torch.bool, device=x.device)
    covered, recalled = torch.zeros(2, len(x), dtype=torch.bool, device=x.device)
    dense = 0
    for top in range(0, len(x), ROWS):
        for left in range(0, len(y), COLUMNS):
            rows, columns = slice(top, top + ROWS), slice(left, left + COLUMNS)
            block = squared(a[rows], b[columns])
            balls = (real.radii[PR_K][rows, None], real.radii[DC_K][rows, None], fake.radii[PR_K][None, columns])
            doubtful = torch.zeros_like(block, dtype=torch.bool)
            for radius in balls:
                doubtful |= (block - radius).abs_() <= limit
            exactly(block, doubtful.nonzero(), x[rows], y[columns])
            in_real, in_real_5, in_fake = (block <= radius for radius in balls)
            precise[columns] |= in_real.any(dim=0)
            recalled[rows] |= in_fake.any(dim=1)
            covered[rows] |= in_real_5.any(dim=1)
            dense += int(in_real_5.sum())
    shares = [share.double().mean().item() for share in (precise, recalled, covered)]
    return PRDC(shares[0], shares[1], dense / (DC_K * len(y)), shares[2])


def exactly(block: Tensor, pairs: Tensor, x: Tensor, y: Tensor) -> None:
    """Recomputes these pairs (row, column) of a block of squared distances as sums of squares, in place."""
    for part in pairs.split(PAIRS):
        rows, columns = part.unbind(dim=1)
        block[rows, columns] = (x[rows] - y[columns]).square().sum(dim=1)


def too_few(images: int, features: int) -> str | None:
    return None if images > DC_K else f"prdc needs at least {DC_K + 1} images on each side, and it has {images}."


def of_rows(features: Features) -> Balls:
    return Balls(features.rows)


def shares(reference: Features, found: Features) -> dict[str, float]:
    return prdc(reference.once(of_rows), found.once(of_rows))._asdict()


HIGHER: Better = "higher"
RANGES: dict[str, Range] = {"precision": "share", "recall": "share", "density": "positive", "coverage": "share"}
NEIGHBOURS = Metric(
    "prdc", dict.fromkeys(PRDC._fields, HIGHER), "features", shares, too_few, called="neighbours", ranges=RANGES
)
