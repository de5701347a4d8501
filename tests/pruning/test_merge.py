"""Merged weights load into a model that never heard of pruning, and make the same outputs."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm as hook_spectral_norm
from torch.nn.utils.parametrizations import spectral_norm

from rggan.networks import SNGANDiscriminator, SNGANGenerator
from rggan.pruning import Pruner, PublishedThreshold, merged_state_dict


def pruned(make, rule=None):
    model = make()
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1), rule)
    with torch.no_grad():
        for layer in pruner.layers:
            layer.mask.mask.copy_((torch.rand_like(layer.mask.mask) < 0.5).float())
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
