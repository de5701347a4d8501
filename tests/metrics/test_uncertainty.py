"""Intervals hold the true value as often as they say, and stay in range; tests are scipy's t tests."""

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, strategies
from scipy import stats
from scipy.special import gammaln

from rggan.metrics import Frechet, Kernel, Statistics
from rggan.metrics.uncertainty import effect, holm, interval_of, mean_interval, share_interval

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


@pytest.mark.slow
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


def test_effect_of_pairs_is_the_paired_t_test_of_logs():
    random = np.random.default_rng(0)
    b = random.lognormal(3, 0.5, 7)  # seeds differ much more than the two sides do
    a = b * random.lognormal(-0.1, 0.05, 7)
    ours = effect(a.tolist(), b.tolist())
    theirs = stats.ttest_rel(np.log(a), np.log(b)).confidence_interval(0.95)
    assert ours.interval == pytest.approx((math.exp(theirs.low), math.exp(theirs.high)))
    assert ours.value == pytest.approx(stats.gmean(a / b))
    assert (ours.pairs, ours.verdict(), ours.verdict(lower_is_better=False)) == (7, "better", "worse")
    swapped = effect(b.tolist(), a.tolist())
    assert swapped.value == pytest.approx(1 / ours.value)
    assert swapped.verdict() == "worse"
    shuffled = effect(a.tolist(), b[::-1].tolist())  # without the pairs nothing can be told
    assert shuffled.verdict() == "not told apart"


@pytest.mark.parametrize("bad", [0.0, -0.1, math.nan])
def test_ratios_need_values_above_zero(bad):
    with pytest.raises(ValueError, match="above 0"):
        effect([1.0, bad], [1.0, 2.0])
    with pytest.raises(ValueError, match="above 0"):
        effect([1.0, 2.0], [bad, 2.0])


def test_effect_of_unpaired_runs_is_welchs_test():
    random = np.random.default_rng(1)
    a, b = random.lognormal(0, 0.2, 5), random.lognormal(0.3, 0.6, 8)
    ours = effect(a.tolist(), b.tolist(), paired=False)
    theirs = stats.ttest_ind(np.log(a), np.log(b), equal_var=False)
    bounds = theirs.confidence_interval(0.95)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.interval == pytest.approx((math.exp(bounds.low), math.exp(bounds.high)))
    assert ours.value == pytest.approx(stats.gmean(a) / stats.gmean(b))
    plain = effect(a.tolist(), b.tolist(), "any", paired=False)
    bounds = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert plain.interval == pytest.approx((bounds.low, bounds.high))


shares = strategies.lists(strategies.floats(0, 1), min_size=2, max_size=6)


@given(shares, shares)
def test_intervals_of_shares_stay_where_shares_are(a, b):
    low, high = share_interval(a, images=100)
    assert 0 <= low <= statistics.fmean(a) + 1e-12
    assert statistics.fmean(a) - 1e-12 <= high <= 1
    count = min(len(a), len(b))
    pairs = (a[:count], b[:count])
    known = [effect(a, b, "share", paired=False, images=100), effect(*pairs, "share", images=100)]
    for one in (effect(a, b, "share", paired=False), effect(*pairs, "share"), *known):
        assert -1 <= one.interval.low <= one.value + 1e-12
        assert one.value - 1e-12 <= one.interval.high <= 1
        if one.interval.low < one.interval.high:  # the p-value and the interval say the same
            outside = not one.interval.low <= 0 <= one.interval.high
            assert outside == (one.p < 0.05) or abs(one.p - 0.05) < 1e-6


def test_far_from_the_ends_intervals_of_shares_are_students():
    random = np.random.default_rng(2)
    a, b = random.normal(0.5, 0.002, 6).tolist(), random.normal(0.51, 0.002, 6).tolist()
    assert share_interval(a) == pytest.approx(mean_interval(a), abs=1e-5)
    theirs = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert effect(a, b, "share").interval == pytest.approx((theirs.low, theirs.high), abs=1e-5)


@pytest.mark.slow
def test_intervals_of_shares_near_an_end_cover():
    """Against draws with a known mean: shares of few copies, and their differences."""
    random = np.random.default_rng(3)
    runs, trials = 5, 1500
    a, b = random.beta(2, 38, (trials, runs)), random.beta(4, 36, (trials, runs))
    inside = [low <= 0.05 <= high for low, high in (share_interval(row) for row in a.tolist())]
    assert 0.92 < np.mean(inside) < 0.98
    found = [effect(x, y, "share", paired=False).interval for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert 0.93 < np.mean([low <= -0.05 <= high for low, high in found]) < 0.98


def test_no_copies_at_all_is_the_exact_binomial_interval():
    assert share_interval([0.0] * 4, images=250) == pytest.approx((0, 1 - 0.025 ** (1 / 1000)))
    assert share_interval([1.0] * 4, images=250) == pytest.approx((0.025 ** (1 / 1000), 1))
    assert share_interval([0.0, 0.0]) == (0, 1)  # of nobody knows how many images
    exact = stats.binomtest(100, 200).proportion_ci()
    assert share_interval([0.5, 0.5], images=100) == pytest.approx((exact.low, exact.high))
    one_set = stats.binomtest(0, 100).proportion_ci()  # the same hundred images each time
    assert share_interval([0.0] * 4, 100, shared=True) == pytest.approx((0, one_set.high))


def test_intervals_of_what_is_above_zero_are_above_zero():
    assert mean_interval([1.0, 3.0]).low < 0 < interval_of([1.0, 3.0], "positive").low
    close = [100.0, 100.2, 99.9]
    assert interval_of(close, "positive") == pytest.approx(mean_interval(close), rel=1e-4)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    ("kind", "widest"), [("share", (-1, 1)), ("any", (-math.inf, math.inf)), ("positive", (0, math.inf))]
)
def test_runs_without_any_spread_prove_nothing(kind, widest, paired):
    for a, b in (([0.5, 0.5], [0.5, 0.5]), ([0.1, 0.1, 0.1], [0.3, 0.3, 0.3]), ([1.0, 1.0], [0.25, 0.25])):
        found = effect(a, b, kind, paired)
        assert (found.p, found.verdict(), found.interval) == (1, "not told apart", widest)
        assert found.value == pytest.approx(a[0] / b[0] if kind == "positive" else a[0] - b[0])
    by_rounding = effect([0.1, 0.2, 0.3], [0.2, 0.4, 0.6], "positive")  # the ratio is 1/2 each time
    assert (by_rounding.p, by_rounding.value) == (1, pytest.approx(0.5))


def test_shares_spread_at_least_as_their_images_do():
    """Ten copies in a thousand images of each of two runs, and none in those of others, are chance that often."""
    few, many = (effect([0.0, 0.0], [0.01, 0.01], "share", images=images) for images in (1000, 100_000))
    assert (few.verdict(), many.verdict()) == ("not told apart", "better")
    assert few.interval.low < -0.01 < 0 < few.interval.high
    share, trials = 0.01, 2000
    assert few.p == pytest.approx(2 * stats.t.sf(0.01 / math.sqrt(share * (1 - share) / trials), 1), rel=0.1)
    lucky = effect([0.0, 0.0], [0.01, 0.0101], "share", images=1000)
    assert effect([0.0, 0.0], [0.01, 0.0101], "share").p < 0.01 < 0.1 < lucky.p
    apart = ([0.1, 0.5, 0.3], [0.7, 0.8, 0.95])
    assert effect(*apart, "share", images=1000) == effect(*apart, "share")  # they spread more by themselves
    ends = effect([1.0, 1.0], [0.0, 0.0], "share", images=1000)
    assert (ends.value, ends.interval.high, ends.verdict(False)) == (1, 1, "better")
    assert 0.9 < ends.interval.low < 1
    by_same = effect([0.0, 0.0], [0.01, 0.0101], "share", images=1000, shared=True)
    assert by_same == effect([0.0, 0.0], [0.01, 0.0101], "share")
    assert 0.1 < effect([0.0, 0.0], [0.01, 0.01], "share", images=1000, shared=True).p < 1


@pytest.mark.slow
def test_shares_of_the_same_generator_are_told_apart_no_more_often_than_they_say():
    """Most draws of so few copies have no spread, on one side at least."""
    random = np.random.default_rng(4)
    drawn = random.binomial(100, 0.005, (2, 1500, 3)) / 100
    for paired in (True, False):
        found = [effect(a, b, "share", paired, images=100).p < 0.05 for a, b in zip(*drawn.tolist(), strict=True)]
        assert np.mean(found) < 0.06


def test_holm_is_the_closure_of_bonferroni():
    numbers = np.random.default_rng(0)
    for _ in range(50):
        p = [numbers.random() ** 3 for _ in range(4)]
        subsets = [s for size in range(1, 5) for s in itertools.combinations(range(4), size)]
        expected = [max(min(1.0, len(s) * min(p[i] for i in s)) for s in subsets if k in s) for k in range(4)]
        assert holm(p) == pytest.approx(expected)
