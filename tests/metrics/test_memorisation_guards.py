"""Guards that the other tests leave open."""

from dataclasses import replace

import pytest
import torch

from rggan.data import load_images
from rggan.metrics import Memoriser
from rggan.metrics.memorisation import YARDSTICK, chances, rank, spread


@pytest.fixture(scope="module")
def pictures():
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(5))
    return load_images("digits", 32).images[order]


def noisy(x, strength, seed=0):
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return (x.float() + strength * noise).clamp(0, 255).round().to(torch.uint8)


@pytest.mark.slow
def test_a_large_group_leaves_room_for_others(pictures):
    """One picture forty times, with a little noise: more than there are candidates."""
    known = torch.cat([noisy(pictures[:1].expand(40, -1, -1, -1), 3), pictures[1:30]])
    memoriser = Memoriser(known)
    assert memoriser.count == 30
    found = memoriser(noisy(pictures[:1], 3, seed=9))
    assert found.nearest.item() < 40 <= found.second.item()
    assert found.ratios.item() < 0.5


@pytest.mark.slow
def test_mirrored_and_brighter_doubles_are_one_group(pictures):
    half = (pictures[:50].float() * 0.7).round().to(torch.uint8)  # other means than near-duplicates may have
    for doubles in (pictures[:50].flip(3), half):
        assert Memoriser(torch.cat([pictures[:50], doubles])).count == 50


@pytest.mark.slow
def test_recompression_noise_makes_near_duplicates(pictures):
    """Coarse noise that the distance at 32x32 sees and a thumbnail does not."""
    memoriser = Memoriser(torch.cat([pictures[:50], noisy(pictures[:50], 20)]))
    assert memoriser.count < 60


def test_blank_training_images_give_no_nan(pictures):
    blank = torch.full((5, 1, 32, 32), 90, dtype=torch.uint8)
    memoriser = Memoriser(torch.cat([pictures[:30], blank]))
    assert memoriser.count == 31
    found = memoriser(torch.cat([blank[:2], pictures[:3]]))
    assert found.ratios.tolist()[:2] == [1, 1]
    assert found.ratios.isfinite().all()
    assert torch.tensor(memoriser.threshold).isfinite()


@pytest.mark.slow
def test_the_verdict_needs_chance_excluded_and_a_real_excess(pictures):
    found = Memoriser(pictures[:60])(pictures[:60])
    assert replace(found, p_value=1e-9, copies=30, expected=0.1).replays
    assert not replace(found, p_value=2e-3, copies=30, expected=0.1).replays
    assert not replace(found, p_value=1e-9, copies=12, expected=0.1).replays


@pytest.mark.parametrize(("samples", "count", "place"), [(5, 9, 1), (40, 10, 10), (500, 100, 1), (1000, 2000, 20)])
def test_chances_have_the_mean_of_order_statistics(samples, count, place):
    """Sum of P(K >= k) over k >= 1 is E K = samples * place / (count + 1), without any simulation."""
    assert sum(chances(samples, count, place)[1:]) == pytest.approx(samples * place / (count + 1), rel=1e-6)


def test_values_in_pairs_spread_more_around_the_same_mean():
    apart, paired = chances(500, 100, 1), chances(500, 100, 1, in_pairs=True)
    assert sum(paired[1:]) == pytest.approx(sum(apart[1:]), rel=1e-6)

    def variance(tails):
        mean = sum(tails[1:])
        return sum((2 * k - 1) * p for k, p in enumerate(tails) if k) - mean**2

    assert variance(paired) == pytest.approx(2 * variance(apart), rel=0.15)


@pytest.mark.slow
def test_leave_one_out_counts_pairs_and_held_out_does_not(pictures):
    known, fresh = pictures[:100], pictures[100:300]
    one, other = Memoriser(known)(fresh), Memoriser(known, pictures[300:400])(fresh)
    for found, in_pairs in ((one, True), (other, False)):
        assert found.p_value == chances(200, found.yardstick_count, rank(found.yardstick_count), in_pairs)[found.copies]


def test_a_hundredth_sets_the_threshold():
    assert [rank(count) for count in (1, 100, 200, 2000)] == [1, 1, 2, 20]


def test_large_yardsticks_are_thinned_evenly():
    rows = spread(torch.arange(10 * YARDSTICK))
    assert len(rows) == YARDSTICK
    assert (rows[0], rows[-1]) == (0, 10 * YARDSTICK - 1)
    assert rows.diff().min() >= 9
