"""Layers as one, as on a GPU, are pruned as they are one by one."""

import copy

import pytest
import torch
from torch import nn

from rggan.pruning import Adaptive, Pruner, Ramp, Regrowth, Rows, Rule, Threshold, host
from rggan.pruning.fan import hold
from rggan.pruning.layer import Layer
from rggan.pruning.together import LARGE, Together, fits, parted
from rggan.pruning.whole import keep_alive


def network(last):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 6, 1),
        nn.Flatten(),
        nn.Linear(6 * 25, 12),
        nn.Linear(12, 12),
        nn.Linear(12, 4),
    )
    return model.to(memory_format=torch.channels_last) if last else model


RULES = {
    "penalty": lambda: Threshold(penalty=3.0, lr=1e-2, floor=0.05),
    "target": lambda: Threshold(target=Ramp(0.2, steps=15), every=3, lr=1e-2),
    "sparse": lambda: Threshold(target=0.03, every=2, lr=1e-2),
    "even": lambda: Threshold(target=0.3, every=2, distribution="even"),
    "no floor": lambda: Threshold(target=0.3, every=2, floor=0.0),
    "two targets": lambda: Threshold(target={"9.*": 0.5, "*": 0.2}, every=2),
    "hard": lambda: Threshold("hard", target=0.2, every=2),
    "rows": lambda: Threshold(target=0.4, every=2, granularity=Rows(least=1)),
    "regrown": lambda: Threshold("hard", target=0.3, every=2, regrowth=Regrowth(0.05, every=3)),
    "adaptive": lambda: Threshold(target=Adaptive(kimg=0.05, every=2), every=2),
}


def trained(rule, last, steps=24):
    """A network and its pruner after some steps; somebody writes to weights between two of them, once it fades."""
    model = network(last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    pruner = Pruner(model, optimizer, rule)
    random = torch.Generator().manual_seed(1)
    for step in range(steps):
        x, y = torch.randn(4, 3, 5, 5, generator=random), torch.randn(4, 4, generator=random)
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
        if rule.courses and isinstance(rule.courses[0], Adaptive):
            rule.courses[0].observe(torch.ones(10))
        with torch.no_grad():
            if step == 8:
                model[5].weight[0, 0] = 0.25
                model[5].weight[1, 1] = 0.0
        if step == 12:
            pruner.integrate(fade=3)
        if step == 17:
            pruner.prune()
    return model, pruner


@pytest.mark.parametrize("last", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RULES)
def test_many_layers_as_one_train_as_each_by_itself(name, last, monkeypatch):
    plain, pruner = trained(RULES[name](), last)
    monkeypatch.setattr(host, "reads_freely", lambda values: False)
    model, together = trained(RULES[name](), last)
    assert parted(together.layers)[0] is not None
    assert pruner.density() < 1
    for ours, theirs in zip(together.layers, pruner.layers, strict=True):
        assert torch.equal(ours.mask, theirs.mask), ours.name
        torch.testing.assert_close(ours.dense(), theirs.dense(), rtol=1e-4, atol=1e-6, msg=ours.name)
        torch.testing.assert_close(ours.threshold, theirs.threshold, rtol=1e-4, atol=1e-5, msg=ours.name)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def layers_of(*shapes, last=False):
    made = []
    for number, shape in enumerate(shapes):
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(number))
        weight = weight.to(memory_format=torch.channels_last) if last and len(shape) == 4 else weight
        made.append(Layer(f"{number}", f"{number}", nn.Parameter(weight)))
    return made


SHAPES = ((4, 3, 3, 3), (5, 6), (4, 3, 3, 3), (7, 4, 1, 1), (5, 6))


@pytest.mark.parametrize("last", [False, True])
def test_sums_maxima_and_places_are_those_of_each_layer(last):
    layers = layers_of(*SHAPES, last=last)
    flat = Together(layers)
    assert sorted(layer.name for layer in flat.layers) == sorted(layer.name for layer in layers)
    weights, named = flat.weights(), {layer.name: layer.weight.detach() for layer in layers}
    own = [named[layer.name] for layer in flat.layers]
    rows = torch.cat([w.flatten(1).sum(dim=1) for w in own])
    torch.testing.assert_close(flat.row_sums(weights), rows)
    assert torch.equal(flat.row_maxima(weights), torch.cat([w.flatten(1).amax(dim=1) for w in own]))
    assert torch.equal(flat.layer_maxima(weights), torch.stack([w.amax() for w in own]))
    channels = [w.movedim(1, 0).flatten(1).amax(dim=1) for w in own]
    assert torch.equal(flat.channel_maxima(weights), torch.cat(channels))
    third = torch.stack([w.flatten().sort(descending=True).values[2] for w in own])
    assert torch.equal(flat.nth_largest(weights, [2] * len(own)), third)
    assert torch.equal(weights[flat.row_places(weights)], flat.row_maxima(weights))
    assert torch.equal(weights[flat.channel_places(weights)], flat.channel_maxima(weights))
    targets = [torch.empty_like(w) for w in own]
    flat.put(targets, weights)
    assert all(torch.equal(target, w) for target, w in zip(targets, own, strict=True))


def test_of_equal_weights_one_is_kept(monkeypatch):
    monkeypatch.setattr(host, "reads_freely", lambda values: False)
    layers = layers_of((4, 3), (4, 3))
    for layer in layers:
        layer.mask.zero_()
        layer.weight.data.zero_()
    hold(layers, 1)
    for layer in layers:
        assert layer.mask.sum(dim=1).amin() >= 1
        assert layer.mask.sum(dim=0).amin() >= 1
        assert layer.mask.sum() <= 4 + 3


def test_gradients_that_lie_otherwise_are_converted_too(monkeypatch):
    def run():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        pruner = Pruner(model, optimizer, Threshold(target=0.4, every=2))
        for _ in range(6):
            optimizer.zero_grad()
            model(torch.randn(4, 6)).square().mean().backward()
            model[0].weight.grad = model[0].weight.grad.t().contiguous().t()
            optimizer.step()
        return pruner.layers[0].dense()

    plain = run()
    monkeypatch.setattr(host, "reads_freely", lambda values: False)
    torch.testing.assert_close(run(), plain)


def test_a_loaded_state_has_its_own_density(monkeypatch):
    monkeypatch.setattr(host, "reads_freely", lambda values: False)

    def made(density):
        model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        return model, optimizer, Pruner(model, optimizer, Threshold(target=density, every=10))

    def train(model, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(4, 20)).square().mean().backward()
            optimizer.step()

    ours, other = made(0.5), made(0.2)
    train(*ours[:2], 10)
    train(*other[:2], 5)
    ours[2].load_state_dict(copy.deepcopy(other[2].state_dict()))
    train(*ours[:2], 5)
    assert ours[2].density() == pytest.approx(0.2, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True])
def test_nothing_dies_and_each_neuron_and_channel_keeps_one(last, monkeypatch):
    ours, theirs = layers_of(*SHAPES, last=last), layers_of(*SHAPES, last=last)
    for layer in (*ours, *theirs):
        layer.mask.copy_(torch.rand(layer.mask.shape, generator=torch.Generator().manual_seed(7)) < 0.1)
    for layer in (ours[1], theirs[1]):
        layer.mask.zero_()
    keep_alive(theirs)
    hold(theirs, 1)
    monkeypatch.setattr(host, "reads_freely", lambda values: False)
    keep_alive(ours)
    hold(ours, 1)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.mask, other.mask)
        assert one.mask.flatten(1).any(dim=1).all()
        assert one.mask.movedim(1, 0).flatten(1).any(dim=1).all()


def test_large_layers_and_other_kinds_stay_alone():
    assert fits(Layer("a", "a", nn.Parameter(torch.zeros(4, 4))))
    assert not fits(Layer("a", "a", nn.Parameter(torch.zeros(LARGE // 4 + 1, 4))))
    assert not fits(Layer("a", "a", nn.Parameter(torch.zeros(4, 4)), dim=1))
    assert not fits(Layer("a", "a", nn.Parameter(torch.zeros(4, 4)), alive=0))
    assert not fits(Layer("a", "a", nn.Parameter(torch.zeros(4))))
    assert not fits(Layer("a", "a", nn.Parameter(torch.zeros(4, 4).bfloat16())))
    assert not fits(Layer("a", "a", nn.Parameter(torch.zeros(4, 4).t()[:, :3])))


def test_a_network_that_was_pruned_as_one_is_read_and_goes_on_elsewhere(monkeypatch):
    monkeypatch.setattr(host, "reads_freely", lambda values: False)
    model, pruner = trained(RULES["target"](), True, steps=11)
    state, weights = copy.deepcopy(pruner.state_dict()), copy.deepcopy(model.state_dict())
    monkeypatch.undo()
    other = network(False)
    optimizer = torch.optim.Adam(other.parameters(), lr=1e-2)
    follower = Pruner(other, optimizer, RULES["target"]())
    other.load_state_dict(weights)
    follower.load_state_dict(state)
    for ours, theirs in zip(follower.layers, pruner.layers, strict=True):
        assert torch.equal(ours.dense(), theirs.dense())
        assert torch.equal(ours.weight, theirs.weight)


class Soft(Rule):
    """Masks between 0 and 1."""

    def update(self, layers):
        for layer in layers:
            layer.mask.fill_(0.5)


@pytest.mark.parametrize("freely", [True, False])
def test_masks_between_0_and_1_lose_nothing(freely, monkeypatch):
    monkeypatch.setattr(host, "reads_freely", lambda values: freely)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    pruner = Pruner(model, optimizer, Soft())
    before = [layer.dense() for layer in pruner.layers]
    for _ in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    for layer, dense in zip(pruner.layers, before, strict=True):
        assert torch.equal(layer.dense(), dense)
        assert torch.equal(layer.weight, dense / 2)
