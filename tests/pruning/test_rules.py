"""The thresholds' gradients agree with autograd through the step function; what is masked stays masked."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm as hook_spectral_norm
from torch.nn.utils.parametrizations import spectral_norm

from rggan.pruning import Pruner, PublishedThreshold, Threshold
from tests.conftest import train_steps


class Step(torch.autograd.Function):
    """The unit step with the slope of dynamic sparse training, written down independently of ours."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        size = x.abs()
        slope = torch.where(size <= 0.4, 2 - 4 * size, 0.4 * (size <= 1).to(x.dtype))
        return gradient * slope


class Reference(nn.Module):
    """A linear layer whose threshold is a Parameter and whose step function autograd goes through."""

    def __init__(self, weight, threshold, norm, detached):
        super().__init__()
        self.weight, self.threshold = nn.Parameter(weight.clone()), nn.Parameter(threshold.clone())
        self.norm, self.detached = norm, detached

    def forward(self, x):
        size = self.weight.abs() / self.weight.detach().square().mean().sqrt()
        mask = Step.apply(size - self.threshold[:, None])
        weight = self.weight * (mask.detach() if self.detached else mask)
        return x @ (self.norm(weight) if self.norm else weight).T


def layer_with_norm(norm):
    layer = nn.Linear(7, 5, bias=False).double()
    if norm:
        spectral_norm(layer)
        layer.eval()  # a fixed point of the power iteration, the same for both
    return layer


def loss_of(model, x, penalised):
    x = x.clone().requires_grad_()
    loss = torch.tanh(model(x)).square().sum()
    if penalised:
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        loss = loss + 10 * slope.square().sum()
    return loss


@pytest.mark.parametrize("penalised", [False, True], ids=["", "gradient penalty"])
@pytest.mark.parametrize("norm", [False, True], ids=["", "spectral norm"])
@pytest.mark.parametrize("estimator", ["straight-through", "hard"])
def test_gradients_agree_with_autograd(estimator, norm, penalised):
    penalty = 0.3
    layer = layer_with_norm(norm)
    rule = Threshold(estimator, penalty=penalty, lr=1.0)
    pruner = Pruner(layer, torch.optim.SGD(layer.parameters(), lr=0.0), rule)
    (entry,) = pruner.layers
    entry.threshold.copy_(torch.linspace(0.1, 1.2, 5))
    pruner.refresh()
    assert 0.1 < pruner.density() < 0.95

    normalise = layer.parametrizations.weight[0] if norm else None
    reference = Reference(entry.dense(), entry.threshold, normalise, estimator == "hard")
    x = torch.randn(3, 7, dtype=torch.float64)
    (loss_of(reference, x, penalised) + penalty * torch.exp(-reference.threshold).sum()).backward()

    loss_of(layer, x, penalised).backward()
    before = entry.threshold.clone()
    with pruner.dense():
        rule.gradient(pruner.layers)
    torch.testing.assert_close(entry.weight.grad, reference.weight.grad, rtol=1e-9, atol=1e-12)
    pull = rule.pull["weight"] if rule.pull else torch.zeros(5, dtype=torch.float64)
    gradient = pull - penalty * torch.exp(-before)
    torch.testing.assert_close(gradient, reference.threshold.grad, rtol=1e-9, atol=1e-12)

    # The step that follows descends that gradient, the loss's part scaled to unit root mean square.
    scale = pull.square().mean().sqrt() if rule.pull else 1.0
    rule.move(pruner.layers)
    expected = before - (pull / scale - penalty * torch.exp(-before))
    torch.testing.assert_close(entry.threshold, expected, rtol=1e-9, atol=1e-12)


def test_zero_thresholds_are_the_identity_even_for_zero_weights():
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    nn.init.zeros_(model[1].weight)  # a zero-initialised output layer must not be frozen for ever
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer, Threshold("hard", lr=0.0))
    pruner.refresh()
    assert pruner.density() == 1.0
    train_steps(model, optimizer, lambda: torch.randn(3, 4))
    assert pruner.density() == 1.0
    assert model[1].weight.abs().min() > 0


def test_step_that_overflowed_harms_no_threshold():
    """A gradient scaler with a fused optimizer calls step() on infinite gradients, and only then leaves it out."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    pruner = Pruner(model, optimizer, Threshold(lr=0.01))
    for scale in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        (model(torch.randn(3, 4)).square().mean() * scale).backward()
        optimizer.found_inf = torch.tensor(float(scale != 1.0))  # what torch.amp.GradScaler tells it
        optimizer.step()
    for layer in pruner.layers:
        assert layer.threshold.isfinite().all()
        assert layer.weight.isfinite().all()


def pruner_optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.9, 0.99)),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
    ],
    ids=["Adam", "AdamW", "SGD"],
)
@pytest.mark.parametrize("norm", ["", "parametrization", "hook"])
def test_hard_masked_weights_are_frozen_bit_for_bit(make, norm):
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    if norm == "parametrization":
        spectral_norm(model[0])
    if norm == "hook":
        hook_spectral_norm(model[0])
    optimizer = make(model.parameters())
    pruner = Pruner(model, optimizer, Threshold("hard", lr=0.0))
    train_steps(model, optimizer, lambda: torch.randn(8, 4), 5)  # fills the momenta of all weights
    for layer in pruner.layers:
        layer.threshold.fill_(0.8)
    pruner.refresh()
    off = [layer.mask == 0 for layer in pruner.layers]
    before = [layer.dense() for layer in pruner.layers]
    assert all(mask.any() and not mask.all() for mask in off)
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
    for layer, mask, old in zip(pruner.layers, off, before, strict=True):
        assert old[mask].abs().min() > 0
        assert torch.equal(layer.dense()[mask], old[mask])
        assert not torch.equal(layer.dense()[~mask], old[~mask])


def test_hard_thresholds_follow_the_stated_law():
    """t = log(1 + lr * lambda * steps), whatever the width, the batch and the loss (to the step's own size)."""
    model = nn.Linear(4, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pruner = Pruner(model, optimizer, Threshold("hard", penalty=2.0, lr=1e-3))
    train_steps(model, optimizer, lambda: torch.randn(3, 4), 300)
    torch.testing.assert_close(pruner.layers[0].threshold, torch.full((8,), math.log(1.6)), rtol=2e-3, atol=0)


def test_straight_through_regenerates_a_weight_that_matters_again():
    """A masked weight goes on training, and returns when the loss makes it large."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.2]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    pruner = Pruner(model, optimizer, Threshold(lr=0.0))
    pruner.layers[0].threshold.fill_(0.5)
    pruner.refresh()
    assert pruner.layers[0].mask.tolist() == [[1, 0]]
    for _ in range(100):
        optimizer.zero_grad()
        x = torch.randn(16, 2)
        (model(x) - x.sum(1, keepdim=True)).square().mean().backward()  # the target needs both weights
        optimizer.step()
    assert pruner.layers[0].mask.tolist() == [[1, 1]]
    torch.testing.assert_close(model.weight, torch.ones(1, 2), rtol=0.1, atol=0)


@pytest.mark.parametrize("estimator", ["straight-through", "hard"])
def test_collapsed_layer_is_rescued_and_others_are_left_alone(estimator):
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pruner = Pruner(model, optimizer, Threshold(estimator, lr=0.0))
    pruner.layers[0].threshold.fill_(100.0)
    pruner.layers[1].threshold.fill_(0.7)
    train_steps(model, optimizer, lambda: torch.randn(3, 4))
    assert pruner.layers[0].threshold.tolist() == [0.0] * 8
    assert pruner.densities()["0.weight"] == 1.0
    assert pruner.layers[1].threshold.tolist() == pytest.approx([0.7, 0.7])
    assert 0 < pruner.densities()["1.weight"] < 1


def test_layer_under_a_spectral_norm_is_rescued_before_it_is_ever_all_zero():
    """An all-zero weight has norm 0: one forward pass through it would be NaN."""
    model = nn.Sequential(spectral_norm(nn.Linear(4, 8)), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pruner = Pruner(model, optimizer, Threshold(lr=0.0))
    pruner.layers[0].threshold.fill_(100.0)
    train_steps(model, optimizer, lambda: torch.randn(3, 4), 3)
    assert model(torch.randn(3, 4)).isfinite().all()


def test_thresholds_are_scale_free_in_units_of_the_layers_rms():
    model = nn.Linear(64, 32)
    pruner = Pruner(model, pruner_optimizer(model))
    pruner.layers[0].threshold.fill_(0.6)
    densities = []
    for scale in (1e-3, 1.0, 1e3):
        with torch.no_grad(), pruner.dense():
            model.weight.mul_(scale)
        pruner.refresh()
        densities.append(pruner.density())
    assert densities[0] == densities[1] == densities[2] < 1


@pytest.mark.parametrize(("penalty", "moved"), [(1e-12, 2e-8), (1e-13, 2e-9), (1e-4, 2e-4)])
def test_published_lambda_acts_only_through_adams_epsilon(penalty, moved):
    """What measuring the published code shows: 2e-8 a step at 1e-12, 2e-9 at 1e-13, at most lr."""
    model = nn.Linear(4, 8).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.0, 0.9))
    pruner = Pruner(model, optimizer, PublishedThreshold(penalty))
    train_steps(model, optimizer, lambda: torch.randn(3, 4, dtype=torch.float64))
    assert pruner.layers[0].threshold.tolist() == pytest.approx([moved] * 8, rel=2e-3)


def test_published_normalises_before_the_mask():
    layer = nn.Linear(6, 5, bias=False)
    spectral_norm(layer)
    layer.eval()
    normalised = layer.weight.detach().clone()
    pruner = Pruner(layer, pruner_optimizer(layer), PublishedThreshold())
    pruner.layers[0].threshold.fill_(normalised.abs().median().item())
    pruner.refresh()
    off = normalised.abs() < normalised.abs().median()
    assert torch.equal(layer.weight == 0, off)
    assert torch.equal(layer.weight[~off], normalised[~off])


@pytest.mark.parametrize("norm", [False, True], ids=["", "spectral norm"])
def test_published_gives_masked_weights_no_gradient(norm):
    layer = nn.Linear(6, 5, bias=False)
    if norm:
        spectral_norm(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    pruner = Pruner(layer, optimizer, PublishedThreshold(lr=0.0))
    with pruner.dense():
        pruner.layers[0].mask[0].zero_()
    before = pruner.layers[0].dense()
    layer(torch.randn(2, 6)).sum().backward()
    optimizer.step()
    gradient = pruner.layers[0].weight.grad
    assert gradient[1:].abs().min() > 0
    if not norm:  # behind one, a masked weight takes part in the norm
        assert gradient[0].abs().max() == 0
        assert torch.equal(pruner.layers[0].dense()[0], before[0])


@pytest.mark.parametrize("arguments", [{"estimator": "soft"}, {"penalty": -1.0}, {"lr": -1.0}, {"floor": 1.0}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r"estimator|negative"):
        Threshold(**arguments)
