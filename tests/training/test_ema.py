"""The average is of effective weights, has the live density, and fresh batch statistics."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from rggan.networks.sngan import SNGANGenerator
from rggan.pruning import Pruner, PublishedThreshold, Threshold
from rggan.training.ema import EMA, refresh_batch_statistics


def test_average_against_a_written_out_sum():
    model = nn.Linear(3, 2)
    ema = EMA(nn.Linear(3, 2), model, beta=0.5)
    expected = model.weight.detach().clone().double()
    for step in range(30):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3))
        ema.update(model)
        beta = min(0.5, (1 + step) / (10 + step))
        expected = beta * expected + (1 - beta) * model.weight.detach().double()
    torch.testing.assert_close(ema.network.weight.double(), expected, rtol=1e-5, atol=1e-6)


def masked_generator():
    g = SNGANGenerator(16, 1, 8)
    pruner = Pruner(g, torch.optim.SGD(g.parameters(), lr=0.1), Threshold())
    ema = EMA(SNGANGenerator(16, 1, 8), g)
    for layer in pruner.layers:
        layer.threshold.fill_(0.9)
    pruner.refresh()
    return g, pruner, ema


def test_snapshot_has_the_density_that_is_reported_and_the_average_is_left_alone():
    g, pruner, ema = masked_generator()
    ema.update(g)
    before = {name: value.clone() for name, value in ema.network.state_dict().items()}
    z = torch.randn(32, 128)
    snapshot = ema.snapshot(pruner, [lambda network: network(z)])
    weights = dict(snapshot.named_parameters())
    kept = sum(int((weights[layer.name] != 0).sum()) for layer in pruner.layers)
    assert kept / pruner.total == pytest.approx(pruner.density(), abs=1e-9)
    assert 0.2 < pruner.density() < 0.8
    assert (ema.network.linear.weight == 0).sum() == 0  # not yet decayed: the live mask had to be applied
    assert all(torch.equal(value, before[name]) for name, value in ema.network.state_dict().items())
    assert not snapshot.training


def test_names_not_positions_match():
    """A published mask moves a weight behind the bias in the order of parameters."""
    model = nn.Sequential(spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 4))
    Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1), PublishedThreshold())
    names = [[n.rsplit(".", 1)[-1] for n, _ in m.named_parameters()] for m in (model, nn.Linear(4, 4))]
    assert names[0][:2] != names[1]
    ema = EMA(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), model, beta=0.0)
    ema.update(model)
    torch.testing.assert_close(ema.network[0].bias, model[0].bias)
    torch.testing.assert_close(ema.network[1].weight, model[1].weight)


def test_batch_statistics_are_the_plain_mean_over_the_batches():
    network = nn.Sequential(nn.BatchNorm1d(3))
    network[0].running_mean.fill_(99)
    batches = [torch.randn(50, 3) + 5 for _ in range(4)]
    refresh_batch_statistics(network, [lambda net, x=x: net(x) for x in batches])
    torch.testing.assert_close(network[0].running_mean, torch.stack([x.mean(0) for x in batches]).mean(0))
    torch.testing.assert_close(network[0].running_var, torch.stack([x.var(0) for x in batches]).mean(0))
    assert network[0].momentum == 0.1
    assert not network.training


def test_resumed_average_goes_on():
    model = nn.Linear(3, 2)
    ema = EMA(nn.Linear(3, 2), model)
    for _ in range(5):
        ema.update(model)
    other = EMA(nn.Linear(3, 2), model)
    other.load_state_dict(ema.state_dict())
    with torch.no_grad():
        model.weight.add_(1)
    for average in (ema, other):
        average.update(model)
    assert torch.equal(ema.network.weight, other.network.weight)


def test_snapshot_of_a_fading_network_is_not_attenuated_twice():
    g, pruner, _ = masked_generator()
    pruner.integrate(fade=4)
    for _ in range(2):  # halfway
        g(torch.randn(2, 128)).mean().backward()
        pruner.optimizers[0].step()
    ema = EMA(SNGANGenerator(16, 1, 8), g)
    snapshot = ema.snapshot(pruner, [])
    assert set(pruner.layers[0].mask.unique().tolist()) == {0.5, 1.0}
    torch.testing.assert_close(snapshot.linear.weight, g.linear.weight)
