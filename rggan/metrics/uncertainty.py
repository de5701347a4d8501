"""Confidence intervals and tests: t intervals of means, of shares, and of how two groups of runs differ; Holm."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

LEVEL = 0.95  # confidence level
SIGNIFICANT = 1 - LEVEL
ROUNDING = 1e-12  # a spread of values of about 1 that is no larger is none
# What a number can be: a share, 0..1; above 0; or any.
Range = Literal["share", "positive", "any"]


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
    half = half_width(values, level)
    mean = statistics.fmean(values)
    return Interval(mean - half, mean + half)


def half_width(values: Sequence[float], level: float) -> float:
    """Of Student's t interval for the mean."""
    from scipy.stats import t  # SciPy takes a second to import, and few commands compute an interval

    return float(t.ppf((1 + level) / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def share_interval(
    values: Sequence[float], images: int | None = None, shared: bool = False, level: float = LEVEL
) -> Interval:
    """Returns an interval within 0..1 for the mean of the distribution of `values`, shares from independent draws.

    Student's t interval of the logit of their mean, by the delta method (as R's `survey::svyciprop(method = "logit")`).
    Values that are all the same: the exact binomial interval (Clopper and Pearson 1934) of all images; [0, 1] where
    `images`, the number of them behind each value, is not known.

    Args:
        shared: they are the same images for each value, and not others each time.

    >>> low, high = share_interval([0.01, 0.05])
    >>> round(low, 4), round(high, 4)
    (0.0, 0.9948)
    >>> round(share_interval([0.0, 0.0], images=100).high, 4), round(share_interval([0.0, 0.0], 100, True).high, 4)
    (0.0183, 0.0362)
    """
    if len(values) < 2:
        raise ValueError("an interval needs at least two values")
    from scipy.special import expit, logit
    from scipy.stats import binomtest

    mean = statistics.fmean(values)
    if max(values) - min(values) <= ROUNDING:
        if images is None:
            return Interval(0.0, 1.0)
        trials = images if shared else images * len(values)
        exact = binomtest(round(mean * trials), trials).proportion_ci(level)
        return Interval(min(float(exact.low), mean), max(float(exact.high), mean))
    half = half_width(values, level) / (mean * (1 - mean))
    return Interval(float(expit(logit(mean) - half)), float(expit(logit(mean) + half)))


def interval_of(
    values: Sequence[float], kind: Range, images: int | None = None, shared: bool = False, level: float = LEVEL
) -> Interval:
    """Returns the interval of the mean of at least two values: one that stays in their range; see `share_interval`.

    >>> interval_of([1.0, 3.0], "any").low < 0 < interval_of([1.0, 3.0], "positive").low
    True
    """
    if kind == "share":
        return share_interval(values, images, shared, level)
    low, high = mean_interval(values, level)
    mean = statistics.fmean(values)
    if kind == "any" or min(values) <= 0:
        return Interval(low, high)
    return Interval(mean * math.exp((low - mean) / mean), mean * math.exp((high - mean) / mean))


class Effect(NamedTuple):
    """How a differs from b: a ratio of geometric means, or a difference of means; its interval and two-sided p."""

    kind: Literal["ratio", "difference"]
    value: float
    interval: Interval
    p: float
    pairs: int | None  # None: not paired

    def verdict(self, lower_is_better: bool = True, p: float | None = None) -> str:
        """'better', 'worse' or 'not told apart', of a against b. p: an adjusted p-value instead of its own."""
        if (self.p if p is None else p) >= SIGNIFICANT:
            return "not told apart"
        return "better" if (self.value < (1 if self.kind == "ratio" else 0)) == lower_is_better else "worse"


def binomial_error(values: Sequence[float], images: int, shared: bool = False) -> float:
    """Returns the standard error of the mean of shares by the number of images alone; above 0 at 0 and 1 too.

    >>> round(binomial_error([0.5, 0.5], 200), 3), round(binomial_error([0.0, 0.0], 200), 4)
    (0.025, 0.0025)
    """
    trials = images if shared else images * len(values)
    share = (statistics.fmean(values) * trials + 1) / (trials + 2)
    return math.sqrt(share * (1 - share) / trials)


def effect(
    a: Sequence[float],
    b: Sequence[float],
    kind: Range = "positive",
    paired: bool = True,
    level: float = LEVEL,
    images: int | None = None,
    shared: bool = False,
) -> Effect:
    """Compares two groups of runs by a t test: paired, or for unequal variances (Welch 1947).

    Values above 0 give the ratio a / b (the test is on logarithms), shares their difference (the test is on its atanh,
    so that its interval stays within -1..1), and others their difference. Runs without any spread do not tell how much
    they would spread: p is 1 then, and the interval all that is possible.

    Args:
        images: behind each share. Runs spread at least as much as the draw of their images makes them, so the standard
            error is no smaller than the binomial one.
        shared: all shares are of the same images; the binomial error is taken only where there is no spread.

    Raises:
        ValueError: fewer than two values on a side, or a ratio of values that are not above 0.

    >>> found = effect([2.0, 3.0, 5.0], [4.0, 6.1, 9.9])
    >>> found.kind, round(found.value, 3), found.verdict(), found.verdict(lower_is_better=False)
    ('ratio', 0.499, 'better', 'worse')
    >>> found = effect([0.02, 0.0, 0.1], [0.9, 1.0, 0.98], "share", paired=False)
    >>> round(found.value, 2), found.interval.low > -1
    (-0.92, True)
    >>> effect([0.0, 0.0], [0.01, 0.01], "share", images=1000).verdict()
    'not told apart'
    """
    if kind == "positive":
        if not all(value > 0 for value in (*a, *b)):
            raise ValueError("ratios need values above 0")
        a, b = [math.log(value) for value in a], [math.log(value) for value in b]
    if min(len(a), len(b)) < 2:
        raise ValueError("an interval needs at least two values on each side")
    if paired:
        apart = [x - y for x, y in zip(a, b, strict=True)]
        mean, freedom = statistics.fmean(apart), len(apart) - 1.0
        error = statistics.stdev(apart) / math.sqrt(len(apart))
    else:
        mean = statistics.fmean(a) - statistics.fmean(b)
        parts = [statistics.variance(side) / len(side) for side in (a, b)]
        error = math.sqrt(sum(parts))
        below = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (a, b), strict=True))
        freedom = sum(parts) ** 2 / below if below else min(len(a), len(b)) - 1.0
    same = error <= ROUNDING * max(1.0, *map(abs, (*a, *b)))
    if kind == "share" and images is not None and (same or not shared):
        error, same = max(error, math.hypot(*(binomial_error(side, images, shared) for side in (a, b)))), False
    told: Literal["ratio", "difference"] = "ratio" if kind == "positive" else "difference"
    value, pairs = math.exp(mean) if kind == "positive" else mean, len(a) if paired else None
    if same:
        low, high = {"positive": (0.0, math.inf), "share": (-1.0, 1.0), "any": (-math.inf, math.inf)}[kind]
        return Effect(told, value, Interval(low, high), 1.0, pairs)
    middle = mean
    if kind == "share" and abs(mean) < 1:
        middle, error = math.atanh(mean), error / (1 - mean**2)
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, freedom)) * error
    p = 2 * float(t.sf(abs(middle) / error, freedom))
    low, high = middle - half, middle + half
    if kind == "positive":
        low, high = math.exp(low), math.exp(high)
    elif kind == "share":
        low, high = (math.tanh(low), math.tanh(high)) if abs(mean) < 1 else (max(low, -1.0), min(high, 1.0))
    return Effect(told, value, Interval(low, high), p, pairs)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = running
    return adjusted
