"""The one-sided test, against its definition."""

import math

import pytest
from scipy import stats

from studies.paired import p_value


def test_p_value_is_that_of_the_one_sided_t_test_on_logarithms():
    ours, others = [0.9, 0.8, 1.1, 0.7], [1.0, 1.0, 1.0, 0.9]
    logs = [math.log(a / b / 1.05) for a, b in zip(ours, others, strict=True)]
    mean = sum(logs) / 4
    deviation = (sum((x - mean) ** 2 for x in logs) / 3) ** 0.5
    assert p_value((ours, others), 1.05) == pytest.approx(stats.t.cdf(mean / (deviation / 2), 3))


def test_fewer_than_two_pairs_show_nothing():
    assert p_value(([0.1], [1.0])) == 1.0
