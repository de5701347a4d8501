"""Statistics of paired seeds: ratios to another arm with intervals, one-sided tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from scipy import stats

from rggan.metrics.uncertainty import effect
from studies.queue import Row

Pairs = tuple[list[float], list[float]]  # ours, the other arm's: one value for each seed that both have


def by_seed(rows: Sequence[Row], stage: str, arm: str) -> dict[int, Row]:
    """The rows of one arm: {seed: row}."""
    return {row["seed"]: row for row in rows if row["stage"] == stage and row["arm"] == arm}


def pairs(ours: Mapping[int, Row], others: Mapping[int, Row], key: str = "fid") -> Pairs:
    """The values of one column (Fréchet distances) at the seeds that both have.

    >>> pairs({0: {"fid": 9.0}, 1: {"fid": 8.0}}, {1: {"fid": 10.0}, 2: {"fid": 7.0}})
    ([8.0], [10.0])
    """
    seeds = sorted(ours.keys() & others.keys())
    return [ours[seed][key] for seed in seeds], [others[seed][key] for seed in seeds]


def ratio_ci(paired: Pairs, comparisons: int = 1) -> str:
    """Geometric mean of the ratios and its t interval, of 95 % for all comparisons together (Bonferroni).

    >>> ratio_ci(([1.0, 2.0], [2.0, 4.1]))
    '0.494 (0.422 to 0.578)'
    """
    ratio = effect(*paired, level=1 - 0.05 / comparisons)
    return f"{ratio.value:.3f} ({ratio.interval.low:.3f} to {ratio.interval.high:.3f})"


def ratio(ours: Mapping[int, Row], others: Mapping[int, Row], key: str, same: bool) -> str:
    """Of a column to that of another arm, with its interval where there are pairs; `same`: it is that arm.

    >>> ratio({0: {"kid": 1.0}}, {0: {"kid": 2.0}}, "kid", False), ratio({}, {}, "kid", True)
    ('0.500', '1')
    """
    if same:
        return "1"
    paired = pairs(ours, others, key)
    if len(paired[0]) > 1:
        return ratio_ci(paired)
    return f"{paired[0][0] / paired[1][0]:.3f}" if paired[0] else "-"


def copies(rows: Mapping[int, Row]) -> str:
    """How many of 1,000 samples look like a training image: the mean over the seeds, and by chance.

    >>> copies({0: {"memorisation": {"rate": 0.01, "expected": 0.02}}})
    '1.0%; 2.0%'
    """
    found = [row["memorisation"] for row in rows.values()]
    return f"{statistics.mean(m['rate'] for m in found):.1%}; {found[0]['expected']:.1%}"


def p_value(paired: Pairs, below: float = 1.0) -> float:
    """One-sided t test on the log ratios, against a true ratio of `below` or more; 1 for fewer than two pairs."""
    if len(paired[0]) < 2:
        return 1.0
    logs = [math.log(one / other) for one, other in zip(*paired, strict=True)]
    return float(stats.ttest_1samp(logs, math.log(below), alternative="less").pvalue)


def mean_sd(rows: Mapping[int, Row], key: str) -> str:
    """Over the seeds.

    >>> mean_sd({0: {"fid": 60.0}, 1: {"fid": 62.0}}, "fid"), mean_sd({}, "fid")
    ('61 ± 1.41', '-')
    """
    values = [row[key] for row in rows.values()]
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.3g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3g}{spread}"
