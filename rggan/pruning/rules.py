"""WHICH weights are pruned. A rule sees all layers of one network; when it acts is a schedule's choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from rggan.pruning.mask import Layer


class Rule:
    """What a `Pruner` asks of a rule. The base class prunes nothing.

    While the pruner prunes, `gradient` runs before each optimizer step and turns the dense gradient into
    what the optimizer sees, and `update` runs after it and moves the masks. `refresh` makes the masks
    from the rule's state, when pruning begins again after a dense phase. None of them may wait for the
    device (no `.item()`): they run at every step.
    """

    after_norm = False  # whether the mask stands after a spectral norm, rather than before it
    dense_gradient = True  # whether the rule sees the gradient of masked weights

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
    The penalty `lambda * sum(exp(-t))` (RG-GAN, AAAI 2024, the sparsity term) pushes thresholds up.

    estimator:
        'straight-through': the loss reaches weights and thresholds through `step_slope` (Liu et al.
        2020): with the dense gradient g, `dW = g * (mask + |W|/rms * slope)` and
        `dt = -sum(g * W * slope)`. Masked weights go on training and return when they matter.
        'hard': the loss sees neither: masked weights stay frozen bit for bit, whatever the optimizer's
        momentum and weight decay do, and thresholds follow the penalty alone.
    penalty: lambda, in units of the loss's own pull: `dt` is divided by its root mean square over the
        network, so that 1 balances an average neuron's at t = 0, at any width and batch size.
    lr: how far a threshold moves a step, in rms units, per unit of that gradient (plain descent: what is
        noise in the loss's pull averages out). Under 'hard', t = log(1 + lr * lambda * steps).
    floor: a layer whose density falls to this gets its thresholds back to 0 and is dense again.

    `PublishedThreshold` is the variant of the paper's own code.

    >>> rule = Threshold(estimator="hard", penalty=1.0, lr=1e-4)
    """

    def __init__(
        self,
        estimator: Literal["straight-through", "hard"] = "straight-through",
        penalty: float = 1.0,
        lr: float = 2e-4,
        floor: float = 0.01,
    ) -> None:
        if estimator not in ("straight-through", "hard"):
            raise ValueError(f"estimator is 'straight-through' or 'hard', not {estimator!r}")
        if penalty < 0 or lr < 0 or not 0 <= floor < 1:
            raise ValueError("penalty and lr must not be negative, and floor must lie in [0, 1)")
        self.hard = estimator == "hard"
        self.penalty, self.lr, self.floor = penalty, lr, floor
        self.pull: list[Tensor] = []  # the loss's dt of this step, between `gradient` and `update`
        self.frozen: list[Tensor] = []  # dense weights before this step (hard)

    @torch.no_grad()
    def gradient(self, layers: Sequence[Layer]) -> None:
        if self.hard:
            self.frozen = [layer.weight.detach().clone() for layer in layers]
            for layer in layers:
                if layer.weight.grad is not None:
                    layer.weight.grad.mul_(layer.mask.mask)
        else:
            self.pull = [self.straight_through(layer) for layer in layers]

    def straight_through(self, layer: Layer) -> Tensor:
        """Turn the layer's dense gradient g into dW, in place, and return dt [out], penalty not included."""
        gradient = layer.weight.grad
        if gradient is None:
            return torch.zeros_like(layer.mask.threshold)
        magnitude = self.magnitude(layer)
        slope = step_slope(magnitude - layer.per_neuron(layer.mask.threshold))
        pull = -layer.neuron_sum((gradient * layer.weight).mul_(slope))
        gradient.mul_(slope.mul_(magnitude).add_(layer.mask.mask))
        return pull

    @torch.no_grad()
    def update(self, layers: Sequence[Layer]) -> None:
        if self.hard:
            for layer, before in zip(layers, self.frozen, strict=True):
                layer.weight.copy_(torch.where(layer.mask.mask > 0, layer.weight, before))
            self.frozen = []
        self.move(layers)
        self.refresh(layers)

    def move(self, layers: Sequence[Layer]) -> None:
        """One step of gradient descent on every threshold."""
        thresholds = [layer.mask.threshold for layer in layers]
        steps = [torch.exp(-t).mul_(self.penalty) for t in thresholds]  # minus the penalty's gradient
        if self.pull:
            # A mixed-precision step that overflowed runs the hooks too: its pull is no number and must not count.
            pull = torch.cat(self.pull).nan_to_num_(0, 0, 0)
            pull /= pull.square().mean().sqrt().clamp_min(torch.finfo(pull.dtype).tiny)
            torch._foreach_sub_(steps, list(pull.split([len(t) for t in thresholds])))
            self.pull = []
        torch._foreach_add_(thresholds, steps, alpha=self.lr)

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            torch.ge(self.magnitude(layer), layer.per_neuron(layer.mask.threshold), out=layer.mask.mask)
        # A collapsed layer starts anew: thresholds 0 keep every weight. At once, since a layer that is all zero
        # under a spectral norm would divide by zero in the next forward pass.
        masks = [layer.mask.mask for layer in layers]
        alive = torch.stack([mask.mean() for mask in masks]) > self.floor
        torch._foreach_mul_([layer.mask.threshold for layer in layers], list(alive.to(masks[0].dtype).unbind()))
        for mask, collapsed in zip(masks, (~alive).to(masks[0].dtype).unbind(), strict=True):
            torch.maximum(mask, collapsed, out=mask)

    def magnitude(self, layer: Layer) -> Tensor:
        """|W| in the units of the thresholds; a fresh tensor, weight-shaped."""
        weight = layer.seen()
        rms = torch.linalg.vector_norm(weight) / weight.numel() ** 0.5
        return weight.abs().div_(rms.clamp_min_(torch.finfo(weight.dtype).tiny))


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

    def magnitude(self, layer: Layer) -> Tensor:
        return layer.seen().abs()

    def state_dict(self) -> dict[str, Any]:
        if self.adam is None:  # loaded, and not moved since
            return {} if self.saved is None else {"adam": self.saved}
        return {"adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.saved, self.adam = state.get("adam"), None
