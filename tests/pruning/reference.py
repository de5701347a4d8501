"""The mask in the graph, as autograd multiplies it: what the swap at the optimizer's step must equal.

It is also how rggan 0.1 worked, mask and threshold in the model's own state.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rggan.pruning import Layer, Pruner, Rule
from rggan.pruning.select import prunable, select_weights


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, mask):
        return weight * mask

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def masked(weight: Tensor, mask: Tensor) -> Tensor:
    """`weight * mask`, whose gradient reaches `weight` as if there were no mask: the dense gradient."""
    return _Masked.apply(weight, mask)


class Mask(nn.Module):
    """A parametrization, before all others."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight))
        self.register_buffer("threshold", weight.new_zeros(0))

    def forward(self, weight: Tensor) -> Tensor:
        return masked(weight, self.mask)


class InGraph(Layer):
    """The dense weight stays the parameter; nothing is swapped."""

    def __init__(self, module: nn.Module, tensor: str, found, optimizer) -> None:
        super().__init__(found.name, found.key, found.weight, found.dim, found.groups, optimizers=[optimizer])
        self.module = Mask(found.weight.detach())
        self.mask, self.module.threshold = self.module.mask, self.threshold
        if parametrize.is_parametrized(module, tensor):
            module.parametrizations[tensor].insert(0, self.module)
        else:
            parametrize.register_parametrization(module, tensor, self.module, unsafe=True)
        self.before = None

    def open(self):
        self.before = self.weight.detach().clone() if self.before is None else self.before

    def close(self):
        self.before = None
        if not self.keeps:
            self.weight.data.mul_(self.mask)

    def freeze(self):
        self.weight.data.copy_(torch.where(self.mask > 0, self.weight.data, self.before))

    def dense(self):
        return self.weight.detach().clone()


class ReferencePruner(Pruner):
    """The same rules and phases over masks that stand in the graph."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, rule: Rule) -> None:
        trained = {id(p): optimizer for group in optimizer.param_groups for p in group["params"]}
        self.model, self.selection = model, select_weights(model, trained, prunable, (), (), False)
        layers: Sequence[Layer] = [InGraph(*c.owners[0], c, optimizer) for c in self.selection.chosen]
        super(Pruner, self).__init__("reference", layers, rule, [optimizer])
