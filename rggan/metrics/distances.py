"""Distances between two sets of features, in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Statistics(NamedTuple):
    """Mean [D] and covariance [D, D] (divided by N - 1) of features, float64."""

    mean: Tensor
    covariance: Tensor


def statistics(features: Tensor) -> Statistics:
    """Of features [N, D], N >= 2."""
    features = features.double()
    return Statistics(features.mean(dim=0), torch.cov(features.T).reshape(features.shape[1], -1))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017, eq. 6).

    The trace of the root is the sum of the roots of the eigenvalues of A^(1/2) B A^(1/2), which is
    symmetric: no complex numbers, and singular covariances need no offset.

    >>> x = torch.randn(100, 4, dtype=torch.float64)
    >>> round(frechet_distance(statistics(x), statistics(x + 3)), 6)
    36.0
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    trace = a.covariance.trace() + b.covariance.trace() - 2 * cross
    return ((a.mean - b.mean).square().sum() + trace).item()


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """The unbiased squared maximum mean discrepancy of features [N, D] and [M, D] (KID).

    Kernel (x.y / D + 1)^3 (Binkowski et al. 2018). Unbiased: it may be slightly negative for equal
    distributions, and does not depend on the sample counts, so it suits few images. N, M >= 2.

    >>> x = torch.randn(50, 4, dtype=torch.float64)
    >>> kernel_distance(x, x + 3) > 1
    True
    """
    if min(len(a), len(b)) < 2:
        raise ValueError("the kernel distance needs at least two images on each side")
    a, b = a.double(), b.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        k = kernel(x, x)
        return (k.sum() - k.trace()) / (len(x) * (len(x) - 1))

    return (within(a) + within(b) - 2 * kernel(a, b).mean()).item()
