"""Whole channels: what belongs together, gradients against autograd, and what is left after all that is masked goes."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from rggan.export.shrink import shrink
from rggan.networks import FAMILIES
from rggan.pruning import Channels, Magnitude, OneShot, Pruner, Ramp, Regrowth, Static, Threshold, coupled
from tests.conftest import train_steps
from tests.pruning.test_rules import Step

FAMILY_NAMES = ("sngan", "biggan", "stylegan2", "fastgan")


class Residual(nn.Module):
    """Two branches are summed; the second layer and the shortcut make the same channels."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8, bias=False), nn.Linear(8, 7, bias=False)
        self.shortcut, self.last = nn.Linear(6, 7, bias=False), nn.Linear(7, 3, bias=False)

    def forward(self, x):
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x))) + self.shortcut(x)))


def count(module):
    return sum(p.numel() for p in module.parameters())


def made(name, classes=0, width=8):
    torch.manual_seed(0)
    return FAMILIES.get(name).generator((32, 32), 3, width, 16, classes)


def given(name, classes=0, batch=4):
    labels = (torch.arange(batch) % classes,) if classes else ()
    return (torch.randn(batch, 16), *labels)


def shrunk(network, name, classes=0):
    """Of StyleGAN2 with truncation, so that the average style is looked at, too."""
    z, *labels = given(name, classes)
    return shrink(network, z, *(labels or [None]), *([0.5] if name == "stylegan2" else []))


def test_what_a_sum_ties_together():
    found = coupled(Residual(), torch.randn(2, 6))
    assert found["second.weight"][0] == found["shortcut.weight"][0] == found["last.weight"][1]
    assert found["first.weight"][0] == found["second.weight"][1]
    assert len({*found["first.weight"][0], *found["second.weight"][0]}) == 15
    assert set(found["first.weight"][1] + found["last.weight"][0]) == {-1}  # inputs and outputs


@pytest.mark.parametrize(
    ("name", "together"),
    [
        ("sngan", ["blocks.1.conv2.weight", "blocks.1.shortcut.weight", "blocks.2.norm1.bias"]),
        ("biggan", ["blocks.1.conv2.weight", "blocks.1.shortcut.weight", "blocks.2.norm1.gain.weight"]),
        ("stylegan2", ["blocks.1.layers.1.conv.weight", "blocks.1.to_rgb.affine.weight", "blocks.1.layers.1.bias"]),
        ("fastgan", ["blocks.1.conv1.conv.weight", "blocks.1.conv1.norm.weight"]),
    ],
)
def test_what_a_family_ties_together(name, together):
    found = coupled(made(name), *given(name))
    first, *others = (found[each][0] for each in together)
    assert -1 not in first
    assert all(first == other for other in others)


def test_all_places_of_a_map_and_both_halves_of_a_gate_are_one():
    linear = coupled(made("sngan"), *given("sngan"))["linear.weight"][0]
    assert linear == [label for label in linear[::16] for _ in range(16)]
    gated = coupled(made("fastgan"), *given("fastgan"))["blocks.0.conv1.conv.weight"][0]
    assert gated[: len(gated) // 2] == gated[len(gated) // 2 :]


@pytest.mark.parametrize("layer", [nn.LayerNorm(8), nn.Softmax(dim=1)])
def test_what_needs_all_channels_keeps_them(layer):
    found = coupled(nn.Sequential(nn.Linear(4, 8), layer, nn.Linear(8, 2)), torch.randn(2, 4))
    assert set(found["0.weight"][0]) == {-1}


def test_gradients_agree_with_autograd():
    torch.manual_seed(0)
    model = Residual().double()
    x = torch.randn(4, 6, dtype=torch.float64)
    channels = Channels(coupled(model, x), least=1)
    rule = Threshold(lr=1.0, penalty=0.0, granularity=channels, floor=0)
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.0), rule)
    one, two = (torch.linspace(0.7, 1.3, n, dtype=torch.float64) for n in (8, 7))
    start = {"first.weight": one, "second.weight": two, "shortcut.weight": two}
    for layer in pruner.layers:
        layer.threshold.copy_(start.get(layer.name, torch.zeros(3, dtype=torch.float64)))
    pruner.refresh()
    assert 0.1 < pruner.density() < 0.9
    torch.tanh(model(x)).square().sum().backward()
    weights = {layer.name: layer.dense().requires_grad_() for layer in pruner.layers}
    with pruner.dense():
        rule.gradient(pruner.layers)

    scaled = {name: (w / w.detach().square().mean().sqrt()).square() for name, w in weights.items()}
    of_first = (scaled["first.weight"].mean(1) + scaled["second.weight"].mean(0)) / 2
    rows = scaled["second.weight"].mean(1) + scaled["shortcut.weight"].mean(1)
    of_second = (rows + scaled["last.weight"].mean(0)) / 3
    t_one, t_two = one.clone().requires_grad_(), two.clone().requires_grad_()
    kept_one, kept_two = Step.apply(of_first.sqrt() - t_one), Step.apply(of_second.sqrt() - t_two)
    h = torch.tanh(x @ weights["first.weight"].T) @ (weights["second.weight"] * kept_one).T
    y = torch.tanh(h + x @ weights["shortcut.weight"].T) @ (weights["last.weight"] * kept_two).T
    torch.tanh(y).square().sum().backward()

    for layer in pruner.layers:
        torch.testing.assert_close(layer.weight.grad, weights[layer.name].grad, rtol=1e-9, atol=1e-12)
        own = {"first.weight": t_one, "last.weight": None}.get(layer.name, t_two)
        if own is not None:
            torch.testing.assert_close(rule.pull[layer.name], own.grad, rtol=1e-9, atol=1e-12)


RULES = {
    "thresholds": lambda c: Threshold(target=Ramp(0.3, 10), every=2, lr=0.02, granularity=c),
    "regrown": lambda c: Threshold(
        "hard", target=Ramp(0.3, 10), every=2, granularity=c, regrowth=Regrowth(0.03, every=5)
    ),
    "magnitude": lambda c: Magnitude(Ramp(0.3, 10), every=2, channels=c),
    "magnitude, global": lambda c: Magnitude(Ramp(0.3, 10), every=2, channels=c, distribution="global"),
    "static": lambda c: Static(0.3, channels=c),
    "one shot": lambda c: OneShot(0.3, channels=c),
}


WIDTHS = {"biggan": 4, "fastgan": 4}
CELLS = [("sngan", 0, rule) for rule in RULES] + [(name, 0, "thresholds") for name in FAMILY_NAMES[1:]]
CELLS += [("sngan", 3, "thresholds"), ("biggan", 3, "magnitude"), ("stylegan2", 3, "regrown")]


@pytest.mark.parametrize(("name", "classes", "rule"), CELLS)
def test_what_was_pruned_leaves_a_generator_and_its_pictures_stay(name, classes, rule):
    network = made(name, classes, WIDTHS.get(name, 12))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    channels = Channels(coupled(network, *given(name, classes)), least=2)
    pruner = Pruner(network, optimizer, RULES[rule](channels))
    for _ in range(16):
        optimizer.zero_grad()
        (network(*given(name, classes)) - 0.3).square().mean().backward()
        optimizer.step()
        assert pruner.density() > 0.5 or all(layer.mask.any() for layer in pruner.layers)
    if rule != "regrown":
        assert 0.2 < pruner.density() < 0.35
    network.eval()
    x = given(name, classes, 5)
    with torch.no_grad():
        want = network(*x)
    assert want.isfinite().all()
    copied = pruner.pruned_copy()
    small = shrunk(copied, name, classes)
    with torch.no_grad():
        for other in (copied, small, shrunk(network, name, classes)):
            assert (other(*x) - want).abs().max() <= 2e-5 * max(1, want.abs().max())
    # All that is left of the pruned weights is what counts as kept.
    names = {layer.name for layer in pruner.layers}
    left = sum(p.numel() for n, p in small.named_parameters() if n in names)
    assert left == sum(int(layer.kept().sum()) for layer in pruner.layers)


@pytest.mark.parametrize("rule", ["thresholds", "magnitude"])
def test_rows_and_columns_are_zero_in_what_is_saved(rule):
    model = Residual()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    pruner = Pruner(model, optimizer, RULES[rule](Channels(coupled(model, torch.randn(1, 6)), least=1)))
    train_steps(model, optimizer, lambda: torch.randn(4, 6), 20)
    saved = pruner.pruned_copy()
    gone = (saved.last.weight == 0).all(dim=0)
    assert gone.any()
    assert torch.equal((saved.second.weight == 0).all(dim=1), gone)
    assert torch.equal((saved.shortcut.weight == 0).all(dim=1), gone)
    assert torch.equal((saved.first.weight == 0).all(dim=1), (saved.second.weight[~gone] == 0).all(dim=0))


def test_each_layer_keeps_some_channels_however_low_the_target():
    network = made("sngan", width=16)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    channels = Channels(coupled(network, *given("sngan")), least=3)
    pruner = Pruner(network, optimizer, Threshold(target=0.001, every=1, lr=0.05, granularity=channels))
    for _ in range(6):
        optimizer.zero_grad()
        network(*given("sngan")).square().mean().backward()
        optimizer.step()
    small = shrunk(pruner.pruned_copy(), "sngan")
    assert {block.conv1.out_channels for block in small.blocks} == {3}
    assert small.to_rgb.in_channels == 3


def test_without_a_target_no_layer_dies():
    model = Residual()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    channels = Channels(coupled(model, torch.randn(1, 6)), least=2)
    pruner = Pruner(model, optimizer, Threshold(penalty=50.0, lr=0.5, granularity=channels))
    train_steps(model, optimizer, lambda: torch.randn(4, 6), 30)
    kept = {layer.name: layer.mask.any(dim=0).sum().item() for layer in pruner.layers}
    assert (kept["second.weight"], kept["last.weight"]) == (2, 2)


def test_even_takes_the_same_share_of_each_layer():
    network = made("sngan", width=16)
    channels = Channels(coupled(network, *given("sngan")), least=1)
    pruner = Pruner(network, torch.optim.Adam(network.parameters()), Static(0.3, channels=channels))
    shares = [
        layer.mask.amax(dim=(0, *range(2, layer.mask.dim()))).mean().item()
        for layer in pruner.layers
        if layer.weight.dim() == 4
    ]
    assert max(shares) - min(shares) <= 1 / 8  # of the narrowest, one channel


def test_channels_come_back():
    """Their columns have gradients, as their rows stay in training."""
    torch.manual_seed(0)
    model = Residual()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    channels = Channels(coupled(model, torch.randn(1, 6)), least=1)
    pruner = Pruner(model, optimizer, Threshold(target=0.4, every=1, lr=0.0, granularity=channels))
    seen = []
    for _ in range(60):
        optimizer.zero_grad()
        (model(torch.randn(16, 6)) - 1).square().mean().backward()
        optimizer.step()
        seen.append(pruner.layers[-1].mask[0].clone())
    assert any((later > earlier).any() for earlier, later in pairwise(seen))
    pruner.integrate()
    assert pruner.density() == 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda c: Threshold(target={"first.*": 0.5, "*": 0.2}, granularity=c), "one density for all layers"),
        (lambda c: Threshold(target=0.5, distribution="even", granularity=c), "one density for all layers"),
        (lambda c: Static(0.5, distribution="erk", channels=c), "'global' or 'even'"),
        (lambda c: Magnitude(0.5, min_fan=1, channels=c), "without min_fan"),
        (lambda c: Threshold(granularity=Channels({})), "none that can leave"),
        (lambda c: Threshold(granularity=Channels(c.coupling, least=0)), "at least 1 channel, not 0"),
    ],
)
def test_what_does_not_go_with_channels_is_told(make, told):
    model = Residual()
    with pytest.raises(ValueError, match=told):
        Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1), make(Channels(coupled(model, torch.randn(1, 6)))))
