"""How many weights are kept: courses of the density over training, and the selection that reaches it exactly."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from rggan.pruning import host
from rggan.pruning.adaptive import Adaptive
from rggan.pruning.layer import Layer, kept_number

SAMPLE = 8192  # numbers that tell about where a place lies, and how far from there it is looked for
WITHIN = 150


@dataclass(frozen=True)
class Ramp:
    """A target density that falls from 1 to `density` over pruning steps and then stays constant.

    `1 - (1 - density) * (1 - (1 - x)^power)` at the share x of the `steps` that follow the first `start` ones (Zhu and
    Gupta 2017, eq. 1): `power` 3 is the cubic schedule, which prunes fastest at first; 1 is linear. Steps of dense
    phases do not count.

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

    @property
    def least(self) -> float:
        """The lowest density it reaches."""
        return self.density

    def state_dict(self) -> list[float | int]:
        """Returns the arguments that rebuild it: Ramp(*state)."""
        return [float(self.density), self.steps, self.power, self.start]

    def at(self, step: int) -> float:
        left = 1 - min(1.0, max(0, step - self.start) / self.steps)
        return 1 - (1 - self.density) * (1 - left**self.power)


@dataclass(frozen=True)
class DensityPath:
    """A density interpolated between points, linearly in its logarithm; constant before the first and after the last.

    For control experiments: one rule follows the densities of a run with another rule.

    points: (step, density), with rising steps.

    Raises:
        ValueError: no points, steps that do not rise, or a density outside (0, 1].

    >>> path = DensityPath([(0, 1.0), (100, 0.25)])
    >>> [path.at(step) for step in (0, 50, 1000)]
    [1.0, 0.5, 0.25]
    """

    points: Sequence[tuple[int, float]]

    def __post_init__(self) -> None:
        points = [(int(step), float(density)) for step, density in self.points]
        object.__setattr__(self, "points", points)
        steps = [step for step, _ in points]
        if not points or any(later <= step for step, later in itertools.pairwise(steps)):
            raise ValueError("a path has points (step, density) whose steps rise")
        if (wrong := next((density for _, density in points if not 0 < density <= 1), None)) is not None:
            raise ValueError(f"a target density lies above 0 and at most at 1, not at {wrong!r}")

    @property
    def least(self) -> float:
        return min(density for _, density in self.points)

    def state_dict(self) -> list[list[float]]:
        """Returns the points that rebuild it."""
        return [[float(step), density] for step, density in self.points]

    def at(self, step: int) -> float:
        place = bisect_right([at for at, _ in self.points], step)
        if place in (0, len(self.points)):
            return self.points[max(0, place - 1)][1]
        (start, from_), (end, to) = self.points[place - 1 : place + 1]
        return math.exp(math.log(from_) + math.log(to / from_) * (step - start) / (end - start))


Course = Ramp | DensityPath | Adaptive  # schedules of a density: each gives its value `at` a pruning step


def course(density: Course | float) -> Course:
    """
    >>> course(0.5)
    Ramp(density=0.5, steps=1, power=3, start=0)
    """
    return density if isinstance(density, Course) else Ramp(density)


def taken_up(own: Course, state: Any) -> Course:
    """Restores a course from a state, which contains the options of a Ramp or path, but not those of an Adaptive.

    Raises:
        ValueError, KeyError, TypeError: it is the state of another kind of course; nothing is changed then.
    """
    if isinstance(own, Adaptive):
        if not isinstance(state, dict):
            raise ValueError("the rule's target follows a signal, and that of the state a ramp")
        own.load_state_dict(state)
        return own
    if not isinstance(state, list) or not state:
        raise ValueError("the rule's target is a ramp, and that of the state follows a signal")
    if isinstance(state[0], list) != isinstance(own, DensityPath):
        raise ValueError("the rule's target and that of the state are of two kinds")
    return DensityPath(state) if isinstance(own, DensityPath) else Ramp(*state)


@dataclass(frozen=True)
class Target:
    """Assigns courses to layers: {pattern of names: course}; the first pattern that matches a layer's name applies.

    >>> Target.of({"head.*": 0.5, "*": Ramp(0.1, steps=100)}).least
    0.1
    """

    courses: Mapping[str, Course]

    def __post_init__(self) -> None:
        if not self.courses:
            raise ValueError("a target is a density, a Ramp or an Adaptive, or {pattern of names: one of these}")

    @classmethod
    def of(cls, target: Course | float | Mapping[str, Course | float] | Target) -> Target:
        if isinstance(target, Target):
            return target
        courses = target if isinstance(target, Mapping) else {"*": target}
        return cls({pattern: course(c) for pattern, c in courses.items()})

    @property
    def least(self) -> float:
        """The lowest density that a layer can reach."""
        return min(c.least for c in self.courses.values())

    @property
    def rests(self) -> bool:
        """Whether nothing is to be pruned now: all courses follow a signal, and all are at density 1."""
        return all(isinstance(c, Adaptive) and c.rests for c in self.courses.values())

    def groups(self, layers: Sequence[Layer]) -> list[tuple[list[Layer], Course]]:
        """Returns the layers of each course.

        Raises:
            ValueError: a layer that no pattern matches, or a pattern that matches no layer.
        """
        found: dict[str, list[Layer]] = {pattern: [] for pattern in self.courses}
        for layer in layers:
            pattern = next((p for p in self.courses if fnmatchcase(layer.name, p)), None)
            if pattern is None:
                raise ValueError(f"no density is given for {layer.name}: add one for '*', all others")
            found[pattern].append(layer)
        if (idle := next((p for p, group in found.items() if not group), None)) is not None:
            raise ValueError(f"no pruned weight takes the density of {idle!r} (there are {some(layers)})")
        return [(group, self.courses[pattern]) for pattern, group in found.items()]

    def state_dict(self) -> dict[str, Any]:
        return {pattern: c.state_dict() for pattern, c in self.courses.items()}

    def taken_up(self, state: Mapping[str, Any]) -> Target:
        """Returns the target restored from a state.

        Raises:
            ValueError: its patterns or courses are of another kind.
        """
        if state.keys() != self.courses.keys():
            raise ValueError(f"the state's targets are for {', '.join(state)}, not for {', '.join(self.courses)}")
        return Target({pattern: taken_up(c, state[pattern]) for pattern, c in self.courses.items()})


def some(layers: Sequence[Layer]) -> str:
    """Returns the first few names, for a message."""
    return ", ".join([layer.name for layer in layers[:4]] + ["..."] * (len(layers) > 4))


def place_of(density: float, count: int) -> int:
    """Returns where in so many ascending numbers the least one is that this share keeps."""
    return count - kept_number(density, count)


def cut(sizes: Sequence[Tensor], density: float, place: Tensor | None = None) -> Tensor:
    """Returns the value that the share `density` of all these numbers reaches: a scalar on their device, non-blocking.

    At least one number reaches it; below density 1, at least one may not.

    place: `place_of` it on their device, int64 [1], where a recorded step looks.

    >>> cut([torch.tensor([1.0, 5.0]), torch.tensor([3.0, 4.0])], 0.5)
    tensor(4.)
    """
    flat = torch.cat([size.flatten() for size in sizes])
    if place is None and host.reads_freely(flat):
        return nth(flat, place_of(density, len(flat)))
    ascending = flat.sort().values  # much faster than kthvalue on a GPU
    return ascending[place_of(density, len(flat))] if place is None else ascending.index_select(0, place)[0]


def nth(flat: Tensor, place: int) -> Tensor:
    """Returns the number at this place of the sorted ones, a scalar: that of `kthvalue`, some four times faster.

    Every so many numbers, sorted, tell two bounds about the place; few of all lie between them.

    >>> nth(torch.arange(100_000.0).flip(0), 70_000)
    tensor(70000.)
    """
    some = flat[:: max(1, len(flat) // SAMPLE)].sort().values
    about = place * len(some) // len(flat)
    low, high = some[max(0, about - WITHIN)], some[min(len(some) - 1, about + WITHIN)]
    below = flat < low
    between = flat[(flat <= high) ^ below]
    left = place - int(below.sum())
    if 0 <= left < len(between):
        return between.kthvalue(left + 1).values
    return flat.kthvalue(place + 1).values
