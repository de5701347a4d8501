"""Distances between two feature sets, in float64: the Fréchet distance, and KID with its standard error."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rggan.metrics.metric import Features, Metric, Value
from rggan.metrics.moments import Statistics
from rggan.run.naming import FD

BLOCK = 2048  # rows and columns of a kernel matrix that are in memory at once


class Frechet:
    """Fréchet distance to a fixed reference, whose matrix square root is computed once.

    |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017, eq. 6).

    The trace of the root is the sum of the square roots of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric: no
    complex numbers arise, and singular covariances need no offset.
    """

    def __init__(self, reference: Statistics) -> None:
        self.reference = reference
        values, vectors = torch.linalg.eigh(reference.covariance)
        self.root = vectors * values.clamp_min(0).sqrt() @ vectors.T

    def __call__(self, other: Statistics) -> float:
        """0 for the same statistics; in squared units of the features."""
        cross = torch.linalg.eigvalsh(self.root @ other.covariance @ self.root).clamp_min(0).sqrt().sum()
        trace = self.reference.covariance.trace() + other.covariance.trace() - 2 * cross
        return ((self.reference.mean - other.mean).square().sum() + trace).item()


def of_statistics(features: Features) -> Frechet:
    return Frechet(features.statistics)


def fd(reference: Features, found: Features) -> dict[str, float]:
    return {FD: reference.once(of_statistics)(found.statistics)}


def singular(images: int, features: int) -> str | None:
    if images > features:
        return None
    return (
        f"{FD} needs more images on each side than there are features ({features}), and there are {images}: the "
        "covariance is singular then, and the distance tells more of the count than of the images; kid suits few."
    )


FRECHET = Metric(FD, {FD: "lower"}, "statistics", fd, singular, ranges={FD: "positive"})


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """`Frechet` of one pair.

    >>> from rggan.metrics.moments import statistics
    >>> x = torch.randn(100, 4, dtype=torch.float64)
    >>> round(frechet_distance(statistics(x), statistics(x + 3)), 6)
    36.0
    """
    return Frechet(a)(b)


class KernelDistance(NamedTuple):
    """The kernel distance and its standard error (NaN if a side has only two images)."""

    value: float
    standard_error: float


class Kernel:
    """The unbiased squared maximum mean discrepancy to a fixed reference [M, D], M >= 2 (KID).

    Kernel (x.y / D + 1)^3 (Binkowski et al. 2018). Unbiased: it may be slightly negative for equal distributions, and
    its expectation does not depend on the sample counts, so it suits few images. The standard error is the jackknife
    estimate over the images of both sides: the sampling error of both sets. Kernel matrices are computed in blocks.
    """

    def __init__(self, reference: Tensor) -> None:
        if len(reference) < 2:
            raise ValueError("the kernel distance needs at least two images on each side")
        self.reference = reference.double()
        self.within = within_sums(self.reference)

    def __call__(self, samples: Tensor) -> KernelDistance:
        """Of features [N, D], N >= 2."""
        if len(samples) < 2:
            raise ValueError("the kernel distance needs at least two images on each side")
        samples = samples.double()
        n, m = len(samples), len(self.reference)
        own, (across, back) = within_sums(samples), cross_sums(samples, self.reference)
        mean_own = own.sum() / (n * (n - 1))
        mean_reference = self.within.sum() / (m * (m - 1))
        value = mean_own + mean_reference - 2 * across.sum() / (n * m)
        variance = torch.zeros_like(value)
        for count, others, inside, outside in ((n, m, own, across), (m, n, self.within, back)):
            if count < 3:
                return KernelDistance(value.item(), float("nan"))
            # The value without image i, up to terms that do not depend on i (Efron and Stein 1981).
            left_out = (inside.sum() - 2 * inside) / ((count - 1) * (count - 2))
            left_out -= 2 * (outside.sum() - outside) / ((count - 1) * others)
            variance += (count - 1) / count * (left_out - left_out.mean()).square().sum()
        return KernelDistance(value.item(), variance.sqrt().item())


def of_rows(features: Features) -> Kernel:
    return Kernel(features.rows)


def kid(reference: Features, found: Features) -> dict[str, Value]:
    return {"kid": reference.once(of_rows)(found.rows)}


KID = Metric("kid", {"kid": "lower"}, "features", kid, called="KID")


def kernel_distance(a: Tensor, b: Tensor) -> KernelDistance:
    """`Kernel` of one pair: features [N, D] and [M, D].

    Raises:
        ValueError: fewer than two images on a side.

    >>> x = torch.randn(50, 4, dtype=torch.float64)
    >>> kernel_distance(x, x + 3).value > 1
    True
    """
    return Kernel(b)(a)


def kernel(x: Tensor, y: Tensor) -> Tensor:
    k = (x @ y.T).div_(x.shape[1]).add_(1)
    return k * k * k


def within_sums(x: Tensor) -> Tensor:
    """Returns, for each row of x [N, D], the sum of the kernel over all other rows, [N]."""
    sums = x.new_zeros(len(x))
    for top in range(0, len(x), BLOCK):
        rows = slice(top, top + BLOCK)
        block = kernel(x[rows], x[rows]).fill_diagonal_(0)
        sums[rows] += block.sum(dim=1)
        for left in range(top + BLOCK, len(x), BLOCK):  # the matrix is symmetric
            columns = slice(left, left + BLOCK)
            block = kernel(x[rows], x[columns])
            sums[rows] += block.sum(dim=1)
            sums[columns] += block.sum(dim=0)
    return sums


def cross_sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Returns, for each row of x [N, D], the sum of the kernel over y [M, D], and for each row of y that over x."""
    of_x, of_y = x.new_zeros(len(x)), x.new_zeros(len(y))
    for top in range(0, len(x), BLOCK):
        for left in range(0, len(y), BLOCK):
            rows, columns = slice(top, top + BLOCK), slice(left, left + BLOCK)
            block = kernel(x[rows], y[columns])
            of_x[rows] += block.sum(dim=1)
            of_y[columns] += block.sum(dim=0)
    return of_x, of_y
