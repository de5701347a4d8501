"""Intervals hold the true value as often as they say; ratios are those of scipy's paired t test."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gammaln

from rggan.metrics import Frechet, Kernel, Statistics
from rggan.metrics.uncertainty import mean_interval, paired_ratio

TRIALS, REPLICATES, COUNT = 600, 10, 20
MEAN, DEVIATION = 0.6, 0.5  # of what is generated


def held(values, expected):
    """How often the interval from ten replicates holds the expected value, 0..1."""
    inside = [low <= expected <= high for low, high in map(mean_interval, values.reshape(TRIALS, REPLICATES).tolist())]
    return np.mean(inside)


def draws(random):
    return MEAN + DEVIATION * torch.randn(TRIALS * REPLICATES, COUNT, 1, dtype=torch.float64, generator=random)


def within_chance(share):
    """Of 600 intervals that hold with 95 % probability each: four standard errors."""
    return abs(share - 0.95) < 4 * math.sqrt(0.95 * 0.05 / TRIALS)


def test_interval_of_fid_covers_the_expected_score_at_this_sample_count():
    """Of a Gaussian against a fixed one both moments of the sample's mean and deviation are known, bias included."""
    sets = draws(torch.Generator().manual_seed(1))
    frechet = Frechet(Statistics(torch.zeros(1).double(), torch.tensor([[0.4]]).double() ** 2))
    values = torch.tensor([frechet(Statistics(x.mean(0), x.T.cov().reshape(1, 1))) for x in sets])
    c4 = math.sqrt(2 / (COUNT - 1)) * math.exp(gammaln(COUNT / 2) - gammaln((COUNT - 1) / 2))  # E[s] / sigma
    expected = MEAN**2 + DEVIATION**2 / COUNT + DEVIATION**2 + 0.4**2 - 2 * 0.4 * c4 * DEVIATION
    assert within_chance(held(values, expected))


@pytest.mark.slow
def test_what_the_interval_covers_is_the_score_at_this_count_and_not_that_of_endless_samples():
    """Thirty features against a Gaussian without spread: |mu|^2 + tr(A), of which the first part is D / N too large."""
    features, mean = 30, 0.2
    random = torch.Generator().manual_seed(3)
    sets = mean + torch.randn(TRIALS * REPLICATES, COUNT, features, dtype=torch.float64, generator=random)
    frechet = Frechet(Statistics(torch.zeros(features).double(), torch.zeros(features, features).double()))
    values = torch.tensor([frechet(Statistics(x.mean(0), x.T.cov())) for x in sets])
    endless = features * (mean**2 + 1)
    assert within_chance(held(values, endless + features / COUNT))
    assert held(values, endless) < 0.7


@pytest.mark.slow
def test_interval_of_kid_covers_the_expected_score():
    random = torch.Generator().manual_seed(2)
    reference = torch.randn(30, 1, dtype=torch.float64, generator=random)
    kernel = Kernel(reference)
    values = torch.tensor([kernel(x).value for x in draws(random)])
    first, second, third = MEAN, MEAN**2 + DEVIATION**2, MEAN**3 + 3 * MEAN * DEVIATION**2
    y = reference.numpy()[:, 0]
    own = third**2 + 3 * second**2 + 3 * first**2 + 1
    across = np.mean(third * y**3 + 3 * second * y**2 + 3 * first * y + 1)
    k = (np.outer(y, y) + 1) ** 3
    within = (k.sum() - np.trace(k)) / (30 * 29)
    assert within_chance(held(values, own + within - 2 * across))


def test_mean_interval_is_scipys(features):
    values = features[:9, 0].tolist()
    ours = mean_interval(values, 0.9)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert ours == pytest.approx((theirs.low, theirs.high))
    with pytest.raises(ValueError, match="at least two"):
        mean_interval([1.0])


def test_paired_ratio_is_the_paired_t_test_of_logs():
    random = np.random.default_rng(0)
    b = random.lognormal(3, 0.5, 7)  # seeds differ much more than the two sides do
    a = b * random.lognormal(-0.1, 0.05, 7)
    ours = paired_ratio(a.tolist(), b.tolist())
    theirs = stats.ttest_rel(np.log(a), np.log(b)).confidence_interval(0.95)
    assert ours.interval == pytest.approx((math.exp(theirs.low), math.exp(theirs.high)))
    assert ours.value == pytest.approx(stats.gmean(a / b))
    assert (ours.pairs, ours.verdict(), ours.verdict(lower_is_better=False)) == (7, "better", "worse")
    swapped = paired_ratio(b.tolist(), a.tolist())
    assert swapped.value == pytest.approx(1 / ours.value)
    assert swapped.verdict() == "worse"
    shuffled = paired_ratio(a.tolist(), b[::-1].tolist())  # without the pairs nothing can be told
    assert shuffled.verdict() == "not told apart"


@pytest.mark.parametrize("bad", [0.0, -0.1, math.nan])
def test_ratios_need_values_above_zero(bad):
    with pytest.raises(ValueError, match="above 0"):
        paired_ratio([1.0, bad], [1.0, 2.0])
    with pytest.raises(ValueError, match="above 0"):
        paired_ratio([1.0, 2.0], [bad, 2.0])
