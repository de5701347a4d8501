"""One prunable weight: its mask, its thresholds, and the swap between its dense and its masked value.

Between two optimizer steps the parameter itself holds `W * M`, so that forward, backward, weight averages, state dicts
and export see a plain sparse network. The dense `W` is stored here and restored for the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rggan.pruning import host
from rggan.pruning.packing import pack, read

BLOCK = 1 << 16  # elements per block, so that several passes find them in a core's cache


def kept_number(share: float, total: int) -> int:
    """Returns how many of `total` weights a share keeps: at least one.

    >>> kept_number(0.01, 20), kept_number(0.5, 5)
    (1, 3)
    """
    return min(total, max(1, math.floor(share * total + 0.5)))


class Layer:
    """One prunable weight, as a rule sees it.

    Args:
        name: the weight's name in the model ('block1.conv.weight'). key: that of its parameter in `named_parameters`
            (under a parametrization 'block1.conv.parametrizations.weight.original').
        weight: the parameter. dim: its output dimension. groups: of a grouped transposed convolution, whose weight is
            [in, out / groups, ...]: output j of group i has its own threshold.
        alive: the dimension along which each slice must keep a weight (a weight norm divides by its norm), or None:
            the weight as a whole must keep one.
        optimizers: those that train it, usually one.

    Attributes:
        mask: weight-shaped, of the weight's dtype, 0..1.
        threshold: [out], at least float32; in the units of the rule that updates it; starts at 0.
        keeps: whether the dense values of masked weights are stored; if not, they are lost.
        fades: whether masks lie between 0 and 1.
        rows_kept: tells which rows are read, [out] boolean, where masks are of columns (`Channels`).
        hides: whether the parameter currently holds `W * M`. What the mask takes from the dense weight is in `aside`
            then, or all of it where the mask `fades`; while the parameter is dense, its value when it was opened.
    """

    def __init__(
        self,
        name: str,
        key: str,
        weight: nn.Parameter,
        dim: int = 0,
        groups: int = 1,
        alive: int | None = None,
        optimizers: Sequence[Optimizer] = (),
    ) -> None:
        self.name, self.key, self.weight, self.dim, self.groups, self.alive = name, key, weight, dim, groups, alive
        self.optimizers = list(optimizers)
        self.keeps, self.fades = True, False
        self.together: dict[Any, Any] = {}  # with others, see `rggan.pruning.together`
        values = weight.detach()
        self.mask = torch.ones_like(values)
        out = weight.shape[dim] * groups
        self.threshold = values.new_zeros(out, dtype=torch.promote_types(torch.float32, weight.dtype))
        self.aside: Tensor | None = None
        self.hides = False
        self.rows_kept: Callable[[], Tensor] | None = None

    def __repr__(self) -> str:
        return f"Layer({self.name}, {tuple(self.weight.shape)}, dim={self.dim})"

    def kept(self) -> Tensor:
        """Returns which weights are kept, boolean: not masked, and in a row that something reads."""
        kept = self.mask != 0
        return kept if self.rows_kept is None else kept & self.per_neuron(self.rows_kept())

    # ---- shapes ----

    def per_neuron(self, values: Tensor) -> Tensor:
        """[out] -> a view that broadcasts against the weight."""
        if self.groups > 1:  # [in, out / groups, 1, ...]
            values = values.view(self.groups, -1).repeat_interleave(self.weight.shape[0] // self.groups, dim=0)
            return values.view(*values.shape, *[1] * (self.weight.dim() - 2))
        shape = [1] * self.weight.dim()
        shape[self.dim] = -1
        return values.view(shape)

    def neuron_sum(self, values: Tensor) -> Tensor:
        """Weight-shaped -> [out], summed over each output neuron's weights."""
        if self.groups > 1:
            return values.reshape(self.groups, -1, *values.shape[1:]).transpose(1, 2).flatten(2).sum(dim=2).flatten()
        dims = [d for d in range(values.dim()) if d != self.dim]
        return values.sum(dim=dims) if dims else values.clone()  # in a vector each weight is a neuron

    def blocks(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Yields weight-shaped tensors (or those with one number per row) in blocks of rows that fit a core's cache.

        Yields them whole where blocking does not help: on other devices, in narrow layers.
        """
        weight = self.weight
        rows = len(weight)
        if self.groups == 1 and weight.numel() > BLOCK and weight.dim() > 1 and weight.device.type == "cpu":
            rows = max(1, BLOCK * torch.get_num_threads() * rows // weight.numel())
        if rows >= len(weight):
            yield tensors
            return
        for first in range(0, len(weight), rows):
            yield tuple(t[first : first + rows] if len(t) > 1 else t for t in tensors)

    # ---- what rules read ----

    def seen(self) -> Tensor:
        """Returns the weight that the mask multiplies, detached, at least float32."""
        weight = self.weight.detach()
        return weight if weight.dtype == self.threshold.dtype else weight.to(self.threshold.dtype)

    def moments(self) -> dict[str, Tensor]:
        """Returns the weight-shaped optimizer states by name (Adam's 'exp_avg' and 'exp_avg_sq').

        Empty before the first step. Those of a second optimizer are called '1.exp_avg'. Some may be tensor subclasses:
        change them through the methods below.
        """
        return {
            f"{place}.{key}" if place else key: value
            for place, optimizer in enumerate(self.optimizers)
            for key, value in optimizer.state.get(self.weight, {}).items()
            if isinstance(value, Tensor) and value.shape == self.weight.shape
        }

    def plain_moments(self) -> dict[str, Tensor]:
        """Returns copies of `moments`, with quantised ones (torchao's 8-bit states) dequantised."""
        return {name: v.clone() if type(v) is Tensor else v.dequantize() for name, v in self.moments().items()}

    def clear_moments(self, places: Tensor) -> None:
        """Zero the moments of these weights."""
        for name, values in self.plain_moments().items():
            self.moments()[name].copy_(values.masked_fill_(places, 0))

    def keep_moments(self, before: dict[str, Tensor]) -> None:
        """Restore the moments of masked weights from an earlier `plain_moments`; others are unchanged."""
        for name, values in before.items():
            if (moment := self.moments().get(name)) is not None:
                new = moment if type(moment) is Tensor else moment.dequantize()
                moment.copy_(torch.where(self.mask > 0, new, values))

    # ---- the swap ----

    # Called without gradients, and not in inference mode.

    def open(self) -> None:
        """Restore the dense weight in the parameter. Elements that were written to in the meantime keep that value."""
        if not self.hides:
            return
        self.match()
        assert self.aside is not None
        for shown, aside, mask in self.blocks(self.weight, self.aside, self.mask):
            untouched = torch.eq(aside * mask, shown) if self.fades else shown == 0
            torch.where(untouched, aside, shown, out=aside)
            shown.copy_(aside)
        self.hides = False

    def close(self) -> None:
        """Store the dense weight and put `W * M` into the parameter; without `keeps`, masked values are lost."""
        if self.hides:
            return
        self.match()
        if not self.keeps:
            self.weight.mul_(self.mask)
            return
        if self.aside is None:
            self.aside = torch.empty_like(self.weight.detach())
        for weight, aside, mask in self.blocks(self.weight, self.aside, self.mask):
            if self.fades:
                aside.copy_(weight)
            else:
                torch.addcmul(weight, weight, mask, value=-1, out=aside)
            weight.mul_(mask)
        self.hides = True

    def freeze(self) -> None:
        """While open, after a step: restore masked weights to their values before it, bit for bit."""
        if self.aside is None:
            return
        for weight, aside, mask in self.blocks(self.weight, self.aside, self.mask):
            torch.where(mask > 0, weight, aside, out=weight)

    def keep_alive(self) -> None:
        """While open: unmask the largest weight of each slice that would be all zero (see `alive`)."""
        dims = [d for d in range(self.weight.dim()) if d != self.alive]
        size = self.weight.abs()
        dead = (size * self.mask).amax(dim=dims, keepdim=True) == 0
        if host.reads_freely(dead) and not dead.any():
            return
        largest = (size == size.amax(dim=dims, keepdim=True)) & (size > 0)
        self.mask.masked_fill_(dead & largest, 1)

    @torch.no_grad()
    def dense(self) -> Tensor:
        """Returns a copy of the dense weight; nothing is changed."""
        if not self.hides:
            return self.weight.detach().clone()
        self.match()
        assert self.aside is not None
        untouched = self.aside * self.mask == self.weight if self.fades else self.weight == 0
        return torch.where(untouched, self.aside, self.weight)

    def match(self) -> None:
        """Follow the parameter to another device or dtype."""
        weight = self.weight.detach()
        if self.mask.device == weight.device and self.mask.dtype == weight.dtype:
            return
        dtype = torch.promote_types(torch.float32, weight.dtype)
        self.threshold = self.threshold.to(weight.device, dtype)
        if self.hides and self.aside is not None:  # compare with the masked value, rounded to the new dtype
            untouched = (self.aside * self.mask).to(weight) == weight
            aside = self.aside.to(weight)
            self.mask = self.mask.to(weight)
            if self.fades:
                aside = torch.where(untouched, aside, weight)
                weight.copy_(aside * self.mask)
            self.aside = aside
        else:
            self.mask, self.aside = self.mask.to(weight), None

    # ---- on disk ----

    def state_dict(self) -> dict[str, Any]:
        """Returns the mask (bit-packed), the thresholds and the dense values of masked weights."""
        return pack(self.mask, self.threshold, self.dense() if self.keeps else None)

    def checked(self, state: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns (mask, threshold, dense values of masked weights) of a `state_dict`; nothing is changed.

        Raises:
            ValueError: the state has another structure.
        """
        return read(state, self.mask, self.threshold, self.name)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state, before or after the model's own state.

        Raises:
            ValueError: the state has another structure; nothing is changed then.
        """
        mask, threshold, hidden = self.checked(state)
        self.match()
        self.hides = False  # `aside` belongs to another mask
        self.mask.copy_(mask)
        self.threshold.copy_(threshold)
        if hidden is not None and hidden.numel():
            self.weight[self.mask != 1] = hidden.to(self.weight)
            keeps, self.keeps = self.keeps, True
            self.fades = bool(((self.mask > 0) & (self.mask < 1)).any())
            self.close()
            self.keeps = keeps
        else:
            self.aside = None
            self.weight.mul_(self.mask)
