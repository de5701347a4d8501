"""Whole rows: gradients against autograd, coupled layers share a mask, rows go and come whole."""

import pytest
import torch
from torch import nn

from rggan.pruning import Pruner, Ramp, Regrowth, Rows, Threshold
from tests.conftest import train_steps
from tests.pruning.test_rules import Step


class Residual(nn.Module):
    """A block whose two branches are summed."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8, bias=False), nn.Linear(8, 5, bias=False)
        self.shortcut = nn.Linear(6, 5, bias=False)

    def forward(self, x):
        return self.second(torch.relu(self.first(x))) + self.shortcut(x)


COUPLED = [("second.weight", "shortcut.weight")]


def attach(coupled, lr=1.0, **options):
    torch.manual_seed(0)
    model = Residual().double()
    rule = Threshold(lr=lr, granularity=Rows(coupled, least=1), floor=0, **options)
    return model, rule, Pruner(model, torch.optim.SGD(model.parameters(), lr=0.0), rule)


def row_size(weight):
    return weight.square().mean(dim=1).sqrt() / weight.detach().square().mean().sqrt()


@pytest.mark.parametrize("coupled", [(), COUPLED], ids=["single", "coupled"])
def test_row_gradients_agree_with_autograd(coupled):
    model, rule, pruner = attach(coupled, penalty=0.0)
    thresholds = {
        layer.name: torch.linspace(0.7, 1.3, len(layer.threshold), dtype=torch.float64) for layer in pruner.layers
    }
    for layer in pruner.layers:
        layer.threshold.copy_(thresholds[layer.name])
    pruner.refresh()
    assert 0.1 < pruner.density() < 0.9
    x = torch.randn(4, 6, dtype=torch.float64)
    torch.tanh(model(x)).square().sum().backward()
    weights = {layer.name: layer.dense().requires_grad_() for layer in pruner.layers}
    with pruner.dense():
        rule.gradient(pruner.layers)

    t = {name: value.clone().requires_grad_() for name, value in thresholds.items()}
    sizes = {name: row_size(weight) for name, weight in weights.items()}
    if coupled:
        shared = torch.stack([sizes[name].square() for name in COUPLED[0]]).mean(dim=0).sqrt()
        sizes |= dict.fromkeys(COUPLED[0], shared)
        t |= dict.fromkeys(COUPLED[0], t[COUPLED[0][0]])  # one threshold for both
    effective = {name: weights[name] * Step.apply(sizes[name] - t[name])[:, None] for name in weights}
    y = torch.relu(x @ effective["first.weight"].T) @ effective["second.weight"].T + x @ effective["shortcut.weight"].T
    torch.tanh(y).square().sum().backward()

    for layer in pruner.layers:
        torch.testing.assert_close(layer.weight.grad, weights[layer.name].grad, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(rule.pull[layer.name], t[layer.name].grad, rtol=1e-9, atol=1e-12)


def test_coupled_rows_leave_all_layers_or_none():
    model, _, pruner = attach(COUPLED, lr=0.05, target=Ramp(0.4, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    pruner.detach()
    pruner = Pruner(model, optimizer, Threshold(lr=0.05, granularity=Rows(COUPLED), target=Ramp(0.4, 10), every=1))
    seen = set()
    for _ in range(40):
        train_steps(model, optimizer, lambda: torch.randn(4, 6, dtype=torch.float64))
        rows = {layer.name: layer.mask.mean(dim=1) for layer in pruner.layers}
        assert all(set(values.tolist()) <= {0.0, 1.0} for values in rows.values())
        assert torch.equal(rows["second.weight"], rows["shortcut.weight"])
        seen.add(tuple(rows["second.weight"].tolist()))
    assert any(0 in pattern for pattern in seen)
    thresholds = {layer.name: layer.threshold for layer in pruner.layers}
    assert torch.equal(thresholds["second.weight"], thresholds["shortcut.weight"])


def test_rows_of_a_transposed_convolution_are_its_outputs():
    model = nn.ConvTranspose2d(3, 6, 4)
    rule = Threshold(granularity=Rows())
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1), rule)
    (layer,) = pruner.layers
    layer.threshold[2] = 100.0
    pruner.refresh()
    assert layer.mask[:, 2].max() == 0
    assert pruner.density() == pytest.approx(5 / 6)
    model(torch.randn(2, 3, 5, 5)).square().mean().backward()
    rule.gradient(pruner.layers)
    assert layer.weight.grad.isfinite().all()


def test_coupling_that_does_not_fit_is_refused_by_name():
    with pytest.raises(ValueError, match=r"nowhere\.weight is no pruned weight"):
        attach([("first.weight", "nowhere.weight")])[1].refresh(attach(())[2].layers)
    model = Residual()
    rule = Threshold(granularity=Rows([("first.weight", "second.weight")]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="different numbers of rows"):
        Pruner(model, optimizer, rule)
    assert type(model.first) is nn.Linear  # the model that was refused is as it was
    with pytest.raises(ValueError, match=r"shortcut\.weight comes twice"):
        attach([("second.weight", "shortcut.weight"), ("shortcut.weight", "first.weight")])
    assert Pruner(model, optimizer).density() == 1.0


@pytest.mark.parametrize("target", [None, Ramp(0.5, 10)])
def test_a_layer_of_zeros_harms_nothing(target):
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    nn.init.zeros_(model[2].weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pruner = Pruner(model, optimizer, Threshold(lr=0.01, granularity=Rows(), target=target))
    train_steps(model, optimizer, lambda: torch.randn(8, 6), 20)
    for layer in pruner.layers:
        assert layer.weight.isfinite().all()
        assert layer.threshold.isfinite().all()


def test_rows_come_back_whole_and_coupled_ones_together():
    torch.manual_seed(0)
    model = Residual().double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    regrowth = Regrowth(budget=0.05, every=3)
    rule = Threshold("hard", granularity=Rows(COUPLED), target=Ramp(0.5, 5), regrowth=regrowth, every=3)
    pruner = Pruner(model, optimizer, rule)
    for _ in range(30):
        optimizer.zero_grad()
        (model(torch.randn(16, 6, dtype=torch.float64)) - 1).square().mean().backward()  # silent rows are asked for
        optimizer.step()
        for values in ([layer.mask for layer in pruner.layers], regrowth.back):
            rows = {layer.name: v.double().mean(dim=1) for layer, v in zip(pruner.layers, values, strict=True)}
            assert all(set(row.tolist()) <= {0.0, 1.0} for row in rows.values())
            assert torch.equal(rows["second.weight"], rows["shortcut.weight"])
    assert sum(int(n) for n in regrowth.returned) > 0
