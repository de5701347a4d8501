"""Prune while the discriminator overfits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rggan.pruning.form import fitted_numbers
from rggan.pruning.kind import Kind
from rggan.pruning.overfitting import Overfitting
from rggan.pruning.pruner import Pruner
from rggan.pruning.schedule import Schedule


class OverfitSchedule(Schedule):
    """Prune while the discriminator overfits, otherwise integrate. Needs no score and no feature network.

    Pass D's outputs to `observe` at each step of D. Overfitting is measured between two calls of `step`:
    without `held_out`, by `r_t`, the mean sign of D's outputs on training images (Karras et al. 2020, "Training
    Generative Adversarial Networks with Limited Data", eq. 1: -1..1, near 1 when D has memorised them);
    with it, by `r_v = (D(train) - D(held out)) / (D(train) - D(fake))` (the same equation): 0 without overfitting, 1
    when D rates held-out images like generated ones.

    Args:
        pruners, fade: see `Schedule`.
        target: prune above it. The default is that of adaptive augmentation for r_t.
        dead_band: the phase does not change while the statistic is within this distance of the target.

    Attributes:
        overfitting: the statistic of the last `step`.

    >>> class Recorder:
    ...     phase = "prune"
    ...     prune = lambda self: None
    ...     integrate = lambda self, fade: None
    ...     notice_idle = lambda self: None
    >>> import torch
    >>> schedule = OverfitSchedule(Recorder())
    >>> schedule.observe(real=torch.tensor([2.0, 1.0, -1.0, -3.0]))
    >>> schedule.step(), schedule.overfitting
    ('dense', 0.0)
    """

    def __init__(
        self, *pruners: Pruner, target: float = 0.6, dead_band: float = 0.0, fade: int | Sequence[int] = 0
    ) -> None:
        if dead_band < 0:
            raise ValueError(f"a dead band is 0 or more, not {dead_band}")
        super().__init__(*pruners, fade=fade)
        self.target, self.dead_band = target, dead_band
        self.overfitting: float | None = None
        self.seen = Overfitting()

    def observe(self, real: Tensor, held_out: Tensor | None = None, fake: Tensor | None = None) -> None:
        """Add D's outputs on training images, and on held-out and generated ones if any. Non-blocking.

        Raises:
            ValueError: held-out outputs without generated ones, which normalise r_v.
        """
        if held_out is not None and fake is None:
            raise ValueError("observe takes held_out and fake together: r_v is a share of D(train) - D(fake)")
        self.seen.add(real, fake=fake, held_out=held_out)

    def wants_to_prune(self, score: float | None) -> bool:
        sums, self.seen.sums = self.seen.sums, None
        if sums is None:
            raise ValueError("an OverfitSchedule has nothing to go by: call observe(D(real)) in the training loop")
        found, _ = self.seen.told(sums, "r_v" if self.seen.holds_out(sums) else "r_t")
        if math.isnan(found):  # D has no margin over generated images: r_v is undefined
            found = 0.0
        self.overfitting = found
        self.decisions += 1
        if abs(found - self.target) <= self.dead_band:
            return self.phase == "prune"
        return found > self.target

    def state_dict(self) -> dict[str, Any]:
        sums = None if self.seen.sums is None else self.seen.sums.tolist()
        return {**super().state_dict(), "sums": sums, "overfitting": self.overfitting}

    def checked(self, state: Any) -> dict[str, Any]:
        clean = super().checked(state)
        Overfitting.sums_from(clean["sums"])
        if clean["overfitting"] is not None:
            fitted_numbers([clean["overfitting"]], 1, "overfitting")
        return clean

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen.sums = Overfitting.sums_from(state["sums"])
        self.overfitting = state["overfitting"]
        super().load_state_dict(state)

    def told(self) -> dict[str, Any]:
        return {"overfitting": self.overfitting}


KIND: Kind[Schedule] = Kind(
    lambda wanted: OverfitSchedule(*wanted.pruners, dead_band=wanted.options["dead_band"], fade=wanted.fade),
    frozenset(("fade", "dead_band")),
)
