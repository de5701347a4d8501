"""Masked weights come back where their gradients are largest, within the budget, and are counted."""

import pytest
import torch
from torch import nn

from rggan.pruning import Pruner, Ramp, Regrowth, Threshold
from tests.pruning.reference import masked


def attach(budget=0.1, every=4, moments="clear", optimizer=torch.optim.SGD, lr=0.0, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 12, bias=False), nn.Tanh(), nn.Linear(12, 3, bias=False))
    optimizer = optimizer(model.parameters(), lr=lr)
    rule = Threshold("hard", penalty=0.0, regrowth=Regrowth(budget, every, moments), **options)
    pruner = Pruner(model, optimizer, rule)
    for layer in pruner.layers:
        layer.threshold.fill_(0.8)
    pruner.refresh()
    return model, optimizer, pruner


def step(model, optimizer, x):
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()


def test_those_with_the_largest_accumulated_gradients_come_back_within_the_budget():
    model, optimizer, pruner = attach(budget=0.1, every=4)
    masks = [layer.mask.clone() for layer in pruner.layers]
    batches = [torch.randn(8, 10) for _ in range(4)]
    expected = [torch.zeros_like(mask) for mask in masks]
    for x in batches:  # by hand, without a pruner
        weights = [layer.dense().requires_grad_() for layer in pruner.layers]
        effective = [masked(w, m) for w, m in zip(weights, masks, strict=True)]
        (torch.tanh(x @ effective[0].T) @ effective[1].T).square().sum().backward()
        for total, weight in zip(expected, weights, strict=True):
            total += weight.grad.abs()
    for x in batches:
        step(model, optimizer, x)
    worth = torch.cat(
        [
            (e * layer.dense().square().mean().sqrt() * (1 - m)).flatten()
            for e, m, layer in zip(expected, masks, pruner.layers, strict=True)
        ]
    )
    best = set(worth.topk(round(0.1 * pruner.total)).indices.tolist())
    came = torch.cat([(layer.mask - m).flatten() for layer, m in zip(pruner.layers, masks, strict=True)])
    assert set(came.nonzero().flatten().tolist()) == best
    assert sum(int(n) for n in pruner.rule.regrowth.returned) == len(best) == round(0.1 * pruner.total)


def test_who_reaches_the_threshold_stays_and_who_does_not_goes_again():
    model, optimizer, pruner = attach(budget=0.05, every=2)
    for _ in range(2):
        step(model, optimizer, torch.randn(8, 10))
    regrowth = pruner.rule.regrowth
    back = regrowth.back[0].clone()
    assert back.any()
    first = back.nonzero()[0]
    with torch.no_grad():
        pruner.layers[0].weight[tuple(first)] = 5.0  # trained past its threshold
    for _ in range(2):
        step(model, optimizer, torch.randn(8, 10))
    assert int(regrowth.stayed[0]) == 1
    assert pruner.layers[0].mask[tuple(first)] == 1
    gone = back & ~regrowth.back[0]
    gone[tuple(first)] = False
    assert pruner.layers[0].mask[gone].sum() == 0


def test_masked_weights_that_are_back_train_and_others_stay_frozen():
    model, optimizer, pruner = attach(budget=0.1, every=1, lr=0.001)
    step(model, optimizer, torch.randn(8, 10))
    back = pruner.rule.regrowth.back[0].clone()
    before = pruner.layers[0].dense()
    masked_out = pruner.layers[0].mask == 0
    step(model, optimizer, torch.randn(8, 10))
    moved = pruner.layers[0].dense() != before
    assert moved[back].all()
    assert not moved[masked_out].any()


def test_target_counts_those_that_are_back():
    model, optimizer, pruner = attach(budget=0.1, every=5, lr=0.01, target=Ramp(0.4, 10))
    for _ in range(30):
        step(model, optimizer, torch.randn(8, 10))
    assert pruner.density() == pytest.approx(0.4, abs=0.02)
    assert sum(int(n) for n in pruner.rule.regrowth.returned) > 0


@pytest.mark.parametrize("moments", ["clear", "keep", "decay"])
def test_adams_averages_of_a_weight_that_returns(moments):
    model, optimizer, pruner = attach(budget=0.1, every=20, moments=moments, optimizer=torch.optim.Adam, lr=1e-4)
    layer = pruner.layers[0]
    pruner.integrate()
    for _ in range(5):  # averages of weights that train
        step(model, optimizer, torch.randn(8, 10))
    pruner.prune()
    before = {name: value.clone() for name, value in layer.moments().items()}
    assert set(before) == {"exp_avg", "exp_avg_sq"}
    off = layer.mask == 0
    for _ in range(19):
        step(model, optimizer, torch.randn(8, 10))
    away = {name: value.clone() for name, value in layer.moments().items()}
    step(model, optimizer, torch.randn(8, 10))  # the update
    back = pruner.rule.regrowth.back[0] & off
    assert back.any()
    after = layer.moments()
    for name, beta in (("exp_avg", 0.9), ("exp_avg_sq", 0.999)):
        if moments == "keep":
            assert torch.equal(away[name][off], before[name][off])
            assert torch.equal(after[name][back], before[name][back])
        else:
            torch.testing.assert_close(away[name][off], before[name][off] * beta**19)
            expected = torch.zeros_like(before[name]) if moments == "clear" else before[name] * beta**20
            torch.testing.assert_close(after[name][back], expected[back])


def test_state_goes_on_where_it_stopped():
    model, optimizer, pruner = attach(every=4, lr=0.05)
    for _ in range(6):
        step(model, optimizer, torch.ones(2, 10))
    saved = (model.state_dict(), pruner.state_dict())
    saved = torch.utils._pytree.tree_map(lambda v: v.clone() if isinstance(v, torch.Tensor) else v, saved)
    for _ in range(4):
        step(model, optimizer, torch.ones(2, 10))
    other, other_optimizer, other_pruner = attach(every=4, lr=0.05)
    other.load_state_dict(saved[0])
    other_pruner.load_state_dict(saved[1])
    for _ in range(4):
        step(other, other_optimizer, torch.ones(2, 10))
    for ours, theirs in zip(pruner.layers, other_pruner.layers, strict=True):
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.dense(), theirs.dense())
        assert torch.equal(ours.mask, theirs.mask)


@pytest.mark.parametrize("arguments", [{"budget": 0.0}, {"budget": 1.5}, {"every": 0}, {"moments": "forget"}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r"budget|moments"):
        Regrowth(**arguments)


def test_under_straight_through_the_averages_are_left_alone():
    torch.manual_seed(0)
    model = nn.Linear(10, 12)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    pruner = Pruner(model, optimizer, Threshold(penalty=0.0, lr=0.0, regrowth=Regrowth(0.2, every=3)))
    pruner.layers[0].threshold.fill_(1.0)
    pruner.refresh()
    for _ in range(3):
        step(model, optimizer, torch.randn(8, 10))
    back = pruner.rule.regrowth.back[0]
    assert back.any()
    assert pruner.layers[0].moments()["exp_avg_sq"][back].min() > 0


def test_state_goes_to_the_device_of_the_weights():
    pruner = attach(every=4)[2]
    state = pruner.rule.regrowth.state_dict()
    meta = {name: [value.to("meta") for value in values] for name, values in state.items()}
    pruner.rule.regrowth.importance = [value.to("meta") for value in pruner.rule.regrowth.importance]
    with pytest.raises(NotImplementedError):  # nothing to copy from there: it tried to bring it to the CPU
        pruner.rule.regrowth.load_state_dict(meta)
    pruner.rule.regrowth.load_state_dict({**meta, **{k: v for k, v in state.items() if k != "importance"}})
    assert pruner.rule.regrowth.importance[0].device.type == "meta"
