"""The rivals' rules: weights are ranked at updates, some steps apart; masked weights are zero and do not train.

Which weights: `Static` (a random choice at initialisation), `Magnitude` (gradual magnitude pruning), `OneShot`
(Re-GAN's pruning at the start of each sparse phase), `SET` and `RigL` (dynamic sparse training at a fixed density).
When they act is a schedule's choice: docs/method.md has the table of rule x schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rggan.pruning.layer import Layer
from rggan.pruning.rules import Rule
from rggan.pruning.target import Ramp, cut


class Ranking(Rule):
    """What they share: masked weights are zero, and see no gradient; `revise` moves the masks every `every` steps.

    density: kept weights / all of the network's prunable ones, 0..1; each layer has the same. every: steps. seed: of
    what is drawn; the same in every process of a distributed run.

    Raises:
        ValueError: a density outside (0, 1], or `every` below 1.
    """

    masked = "zero"

    def __init__(self, density: float = 0.5, every: int = 100, seed: int = 0) -> None:
        Ramp(density)  # in range?
        if every < 1:
            raise ValueError(f"every must be at least 1 step, not {every}")
        self.density, self.every = density, every
        self.random = torch.Generator().manual_seed(seed)
        self.steps = 0  # taken while pruning

    def begin(self, layers: Sequence[Layer]) -> None:
        self.choose(layers)

    def choose(self, layers: Sequence[Layer]) -> None:
        """The masks to begin with, of weights that are not trained yet: a random choice."""
        for layer in layers:
            self.keep_largest(layer, self.noise(layer))

    def revise(self, layers: Sequence[Layer]) -> None:
        """The masks at an update."""

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        """After a dense phase: the largest weights of each layer."""
        for layer in layers:
            self.keep_largest(layer, layer.weight.abs())

    @torch.no_grad()
    def gradient(self, layers: Sequence[Layer]) -> None:
        self.look(layers)
        for layer in layers:
            if layer.weight.grad is not None:
                layer.weight.grad.mul_(layer.mask)

    def look(self, layers: Sequence[Layer]) -> None:
        """See the dense gradients of a step."""

    @property
    def due(self) -> bool:
        """Whether this step ends with an update."""
        return (self.steps + 1) % self.every == 0

    @torch.no_grad()
    def update(self, layers: Sequence[Layer]) -> None:
        due = self.due
        self.steps += 1
        if due:
            self.revise(layers)

    def noise(self, layer: Layer) -> Tensor:
        """Uniform in 0..1, weight-shaped; drawn on the CPU, so that every device draws the same."""
        return torch.rand(layer.weight.shape, generator=self.random).to(layer.weight)

    @torch.no_grad()
    def keep_largest(self, layer: Layer, values: Tensor, density: float | None = None) -> None:
        """Mask all but the largest of these values, weight-shaped; what is masked becomes zero."""
        count = max(1, round((self.density if density is None else density) * values.numel()))
        chosen = values.flatten().topk(count).indices
        mask = torch.zeros_like(values, memory_format=torch.contiguous_format).flatten()
        layer.mask.copy_(mask.index_fill_(0, chosen, 1).view(values.shape))
        layer.keep_alive()
        layer.weight.mul_(layer.mask)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "density": self.density, "random": self.random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.density = state["steps"], state["density"]
        self.random.set_state(state["random"])


class Static(Ranking):
    """A random choice of weights, drawn before training, for good.

    >>> rule = Static(density=0.3)
    """

    @torch.no_grad()
    def begin(self, layers: Sequence[Layer]) -> None:
        self.start = self.random.get_state()
        self.choose(layers)

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        self.random.set_state(self.start)  # the same draw again
        self.choose(layers)


class Magnitude(Ranking):
    """Gradual magnitude pruning (Zhu and Gupta, "To prune, or not to prune", 2017): the density falls along a cubic
    ramp, and at each update the smallest weights of each layer go; they never come back.

    >>> rule = Magnitude(Ramp(0.3, steps=10_000))
    """

    def __init__(self, target: Ramp | float = 0.5, every: int = 100) -> None:
        self.target = target if isinstance(target, Ramp) else Ramp(target)
        super().__init__(self.target.density, every)

    def choose(self, layers: Sequence[Layer]) -> None:
        pass  # all weights, to begin with

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "target": self.target.to_list()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.target = Ramp(*state["target"])
        super().load_state_dict(state)

    def revise(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            # A masked weight is zero: it ranks behind all others. What is kept becomes fewer and fewer.
            self.keep_largest(layer, layer.weight.abs() * layer.mask, self.target.at(self.steps))

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            self.keep_largest(layer, layer.weight.abs(), self.target.at(self.steps))


class OneShot(Ranking):
    """Re-GAN's sparse phase (Saxena et al., "Re-GAN: Data-Efficient GANs Training via Architectural Reconfiguration",
    CVPR 2023): when one begins, the smallest weights of the whole network are set to zero, and this mask stays until
    the phase ends; in the dense phase they train on from zero. With a `PeriodicSchedule` that begins dense, on G alone.

    >>> rule = OneShot(density=0.7)
    """

    chosen = False

    def choose(self, layers: Sequence[Layer]) -> None:
        pass  # all weights: a run may begin with a dense phase

    @torch.no_grad()
    def update(self, layers: Sequence[Layer]) -> None:
        if not self.chosen:  # it begins with a sparse phase
            self.refresh(layers)
        super().update(layers)

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        sizes = [layer.weight.abs() for layer in layers]
        least = cut(sizes, self.density)
        for layer, size in zip(layers, sizes, strict=True):
            layer.mask.copy_(size >= least)
            layer.keep_alive()
            layer.weight.mul_(layer.mask)
        self.chosen = True

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "chosen": self.chosen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.chosen = state["chosen"]
        super().load_state_dict(state)


class SET(Ranking):
    """Sparse evolutionary training (Mocanu et al., 2018): at each update a share of the kept weights of each layer, the
    smallest ones, make room for as many at random places, which begin at zero.

    share: of the kept weights, 0..1.

    >>> rule = SET(density=0.3, share=0.3)
    """

    def __init__(self, density: float = 0.5, every: int = 100, share: float = 0.3, seed: int = 0) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"the share that is replaced lies in 0..1, not at {share}")
        super().__init__(density, every, seed)
        self.share = share
        self.counts: list[int] = []  # kept weights of each layer

    def begin(self, layers: Sequence[Layer]) -> None:
        super().begin(layers)
        self.counts = [max(1, round(self.density * layer.weight.numel())) for layer in layers]

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        super().refresh(layers)
        self.counts = [max(1, round(self.density * layer.weight.numel())) for layer in layers]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "counts": list(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = list(state["counts"])
        super().load_state_dict(state)

    def replaced(self) -> float:
        """The share of the kept weights that this update replaces."""
        return self.share

    def worth(self, place: int, layer: Layer) -> Tensor:
        """By what masked weights are chosen to come back."""
        return self.noise(layer)

    def revise(self, layers: Sequence[Layer]) -> None:
        for place, layer in enumerate(layers):
            mask = layer.mask
            before, kept = self.counts[place], max(1, round(self.density * mask.numel()))
            self.counts[place] = kept
            # As many come as go, and more or fewer where the density was moved; there must be room for them.
            going = min(round(self.replaced() * kept), mask.numel() - before)
            stay = (layer.weight.abs() + torch.finfo(mask.dtype).tiny) * mask
            survivors = stay.flatten().topk(max(1, min(kept - going, before))).indices
            worth = self.worth(place, layer).masked_fill(mask > 0, -1).flatten()
            worth[survivors] = -1
            come = worth.topk(kept - len(survivors)).indices
            new = torch.zeros_like(mask, memory_format=torch.contiguous_format).flatten()
            new[survivors] = 1
            new[come] = 1
            born = new.view(mask.shape) * (1 - mask)
            layer.clear_moments(born > 0)  # of weights that begin anew at zero
            mask.copy_(new.view(mask.shape))
            layer.keep_alive()
            layer.weight.mul_(mask)


class RigL(SET):
    """RigL (Evci et al., "Rigging the Lottery", 2020): as SET, but those with the largest dense gradients come; the
    share falls along a cosine to zero at step `until` (eq. of section 3, "update schedule").

    >>> rule = RigL(density=0.3, share=0.3, until=7_500)
    """

    def __init__(
        self, density: float = 0.5, every: int = 100, share: float = 0.3, until: int = 10_000, seed: int = 0
    ) -> None:
        super().__init__(density, every, share, seed)
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

    def worth(self, place: int, layer: Layer) -> Tensor:
        return self.seen.get(layer.name, torch.zeros_like(layer.mask)).nan_to_num(0, 0, 0)

    def revise(self, layers: Sequence[Layer]) -> None:
        super().revise(layers)
        self.seen = {}
