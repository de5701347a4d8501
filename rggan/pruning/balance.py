"""ADAPT-like baseline: D's density follows the balance between G and D."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rggan.pruning.broadcast import broadcast_first
from rggan.pruning.evolving import SET
from rggan.pruning.pruner import Pruner


class Balance:
    """Adjusts D's density so that D is neither too strong nor too weak for G (Wang et al., "Balanced Training for
    Sparse GANs", NeurIPS 2023: dynamic density adjust).

    The balance ratio is the change of D's output by one step of G relative to D's margin,
    `(D(G after) - D(G before)) / (D(real) - D(G before))` on the same latents and before D's own step (section 4.1).
    Below the band D is too strong, and its density falls by `step`; above the band it rises; within it, it stays.

    Args:
        pruner: D's, with the rule `SET` or `RigL`; the new density takes effect at the rule's next update.
        band: target range of the ratio; the paper's for SNGAN on CIFAR-10.
        step: change of the density per adjustment. limits: bounds of the density.

    Attributes:
        ratio: the last balance ratio, averaged over the observations since the previous call of `step`.

    Raises:
        ValueError: another rule, or an invalid band or limits.

    >>> D = torch.nn.Linear(8, 8)
    >>> pruner = Pruner(D, torch.optim.Adam(D.parameters()), SET(density=0.5))
    >>> balance = Balance(pruner)
    >>> balance.observe(before=torch.tensor([-1.0]), after=torch.tensor([-0.9]), real=torch.tensor([1.0]))
    >>> balance.step(), round(balance.ratio, 4)  # one step of G closed 5 % of D's margin: D is too strong
    (0.45, 0.05)
    """

    def __init__(
        self,
        pruner: Pruner,
        band: tuple[float, float] = (0.45, 0.55),
        step: float = 0.05,
        limits: tuple[float, float] = (0.05, 1.0),
    ) -> None:
        if not isinstance(pruner.rule, SET):
            raise ValueError(f"Balance moves the density of SET or RigL, not of {type(pruner.rule).__name__}")
        if band[0] > band[1] or not 0 < limits[0] <= limits[1] <= 1 or step <= 0:
            raise ValueError("a band goes up, limits lie above 0 and at most at 1, and a step is above 0")
        self.pruner, self.rule = pruner, pruner.rule
        self.band, self.by, self.limits = band, step, limits
        self.ratio = math.nan
        self.sums: Tensor | None = None

    @torch.no_grad()
    def observe(self, before: Tensor, after: Tensor, real: Tensor) -> None:
        """Add D's outputs on generated images before and after a step of G (same latents), and on real ones."""
        sums = torch.stack([before.double().mean(), after.double().mean(), real.double().mean()])
        self.sums = sums if self.sums is None else self.sums.to(sums) + sums

    def step(self) -> float:
        """Adjust the density and return it; without observations it stays. Call it in every process."""
        ratio = math.nan
        if self.sums is not None:
            before, after, real = self.sums.tolist()
            lead = real - before
            ratio = (after - before) / lead if lead > 0 else math.inf  # no margin: D is too weak
            self.sums = None
        # In a distributed run each process has its own batches: rank 0's ratio is used.
        ratio = broadcast_first(ratio)
        if math.isnan(ratio):
            return self.rule.density
        self.ratio, density = ratio, self.rule.density
        if self.ratio < self.band[0]:
            density -= self.by
        elif self.ratio > self.band[1]:
            density += self.by
        self.rule.density = min(self.limits[1], max(self.limits[0], density))
        return self.rule.density

    def state_dict(self) -> dict[str, Any]:
        """The density is part of the rule's state."""
        return {"sums": None if self.sums is None else self.sums.tolist(), "ratio": self.ratio}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums = None if state["sums"] is None else torch.tensor(state["sums"], dtype=torch.float64)
        self.ratio = state["ratio"]
