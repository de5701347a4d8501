"""A target density that follows how far the discriminator overfits, instead of the step count."""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import Tensor

from rggan.pruning.broadcast import summed
from rggan.pruning.overfitting import Overfitting

SIGNALS = ("r_t", "r_v", "balance")


class Adaptive:
    """A target density that falls while a signal says that D is too strong, and rises while it says the opposite.

    The counterpart of adaptive augmentation (Karras et al. 2020, "Training Generative Adversarial Networks with
    Limited Data", section 3) for the number of weights: above the set point the density falls, below it rises, at a
    constant rate on a logarithmic scale, and within the dead band it stays. It begins at `high`. At density 1 the
    network trains as if it were not pruned; regenerated weights continue from the values that the rule kept.

    Pass it to a rule as the target, and pass D's outputs to it at each step of D:

        target = Adaptive()
        pruner = Pruner(D, optimizer_d, Threshold(target=target))
        ...
        target.observe(on_real)          # in D's step

    Args:
        signal: 'r_t', the mean sign of D's outputs on training images, -1..1 (ibid., eq. 1: near 1 when D has
            memorised them); 'r_v', `(D(train) - D(held out)) / (D(train) - D(fake))` (ibid.): 0 without overfitting, 1
            when D rates held-out images like generated ones; 'balance', the change of D's output by one step of G
            relative to D's margin, `(D(G after) - D(G before)) / (D(real) - D(G before))` (Wang et al. 2023, "Balanced
            Training for Sparse GANs", section 4.1), where D is too strong *below* the set point.
        set_point: of the signal, between -1 and 1.
        kimg: thousands of training images that D sees while the density changes by a factor of two.
        dead_band: the density does not change while the signal is within this distance of the set point.
        low, high: bounds of the density.
        every: calls of `observe` between two updates. An update synchronises with the device.

    Attributes:
        density: the current one. value: the signal at the last update; NaN before the first, and where D's margin
            was not positive.

    Raises:
        ValueError: an argument out of its range.

    >>> import torch
    >>> target = Adaptive(set_point=0.6, kimg=0.1, every=1)
    >>> target.observe(torch.ones(100))  # D is right about a hundred training images
    >>> target.density, target.value
    (0.5, 1.0)
    """

    def __init__(
        self,
        signal: Literal["r_t", "r_v", "balance"] = "r_t",
        set_point: float = 0.5,
        kimg: float = 10.0,
        dead_band: float = 0.05,
        low: float = 0.02,
        high: float = 1.0,
        every: int = 8,
    ) -> None:
        if signal not in SIGNALS:
            raise ValueError(f"signal is one of {', '.join(SIGNALS)}, not {signal!r}")
        if not -1 < set_point < 1:
            raise ValueError(f"a set point lies between -1 and 1, not at {set_point!r}")
        if not kimg > 0 or not 0 <= dead_band < 1 or every < 1:
            raise ValueError(
                f"kimg is above 0, a dead band 0 or more and below 1, every 1 or more, not {kimg}, {dead_band}, {every}"
            )
        if not 0 < low <= high <= 1:
            raise ValueError(f"bounds of a density are 0 < low <= high <= 1, not {low} and {high}")
        self.signal, self.set_point, self.kimg, self.dead_band = signal, set_point, kimg, dead_band
        self.low, self.high, self.every = low, high, every
        self.level = math.log2(high)  # of the density
        self.value = math.nan
        self.calls = 0  # of `observe` since the last move
        self.seen = Overfitting()

    @property
    def density(self) -> float:
        return min(self.high, max(self.low, 2.0**self.level))

    @property
    def least(self) -> float:
        """The lowest density it can reach."""
        return self.low

    def at(self, step: int) -> float:
        """The current density; it does not depend on the rule's step."""
        return self.density

    @property
    def rests(self) -> bool:
        """Whether the density is 1: nothing is to be pruned."""
        return self.density == 1.0

    @property
    def moves_next(self) -> bool:
        """Whether the next call of `observe` updates the density."""
        return self.calls + 1 >= self.every

    def observe(
        self,
        real: Tensor,
        fake: Tensor | None = None,
        held_out: Tensor | None = None,
        after: Tensor | None = None,
        images: int | None = None,
    ) -> None:
        """Add D's outputs on a batch of training images, [N] or [N, ...]; update the density every `every` calls.

        fake: on generated images; needed by 'r_v' and 'balance'. held_out: on held-out images ('r_v'), if this step
        evaluated any. after: on images of the same latents as `fake` after a step of G ('balance'). images: the number
        of training images this step counts for, if not those in `real`. Call it in every process of a distributed run.

        Raises:
            ValueError: at an update, if an output that the signal needs was not observed.
        """
        self.seen.add(real, fake=fake, held_out=held_out, after=after, images=images)
        self.calls += 1
        if self.calls >= self.every:
            self.move()

    def move(self) -> None:
        """Update the density from the outputs observed since the last update, and reset them."""
        sums = summed(self.seen.sums)
        self.calls, self.seen.sums = 0, None
        if sums is None:
            return
        found, images = self.seen.told(sums, self.signal)
        self.value = found
        off = found - self.set_point
        if math.isnan(found) or abs(off) <= self.dead_band:
            return
        too_strong = off > 0 if self.signal != "balance" else off < 0
        moved = self.level + (-1 if too_strong else 1) * images / (1000 * self.kimg)
        self.level = min(math.log2(self.high), max(math.log2(self.low), moved))

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers; loading them resumes exactly."""
        sums = None if self.seen.sums is None else self.seen.sums.tolist()
        value = self.value if math.isfinite(self.value) else None
        return {"level": self.level, "value": value, "calls": self.calls, "sums": sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError or KeyError for an invalid state; nothing is changed then."""
        level, value, calls, sums = (state[name] for name in ("level", "value", "calls", "sums"))
        if not isinstance(level, float) or not math.log2(1e-6) <= level <= 0 or not isinstance(calls, int) or calls < 0:
            raise ValueError("the state of an adaptive density has no level or count")
        seen = Overfitting.sums_from(sums)
        self.level, self.calls, self.seen.sums = level, calls, seen
        self.value = math.nan if value is None else float(value)
