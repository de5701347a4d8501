"""Confidence intervals: t intervals of means and of paired ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import t

LEVEL = 0.95  # confidence level


class Interval(NamedTuple):
    """From `low` to `high`."""

    low: float
    high: float


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Returns Student's t interval for the mean of the distribution of `values`, at least two independent draws.

    >>> low, high = mean_interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    if len(values) < 2:
        raise ValueError("an interval needs at least two values")
    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return Interval(mean - half, mean + half)


class Ratio(NamedTuple):
    """The geometric mean of the ratio a / b over pairs, with its interval."""

    value: float
    interval: Interval
    pairs: int

    def verdict(self, lower_is_better: bool = True) -> str:
        """'better', 'worse' or 'not told apart', of a against b."""
        if self.interval.low <= 1 <= self.interval.high:
            return "not told apart"
        return "better" if (self.value < 1) == lower_is_better else "worse"


def paired_ratio(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> Ratio:
    """Returns the geometric mean of a / b over pairs, with the t interval of the paired log-ratio.

    Raises:
        ValueError: fewer than two pairs, or a value that is not above 0.

    >>> ratio = paired_ratio([2.0, 3.0, 5.0], [4.0, 6.1, 9.9])
    >>> round(ratio.value, 3), ratio.verdict(), ratio.verdict(lower_is_better=False)
    (0.499, 'better', 'worse')
    """
    if not all(value > 0 for value in (*a, *b)):
        raise ValueError("ratios need values above 0")
    logs = [math.log(x / y) for x, y in zip(a, b, strict=True)]
    low, high = mean_interval(logs, level)
    return Ratio(math.exp(statistics.fmean(logs)), Interval(math.exp(low), math.exp(high)), len(logs))
