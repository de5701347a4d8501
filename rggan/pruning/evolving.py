"""Dynamic sparse training: each update prunes some weights and grows as many others.

Grown at random (`SET`), or where the dense gradient is largest (`RigL`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rggan.pruning.distribute import Distribution, pools
from rggan.pruning.kind import Kind, Wanted
from rggan.pruning.layer import Layer
from rggan.pruning.ranking import OPTIONS, Ranking, kept
from rggan.pruning.rule import Rule
from rggan.pruning.target import Course


class SET(Ranking):
    """Sparse evolutionary training (Mocanu et al., 2018): each update prunes the smallest share of the kept weights of
    each layer (or of all layers together, if the distribution is 'global') and grows as many at random positions, from
    zero.

    share: of the kept weights, 0..1.

    >>> rule = SET(density=0.3, share=0.3)
    """

    def __init__(
        self,
        density: Course | float = 0.5,
        every: int = 100,
        share: float = 0.3,
        seed: int = 0,
        distribution: Distribution = "even",
        min_fan: int = 0,
    ) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"the share that is replaced lies in 0..1, not at {share}")
        super().__init__(density, every, seed, distribution, min_fan)
        self.share = share
        self.counts: list[int] = []  # kept weights of each layer after the last update

    def begin(self, layers: Sequence[Layer]) -> None:
        super().begin(layers)
        self.count(layers)

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        super().refresh(layers)
        self.count(layers)

    def count(self, layers: Sequence[Layer]) -> None:
        self.counts = [int((layer.mask != 0).sum()) for layer in layers]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "counts": list(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = list(state["counts"])
        super().load_state_dict(state)

    def checked(self, state: dict[str, Any], layers: Sequence[Layer]) -> dict[str, Any]:
        clean = super().checked(state, layers)
        sizes = [layer.weight.numel() for layer in layers]
        if len(clean["counts"]) != len(sizes) or any(
            not 0 < n <= size for n, size in zip(clean["counts"], sizes, strict=True)
        ):
            raise ValueError("the rule's counts are none of its layers")
        return clean

    def replaced(self) -> float:
        """Returns the share of the kept weights that this update replaces."""
        return self.share

    def worth(self, layer: Layer) -> Tensor:
        """Returns the growth criterion of masked weights."""
        return self.noise(layer)

    def revise(self, layers: Sequence[Layer]) -> None:
        places = {layer.name: place for place, layer in enumerate(layers)}
        for pool, density in pools(layers, self.density, self.distribution):
            total = sum(layer.mask.numel() for layer in pool)
            before = sum(self.counts[places[layer.name]] for layer in pool)
            count = max(1, round(density * total))
            # As many are grown as pruned, plus or minus any change of the density; there must be room for them.
            going = min(round(self.replaced() * count), total - before)
            masks = [layer.mask > 0 for layer in pool]
            size = [(layer.weight.abs() + torch.finfo(layer.mask.dtype).tiny) * layer.mask for layer in pool]
            stay = kept(size, max(1, min(count - going, before)))
            worth = [self.worth(layer).masked_fill(mask, -1) for layer, mask in zip(pool, masks, strict=True)]
            new = self.best(pool, worth, count, stay)
            for layer, mask, was in zip(pool, new, masks, strict=True):
                layer.clear_moments(mask & ~was)  # of grown weights, which start from zero
            self.show(pool, new)
        self.count(layers)


class RigL(SET):
    """RigL (Evci et al., "Rigging the Lottery", 2020): like SET, but grows the weights with the largest dense
    gradients; the share decays along a cosine to zero at step `until` (eq. of section 3, "update schedule").

    >>> rule = RigL(density=0.3, share=0.3, until=7_500)
    """

    def __init__(
        self,
        density: Course | float = 0.5,
        every: int = 100,
        share: float = 0.3,
        until: int = 10_000,
        seed: int = 0,
        distribution: Distribution = "even",
        min_fan: int = 0,
    ) -> None:
        super().__init__(density, every, share, seed, distribution, min_fan)
        if until < 1:
            raise ValueError(f"until must be at least 1 step, not {until}")
        self.until = until
        self.seen: dict[str, Tensor] = {}  # dense |gradients| by layer, at the step of an update

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = {}
        super().load_state_dict(state)

    def replaced(self) -> float:
        return self.share / 2 * (1 + math.cos(math.pi * min(1.0, self.steps / self.until)))

    def look(self, layers: Sequence[Layer]) -> None:
        if self.due:
            self.seen |= {layer.name: layer.weight.grad.abs() for layer in layers if layer.weight.grad is not None}

    def worth(self, layer: Layer) -> Tensor:
        return self.seen.get(layer.name, torch.zeros_like(layer.mask)).nan_to_num(0, 0, 0)

    def revise(self, layers: Sequence[Layer]) -> None:
        super().revise(layers)
        self.seen = {}


def evolutionary(wanted: Wanted) -> Rule:
    more = wanted.given("distribution", "min_fan")
    return SET(wanted.density, wanted.every, seed=wanted.options["seed"], **more)


def rigged(wanted: Wanted) -> Rule:
    until, more = max(1, wanted.steps * 3 // 4), wanted.given("distribution", "min_fan")
    return RigL(wanted.density, wanted.every, until=until, seed=wanted.options["seed"], **more)


KIND, RIGL = Kind(evolutionary, OPTIONS | {"balance"}), Kind(rigged, OPTIONS | {"balance"})
