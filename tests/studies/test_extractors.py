"""The table of what extractors see: its unit, and damages that are none."""

import math

import pytest
import torch

from rggan.metrics import kernel_distance
from studies.extractors import COPIES, MODES, SPLITS, clusters, rises, splits


@pytest.fixture(scope="module")
def clean() -> torch.Tensor:
    return torch.randn(64, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_unit_is_the_root_mean_square_of_undamaged_halves(clean: torch.Tensor) -> None:
    modes = torch.arange(64) % MODES
    found = rises(clean, {"none": clean, "shift": clean + 1}, modes)
    drawn = [kernel_distance(clean[other], clean[one]).value for one, other in splits(64)]
    assert len(drawn) == SPLITS
    assert found["floor"] == pytest.approx(math.sqrt(sum(x * x for x in drawn) / SPLITS))
    assert found["none"] == pytest.approx(sum(drawn) / SPLITS / found["floor"])
    assert abs(found["none"]) <= 1 < 5 < found["shift"]


def test_dropped_modes_and_copies_are_of_the_damaged_half_alone(clean: torch.Tensor) -> None:
    modes = torch.arange(64) % MODES
    apart = clean + 10 * (modes >= MODES - 2)[:, None]  # what is left out lies far off
    found = rises(apart, {}, modes)
    assert found["dropped modes"] > 2
    one, other = next(iter(splits(64)))
    assert not set(one.tolist()) & set(other.tolist())
    assert len(other[: len(other) // COPIES].repeat(COPIES)) == len(other)
    assert found["copies"] > 1


def test_clusters_are_of_all_pictures_and_the_largest_comes_last() -> None:
    levels = torch.arange(MODES).repeat_interleave(torch.arange(1, MODES + 1)) * 25
    found = clusters(levels.to(torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16))
    assert found.tolist() == sorted(found.tolist())
    assert found.bincount().tolist() == list(range(1, MODES + 1))
