"""HOW MANY weights are kept: a ramp to a target density, and the offset that reaches it exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ramp:
    """The density that a network shall have after so many pruning steps: from 1 down to `density`, and there it stays.

    `1 - (1 - density) * (1 - (1 - x)^power)` at the share x of the `steps` (Zhu and Gupta 2017, eq. 1): `power` 3 is
    the cubic schedule, which prunes most at first; 1 is linear. Steps of dense phases do not count.

    Raises:
        ValueError: a density outside (0, 1], or steps or a power below 1.

    >>> ramp = Ramp(0.3, steps=100)
    >>> [round(ramp.at(step), 4) for step in (0, 50, 100, 500)]
    [1.0, 0.3875, 0.3, 0.3]
    """

    density: float
    steps: int = 1
    power: int = 3

    def __post_init__(self) -> None:
        if not (isinstance(self.density, float | int) and 0 < self.density <= 1):
            raise ValueError(f"a target density lies above 0 and at most at 1, not at {self.density}")
        if self.steps < 1 or self.power < 1:
            raise ValueError(f"a ramp has at least 1 step and a power of at least 1, not {self.steps} and {self.power}")

    def to_list(self) -> list[float | int]:
        """What makes it again: Ramp(*these)."""
        return [float(self.density), self.steps, self.power]

    def at(self, step: int) -> float:
        left = 1 - min(1.0, step / self.steps)
        return 1 - (1 - self.density) * (1 - left**self.power)


def cut(sizes: Sequence[Tensor], density: float) -> Tensor:
    """The value that the share `density` of all these numbers reaches: a scalar on their device (without waiting).

    At least one number reaches it; below density 1, at least one may not.

    >>> cut([torch.tensor([1.0, 5.0]), torch.tensor([3.0, 4.0])], 0.5)
    tensor(4.)
    """
    flat = torch.cat([size.flatten() for size in sizes])
    kept = min(len(flat), max(1, math.floor(density * len(flat) + 0.5)))
    return flat.kthvalue(len(flat) - kept + 1).values
