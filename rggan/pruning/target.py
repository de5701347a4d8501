"""HOW MANY weights are kept: a ramp to a target density, and the offset that reaches it exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from rggan.pruning.layer import Layer, kept_number


@dataclass(frozen=True)
class Ramp:
    """The density that a network shall have after so many pruning steps: from 1 down to `density`, and there it stays.

    `1 - (1 - density) * (1 - (1 - x)^power)` at the share x of the `steps` that follow the first `start` ones (Zhu and
    Gupta 2017, eq. 1): `power` 3 is the cubic schedule, which prunes most at first; 1 is linear. Steps of dense phases
    do not count.

    Raises:
        ValueError: a density outside (0, 1], steps or a power below 1, or a start below 0.

    >>> ramp = Ramp(0.3, steps=100)
    >>> [round(ramp.at(step), 4) for step in (0, 50, 100, 500)]
    [1.0, 0.3875, 0.3, 0.3]
    >>> Ramp(0.3, steps=100, start=1000).at(1000)
    1.0
    """

    density: float
    steps: int = 1
    power: int = 3
    start: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.density, float | int) and 0 < self.density <= 1):
            raise ValueError(f"a target density lies above 0 and at most at 1, not at {self.density!r}")
        if self.steps < 1 or self.power < 1:
            raise ValueError(f"a ramp has at least 1 step and a power of at least 1, not {self.steps} and {self.power}")
        if self.start < 0:
            raise ValueError(f"a ramp starts at step 0 or later, not at {self.start}")

    def to_list(self) -> list[float | int]:
        """What makes it again: Ramp(*these)."""
        return [float(self.density), self.steps, self.power, self.start]

    def at(self, step: int) -> float:
        left = 1 - min(1.0, max(0, step - self.start) / self.steps)
        return 1 - (1 - self.density) * (1 - left**self.power)


@dataclass(frozen=True)
class Target:
    """Which layers share which ramp: {pattern of names: Ramp}; a layer takes the first pattern that matches its name.

    >>> Target.of({"head.*": 0.5, "*": Ramp(0.1, steps=100)}).density
    0.1
    """

    ramps: Mapping[str, Ramp]

    def __post_init__(self) -> None:
        if not self.ramps:
            raise ValueError("a target is a density, a Ramp, or {pattern of names: one of these}")

    @classmethod
    def of(cls, target: Ramp | float | Mapping[str, Ramp | float] | Target) -> Target:
        if isinstance(target, Target):
            return target
        ramps = target if isinstance(target, Mapping) else {"*": target}
        return cls({pattern: r if isinstance(r, Ramp) else Ramp(r) for pattern, r in ramps.items()})

    @property
    def density(self) -> float:
        """The smallest of its ramps'."""
        return min(ramp.density for ramp in self.ramps.values())

    def groups(self, layers: Sequence[Layer]) -> list[tuple[list[Layer], Ramp]]:
        """The layers of each ramp.

        Raises:
            ValueError: a layer that no pattern matches, or a pattern that takes no layer.
        """
        found: dict[str, list[Layer]] = {pattern: [] for pattern in self.ramps}
        for layer in layers:
            pattern = next((p for p in self.ramps if fnmatchcase(layer.name, p)), None)
            if pattern is None:
                raise ValueError(f"no density is given for {layer.name}: add one for '*', all others")
            found[pattern].append(layer)
        if (idle := next((p for p, group in found.items() if not group), None)) is not None:
            raise ValueError(f"no pruned weight takes the density of {idle!r} (there are {some(layers)})")
        return [(group, self.ramps[pattern]) for pattern, group in found.items()]

    def state_dict(self) -> dict[str, list[float | int]]:
        return {pattern: ramp.to_list() for pattern, ramp in self.ramps.items()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Target:
        return cls({pattern: Ramp(*values) for pattern, values in state.items()})


def some(layers: Sequence[Layer]) -> str:
    """The first names, for a message."""
    return ", ".join([layer.name for layer in layers[:4]] + ["..."] * (len(layers) > 4))


def cut(sizes: Sequence[Tensor], density: float) -> Tensor:
    """The value that the share `density` of all these numbers reaches: a scalar on their device (without waiting).

    At least one number reaches it; below density 1, at least one may not.

    >>> cut([torch.tensor([1.0, 5.0]), torch.tensor([3.0, 4.0])], 0.5)
    tensor(4.)
    """
    flat = torch.cat([size.flatten() for size in sizes])
    place = len(flat) - kept_number(density, len(flat))
    if flat.device.type == "cpu":
        return flat.kthvalue(place + 1).values
    return flat.sort().values[place]  # many times faster there
