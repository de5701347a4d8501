"""RG-GAN's rule: trainable pruning thresholds, one per output neuron."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from rggan.pruning.distribute import Distribution, checked
from rggan.pruning.granularity import Weights
from rggan.pruning.kind import Kind, Wanted
from rggan.pruning.layer import Layer
from rggan.pruning.neuron_thresholds import Granularity
from rggan.pruning.offset import Offset
from rggan.pruning.regrowth import Regrowth
from rggan.pruning.rule import Rule
from rggan.pruning.target import Course, Target
from rggan.pruning.whole_channels import Channels

SPARSE = 0.1  # density below which layers may lose whole neurons


class Threshold(Offset):
    """RG-GAN's rule: keep a weight while its magnitude reaches the trainable threshold of its neuron.

    `mask = step(|W| / rms(W) - t)`, with one `t` per output neuron that starts at 0 and rms over the
    layer (detached), so that thresholds are comparable across layers and widths and under a spectral norm.

    The number of pruned weights is controlled in one of two ways:
        penalty: as described in the paper, `lambda * sum(exp(-t))` raises thresholds while the network is pruned.
            Lambda is in units of the loss's own gradient: `dt` is divided by its root mean square over the network, so
            that 1 balances that of an average neuron at t = 0, at any width and batch size.
        target: a density, a `Ramp` to one, or an `Adaptive` one that follows how far D overfits; or {pattern of names:
            one of these}, where each layer takes the first that matches ({"head.*": 0.5, "*": 0.1}). The loss's
            gradient, centred over the network, then only decides *where* weights are kept, and one offset for all
            layers of a target, recomputed every `every` steps, decides *how many*. The penalty is not used. While an
            `Adaptive` target is at 1, the network trains as without a rule.

    estimator:
        'straight-through': weights and thresholds get gradients through `step_slope` (Liu et al. 2020): with the dense
        gradient g, `dW = g * (mask + |W|/rms * slope)` and `dt = -sum(g * W * slope)`. Masked weights keep training
        and are regenerated when they reach their threshold again.
        'hard': neither masked weights nor thresholds get a gradient from the loss: masked weights are frozen bit for
        bit, whatever momentum and weight decay do, and thresholds follow the penalty alone (or the target).
    lr: learning rate of the thresholds, in rms units, for that gradient (plain gradient descent, in which gradient
        noise averages out). Under 'hard', t = log(1 + lr * lambda * steps).
    floor: a layer whose density falls to this has its thresholds reset to 0 and is dense again; 0: never.
        With a target, every layer keeps at least this share of its weights, and one weight, at every step.
    granularity: `Weights()`, `Rows()` for whole output neurons, or `Channels(coupled(model, inputs))` for channels.
    regrowth: a `Regrowth` regrows masked weights by their dense gradients.
    distribution: of a target's density: 'global', one offset for all layers; 'even', the same density in each; 'erk',
        more in small layers (`erdos_renyi_kernel`).
    min_fan: with a target, the minimum number of weights that each output neuron and each input channel keeps; default
        1 if the density can fall below 0.1, else 0. (Not with `Rows`, which prunes whole neurons; without a target
        `floor` handles thresholds that are too high.)

    Raises:
        ValueError: an argument out of its range.

    `PublishedThreshold` is the variant of the paper's own code.

    >>> rule = Threshold(estimator="hard", penalty=1.0, lr=1e-4)
    >>> rule = Threshold(target=0.3, every=5)
    """

    def __init__(
        self,
        estimator: Literal["straight-through", "hard"] = "straight-through",
        penalty: float = 1.0,
        lr: float = 2e-4,
        floor: float = 0.01,
        target: Course | float | Mapping[str, Course | float] | None = None,
        granularity: Granularity | None = None,
        regrowth: Regrowth | None = None,
        every: int = 10,
        distribution: Distribution = "global",
        min_fan: int | None = None,
    ) -> None:
        if estimator not in ("straight-through", "hard"):
            raise ValueError(f"estimator is 'straight-through' or 'hard', not {estimator!r}")
        super().__init__(penalty, lr, floor, Weights() if granularity is None else granularity)
        if every < 1:
            raise ValueError(f"every must be at least 1 step, not {every}")
        if min_fan is not None and min_fan < 0:
            raise ValueError(f"min_fan is a number of weights, 0 or more, not {min_fan}")
        self.hard = estimator == "hard"
        self.masked = "freeze" if self.hard else "train"
        self.every = every
        self.target: Target | None = None if target is None else Target.of(target)
        if regrowth is not None and self.target is not None and regrowth.budget >= self.target.least:
            raise ValueError(
                f"regrowth's budget ({regrowth.budget}) must be below the target density ({self.target.least})"
            )
        self.distribution = checked(distribution)
        self.min_fan = 0
        if self.target is not None and isinstance(self.granularity, Weights):
            self.min_fan = int(self.target.least < SPARSE) if min_fan is None else min_fan
        self.regrowth = regrowth
        self.pull: dict[str, Tensor] = {}  # the loss's dt of this step by layer, between `gradient` and `update`
        self.held: dict[str, dict[str, Tensor]] = {}  # moments of masked weights, to restore after the step

    def begin(self, layers: Sequence[Layer]) -> None:
        self.granularity.begin(layers)
        if self.target is not None:
            groups = self.target.groups(layers)  # raises if a layer has no density
            if isinstance(self.granularity, Channels) and (len(groups) > 1 or self.distribution != "global"):
                raise ValueError("whole channels have one density for all layers: they lie in several")
        if self.regrowth is not None:
            self.regrowth.begin(layers)

    @property
    def rests(self) -> bool:
        """Whether nothing is to be pruned now."""
        return self.target is not None and self.target.rests

    def plan(self) -> Hashable | None:
        due = self.target is not None and (self.steps + 1) % self.every == 0
        if self.regrowth is not None or (due and isinstance(self.granularity, Channels)):
            return None
        return self.rests, self.current, due

    @property
    def reached(self) -> bool:  # type: ignore[override]
        return all(c.at(self.steps - self.steps % self.every) <= c.least + 1e-9 for c in self.courses)

    @torch.no_grad()
    def gradient(self, layers: Sequence[Layer]) -> None:
        if self.rests:
            return
        if self.regrowth is not None:
            self.regrowth.observe(layers)
        if not self.hard:
            for name, pull in self.granularity.descend(layers, self.known_scales(layers)).items():
                self.pull[name] = self.pull[name] + pull if name in self.pull else pull
            return
        for layer in layers:
            if layer.weight.grad is not None:
                layer.weight.grad.mul_(layer.mask)
            if self.regrowth is not None and self.regrowth.moments == "keep":
                self.held[layer.name] = layer.plain_moments()

    @torch.no_grad()
    def update(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            if (before := self.held.pop(layer.name, None)) is not None:
                layer.keep_moments(before)
        self.steps += 1
        if self.rests:
            self.pull = {}  # from an optimizer that stepped before the density reached 1
            self.current = False
            self.refresh(layers)
            return
        self.learn_scales(layers)
        self.move(layers)
        if self.regrowth is not None and self.steps % self.regrowth.every == 0:
            self.regrowth.update(layers, self.reaching(layers), self.granularity, self.hard)
        if self.target is not None and self.steps % self.every == 0:
            self.offset(layers)
        self.show(layers)

    def move(self, layers: Sequence[Layer]) -> None:
        """One step of gradient descent on every threshold."""
        thresholds = [layer.threshold for layer in layers]
        steps = [torch.exp(-t).mul_(self.penalty) for t in thresholds] if self.target is None else None
        if self.pull:
            # A mixed-precision step that overflowed runs the hooks too: its NaN and infinite gradients are dropped.
            pulls = [self.pull.get(layer.name, torch.zeros_like(layer.threshold)) for layer in layers]
            pull = torch.cat(pulls).nan_to_num_(0, 0, 0)
            if self.target is not None:
                pull -= pull.mean()  # the offset decides how many
            pull /= pull.square().mean().sqrt().clamp_min(torch.finfo(pull.dtype).tiny)
            down = list(pull.neg_().split([len(t) for t in thresholds]))
            steps = down if steps is None else list(torch._foreach_add(steps, down))
            self.pull = {}
        if steps is not None:  # minus the gradient
            torch._foreach_add_(thresholds, steps, alpha=self.lr)

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        if self.rests:
            self.current = False
            for layer in layers:
                layer.mask.fill_(1)
            return
        self.learn_scales(layers)
        self.show(layers)

    def show(self, layers: Sequence[Layer]) -> None:
        """Write the masks."""
        # Thresholds move between two offsets: a layer that would fall below its floor keeps its mask.
        self.granularity.show(layers, self.known_scales(layers), None if self.target is None else self.floor)
        if self.regrowth is not None:
            self.regrowth.show(layers)
        if self.target is None:
            self.rescue(layers)

    def state_dict(self) -> dict[str, Any]:
        # Includes the ramps: an extended run continues with the original ones.
        target = None if self.target is None else self.target.state_dict()
        state: dict[str, Any] = {"steps": self.steps, "target": target}
        if self.regrowth is not None:
            state["regrowth"] = self.regrowth.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.pull, self.held, self.current = state["steps"], {}, {}, False
        self.prepared = 0
        self.target = None if self.target is None else self.target.taken_up(state["target"])
        if self.regrowth is not None:
            self.regrowth.load_state_dict(state["regrowth"])

    def checked(self, state: dict[str, Any], layers: Sequence[Layer]) -> dict[str, Any]:
        target = state["target"]
        if (self.target is None) != (target is None):
            raise ValueError("the rule has a target in one of the two, and none in the other")
        if self.target is not None:
            copy.deepcopy(self.target).taken_up(target)
        own = self.state_dict()["target"]  # the saved one was checked above
        return {**self.fitted({**state, "target": own}), "target": target}


def of_estimator(estimator: Literal["straight-through", "hard"], wanted: Wanted) -> Threshold:
    options = wanted.options
    return Threshold(
        estimator,
        1.0 if options["penalty"] is None else options["penalty"],
        options["threshold_lr"],
        options["floor"],
        wanted.target,
        wanted.channels or Weights(),
        Regrowth(options["regrow"]) if options["regrow"] else None,
        **wanted.given("distribution", "min_fan"),
    )


OPTIONS = frozenset(
    (
        *("target_g", "target_d", "ramp", "ramp_shape", "distribution", "min_fan", "rewind"),
        *("granularity", "granularity_g", "granularity_d", "regrow", "penalty", "threshold_lr", "floor"),
    )
)
KIND: Kind[Rule] = Kind(lambda wanted: of_estimator("straight-through", wanted), OPTIONS, penalised=True)
HARD: Kind[Rule] = Kind(lambda wanted: of_estimator("hard", wanted), OPTIONS, penalised=True)
