"""A rule or schedule by name: how it is built from the options of a training run, and which options it uses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rggan.pruning.target import Course, Ramp
from rggan.pruning.whole_channels import Channels, Coupling

T = TypeVar("T")
BASELINE_DENSITY = 0.5  # if no target is given
UPDATES = 64  # of a ranking rule, in a whole run
# Arguments of a user-defined rule that take the run's options of the same name, if given.
GIVEN = ("distribution", "min_fan", "penalty")


@dataclass(frozen=True)
class Wanted:
    """What a training run passes to the constructor of a rule or a schedule.

    Args:
        options: of the run, by name. own: options declared by the rule or schedule itself, if given.
        target: the density schedule, in optimizer steps of the network; None: none was given.
        ramp: makes a ramp to a density from the run's options. steps: of that optimizer in the whole run.
        coupling: the channels of the network whose whole channels are pruned (`rggan.pruning.coupled`); None: others.
        pruners: those that a schedule controls. fade: for each, the steps over which integrated weights fade in.
    """

    options: Mapping[str, Any]
    own: Mapping[str, Any] = field(default_factory=dict)
    target: Course | None = None
    ramp: Callable[[float], Course] = Ramp
    steps: int = 1
    coupling: Coupling | None = None
    pruners: Sequence[Any] = ()
    fade: Sequence[int] = ()

    @property
    def density(self) -> Course | float:
        """For rules without a ramp: a constant density from the first step on, or a course other than a ramp."""
        if self.target is None:
            return BASELINE_DENSITY
        return self.target.density if isinstance(self.target, Ramp) else self.target

    @property
    def every(self) -> int:
        """Steps between two updates of a rule that updates its masks periodically."""
        return max(1, self.steps // UPDATES)

    @property
    def channels(self) -> Channels | None:
        """The granularity where whole channels are pruned."""
        return None if self.coupling is None else Channels(self.coupling)

    def given(self, *names: str) -> dict[str, Any]:
        """Returns those of these options that are not None."""
        return {name: self.options[name] for name in names if self.options.get(name) is not None}


@dataclass(frozen=True)
class Kind(Generic[T]):
    """How to build a rule or schedule, and which options belong to it.

    Args:
        make: builds it from a `Wanted`.
        options: names of the run's options that it uses; other pruning options are refused with it.
        own: options that it declares itself, with defaults: numbers, booleans, strings (`--rule-options name=value`).
        penalised: without a target, a penalty rather than a density decides how many weights are pruned.
        ramps: its density follows a ramp even if no target is given.
        behind_norm: its masks are applied after a spectral norm.
    """

    make: Callable[[Wanted], T]
    options: frozenset[str] = frozenset()
    own: Mapping[str, Any] = field(default_factory=dict)
    penalised: bool = False
    ramps: bool = False
    behind_norm: bool = False


def as_kind(found: Any, base: type[T], of_class: Callable[[Callable[..., T]], Kind[T]]) -> Kind[T]:
    """Returns a `Kind` as it is, or the kind of a subclass of `base`.

    Raises:
        TypeError: it is neither, or a run cannot supply its arguments.
    """
    if isinstance(found, Kind):
        return found
    if isinstance(found, type) and issubclass(found, base):
        return of_class(found)
    raise TypeError(f"{base.__name__.lower()} (a subclass of rggan.pruning.{base.__name__})")


def own_rule_kind(cls: Callable[..., T]) -> Kind[T]:
    """Derives the kind of a user-defined rule from the arguments of its constructor.

    `target` or `density` takes the run's target, if any; `distribution`, `min_fan`, `penalty` and `seed` take the run's
    options. All other arguments need a default; with a number, boolean or string they become options of the rule.

    Raises:
        TypeError: an argument without a default that a run cannot supply.

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
    """The same for a user-defined schedule, whose positional arguments are pruners; `fade` takes the run's, if any.

    Raises:
        TypeError: an argument without a default that a run cannot supply.
    """
    named, own = arguments(cls, ("fade",))

    def make(wanted: Wanted) -> T:
        fade = {"fade": wanted.fade} if "fade" in named and any(wanted.fade) else {}
        return cls(*wanted.pruners, **fade, **wanted.own)

    return Kind(make, frozenset({"fade"} & named.keys()), own)


def arguments(
    cls: Callable[..., Any], given: Sequence[str]
) -> tuple[dict[str, inspect.Parameter], dict[str, bool | int | float | str]]:
    """Returns the named arguments of a class, and those that become its own options, with their defaults.

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
