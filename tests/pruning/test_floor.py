"""No layer loses its last weight at any step, under any rule: a norm would divide by zero."""

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm as hook_spectral_norm
from torch.nn.utils import weight_norm as hook_weight_norm
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from rggan.pruning import Magnitude, OneShot, Pruner, Ramp, Regrowth, Rows, Rule, Static, Threshold
from rggan.pruning.layer import kept_number


def steps(model, optimizer, count, size=8):
    for _ in range(count):
        optimizer.zero_grad()
        torch.relu(1 - model(torch.randn(16, size))).mean().backward()
        optimizer.step()
        yield


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "norm",
    [
        pytest.param(spectral_norm, id="norm", marks=pytest.mark.slow),
        pytest.param(hook_spectral_norm, id="hook", marks=pytest.mark.slow),
        pytest.param(lambda layer: layer, id="none"),
    ],
)
@pytest.mark.parametrize("granularity", [Rows, type(None)], ids=["rows", "weights"])
@pytest.mark.parametrize("regrowth", [0, pytest.param(0.05, marks=pytest.mark.slow)], ids=["", "regrowth"])
def test_a_layer_keeps_its_floor_at_every_step(norm, granularity, regrowth):
    """A discriminator ends in one row; between two offsets its threshold passes its size."""
    torch.manual_seed(0)
    model = nn.Sequential(norm(nn.Linear(8, 64)), nn.LeakyReLU(0.2), norm(nn.Linear(64, 1)))
    optimizer = torch.optim.Adam(model.parameters(), 2e-4, betas=(0.0, 0.9))
    back = Regrowth(regrowth, every=20) if regrowth else None
    rule = Threshold(target=Ramp(0.3, steps=100), granularity=granularity(), regrowth=back, lr=0.01, floor=0.05)
    pruner = Pruner(model, optimizer, rule)
    lowest = 1.0
    for _ in steps(model, optimizer, 200):
        for layer in pruner.layers:
            assert int((layer.weight != 0).sum()) >= kept_number(0.05, layer.weight.numel()), layer.name
            lowest = min(lowest, layer.mask.mean().item())
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert lowest < 0.35
    assert pruner.density() < 0.45


class AllGone(Rule):
    """A rule of somebody's own that masks everything."""

    def update(self, layers):
        for layer in layers:
            layer.mask.zero_()


GREEDY = {
    "own": AllGone,
    "target": lambda: Threshold(target=0.001, floor=0.0, every=1, min_fan=0),
    "hard": lambda: Threshold("hard", lr=10.0, floor=0.0),
    "one shot": lambda: OneShot(0.001),
    "magnitude": lambda: Magnitude(0.001, every=2),
    "static": lambda: Static(0.001),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [spectral_norm, hook_spectral_norm], ids=["parametrized", "hook"])
@pytest.mark.parametrize("name", GREEDY)
def test_nothing_under_a_spectral_norm_becomes_all_zero(name, norm):
    model = nn.Sequential(norm(nn.Linear(8, 64)), nn.LeakyReLU(0.2), norm(nn.Linear(64, 1)))
    with torch.no_grad():
        model[2].parameters().__next__().mul_(1e-4)  # a global cut takes all of the last layer
    # The one weight that is left stays the same at this rate: power iteration knows no other.
    optimizer = torch.optim.Adam(model.parameters(), 1e-6)
    pruner = Pruner(model, optimizer, GREEDY[name]())
    for _ in steps(model, optimizer, 12):
        assert all(layer.weight.abs().max() > 0 for layer in pruner.layers)
        assert all(torch.isfinite(p).all() for p in model.parameters())
    assert pruner.density() < 0.1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["own", "target", "hard", "magnitude", "static"])
@pytest.mark.parametrize("norm", [weight_norm, hook_weight_norm], ids=["parametrized", "hook"])
@pytest.mark.parametrize("dim", [0, 1, None])
def test_each_row_under_a_weight_norm_keeps_a_weight_at_every_step(norm, dim, name):
    """0/0 otherwise: v / |v|, row by row (HiFi-GAN's transposed convolutions: along the inputs)."""
    model = nn.Sequential(norm(nn.ConvTranspose1d(8, 6, 4, 2, 1), dim=dim), nn.Tanh(), nn.Flatten(), nn.Linear(36, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    pruner = Pruner(model, optimizer, GREEDY[name](), include=() if norm is weight_norm else "0.weight_v")
    layer = pruner.layers[0]
    assert tuple(layer.weight.shape) == (8, 6, 4)
    assert layer.alive == dim
    for _ in range(8):
        optimizer.zero_grad()
        model(torch.randn(4, 8, 3)).square().mean().backward()
        optimizer.step()
        others = [d for d in range(3) if d != dim]
        assert (layer.weight != 0).sum(dim=others if dim is not None else (0, 1, 2)).min() >= 1
        assert all(torch.isfinite(p).all() for p in model.parameters())
    assert layer.mask.mean() < 0.5


def test_coupled_rows_keep_their_floor_together():
    """One row of 140 is too few for 1 % of one layer and, counted in weights, enough for the other."""
    model = nn.ModuleList([nn.Linear(1, 140), nn.Linear(100, 140)])
    rule = Threshold(granularity=Rows([("0.weight", "1.weight")], least=1), target=0.5, floor=0.01)
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), 0.1), rule)
    first, second = pruner.layers
    with pruner.dense():
        size = rule.granularity.row_sizes(pruner.layers, rule.scales(pruner.layers))[0].sort(descending=True).values
    for kept, expected in ((2, 2), (1, 2)):  # with one row left, both stay as they were
        for layer in pruner.layers:
            layer.threshold.fill_((size[kept - 1] + size[kept]) / 2)
        pruner.refresh()
        rows = [int(layer.mask.amax(dim=1).sum()) for layer in (first, second)]
        assert rows == [expected, expected]
