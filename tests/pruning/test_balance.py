"""D's density follows the balance ratio."""

import math

import pytest
import torch
from torch import nn

from rggan.pruning import SET, Balance, Pruner, Threshold


def attach(density=0.5, **options):
    model = nn.Linear(20, 20)
    optimizer = torch.optim.Adam(model.parameters())
    pruner = Pruner(model, optimizer, SET(density, every=1))
    return model, optimizer, pruner, Balance(pruner, **options)


def observed(balance, before, after, real):
    balance.observe(*(torch.tensor([value, value]) for value in (before, after, real)))


@pytest.mark.parametrize(
    ("after", "density"),
    [(-0.9, 0.45), (0.0, 0.5), (0.9, 0.55)],
    ids=["D too strong", "balanced", "D too weak"],
)
def test_density_moves_against_the_imbalance(after, density):
    model, optimizer, pruner, balance = attach()
    observed(balance, -1.0, after, 1.0)
    assert balance.step() == pytest.approx(density)
    assert balance.ratio == pytest.approx((after + 1) / 2)
    model(torch.randn(4, 20)).square().mean().backward()
    optimizer.step()
    assert pruner.density() == pytest.approx(density, abs=0.005)  # it shows at the rule's next update


def test_the_ratio_is_that_of_all_observations_together():
    balance = attach()[3]
    observed(balance, -1.0, -0.5, 1.0)
    observed(balance, -3.0, -2.0, 3.0)
    balance.step()
    assert balance.ratio == pytest.approx(1.5 / 8)
    before = balance.rule.density
    assert balance.step() == before  # nothing new: nothing moves


def test_without_a_lead_d_is_too_weak_and_limits_hold():
    balance = attach(limits=(0.4, 0.6))[3]
    for _ in range(5):
        observed(balance, 1.0, 1.0, 0.0)
        balance.step()
    assert balance.ratio == math.inf
    assert balance.rule.density == 0.6
    for _ in range(9):
        observed(balance, 0.0, 0.0, 1.0)
        balance.step()
    assert balance.rule.density == 0.4


def test_state_holds_what_was_observed():
    balance, other = attach()[3], attach()[3]
    observed(balance, -1.0, -0.5, 1.0)
    other.load_state_dict(balance.state_dict())
    assert other.step() == balance.step()
    assert other.ratio == balance.ratio


def test_other_rules_and_bad_bands_are_refused():
    model = nn.Linear(3, 3)
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1), Threshold())
    with pytest.raises(ValueError, match="not of Threshold"):
        Balance(pruner)
    for options in ({"band": (0.6, 0.5)}, {"limits": (0.0, 1.0)}, {"step": 0.0}):
        with pytest.raises(ValueError, match="band"):
            attach(**options)
