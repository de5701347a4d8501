"""Statistics of D's outputs in training that measure its overfitting; accumulation is non-blocking."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

ROWS = ("real", "sign", "fake", "held_out", "after")


class Overfitting:
    """Running sums of D's outputs.

    Attributes:
        sums: float64 [6, 2] on the outputs' device, or None: sum and count of D's outputs on training images, of their
            signs, of the outputs on generated images, on held-out ones, and on generated ones after a step of G; the
            last row is the number of training images, and 0.

    >>> seen = Overfitting()
    >>> seen.add(torch.tensor([2.0, 1.0, -1.0, -3.0]), fake=torch.tensor([-2.0]), held_out=torch.tensor([-1.0]))
    >>> seen.told(seen.sums, "r_t"), seen.told(seen.sums, "r_v")
    ((0.0, 4), (0.42857142857142855, 4))
    """

    def __init__(self) -> None:
        self.sums: Tensor | None = None

    @torch.no_grad()
    def add(
        self,
        real: Tensor,
        fake: Tensor | None = None,
        held_out: Tensor | None = None,
        after: Tensor | None = None,
        images: int | None = None,
    ) -> None:
        """Add D's outputs, [N] or [N, ...] each; images: how many they count for, if not those in `real`."""
        if self.sums is None:
            self.sums = torch.zeros(len(ROWS) + 1, 2, dtype=torch.float64, device=real.device)
        self.sums = self.sums.to(real.device)
        for row, values in enumerate((real, real.sign(), fake, held_out, after)):
            if values is not None:
                self.sums[row, 0] += values.sum()
                self.sums[row, 1] += values.numel()
        self.sums[-1, 0] += len(real) if images is None else images

    @staticmethod
    def told(sums: Tensor, signal: str) -> tuple[float, int]:
        """Returns the signal ('r_t', 'r_v' or 'balance') and the number of training images. Synchronises.

        If D's margin over generated images is not positive, r_v is NaN, and the balance is infinite: D is too weak.

        Raises:
            ValueError: an output that the signal needs was not observed, or is not finite.
        """
        rows = dict(zip((*ROWS, "images"), sums.tolist(), strict=True))
        need = {"r_t": ("sign",), "r_v": ("real", "fake", "held_out"), "balance": ("real", "fake", "after")}[signal]
        if missing := [name for name in need if rows[name][1] == 0]:
            names = " and ".join("real" if name == "sign" else name for name in missing)
            raise ValueError(f"the signal {signal} needs D's outputs on {names} images: give them to observe()")
        mean = {name: rows[name][0] / rows[name][1] for name in need}
        if not all(map(math.isfinite, mean.values())):
            raise ValueError("the discriminator's outputs must be finite numbers")
        images = int(rows["images"][0])
        if signal == "r_t":
            return mean["sign"], images
        lead = mean["real"] - mean["fake"]
        if signal == "r_v":
            return ((mean["real"] - mean["held_out"]) / lead if lead > 0 else math.nan), images
        return ((mean["after"] - mean["fake"]) / lead if lead > 0 else math.inf), images

    @staticmethod
    def holds_out(sums: Tensor) -> bool:
        """Whether held-out images were observed."""
        return bool(sums[ROWS.index("held_out"), 1] > 0)

    @staticmethod
    def sums_from(saved: Any) -> Tensor | None:
        """Returns the tensor of a saved `sums.tolist()`; raises ValueError for anything else."""
        if saved is None:
            return None
        if isinstance(saved, list) and len(saved) == 4:  # older states: real, sign, held_out, fake, without a count
            real, sign, held_out, fake = saved
            saved = [real, sign, fake, held_out, [0.0, 0.0], [real[-1], 0.0]]
        fits = (
            isinstance(saved, list)
            and len(saved) == len(ROWS) + 1
            and all(isinstance(row, list) and len(row) == 2 and all(type(n) is float for n in row) for row in saved)
        )
        if not fits:
            raise ValueError("the sums are no pairs of numbers")
        return torch.tensor(saved, dtype=torch.float64)
