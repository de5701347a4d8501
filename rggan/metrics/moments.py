"""Mean and covariance of features, in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Statistics(NamedTuple):
    """Mean [D] and covariance [D, D] (divided by N - 1) of features, float64."""

    mean: Tensor
    covariance: Tensor


class Moments:
    """Streaming mean and covariance of features (Chan et al. 1979, eq. 2.1).

    >>> moments, x = Moments(), torch.randn(100, 4)
    >>> for part in x.split(30):
    ...     moments.add(part)
    >>> moments.count, torch.allclose(moments.statistics().covariance, torch.cov(x.double().T))
    (100, True)
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.scatter = torch.zeros(())

    def add(self, features: Tensor) -> None:
        """Add features [n, D], n >= 1."""
        features = features.double()
        count, mean = len(features), features.mean(dim=0)
        scatter = (features - mean).T @ (features - mean)
        if self.count:
            shift, total = mean - self.mean, self.count + count
            scatter += self.scatter + torch.outer(shift, shift) * (self.count * count / total)
            mean = self.mean + shift * (count / total)
        self.count, self.mean, self.scatter = self.count + count, mean, scatter

    def statistics(self) -> Statistics:
        """Returns the statistics of all added features, at least two."""
        return Statistics(self.mean, self.scatter / (self.count - 1))


def statistics(features: Tensor) -> Statistics:
    """Computes the statistics of features [N, D], N >= 2."""
    moments = Moments()
    moments.add(features)
    return moments.statistics()
