"""Merged weights load into a model that was never pruned, and give the same outputs."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm as hook_spectral_norm
from torch.nn.utils.parametrizations import spectral_norm

from rggan.networks.fastgan import FastGANDiscriminator, FastGANGenerator
from rggan.networks.sngan import SNGANDiscriminator, SNGANGenerator
from rggan.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from rggan.pruning import Pruner, PublishedThreshold, Rule, merged_state_dict, split_state
from tests.pruning.reference import ReferencePruner


def pruned(make, rule=None):
    model = make()
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1), rule)
    with torch.no_grad(), pruner.dense():
        for layer in pruner.layers:
            layer.mask.copy_((torch.rand_like(layer.mask) < 0.5).float())
    return model.eval()


def hooked():
    return nn.Sequential(hook_spectral_norm(nn.Linear(4, 6)), nn.Linear(6, 2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: SNGANGenerator(16, 1, 8), torch.randn(2, 128)),
        (lambda: SNGANDiscriminator(16, 1, 8), torch.randn(2, 1, 16, 16)),
        (hooked, torch.randn(3, 4)),
    ],
    ids=["generator", "discriminator with spectral norm", "hook-style spectral norm"],
)
def test_merged_weights_load_strictly_into_a_plain_model(make, x):
    model = pruned(make)
    state = copy.deepcopy(model.state_dict())
    plain = make().eval()
    plain.load_state_dict(merged_state_dict(model), strict=True)
    # The norm of a masked weight was estimated by the vectors that both share: the same to the last bit.
    assert torch.equal(plain(x), model(x))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())  # only read


def test_published_variant_merges_norm_and_mask_into_a_plain_weight():
    def make():
        return nn.Sequential(spectral_norm(nn.Linear(4, 6)), nn.Linear(6, 2))

    model = pruned(make, PublishedThreshold())
    plain = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    plain.load_state_dict(merged_state_dict(model), strict=True)
    x = torch.randn(3, 4)
    assert torch.equal(plain(x), model(x))


def test_merging_a_deep_copy_leaves_the_original_working():
    """torch's remove_parametrizations on the copy would break the original: they share a class."""
    model = pruned(lambda: nn.Sequential(nn.Linear(4, 2)))
    x = torch.randn(3, 4)
    before = model(x)
    copied = copy.deepcopy(model)
    merged_state_dict(copied)
    assert torch.equal(model(x), before)
    assert torch.equal(copied(x), before)


def test_wrappers_are_seen_through():
    model = pruned(lambda: nn.Sequential(nn.Linear(4, 2)))
    compiled = torch.compile(model, backend="eager")
    assert merged_state_dict(compiled).keys() == {"0.weight", "0.bias"}


def test_only_wrappers_are_unwrapped_and_a_module_may_have_two_names():
    def make():
        model = nn.Module()
        model.module, model.head = nn.Linear(4, 4), nn.Linear(4, 2)
        model.twin = model.head
        return model

    make().load_state_dict(merged_state_dict(pruned(make)), strict=True)


def test_training_mode_and_power_iteration_are_left_as_they_were():
    model = pruned(lambda: spectral_norm(nn.Linear(4, 6)), PublishedThreshold()).train()
    before = model.parametrizations.weight[0]._u.clone()
    merged_state_dict(model)
    assert model.parametrizations.weight.training
    assert torch.equal(model.parametrizations.weight[0]._u, before)


NETWORKS = {
    "spectral norm": lambda: SNGANDiscriminator(16, 3, 8, classes=2),
    "spectral norm, transposed": lambda: FastGANGenerator(32, 1, 4, z_dim=8),
    "spectral norm and batch norm": lambda: FastGANDiscriminator(32, 1, 4),
    "none": lambda: SNGANGenerator(16, 3, 8, z_dim=8),
    "none, modulated": lambda: StyleGAN2Generator(32, 1, 8, z_dim=8),
    "none, equalised": lambda: StyleGAN2Discriminator(32, 1, 8, classes=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_states_that_held_the_masks_become_those_of_now(kind):
    """What rggan 0.1 wrote: dense weights, masks and thresholds in the model's own state."""
    old, plain = NETWORKS[kind](), NETWORKS[kind]()
    reference = ReferencePruner(old, torch.optim.SGD(old.parameters(), lr=0.1), Rule())
    for layer in reference.layers:
        layer.mask.copy_(torch.rand(layer.weight.shape) < 0.5)
        layer.threshold.fill_(0.1)
    before = {name: value.clone() for name, value in old.state_dict().items()}
    assert sum(name.endswith(".mask") for name in before) == len(reference.layers)
    state, layers = split_state(old.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in old.state_dict().items())  # which was only read

    pruner = Pruner(plain, torch.optim.SGD(plain.parameters(), lr=0.1))
    plain.load_state_dict(state, strict=True)
    pruner.load_state_dict({**pruner.state_dict(), "layers": layers})
    for layer, other in zip(pruner.layers, reference.layers, strict=True):
        assert torch.equal(layer.mask, other.mask)
        assert torch.equal(layer.threshold, other.threshold)
        assert torch.equal(layer.dense(), other.weight)
        assert torch.equal(layer.weight, other.weight * other.mask)
    assert {**split_state(plain.state_dict())[0]}.keys() == plain.state_dict().keys()  # nothing to split any more
