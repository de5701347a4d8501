"""A rule or a schedule by name: how the options of a training run make one, and which of them mean something to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rggan.pruning.target import Course, Ramp

T = TypeVar("T")
BASELINE_DENSITY = 0.5  # where no target is given
UPDATES = 64  # of a ranking rule, in a whole run
# Arguments of somebody's rule that the run's options of the same name give, where they are given at all.
GIVEN = ("distribution", "min_fan", "penalty")


@dataclass(frozen=True)
class Wanted:
    """What a training run asks of a rule or a schedule.

    Args:
        options: of the run, by name. own: those that the rule or schedule itself brings, where they are given.
        target: the course of the density, in optimizer steps of the network; None: none was given.
        ramp: to a density, along the run's options. steps: of that optimizer in the whole run.
        pruners: whose phases a schedule decides. fade: steps over which integrated weights come back, of each.
    """

    options: Mapping[str, Any]
    own: Mapping[str, Any] = field(default_factory=dict)
    target: Course | None = None
    ramp: Callable[[float], Course] = Ramp
    steps: int = 1
    pruners: Sequence[Any] = ()
    fade: Sequence[int] = ()

    @property
    def density(self) -> Course | float:
        """For rules that know no ramp: a plain density from the first step on, or a course that follows something."""
        if self.target is None:
            return BASELINE_DENSITY
        return self.target.density if isinstance(self.target, Ramp) else self.target

    @property
    def every(self) -> int:
        """Steps between two updates of a rule that moves masks now and then."""
        return max(1, self.steps // UPDATES)

    def given(self, *names: str) -> dict[str, Any]:
        """Those of these options of the run that are not None."""
        return {name: self.options[name] for name in names if self.options.get(name) is not None}


@dataclass(frozen=True)
class Kind(Generic[T]):
    """How one is made, and what goes with it.

    Args:
        make: from what a run wants.
        options: names of the options of a run that mean something to it; others of pruning are refused beside it.
        own: what it brings besides, with their defaults: numbers, yes or no, texts (`--rule-options name=value`).
        penalised: without a target a penalty decides how many weights go, and no density.
        ramps: its density comes down along a ramp where no target is given, too.
        behind_norm: its masks stand behind a spectral norm.
    """

    make: Callable[[Wanted], T]
    options: frozenset[str] = frozenset()
    own: Mapping[str, Any] = field(default_factory=dict)
    penalised: bool = False
    ramps: bool = False
    behind_norm: bool = False


def as_kind(found: Any, base: type[T], of_class: Callable[[Callable[..., T]], Kind[T]]) -> Kind[T]:
    """A `Kind`, or that of a subclass of `base`.

    Raises:
        TypeError: it is neither, or its arguments are not such as a run can give.
    """
    if isinstance(found, Kind):
        return found
    if isinstance(found, type) and issubclass(found, base):
        return of_class(found)
    raise TypeError(f"{base.__name__.lower()} (a subclass of rggan.pruning.{base.__name__})")


def own_rule_kind(cls: Callable[..., T]) -> Kind[T]:
    """The kind that the arguments of somebody's rule tell.

    `target` or `density` takes the run's where it has one, `distribution`, `min_fan` and `penalty` too, and `seed` its
    seed; all others must have a default, and where that is a number, a truth value or a text they are options of its
    own.

    Raises:
        TypeError: an argument that nothing gives.

    >>> from rggan.pruning import Rule
    >>> class Mine(Rule):
    ...     def __init__(self, density=0.5, strength: float = 2.0): ...
    >>> kind = own_rule_kind(Mine)
    >>> sorted(kind.options), kind.own
    (['target_d', 'target_g'], {'strength': 2.0})
    """
    named, own = arguments(cls, ("target", "density", "seed", *GIVEN))
    options = {name for name in GIVEN if name in named}
    if {"target", "density"} & named.keys():
        options |= {"target_g", "target_d"}
    if "target" in named:
        options |= {"ramp", "ramp_shape"}

    def make(wanted: Wanted) -> T:
        found: dict[str, Any] = {**wanted.given(*(name for name in GIVEN if name in named)), **wanted.own}
        if "target" in named and (wanted.target is not None or required(named["target"])):
            found["target"] = wanted.target or wanted.ramp(BASELINE_DENSITY)
        if "density" in named and (wanted.target is not None or required(named["density"])):
            found["density"] = wanted.density
        if "seed" in named:
            found["seed"] = wanted.options["seed"]
        return cls(**found)

    behind = bool(getattr(cls, "behind_norm", False))
    ramps = "target" in named and required(named["target"])
    return Kind(make, frozenset(options), own, ramps=ramps, behind_norm=behind)


def own_schedule_kind(cls: Callable[..., T]) -> Kind[T]:
    """The same of somebody's schedule, whose first arguments are pruners: `fade` takes the run's where it has one.

    Raises:
        TypeError: an argument that nothing gives.
    """
    named, own = arguments(cls, ("fade",))

    def make(wanted: Wanted) -> T:
        fade = {"fade": wanted.fade} if "fade" in named and any(wanted.fade) else {}
        return cls(*wanted.pruners, **fade, **wanted.own)

    return Kind(make, frozenset({"fade"} & named.keys()), own)


def arguments(
    cls: Callable[..., Any], given: Sequence[str]
) -> tuple[dict[str, inspect.Parameter], dict[str, bool | int | float | str]]:
    """The named arguments of a class, and which of them are options of its own, with their defaults.

    Raises:
        TypeError: one that is neither `given` nor has a default.
    """
    parameters = inspect.signature(cls).parameters
    named = {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    others = {name: p for name, p in named.items() if name not in given}
    missing = [name for name, p in others.items() if required(p)]
    if missing:
        raise TypeError(f"thing that a run can make: its argument {missing[0]} has no default")
    return named, {name: p.default for name, p in others.items() if isinstance(p.default, bool | int | float | str)}


def required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty
