"""Regeneration by importance: regrows the masked weights with the largest accumulated gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from rggan.pruning.granularity import Rows, Weights
from rggan.pruning.layer import Layer
from rggan.pruning.whole_channels import Channels

MOMENTS = ("clear", "keep", "decay")


class Regrowth:
    """Regrows masked weights by their dense gradients, within a budget.

    Between two updates the magnitude of the dense gradient is summed over the steps. An update regrows the masked
    weights with the largest sum times the root mean square of their layer (the first-order change of the loss for a
    weight of typical size, which makes layers of different scales comparable), at most `budget` of the network's
    prunable weights. They stay unmasked until the next update whatever their magnitude; those below their threshold
    by then are masked again.

    Args:
        budget: share of the network's prunable weights that may be regrown at one update, 0..1.
        every: steps between two updates.
        moments: the optimizer's moments of a regrown weight, if masked weights do not train (the hard rule). 'clear'
            sets them to zero; 'keep' restores those from when it was masked; 'decay' leaves them to the optimizer,
            which has seen zero gradients since. docs/method.md compares them.

    Attributes:
        returned, stayed: for each layer, how many weights were regrown since the start, and how many of them had
            reached their thresholds one update later. They are tensors: reading them synchronises with the device.

    Raises:
        ValueError: an argument out of its range.

    >>> regrowth = Regrowth(budget=0.01, every=50)
    """

    def __init__(
        self, budget: float = 0.01, every: int = 50, moments: Literal["clear", "keep", "decay"] = "clear"
    ) -> None:
        if not 0 < budget <= 1 or every < 1:
            raise ValueError(
                f"a budget lies above 0 and at most at 1, and every at 1 step or more, not {budget}, {every}"
            )
        if moments not in MOMENTS:
            raise ValueError(f"moments is one of {', '.join(MOMENTS)}, not {moments!r}")
        self.budget, self.every, self.moments = budget, every, moments
        self.places: dict[str, int] = {}  # of the layers, by name
        self.importance: list[Tensor] = []  # summed |gradient| of each layer's masked weights
        self.back: list[Tensor] = []  # boolean: came back at the last update
        self.returned: list[Tensor] = []
        self.stayed: list[Tensor] = []

    def begin(self, layers: Sequence[Layer]) -> None:
        self.places = {layer.name: place for place, layer in enumerate(layers)}
        self.importance = [torch.zeros_like(layer.mask) for layer in layers]
        self.back = [torch.zeros_like(layer.mask, dtype=torch.bool) for layer in layers]
        self.returned = [torch.zeros((), dtype=torch.int64, device=layer.weight.device) for layer in layers]
        self.stayed = [count.clone() for count in self.returned]

    def observe(self, layers: Sequence[Layer]) -> None:
        """Accumulate this step's dense gradients, before the rule changes them."""
        for layer in layers:
            if layer.weight.grad is not None:
                # an overflowed mixed-precision step must not count
                self.importance[self.places[layer.name]].add_(
                    (layer.weight.grad.abs() * (1 - layer.mask)).nan_to_num_(0, 0, 0)
                )

    def update(
        self, layers: Sequence[Layer], reaching: Sequence[Tensor], granularity: Weights | Rows | Channels, frozen: bool
    ) -> None:
        """Count the regrown weights that stayed, and choose the next ones.

        reaching: which weights reach their thresholds. granularity: `Rows` and `Channels` are regrown whole, the
        last of them beyond the budget. frozen: masked weights did not train, so `moments` applies.
        """
        total = sum(layer.weight.numel() for layer in layers)
        worth = []
        for layer, importance, back, reaches, stayed in zip(
            layers, self.importance, self.back, reaching, self.stayed, strict=True
        ):
            stayed.add_((back & reaches).sum())
            weight = layer.seen()
            rms = torch.linalg.vector_norm(weight) / weight.numel() ** 0.5
            worth.append((importance * rms).masked_fill_(reaches, 0))
        worth = granularity.pooled(layers, worth)
        flat = torch.cat([w.flatten() for w in worth])
        least = flat.topk(min(len(flat), max(1, round(self.budget * total)))).values[-1]
        for i, (layer, values) in enumerate(zip(layers, worth, strict=True)):
            self.back[i] = (values >= least) & (values > 0)
            self.returned[i].add_(self.back[i].sum())
            if frozen and self.moments == "clear":
                grown = self.back[i] & (layer.mask == 0)
                layer.clear_moments(grown)
            self.importance[i].zero_()

    def show(self, layers: Sequence[Layer]) -> None:
        """Unmask the regrown weights."""
        for layer in layers:
            layer.mask.masked_fill_(self.back[self.places[layer.name]], 1)

    def keep(self, layers: Sequence[Layer], margins: Sequence[Tensor]) -> None:
        """Count the regrown weights as kept when a target density is enforced."""
        for layer, margin in zip(layers, margins, strict=True):
            margin.masked_fill_(self.back[self.places[layer.name]], torch.inf)

    def channels_back(self, layers: Sequence[Layer], channels: Channels) -> Tensor:
        """Which channels were regrown, [channels + 1] boolean."""
        own = [self.back[self.places[layer.name]].to(layer.threshold) for layer in layers]
        return channels.column_means(layers, own) > 0

    def state_dict(self) -> dict[str, Any]:
        names = ("importance", "back", "returned", "stayed")
        return {name: list(getattr(self, name)) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("importance", "back", "returned", "stayed"):
            own = getattr(self, name)  # after `begin`: on the devices of the weights
            setattr(self, name, [v.to(mine.device, copy=True) for v, mine in zip(state[name], own, strict=True)])
