"""A mask is a view: exact values, dense gradients, nothing in the way when it is all ones."""

import copy

import pytest
import torch
from torch import nn

from rggan.networks import SNGANDiscriminator, SNGANGenerator
from rggan.pruning import Pruner, masked


def test_value_is_the_product_exactly():
    weight, mask = torch.randn(50, 20), torch.rand(50, 20).round(decimals=1)
    assert torch.equal(masked(weight, mask), weight * mask)


def test_gradient_is_the_dense_one_also_under_a_gradient_penalty():
    """The same as differentiating by the effective weight, as a leaf of its own, in float64."""
    weight = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(6, 4) < 0.5).double()
    effective = (weight.detach() * mask).requires_grad_()
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)

    def loss(w: torch.Tensor) -> torch.Tensor:
        out = torch.tanh(x @ w.T).square().sum()
        (slope,) = torch.autograd.grad(out, x, create_graph=True)
        return out + 10 * slope.square().sum()

    (through_mask,) = torch.autograd.grad(loss(masked(weight, mask)), weight)
    (reference,) = torch.autograd.grad(loss(effective), effective)
    torch.testing.assert_close(through_mask, reference, rtol=1e-12, atol=1e-12)
    assert through_mask[mask == 0].abs().min() > 0  # masked weights do receive one


NETWORKS = {
    "generator": (lambda: SNGANGenerator(16, 1, 8), lambda: (torch.randn(4, 128),)),
    "generator 64": (lambda: SNGANGenerator(64, 3, 8), lambda: (torch.randn(4, 128),)),
    "conditional generator": (
        lambda: SNGANGenerator(16, 1, 8, classes=3),
        lambda: (torch.randn(4, 128), torch.tensor([0, 1, 2, 0])),
    ),
    "discriminator": (lambda: SNGANDiscriminator(32, 3, 8), lambda: (torch.randn(4, 3, 32, 32),)),
    "conditional discriminator": (
        lambda: SNGANDiscriminator(16, 1, 8, classes=3),
        lambda: (torch.randn(4, 1, 16, 16), torch.tensor([0, 1, 2, 0])),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_ones_mask_is_bit_identical_to_no_pruner(name):
    make, inputs = NETWORKS[name]
    plain = make()
    pruned = copy.deepcopy(plain)
    pruner = Pruner(pruned, torch.optim.SGD(pruned.parameters(), lr=0.1))
    arguments = inputs()
    for network in (plain, pruned):
        network(*arguments).square().sum().backward()
    gradients = {layer.name: layer.weight.grad for layer in pruner.layers}
    assert torch.equal(plain(*arguments), pruned(*arguments))
    assert gradients
    for key, gradient in gradients.items():
        module, tensor = key.rsplit(".", 1)
        owner = plain.get_submodule(module)
        raw = owner.parametrizations[tensor].original if hasattr(owner, "parametrizations") else owner.weight
        assert torch.equal(gradient, raw.grad), key


@pytest.mark.slow
def test_change_of_the_mask_shows_through_a_compiled_module():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    compiled = torch.compile(model, backend="aot_eager")
    x = torch.randn(5, 4)
    before = compiled(x)
    with torch.no_grad():
        pruner.layers[1].mask.mask.zero_()
    assert torch.equal(compiled(x), model[2].bias.expand(5, 1))
    assert not torch.equal(compiled(x), before)
    pruner.integrate()
    assert torch.equal(compiled(x), before)
