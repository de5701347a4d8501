"""A mask on a weight: pruning as a view, never a write.

The dense weight stays the parameter that the optimizer trains; what the network computes with is
`weight * mask`. Integrating the learnt weights back into the dense network is setting the mask to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class _Masked(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, mask: Tensor) -> Tensor:
        return weight * mask

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def masked(weight: Tensor, mask: Tensor) -> Tensor:
    """`weight * mask`, exactly, whose gradient reaches `weight` as if there were no mask.

    The *dense* gradient of the effective weight is what every pruning rule starts from: it says what a
    masked weight would do if it came back. It holds under a gradient penalty too (the backward is linear).
    An all-ones mask is bit-identical to no mask.

    >>> w = torch.tensor([2.0, 3.0], requires_grad=True)
    >>> masked(w, torch.tensor([1.0, 0.0]))
    tensor([2., 0.], grad_fn=<_MaskedBackward>)
    >>> (masked(w, torch.tensor([1.0, 0.0])) * torch.tensor([5.0, 7.0])).sum().backward()
    >>> w.grad
    tensor([5., 7.])
    """
    return _Masked.apply(weight, mask)


class WeightMask(nn.Module):
    """A parametrization (`torch.nn.utils.parametrize`) that multiplies a weight by its mask.

    It holds buffers only, so that optimizers, learning-rate schedulers and DistributedDataParallel see
    the parameters that they always saw:

    mask: weight-shaped, values 0..1.
    threshold: one value per output neuron, in the units of the rule that moves it; starts at 0.

    `dim` is the weight's output dimension. With `dense_gradient=False` the gradient is cut at masked
    weights inside the graph (the published code's way), rather than by the rule.
    """

    mask: Tensor
    threshold: Tensor

    def __init__(self, weight: Tensor, dim: int = 0, dense_gradient: bool = True) -> None:
        super().__init__()
        self.dim = dim
        self.dense_gradient = dense_gradient
        self.register_buffer("mask", torch.ones_like(weight))
        self.register_buffer("threshold", weight.new_zeros(weight.shape[dim]))

    def forward(self, weight: Tensor) -> Tensor:
        return masked(weight, self.mask) if self.dense_gradient else weight * self.mask

    def extra_repr(self) -> str:
        return f"{tuple(self.mask.shape)}, dim={self.dim}"


def chains(module: nn.Module) -> dict[str, Any]:
    """{tensor name: its ParametrizationList} of one module; empty where nothing is parametrized."""
    return dict(module.parametrizations.items()) if parametrize.is_parametrized(module) else {}  # type: ignore[operator, union-attr]


@dataclass(frozen=True)
class Layer:
    """One prunable weight, as a rule sees it.

    name: the weight's name in the model ('block1.conv.weight').
    weight: the dense parameter that the optimizer trains.
    mask: its WeightMask (several owners of a tied weight share one).
    seen: the weight as the mask meets it, without a gradient: the dense weight itself, or the
        normalised one where the mask stands after a spectral norm.
    moments: the weight-shaped tensors that its optimizer keeps for it, by name (Adam's 'exp_avg' and
        'exp_avg_sq'); empty before the first step.
    """

    name: str
    weight: nn.Parameter
    mask: WeightMask
    seen: Callable[[], Tensor]
    moments: Callable[[], dict[str, Tensor]] = dict

    def per_neuron(self, values: Tensor) -> Tensor:
        """[out] -> a view that broadcasts against the weight."""
        shape = [1] * self.weight.dim()
        shape[self.mask.dim] = -1
        return values.view(shape)

    def neuron_sum(self, values: Tensor) -> Tensor:
        """Weight-shaped -> [out], summed over each output neuron's weights."""
        return values.sum(dim=[d for d in range(values.dim()) if d != self.mask.dim])
