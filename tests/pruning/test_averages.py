"""Averages of every kind, made before the Pruner or after it, are averages of what G shows, and as sparse as G."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rggan.pruning import Magnitude, Pruner, Ramp, Threshold
from rggan.training.ema import EMA

DECAY = 0.9


def network():
    return nn.Sequential(spectral_norm(nn.Linear(8, 64)), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 16))


def averaged(use_buffers):
    def make(g):
        average = AveragedModel(g, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=use_buffers)
        return lambda: average.update_parameters(g), lambda: average

    return make


def ema_pytorch(g):
    library = pytest.importorskip("ema_pytorch")
    average = library.EMA(g, beta=DECAY, update_after_step=-1, update_every=1, inv_gamma=1e-9, min_value=DECAY)
    return average.update, lambda: average.ema_model


def loop(update):
    """A deep copy, and a function of (copy, G) after each step."""

    def make(g):
        average = copy.deepcopy(g).eval()

        @torch.no_grad()
        def step():
            update(average, g)

        return step, lambda: average

    return make


def rosinality(average, g):
    """`accumulate` of rosinality's StyleGAN2, FastGAN and lightweight-gan: parameters by name."""
    parameters = dict(g.named_parameters())
    for name, p in average.named_parameters():
        p.data.mul_(DECAY).add_(parameters[name].data, alpha=1 - DECAY)


def stylegan(average, g):
    """NVIDIA's: parameters by their order; buffers copied."""
    for p, q in zip(average.parameters(), g.parameters(), strict=True):
        p.copy_(q.lerp(p, DECAY))
    for p, q in zip(average.buffers(), g.buffers(), strict=True):
        p.copy_(q)


def timm(average, g):
    """timm's ModelEmaV2 and BigGAN-PyTorch's: the whole state."""
    for p, q in zip(average.state_dict().values(), g.state_dict().values(), strict=True):
        p.copy_(DECAY * p + (1 - DECAY) * q)


def own(g):
    average = EMA(network(), g, DECAY)
    average.updates = 10**6  # past its warm-up
    return lambda: average.update(g), lambda: average.network


KINDS = {
    "AveragedModel": averaged(False),
    "AveragedModel, buffers": averaged(True),
    "ema-pytorch": ema_pytorch,
    "parameters by name": loop(rosinality),
    "parameters by order": loop(stylegan),
    "whole state": loop(timm),
    "rggan": own,
}


RULES = {
    "magnitude": lambda: Magnitude(Ramp(0.3, 10), every=2),  # whose masks hold still from then on
    "straight-through": lambda: Threshold(target=Ramp(0.3, 10), every=2, lr=1e-3),
}


@pytest.mark.parametrize("rule", ["straight-through", pytest.param("magnitude", marks=pytest.mark.slow)])
@pytest.mark.parametrize("first", ["average", pytest.param("pruner", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_average_is_that_of_the_effective_weights_and_as_sparse_as_g(kind, first, rule):
    torch.manual_seed(0)
    g = network()
    optimizer = torch.optim.Adam(g.parameters(), 1e-2)
    if first == "average":
        update, get = KINDS[kind](g)
    pruner = Pruner(g, optimizer, RULES[rule]())
    if first == "pruner":
        update, get = KINDS[kind](g)
    expected = {}
    for step in range(70):
        optimizer.zero_grad()
        (g(torch.randn(32, 8)) - 1).square().mean().backward()
        optimizer.step()
        update()
        for layer in pruner.layers:
            if step < 2:  # some begin with the first update, not with a copy
                expected[layer.key] = weights_of(get())[layer.key].double().clone()
            else:
                expected[layer.key].mul_(DECAY).add_(layer.weight.detach().double(), alpha=1 - DECAY)
    average = get()
    weights = weights_of(average)
    for layer in pruner.layers:
        torch.testing.assert_close(weights[layer.key].double(), expected[layer.key], rtol=1e-4, atol=1e-6)
    if rule == "magnitude":  # what has been masked for sixty steps has faded by 0.9^60
        seen = [(weights[layer.key].abs() > 2e-3).flatten() for layer in pruner.layers]
        assert torch.cat(seen).float().mean() == pytest.approx(pruner.density(), abs=0.02)

    copied = pruner.pruned_copy(average)
    network().load_state_dict(copied.state_dict(), strict=True)
    kept = sum(int((weights_of(copied)[layer.key] != 0).sum()) for layer in pruner.layers)
    assert kept / pruner.total == pruner.density() == pytest.approx(0.3, abs=0.02)


def weights_of(average):
    return {n: p.detach() for n, p in get_plain(average).named_parameters()}


def get_plain(average):
    return average.module if isinstance(average, AveragedModel) else average


def test_an_average_follows_g_into_the_dense_phase_and_back():
    torch.manual_seed(0)
    g = network()
    optimizer = torch.optim.Adam(g.parameters(), 1e-2)
    pruner = Pruner(g, optimizer, density=0.3)
    update, get = KINDS["parameters by name"](g)
    for phase in (pruner.integrate, pruner.prune):
        phase()
        for _ in range(40):
            optimizer.zero_grad()
            (g(torch.randn(32, 8)) - 1).square().mean().backward()
            optimizer.step()
            update()
        weights = dict(get().named_parameters())
        share = [(weights[layer.key].abs() > 1e-3).float().mean().item() for layer in pruner.layers]
        if pruner.phase == "dense":
            assert min(share) > 0.9
            assert all(
                torch.equal(p, q) for p, q in zip(pruner.pruned_copy().parameters(), g.parameters(), strict=True)
            )
