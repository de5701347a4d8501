"""Grown, pruned and surviving weights, against counting by hand."""

import random

import torch
from torch import nn

from rggan.pruning import Ledger, Pruner


def test_counts_agree_with_a_count_by_hand():
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    ledger = Ledger(pruner)
    numbers = random.Random(0)
    before = {layer.name: [1] * layer.weight.numel() for layer in pruner.layers}
    born_before = {name: [0] * len(mask) for name, mask in before.items()}
    for turn in range(6):
        if turn == 3:
            pruner.integrate()
            found = ledger.look()
            assert all(row["density"] == 1 and "births" not in row for row in found.values())
            pruner.prune()
        after = {name: [numbers.randint(0, 1) for _ in mask] for name, mask in before.items()}
        for layer in pruner.layers:
            layer.mask.copy_(torch.tensor(after[layer.name]).view_as(layer.weight))
        found = ledger.look()
        for name, mask in after.items():
            old = before[name]
            born = [int(a and not b) for a, b in zip(mask, old, strict=True)]
            assert found[name]["births"] == sum(born)
            assert found[name]["deaths"] == sum(b and not a for a, b in zip(mask, old, strict=True))
            assert found[name]["stayed"] == sum(b and a for b, a in zip(born_before[name], mask, strict=True))
            assert abs(found[name]["density"] - sum(mask) / len(mask)) < 1e-6
            born_before[name] = born
        before = after


def test_quantiles_of_thresholds_and_state():
    model = nn.Linear(5, 101)
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    pruner.layers[0].threshold.copy_(torch.arange(101).flip(0))
    ledger, other = Ledger(pruner), Ledger(pruner)
    pruner.layers[0].mask[0].zero_()
    row = ledger.look()["weight"]
    assert row["thresholds"] == [5, 25, 50, 75, 95]
    other.load_state_dict(ledger.state_dict())
    pruner.layers[0].mask[0].fill_(1)
    assert other.look() == ledger.look()
