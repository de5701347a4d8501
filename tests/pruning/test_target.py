"""A target density is reached along its ramp; the loss decides where weights stay, not how many."""

import numpy as np
import pytest
import torch
from torch import nn

from rggan.networks.sngan import SNGANDiscriminator, SNGANGenerator
from rggan.pruning import Pruner, Ramp, Regrowth, Rows, Threshold
from rggan.pruning.target import cut
from tests.conftest import train_steps


def wide(width=32):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))


@pytest.mark.parametrize("power", [1, 3], ids=["linear", "cubic"])
def test_ramp_follows_zhu_and_gupta(power):
    ramp = Ramp(0.2, steps=50, power=power)
    for step in range(80):
        share = min(step, 50) / 50
        sparsity = 0.8 + (0 - 0.8) * (1 - share) ** power  # their eq. 1 with s_i = 0, s_f = 0.8
        assert ramp.at(step) == pytest.approx(1 - sparsity)


@pytest.mark.parametrize("density", [0.01, 0.3, 0.5, 0.999, 1.0])
def test_cut_keeps_the_share_as_sorting_does(density):
    random = np.random.default_rng(0)
    parts = [random.normal(size=shape) for shape in ((3, 4), (50,), (2, 2, 2))]
    everything = np.sort(np.concatenate([part.ravel() for part in parts]))[::-1]
    found = cut([torch.tensor(part) for part in parts], density).item()
    assert (everything >= found).sum() == max(1, round(density * len(everything)))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["straight-through", "hard"])
@pytest.mark.parametrize("power", [1, 3])
def test_target_is_reached_and_the_ramp_is_followed_within_two_points(estimator, power):
    model = wide()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pruner = Pruner(model, optimizer, Threshold(estimator, lr=5e-3, target=Ramp(0.3, 200, power), every=10))
    densities = []
    for _ in range(300):
        train_steps(model, optimizer, lambda: torch.randn(16, 8))
        densities.append(pruner.density())
    ramp = Ramp(0.3, 200, power)
    for step in range(10, 301, 10):  # at an update
        assert densities[step - 1] == pytest.approx(ramp.at(step), abs=0.02)
    assert densities[199] == pytest.approx(0.3, abs=0.02)
    assert all(d == pytest.approx(0.3, abs=0.02) for d in densities[199:])


def test_networks_of_a_gan_reach_their_own_targets():
    networks = (SNGANGenerator(16, 1, 8, 16), SNGANDiscriminator(16, 1, 8))
    for network, target, batch in zip(networks, (0.5, 0.2), ((4, 16), (4, 1, 16, 16)), strict=True):
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        pruner = Pruner(network, optimizer, Threshold(target=Ramp(target, 20), every=5))
        train_steps(network, optimizer, lambda batch=batch: torch.randn(batch), 25)
        assert pruner.density() == pytest.approx(target, abs=0.02)


def test_the_loss_decides_where():
    """Layers whose weights matter less to the loss keep fewer; without its gradient their densities are alike."""
    densities = {}
    for lr in (0.0, 0.05):
        torch.manual_seed(0)
        model = nn.ModuleDict({"used": nn.Linear(16, 16, bias=False), "idle": nn.Linear(16, 16, bias=False)})
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        pruner = Pruner(model, optimizer, Threshold(lr=lr, penalty=0.0, target=Ramp(0.5, 1), every=1))
        goal = model["used"].weight.detach().clone()
        for _ in range(60):
            optimizer.zero_grad()
            x = torch.randn(32, 16)
            difference = model["used"](x) - x @ goal.T
            (difference.square().mean() + 1e-6 * model["idle"](x).square().mean()).backward()
            optimizer.step()
        densities[lr] = pruner.densities()
        assert pruner.density() == pytest.approx(0.5, abs=0.02)
    assert abs(densities[0.0]["used.weight"] - densities[0.0]["idle.weight"]) < 0.1
    assert densities[0.05]["used.weight"] > densities[0.05]["idle.weight"] + 0.1


def test_the_pull_moves_thresholds_apart_with_mean_zero():
    model = wide()
    rule = Threshold(lr=0.1, target=Ramp(1.0), every=1000)
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.0), rule)
    model(torch.randn(16, 8)).square().mean().backward()
    rule.gradient(pruner.layers)
    rule.move(pruner.layers)
    moved = torch.cat([layer.threshold for layer in pruner.layers])
    assert moved.abs().max() > 0.01
    assert moved.mean().item() == pytest.approx(0, abs=1e-6)


def test_penalty_has_no_part_in_a_target():
    masks = []
    for penalty in (0.0, 100.0):
        torch.manual_seed(0)
        model = wide()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        pruner = Pruner(model, optimizer, Threshold(penalty=penalty, lr=0.01, target=Ramp(0.4, 10)))
        train_steps(model, optimizer, lambda: torch.randn(16, 8), 30)
        masks.append(torch.cat([layer.mask.flatten() for layer in pruner.layers]))
    assert torch.equal(*masks)


def test_dense_phases_do_not_count_and_pruning_goes_on_where_it_stood():
    model = wide()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pruner = Pruner(model, optimizer, Threshold(target=Ramp(0.3, 100, power=1), every=10))
    train_steps(model, optimizer, lambda: torch.randn(16, 8), 50)
    assert pruner.density() == pytest.approx(0.65, abs=0.02)
    pruner.integrate()
    train_steps(model, optimizer, lambda: torch.randn(16, 8), 200)
    pruner.prune()
    assert pruner.density() == pytest.approx(0.65, abs=0.05)  # the weights have moved since
    train_steps(model, optimizer, lambda: torch.randn(16, 8), 50)
    assert pruner.density() == pytest.approx(0.3, abs=0.02)


def test_rows_reach_a_target_as_nearly_as_rows_can():
    model = wide(64)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pruner = Pruner(model, optimizer, Threshold(target=Ramp(0.5, 20), granularity=Rows()))
    train_steps(model, optimizer, lambda: torch.randn(16, 8), 30)
    for layer in pruner.layers:
        assert set(layer.mask.mean(dim=1).tolist()) <= {0.0, 1.0}
    largest = max(layer.weight.shape[1] for layer in pruner.layers) / pruner.total
    assert pruner.density() == pytest.approx(0.5, abs=0.02 + largest)


@pytest.mark.parametrize("target", [0.0, -0.1, 1.01, float("nan"), "half"])
def test_targets_that_are_no_density_are_refused(target):
    with pytest.raises(ValueError, match="target density"):
        Threshold(target=target)
    with pytest.raises(ValueError, match="target density"):
        Ramp(target, 10)


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"steps": 5, "power": 0}])
def test_ramps_without_length_are_refused(arguments):
    with pytest.raises(ValueError, match="at least 1 step"):
        Ramp(0.5, **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.005, 0.01, 0.02, 0.03])
def test_small_targets_are_reached_and_no_layer_falls_below_its_floor(target):
    model = wide(64)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pruner = Pruner(model, optimizer, Threshold(lr=1e-2, target=Ramp(target, 50), every=5, min_fan=0))
    for _ in range(80):
        train_steps(model, optimizer, lambda: torch.randn(16, 8))
        assert min(pruner.densities().values()) > 0
    assert pruner.density() == pytest.approx(target, abs=0.02)
    for layer in pruner.layers:
        assert layer.mask.sum() >= max(1, round(0.01 * layer.weight.numel())) - 2  # weights moved since the update


def test_regrowth_above_the_target_is_refused():
    with pytest.raises(ValueError, match="must be below the target density"):
        Threshold(target=0.3, regrowth=Regrowth(0.5))
