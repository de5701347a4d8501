"""Attaching to any model, integrating, and leaving again."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm as hook_spectral_norm
from torch.nn.utils.parametrizations import orthogonal, spectral_norm

from rggan.networks.sngan import SNGANDiscriminator
from rggan.pruning import Pruner, PublishedThreshold, Threshold, prunable
from tests.conftest import train_steps


def small():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05)


def half_masked(pruner):
    for layer in pruner.layers:
        layer.threshold.fill_(0.8)
    pruner.refresh()
    assert 0.2 < pruner.density() < 0.9


@pytest.mark.parametrize("estimator", ["straight-through", "hard"])
def test_integrate_restores_the_dense_weights_and_prune_takes_up_the_thresholds(estimator):
    model = small()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    pruner = Pruner(model, optimizer, Threshold(estimator))
    half_masked(pruner)
    train_steps(model, optimizer, lambda: torch.randn(8, 4), 3)
    density = pruner.density()
    dense = [layer.dense() for layer in pruner.layers]
    assert (dense[0][pruner.layers[0].mask == 0] != 0).all()
    assert not torch.equal(model[0].weight, dense[0])
    pruner.integrate()
    assert pruner.phase == "dense"
    assert pruner.density() == 1.0
    for module, weight in zip((model[0], model[2]), dense, strict=True):
        assert torch.equal(module.weight, weight)
    pruner.prune()
    assert pruner.density() == density


def test_dense_phase_trains_as_if_there_were_no_pruner():
    plain, pruned = small(), None
    pruned = copy.deepcopy(plain)
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.01) for model in (plain, pruned)]
    Pruner(pruned, optimizers[1], Threshold("hard", lr=0.5)).integrate()
    for model, optimizer in zip((plain, pruned), optimizers, strict=True):
        random = torch.Generator().manual_seed(1)
        train_steps(model, optimizer, lambda random=random: torch.randn(8, 4, generator=random), 5)
    assert torch.equal(plain[0].weight, pruned[0].weight)
    assert torch.equal(plain[2].bias, pruned[2].bias)


def test_density_counts_kept_over_total_and_does_not_advance_a_power_iteration():
    network = SNGANDiscriminator(16, 1, 8)
    pruner = Pruner(network, sgd(network))
    half_masked(pruner)
    vectors = {name: value.clone() for name, value in network.named_buffers() if name.endswith(("_u", "_v"))}
    masks = [layer.mask for layer in pruner.layers]
    kept = sum(int((mask != 0).sum()) for mask in masks)
    assert pruner.density() == pytest.approx(kept / sum(mask.numel() for mask in masks), abs=1e-12)
    assert pruner.densities()[pruner.layers[0].name] == pytest.approx(masks[0].mean().item())
    pruner.refresh()
    assert vectors
    assert all(torch.equal(value, vectors[name]) for name, value in network.named_buffers() if name in vectors)


def test_published_masks_do_not_advance_a_power_iteration_either():
    layer = spectral_norm(nn.Linear(6, 5))
    pruner = Pruner(layer, sgd(layer), PublishedThreshold())
    before = layer.parametrizations.weight[0]._u.clone()
    pruner.refresh()
    assert torch.equal(layer.parametrizations.weight[0]._u, before)
    assert layer.parametrizations.weight[0].training


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.frozen = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.frozen.weight.requires_grad_(False)

    def forward(self, x):
        return self.frozen(self.second(self.first(x)))


def test_tied_weights_share_one_mask_and_frozen_ones_are_skipped_by_name():
    model = Tied()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    pruner = Pruner(model, optimizer, Threshold("hard", lr=0.05))
    assert [layer.name for layer in pruner.layers] == ["first.weight"]
    assert "frozen" in pruner.skipped["frozen.weight"]
    train_steps(model, optimizer, lambda: torch.randn(8, 4), 10)
    assert pruner.density() < 1
    assert torch.equal(model.first.weight, model.second.weight)
    assert (model.second.weight == 0).sum() == (pruner.layers[0].mask == 0).sum()
    frozen = model.frozen.weight.clone()
    train_steps(model, optimizer, lambda: torch.randn(8, 4), 3)
    assert torch.equal(model.frozen.weight, frozen)


def test_weight_shared_with_a_module_that_is_not_pruned_is_skipped():
    model = nn.ModuleDict({"embedding": nn.Embedding(3, 4), "head": nn.Linear(4, 3), "body": nn.Linear(16, 16)})
    model["head"].weight = model["embedding"].weight
    pruner = Pruner(model, sgd(model))
    assert [layer.name for layer in pruner.layers] == ["body.weight"]
    assert "shared" in pruner.skipped["head.weight"]


def test_other_reasons_to_skip_are_told():
    model = nn.ModuleDict(
        {
            "normed": orthogonal(nn.Linear(4, 4)),
            "foreign": nn.Linear(4, 4),
            "lazy": nn.LazyLinear(3),
            "own": nn.Linear(4, 4),
        }
    )
    trained = [*model["own"].parameters(), *model["normed"].parameters(), *model["lazy"].parameters()]
    pruner = Pruner(model, torch.optim.SGD(trained, lr=0.1))
    assert [layer.name for layer in pruner.layers] == ["own.weight"]
    assert "makes other numbers of zeros" in pruner.skipped["normed.weight"]
    assert "optimizer" in pruner.skipped["foreign.weight"]
    assert "lazy" in pruner.skipped["lazy.weight"]


def test_nothing_to_prune_and_two_pruners_are_refused():
    with pytest.raises(ValueError, match="nothing to prune in Embedding"):
        Pruner(nn.Embedding(3, 3), torch.optim.SGD([torch.zeros(1)], lr=0.1))
    model = small()
    optimizer = sgd(model)
    Pruner(model, optimizer)  # its optimizer holds it
    with pytest.raises(ValueError, match=r"0\.weight already has a Pruner"):
        Pruner(model, sgd(model))
    del optimizer  # nothing trains with the first one any more
    assert Pruner(model, sgd(model)).density() == 1


class Modulated(nn.Module):
    """A StyleGAN2-like weight, [1, out, in, k, k]."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 6, 4, 3, 3))


@pytest.mark.parametrize(
    ("module", "dim", "neurons"),
    [
        (nn.ConvTranspose2d(3, 5, 4), 1, 5),
        (nn.Conv2d(4, 8, 3, groups=2), 0, 8),
        (nn.Conv1d(4, 8, 3), 0, 8),
        (Modulated(), 1, 6),
    ],
    ids=["transposed", "grouped", "1d", "modulated"],
)
def test_one_threshold_per_output_neuron(module, dim, neurons):
    pruner = Pruner(module, sgd(module), select=lambda name, m: 1 if isinstance(m, Modulated) else prunable(name, m))
    (layer,) = pruner.layers
    assert layer.threshold.shape == (neurons,)
    layer.threshold[2] = 50.0  # all of neuron 2's weights go, and no other
    pruner.refresh()
    gone = layer.mask.transpose(0, dim)[2]
    assert gone.max() == 0
    assert pruner.density() == pytest.approx(1 - 1 / neurons)


@pytest.mark.parametrize("norm", [None, spectral_norm, hook_spectral_norm], ids=["plain", "parametrized", "hook"])
@pytest.mark.filterwarnings("ignore")
def test_detach_leaves_the_effective_weights_and_unharmed_copies(norm):
    model = small()
    if norm:
        norm(model[0])
    names = list(model.state_dict())
    optimizer = sgd(model)
    pruner = Pruner(model, optimizer)
    half_masked(pruner)
    model.eval()
    copied = copy.deepcopy(model)
    x = torch.randn(8, 4)
    before = model(x)
    pruner.detach()
    assert sorted(model.state_dict()) == sorted(names)
    assert type(model[2]) is nn.Linear
    for network in (model, copied):
        assert torch.equal(network(x), before)
    zeros = (model[2].weight == 0).sum()
    train_steps(model.train(), optimizer, lambda: x)
    assert (model[2].weight == 0).sum() < zeros  # no hook masks them any more
    assert Pruner(model, optimizer).density() == 1.0


def test_detach_of_the_published_variant_keeps_the_mask_without_a_norm():
    model = small()
    pruner = Pruner(model, sgd(model), PublishedThreshold())
    with pruner.dense():
        pruner.layers[0].mask[:, 0].zero_()
    x = torch.randn(8, 4)
    before = model(x)
    pruner.detach()
    assert torch.equal(model(x), before)
    assert model[0].weight[:, 0].abs().max() == 0


def test_detach_behind_a_norm_bakes_it_in():
    layer = spectral_norm(nn.Linear(6, 5)).eval()
    pruner = Pruner(layer, sgd(layer), PublishedThreshold())
    pruner.layers[0].mask[0].zero_()
    before = layer.weight.clone()
    pruner.detach()
    assert type(layer) is nn.Linear
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("make", [Threshold, lambda: PublishedThreshold(1e-3)], ids=["threshold", "published"])
def test_resumed_pruner_goes_on_as_the_one_that_never_stopped(make):
    def fresh():
        torch.manual_seed(1)
        model = small()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        return model, optimizer, Pruner(model, optimizer, make())

    def batches(seed):
        random = torch.Generator().manual_seed(seed)
        return lambda: torch.randn(8, 4, generator=random)

    model, optimizer, pruner = fresh()
    train_steps(model, optimizer, batches(1), 10)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), pruner.state_dict()))
    train_steps(model, optimizer, batches(2), 10)

    other, other_optimizer, other_pruner = fresh()
    for part, state in zip((other, other_optimizer, other_pruner), saved, strict=True):
        part.load_state_dict(state)
    train_steps(other, other_optimizer, batches(2), 10)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert pruner.layers[0].threshold.max() > 0


@pytest.mark.parametrize("estimator", ["straight-through", "hard"])
def test_integration_can_fade_in(estimator):
    model = small()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    pruner = Pruner(model, optimizer, Threshold(estimator))
    half_masked(pruner)
    off = [layer.mask == 0 for layer in pruner.layers]
    pruner.integrate(fade=4)
    for step in range(6):
        share = min(step, 4) / 4
        for layer, masked_out in zip(pruner.layers, off, strict=True):
            assert (layer.mask[masked_out] == share).all()
            assert (layer.mask[~masked_out] == 1).all()
        train_steps(model, optimizer, lambda: torch.randn(8, 4))
    assert pruner.fading is None
    assert pruner.density() == 1.0


def test_while_it_fades_weights_get_the_derivative_of_weight_times_mask():
    model = nn.Linear(4, 3, bias=False).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    pruner = Pruner(model, optimizer)
    (layer,) = pruner.layers
    with pruner.dense():
        layer.mask[0].zero_()
    pruner.integrate(fade=2)
    x = torch.randn(5, 4, dtype=torch.float64)
    for share in (0.0, 0.5):
        weight = layer.dense().requires_grad_()
        mask = torch.ones(3, 1, dtype=torch.float64)
        mask[0] = share
        (x @ (weight * mask).T).square().sum().backward()
        before = layer.dense()
        train_steps_sum(model, optimizer, x)
        torch.testing.assert_close(layer.dense(), before - weight.grad)


def train_steps_sum(model, optimizer, x):
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()


def test_pruning_again_ends_a_fade_and_a_second_integrate_does_not_restart_it():
    model = small()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    pruner = Pruner(model, optimizer, Threshold("hard"))
    half_masked(pruner)
    density = pruner.density()
    pruner.integrate(fade=10)
    train_steps(model, optimizer, lambda: torch.randn(8, 4), 3)
    pruner.integrate(fade=10)
    assert pruner.fading == (3, 10)
    saved = copy.deepcopy((model.state_dict(), pruner.state_dict()))
    other = small()
    again = Pruner(other, sgd(other), Threshold("hard"))
    other.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    assert (again.phase, again.fading) == ("dense", (3, 10))
    pruner.prune()
    assert pruner.fading is None
    assert pruner.density() == pytest.approx(density, abs=0.1)
    assert set(pruner.layers[0].mask.unique().tolist()) == {0.0, 1.0}
    pruner.integrate()
    assert pruner.density() == 1.0


def test_a_rule_serves_one_network_and_a_wrapped_module_is_refused():
    rule, first, second = Threshold(), small(), small()
    Pruner(first, sgd(first), rule)
    with pytest.raises(ValueError, match="belongs to another Pruner"):
        Pruner(second, sgd(second), rule)
    assert Pruner(second, sgd(second)).density() == 1.0  # the refused one left no mask behind

    class Wrapped(nn.parallel.DistributedDataParallel):
        def __init__(self, module):
            nn.Module.__init__(self)
            self.module = module

    with pytest.raises(ValueError, match=r"Sequential is wrapped by DistributedDataParallel: give the module itself"):
        Pruner(Wrapped(small()), sgd(second))


def test_an_optimizer_without_the_models_weights_is_named():
    with pytest.raises(
        ValueError, match=r"nothing to prune in Sequential: 0\.weight: this optimizer does not train it"
    ):
        Pruner(small(), sgd(small()))
