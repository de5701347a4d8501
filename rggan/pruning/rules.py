"""WHICH weights are pruned. A rule sees all layers of one network; when it acts is a schedule's choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from rggan.pruning.granularity import Rows, Weights
from rggan.pruning.mask import Layer
from rggan.pruning.regrowth import Regrowth
from rggan.pruning.target import Ramp, cut

Granularity = Weights | Rows


class Rule:
    """What a `Pruner` asks of a rule. The base class prunes nothing.

    `begin` runs once, when a pruner takes the rule. While the pruner prunes, `gradient` runs before each
    optimizer step and turns the dense gradient into what the optimizer sees, and `update` runs after it
    and moves the masks. `refresh` makes the masks from the rule's state, when pruning begins again after a
    dense phase. None of them may wait for the device (no `.item()`): they run at every step.
    """

    taken = False  # by a pruner: a rule has state, and serves one network
    after_norm = False  # whether the mask stands after a spectral norm, rather than before it
    dense_gradient = True  # whether the rule sees the gradient of masked weights

    def begin(self, layers: Sequence[Layer]) -> None: ...

    def gradient(self, layers: Sequence[Layer]) -> None: ...

    def update(self, layers: Sequence[Layer]) -> None: ...

    def refresh(self, layers: Sequence[Layer]) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def step_slope(x: Tensor) -> Tensor:
    """The slope that stands in for the derivative of the unit step at `x` (Liu et al. 2020, eq. 5).

    2 - 4|x| up to |x| = 0.4, then 0.4 up to 1, then 0.

    >>> step_slope(torch.tensor([0.0, 0.25, -0.8, 1.5]))
    tensor([2.0000, 1.0000, 0.4000, 0.0000])
    """
    x = x.abs()
    return torch.rsub(x, 2, alpha=4).clamp_(min=0.4).mul_(x <= 1)


class Threshold(Rule):
    """RG-GAN's rule: a weight stays while its magnitude reaches its neuron's trainable threshold.

    `mask = step(|W| / rms(W) - t)`, with one `t` per output neuron that starts at 0 and rms over the
    layer (detached), so that thresholds mean the same in every layer, width and under a spectral norm.

    How many weights go is decided in one of two ways:
        penalty: as described in the paper, `lambda * sum(exp(-t))` pushes thresholds up as long as the network is
            pruned. Lambda is in units of the loss's own pull: `dt` is divided by its root mean square over the
            network, so that 1 balances an average neuron's at t = 0, at any width and batch size.
        target: a density, or a `Ramp` to one. The loss then only decides *where* weights stay (its pull moves
            thresholds apart, with mean zero over the network), and one offset for the whole network, set anew every
            `every` steps, decides *how many*. The penalty has no part in it.

    estimator:
        'straight-through': the loss reaches weights and thresholds through `step_slope` (Liu et al.
        2020): with the dense gradient g, `dW = g * (mask + |W|/rms * slope)` and
        `dt = -sum(g * W * slope)`. Masked weights go on training and return when they matter.
        'hard': the loss sees neither: masked weights stay frozen bit for bit, whatever the optimizer's
        momentum and weight decay do, and thresholds follow the penalty alone (or the target).
    lr: how far a threshold moves a step, in rms units, per unit of that gradient (plain descent: what is
        noise in the loss's pull averages out). Under 'hard', t = log(1 + lr * lambda * steps).
    floor: a layer whose density falls to this gets its thresholds back to 0 and is dense again; 0: never.
        With a target, every layer keeps at least this share of its weights.
    granularity: `Weights()`, or `Rows()` for whole output neurons.
    regrowth: a `Regrowth` brings masked weights back by the gradient that they would have.

    Raises:
        ValueError: an argument out of its range.

    `PublishedThreshold` is the variant of the paper's own code.

    >>> rule = Threshold(estimator="hard", penalty=1.0, lr=1e-4)
    >>> rule = Threshold(target=Ramp(0.3, steps=10_000))
    """

    def __init__(
        self,
        estimator: Literal["straight-through", "hard"] = "straight-through",
        penalty: float = 1.0,
        lr: float = 2e-4,
        floor: float = 0.01,
        target: Ramp | float | None = None,
        granularity: Granularity | None = None,
        regrowth: Regrowth | None = None,
        every: int = 10,
    ) -> None:
        if estimator not in ("straight-through", "hard"):
            raise ValueError(f"estimator is 'straight-through' or 'hard', not {estimator!r}")
        if penalty < 0 or lr < 0 or not 0 <= floor < 1:
            raise ValueError("penalty and lr must not be negative, and floor must lie in [0, 1)")
        if every < 1:
            raise ValueError(f"every must be at least 1 step, not {every}")
        self.hard = estimator == "hard"
        self.penalty, self.lr, self.floor, self.every = penalty, lr, floor, every
        self.target = target if isinstance(target, Ramp) or target is None else Ramp(target)
        if regrowth is not None and self.target is not None and regrowth.budget >= self.target.density:
            raise ValueError(
                f"regrowth's budget ({regrowth.budget}) must be below the target density ({self.target.density})"
            )
        self.granularity: Granularity = Weights() if granularity is None else granularity
        self.regrowth = regrowth
        self.steps = 0  # taken while pruning
        self.pull: list[Tensor] = []  # the loss's dt of this step, between `gradient` and `update`
        self.frozen: list[list[Tensor]] = []  # what masked weights were before this step (hard)

    def begin(self, layers: Sequence[Layer]) -> None:
        if isinstance(self.granularity, Rows):
            self.granularity.groups(layers)  # do the coupled layers exist, and fit?
        if self.regrowth is not None:
            self.regrowth.begin(layers)

    @torch.no_grad()
    def gradient(self, layers: Sequence[Layer]) -> None:
        if self.regrowth is not None:
            self.regrowth.observe(layers)
        if self.hard:
            self.frozen = [[tensor.detach().clone() for tensor in self.held(layer)] for layer in layers]
            for layer in layers:
                if layer.weight.grad is not None:
                    layer.weight.grad.mul_(layer.mask.mask)
        else:
            self.pull = self.straight_through(layers)

    def held(self, layer: Layer) -> list[Tensor]:
        """What of a masked weight no step may change under the hard rule."""
        moments = self.regrowth is not None and self.regrowth.moments == "keep"
        return [layer.weight, *(layer.moments().values() if moments else ())]

    def straight_through(self, layers: Sequence[Layer]) -> list[Tensor]:
        """Turn each layer's dense gradient g into dW, in place, and return each dt, [out], penalty not included."""
        scales = self.scales(layers)
        sizes = self.granularity.sizes(layers, scales)
        slopes = [
            step_slope(size - layer.per_neuron(layer.mask.threshold)) for layer, size in zip(layers, sizes, strict=True)
        ]
        return self.granularity.descend(layers, scales, sizes, slopes)

    @torch.no_grad()
    def update(self, layers: Sequence[Layer]) -> None:
        if self.hard:
            for layer, before in zip(layers, self.frozen, strict=True):
                for tensor, old in zip(self.held(layer), before):  # noqa: B905 (moments appear at the first step)
                    tensor.copy_(torch.where(layer.mask.mask > 0, tensor, old))
            self.frozen = []
        self.steps += 1
        self.move(layers)
        if self.regrowth is not None and self.steps % self.regrowth.every == 0:
            self.regrowth.update(layers, self.reaching(layers), self.granularity, self.hard)
        if self.target is not None and self.steps % self.every == 0:
            self.offset(layers, self.target.at(self.steps))
        self.refresh(layers)

    def move(self, layers: Sequence[Layer]) -> None:
        """One step of gradient descent on every threshold."""
        thresholds = [layer.mask.threshold for layer in layers]
        if self.target is None:
            steps = [torch.exp(-t).mul_(self.penalty) for t in thresholds]  # minus the penalty's gradient
        else:
            steps = [torch.zeros_like(t) for t in thresholds]
        if self.pull:
            # A mixed-precision step that overflowed runs the hooks too: its pull is no number and must not count.
            pull = torch.cat(self.pull).nan_to_num_(0, 0, 0)
            if self.target is not None:
                pull -= pull.mean()  # how many is the offset's affair
            pull /= pull.square().mean().sqrt().clamp_min(torch.finfo(pull.dtype).tiny)
            torch._foreach_sub_(steps, list(pull.split([len(t) for t in thresholds])))
            self.pull = []
        torch._foreach_add_(thresholds, steps, alpha=self.lr)

    def offset(self, layers: Sequence[Layer], density: float) -> None:
        """Move all thresholds by one number, so that this share of the network's weights reaches its own."""
        margins = [
            size - layer.per_neuron(layer.mask.threshold)
            for layer, size in zip(layers, self.magnitudes(layers), strict=True)
        ]
        if self.regrowth is not None:
            self.regrowth.keep(margins)
        by = cut(margins, density)
        for layer, margin in zip(layers, margins, strict=True):
            # No layer keeps less than the floor: its thresholds rise no further than that.
            most = cut([margin], self.floor) if self.floor else by
            layer.mask.threshold.add_(torch.minimum(by, most))

    def reaching(self, layers: Sequence[Layer]) -> list[Tensor]:
        """For each layer, weight-shaped and boolean: which weights reach their thresholds."""
        return [
            size >= layer.per_neuron(layer.mask.threshold)
            for layer, size in zip(layers, self.magnitudes(layers), strict=True)
        ]

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        for layer, size in zip(layers, self.magnitudes(layers), strict=True):
            torch.ge(size, layer.per_neuron(layer.mask.threshold), out=layer.mask.mask)
        if self.regrowth is not None:
            self.regrowth.show(layers)
        if self.floor == 0 or self.target is not None:  # a target's offset leaves every layer its floor
            return
        # A collapsed layer starts anew: thresholds 0 keep every weight. At once, since a layer that is all zero
        # under a spectral norm would divide by zero in the next forward pass.
        masks = [layer.mask.mask for layer in layers]
        alive = torch.stack([mask.mean() for mask in masks]) > self.floor
        torch._foreach_mul_([layer.mask.threshold for layer in layers], list(alive.to(masks[0].dtype).unbind()))
        for mask, collapsed in zip(masks, (~alive).to(masks[0].dtype).unbind(), strict=True):
            torch.maximum(mask, collapsed, out=mask)

    def scales(self, layers: Sequence[Layer]) -> list[Tensor]:
        """The unit of each layer's thresholds: the root mean square of its weights, a scalar."""
        found = []
        for layer in layers:
            weight = layer.seen()
            rms = torch.linalg.vector_norm(weight) / weight.numel() ** 0.5
            found.append(rms.clamp_min_(torch.finfo(weight.dtype).tiny))
        return found

    def magnitudes(self, layers: Sequence[Layer]) -> list[Tensor]:
        """|W| (of rows: their root mean square) in the units of the thresholds, weight-shaped."""
        return self.granularity.sizes(layers, self.scales(layers))

    def state_dict(self) -> dict[str, Any]:
        # The ramp too: a run that is made longer goes on with the one that it began.
        target = None if self.target is None else self.target.to_list()
        state: dict[str, Any] = {"steps": self.steps, "target": target}
        if self.regrowth is not None:
            state["regrowth"] = self.regrowth.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        self.target = None if state["target"] is None else Ramp(*state["target"])
        if self.regrowth is not None:
            self.regrowth.load_state_dict(state["regrowth"])


class PublishedThreshold(Threshold):
    """The variant of the paper's own code, as measured (docs/method.md, "The published variant").

    Absolute units, the mask after the spectral norm, thresholds trained by Adam like the weights. The
    mask is cut from the graph there, so the loss never reaches a threshold: its gradient is exactly
    `-lambda * exp(-t)`, and lambda acts only through Adam's epsilon. Pruned weights get no gradient.

    >>> rule = PublishedThreshold(penalty=1e-12)
    """

    after_norm = True
    dense_gradient = False

    def __init__(
        self,
        penalty: float = 1e-12,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.0, 0.9),
        floor: float = 0.01,
    ) -> None:
        super().__init__("hard", penalty, lr, floor)
        self.betas = betas
        self.adam: torch.optim.Adam | None = None
        self.saved: dict[str, Any] | None = None

    def gradient(self, layers: Sequence[Layer]) -> None:
        pass  # the graph has cut it: the mask multiplies the weight like any constant

    @torch.no_grad()
    def update(self, layers: Sequence[Layer]) -> None:
        self.steps += 1
        self.move(layers)
        self.refresh(layers)

    def move(self, layers: Sequence[Layer]) -> None:
        thresholds = [layer.mask.threshold for layer in layers]
        if self.adam is None:
            self.adam = torch.optim.Adam(thresholds, lr=self.lr, betas=self.betas)
            if self.saved is not None:
                self.adam.load_state_dict(self.saved)
        for threshold in thresholds:
            threshold.grad = torch.exp(-threshold).mul_(-self.penalty)
        self.adam.step()

    def scales(self, layers: Sequence[Layer]) -> list[Tensor]:
        return [layer.weight.new_ones(()) for layer in layers]

    def state_dict(self) -> dict[str, Any]:
        if self.adam is None:  # loaded, and not moved since
            return super().state_dict() | ({} if self.saved is None else {"adam": self.saved})
        return {**super().state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.saved, self.adam = state.get("adam"), None
