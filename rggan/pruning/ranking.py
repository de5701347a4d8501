"""Baseline rules: weights are ranked at periodic updates; masked weights are zero and do not train.

`Static` (a random choice at initialisation), `Magnitude` (gradual magnitude pruning), `OneShot` (Re-GAN's pruning at
the start of each sparse phase). A schedule decides when they act: docs/method.md has the table of rule x schedule.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from rggan.pruning.distribute import Distribution, checked, pools
from rggan.pruning.fan import lacking
from rggan.pruning.kind import BASELINE_DENSITY, Kind, Wanted
from rggan.pruning.layer import Layer
from rggan.pruning.rule import Rule
from rggan.pruning.target import Course, course, taken_up
from rggan.pruning.whole_channels import Channels


class Ranking(Rule):
    """Base class: masked weights are zero and get no gradient; `revise` updates the masks every `every` steps.

    density: kept weights / all of the network's prunable ones, 0..1; or a course of it (a `Ramp`, an `Adaptive`, a
    `DensityPath`), evaluated when masks are updated. every: steps. seed: of random choices; the same in every process
    of a distributed run. distribution: 'even', each layer keeps the same share; 'erk', more in small layers
    (`erdos_renyi_kernel`); 'global', the weights of all layers are ranked together. min_fan: the minimum number of
    weights that each output neuron and each input channel keeps. channels: ranks whole channels, by the mean of what
    reads them; 'even' is then the same share of each layer's channels.

    Raises:
        ValueError: a density outside (0, 1], `every` below 1, an unknown distribution, `min_fan` below 0; `min_fan` or
            the distribution 'erk' for whole channels.
    """

    binary = True
    masked = "zero"

    def __init__(
        self,
        density: Course | float = 0.5,
        every: int = 100,
        seed: int = 0,
        distribution: Distribution = "even",
        min_fan: int = 0,
        channels: Channels | None = None,
    ) -> None:
        first = course(density)  # in range?
        if every < 1:
            raise ValueError(f"every must be at least 1 step, not {every}")
        if min_fan < 0:
            raise ValueError(f"min_fan is a number of weights, 0 or more, not {min_fan}")
        if channels is not None and (min_fan or distribution == "erk"):
            raise ValueError("whole channels are ranked 'global' or 'even', and without min_fan")
        self.channels = channels
        self.target: Course | None = None if isinstance(density, int | float) else first
        self.density = first.least if self.target is None else self.target.at(0)
        self.every, self.distribution, self.min_fan = every, checked(distribution), min_fan
        self.random = torch.Generator().manual_seed(seed)
        self.steps = 0  # taken while pruning

    def begin(self, layers: Sequence[Layer]) -> None:
        if self.channels is not None:
            self.channels.begin(layers)
        self.choose(layers)

    def choose(self, layers: Sequence[Layer]) -> None:
        """Set the initial masks, before training: a random choice."""
        self.keep_largest(layers, [self.noise(layer) for layer in layers])

    def revise(self, layers: Sequence[Layer]) -> None:
        """Update the masks."""

    def plan(self) -> Hashable | None:
        return None if self.due else ()

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        """After a dense phase: keep the largest weights."""
        self.aim()
        self.keep_largest(layers, self.magnitudes(layers))

    def magnitudes(self, layers: Sequence[Layer]) -> list[Tensor]:
        """|W|; of whole channels, which lie in several layers, in units of each layer's root mean square."""
        sizes = [layer.weight.abs() for layer in layers]
        if self.channels is None:
            return sizes
        tiny = torch.finfo(torch.float32).tiny
        return [size / size.square().mean().sqrt().clamp_min(tiny) for size in sizes]

    def aim(self) -> None:
        """Set the density to the target's current one."""
        if self.target is not None:
            self.density = self.target.at(self.steps)

    @torch.no_grad()
    def gradient(self, layers: Sequence[Layer]) -> None:
        self.look(layers)
        for layer in layers:
            if layer.weight.grad is not None:
                layer.weight.grad.mul_(layer.mask)

    @property
    def reached(self) -> bool:  # type: ignore[override]
        last = self.steps - self.steps % self.every  # the last update of the masks
        return self.target is None or self.target.at(last) <= self.target.least + 1e-9

    def look(self, layers: Sequence[Layer]) -> None:
        """Read the dense gradients of a step."""

    @property
    def due(self) -> bool:
        """Whether this step ends with an update."""
        return (self.steps + 1) % self.every == 0

    @torch.no_grad()
    def update(self, layers: Sequence[Layer]) -> None:
        due = self.due
        self.steps += 1
        if due:
            self.aim()
            self.revise(layers)

    def noise(self, layer: Layer) -> Tensor:
        """Returns uniform noise in 0..1, weight-shaped; drawn on the CPU, so that it is the same on every device."""
        return torch.rand(layer.weight.shape, generator=self.random).to(layer.weight)

    @torch.no_grad()
    def keep_largest(self, layers: Sequence[Layer], values: Sequence[Tensor]) -> None:
        """Keep the weights with the largest of these weight-shaped values; set the others to zero."""
        if self.channels is not None:
            even = self.distribution == "even"
            self.show(layers, self.channels.largest(layers, values, self.density, even))
            return
        places = {layer.name: place for place, layer in enumerate(layers)}
        for pool, density in pools(layers, self.density, self.distribution):
            own = [values[places[layer.name]] for layer in pool]
            total = sum(value.numel() for value in own)
            self.show(pool, self.best(pool, own, max(1, round(density * total))))

    def best(
        self, layers: Sequence[Layer], values: Sequence[Tensor], count: int, safe: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Returns boolean masks of the `count` largest values; `safe` weights and those that `min_fan` requires are
        kept first."""
        chosen = kept(values, count, safe)
        if not self.min_fan:
            return chosen
        more = [lacking(*both, self.min_fan) for both in zip(layers, chosen, values, strict=True)]
        if all(one is None for one in more):
            return chosen
        none = [torch.zeros_like(mask) for mask in chosen]
        secured = [s if m is None else s | m for s, m in zip(safe or none, more, strict=True)]
        return kept(values, count, secured)

    def show(self, layers: Sequence[Layer], masks: Sequence[Tensor]) -> None:
        """Write these masks, and set masked weights to zero."""
        for layer, mask in zip(layers, masks, strict=True):
            layer.mask.copy_(mask)
            layer.keep_alive()
            layer.weight.mul_(layer.mask)

    def state_dict(self) -> dict[str, Any]:
        state = {"steps": self.steps, "density": self.density, "random": self.random.get_state()}
        return state if self.target is None else {**state, "target": self.target.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.target is not None:
            self.target = taken_up(self.target, state["target"])
        self.steps, self.density = state["steps"], state["density"]
        self.random.set_state(state["random"])

    def checked(self, state: dict[str, Any], layers: Sequence[Layer]) -> dict[str, Any]:
        own, course = self.state_dict(), {}
        if self.target is not None:  # its structure is checked here
            taken_up(copy.deepcopy(self.target), state["target"])
            course, state = {"target": state["target"]}, {**state, "target": own["target"]}
        clean = self.fitted(state)
        if not 0 < clean["density"] <= 1:
            raise ValueError("the rule's density is none")
        return {**clean, **course}


def kept(values: Sequence[Tensor], count: int, safe: Sequence[Tensor] | None = None) -> list[Tensor]:
    """Returns boolean masks, shaped like `values`, of the `count` largest over all tensors; `safe` ones are kept first.

    >>> kept([torch.tensor([3.0, 1.0]), torch.tensor([2.0])], 2, [torch.tensor([False, True]), torch.tensor([False])])
    [tensor([True, True]), tensor([False])]
    """
    flat = torch.cat([v.flatten().float() for v in values])
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    if safe is not None:
        chosen = torch.cat([s.flatten() for s in safe])
        flat = flat.masked_fill(chosen, -1)
        count -= int(chosen.sum())
    if count > 0:
        chosen[flat.topk(min(len(flat), count)).indices] = True
    parts = chosen.split([value.numel() for value in values])
    return [part.view(value.shape) for part, value in zip(parts, values, strict=True)]


class Static(Ranking):
    """A random mask, drawn once before training. With a course, masks are nested: all are prefixes of one random order,
    so that what is kept at a density is kept at every higher one.

    >>> rule = Static(density=0.3)
    """

    @torch.no_grad()
    def begin(self, layers: Sequence[Layer]) -> None:
        self.start = self.random.get_state()
        super().begin(layers)

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        self.aim()
        self.random.set_state(self.start)  # repeat the same draw
        self.choose(layers)

    def revise(self, layers: Sequence[Layer]) -> None:
        if self.target is not None:
            self.refresh(layers)


class Magnitude(Ranking):
    """Gradual magnitude pruning (Zhu and Gupta, "To prune, or not to prune", 2017): the density falls along a cubic
    ramp, or another course, and each update prunes the smallest weights. If a course rises again, weights are grown
    from zero.

    >>> rule = Magnitude(0.3, every=50)
    """

    def __init__(
        self,
        target: Course | float = 0.5,
        every: int = 100,
        distribution: Distribution = "even",
        min_fan: int = 0,
        channels: Channels | None = None,
    ) -> None:
        super().__init__(course(target), every, distribution=distribution, min_fan=min_fan, channels=channels)

    def choose(self, layers: Sequence[Layer]) -> None:
        pass  # begins with all weights

    def revise(self, layers: Sequence[Layer]) -> None:
        # Masked weights are zero, and so rank last.
        self.keep_largest(layers, self.magnitudes(layers))


class OneShot(Ranking):
    """Re-GAN's sparse phase (Saxena et al., "Re-GAN: Data-Efficient GANs Training via Architectural Reconfiguration",
    CVPR 2023): at its start the smallest weights of the whole network are set to zero, and the mask is fixed until the
    phase ends; in the dense phase they train from zero. Use it on G alone with a `PeriodicSchedule` that begins dense.

    >>> rule = OneShot(density=0.7)
    """

    chosen = False

    def __init__(
        self,
        density: Course | float = 0.5,
        every: int = 100,
        seed: int = 0,
        distribution: Distribution = "global",
        min_fan: int = 0,
        channels: Channels | None = None,
    ) -> None:
        super().__init__(density, every, seed, distribution, min_fan, channels)

    def choose(self, layers: Sequence[Layer]) -> None:
        pass  # begins with all weights: a run may begin with a dense phase

    def plan(self) -> Hashable | None:
        return super().plan() if self.chosen else None

    @torch.no_grad()
    def update(self, layers: Sequence[Layer]) -> None:
        if not self.chosen:  # the run begins with a sparse phase
            self.refresh(layers)
        super().update(layers)

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        super().refresh(layers)
        self.chosen = True

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "chosen": self.chosen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.chosen = state["chosen"]
        super().load_state_dict(state)


OPTIONS = frozenset(("target_g", "target_d", "distribution", "min_fan"))
WHOLE = frozenset(("granularity", "granularity_g", "granularity_d"))


def static(wanted: Wanted) -> Rule:
    more = wanted.given("distribution", "min_fan")
    return Static(wanted.density, wanted.every, wanted.options["seed"], channels=wanted.channels, **more)


def magnitude(wanted: Wanted) -> Rule:
    target, more = wanted.target or wanted.ramp(BASELINE_DENSITY), wanted.given("distribution", "min_fan")
    return Magnitude(target, wanted.every, channels=wanted.channels, **more)


def one_shot(wanted: Wanted) -> Rule:
    return OneShot(wanted.density, wanted.every, channels=wanted.channels, **wanted.given("distribution", "min_fan"))


STATIC, ONE_SHOT = Kind(static, OPTIONS | WHOLE), Kind(one_shot, OPTIONS | WHOLE)
MAGNITUDE = Kind(magnitude, OPTIONS | WHOLE | {"ramp", "ramp_shape", "rewind"}, ramps=True)
