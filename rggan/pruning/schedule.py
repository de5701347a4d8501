"""When to prune and when to integrate: a decision after each evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rggan.pruning.broadcast import broadcast_first
from rggan.pruning.form import fitted_numbers
from rggan.pruning.kind import Kind, as_kind, own_schedule_kind
from rggan.pruning.pruner import Pruner


class Schedule:
    """Base class of schedules. `step` is called after each evaluation and decides the phase until the next one.

    Args:
        pruners: one or more, usually G's and D's, which change phase together; use one schedule each to change them
            independently. They enter the schedule's first phase immediately.
        fade: optimizer steps over which integrated weights fade in, for each pruner or one for all; 0: immediately.

    Attributes:
        phase: 'prune' or 'dense'. decisions: how many phases were decided from sufficient data. flips: how often the
        phase changed. released: pruners that it no longer controls, e.g. in a finale.
    """

    first = "prune"

    def __init__(self, *pruners: Pruner, fade: int | Sequence[int] = 0) -> None:
        if not pruners:
            raise ValueError(f"a {type(self).__name__} needs at least one pruner")
        if any(isinstance(pruner, list | tuple) for pruner in pruners):
            raise ValueError(f"a {type(self).__name__} takes its pruners one by one: (prune_g, prune_d), not a list")
        self.pruners: tuple[Pruner, ...] = pruners
        self.fade: tuple[int, ...] = (fade,) * len(pruners) if isinstance(fade, int | float) else tuple(fade)
        if len(self.fade) != len(pruners) or any(not isinstance(n, int) or n < 0 for n in self.fade):
            raise ValueError(f"fade takes 0 or more steps, one number or one for each pruner, not {fade}")
        self.decisions = self.flips = 0
        self.released: list[Pruner] = []
        self.phase = self.first
        self._enter(self.first)

    def step(self, score: float | None = None) -> str:
        """Take the newest score (lower is better), switch the phase if necessary, and return the phase.

        In a distributed run the decision is broadcast from rank 0; the other processes need no score.

        Raises:
            ValueError: a required score is missing, NaN or infinite; in every process.
        """
        for pruner in self.pruners:
            pruner.notice_idle()
        wanted, fault = math.nan, ValueError("the first process has no finite score")
        try:
            wanted = float(self.wants_to_prune(score))
        except ValueError as error:
            fault = error
        wanted = broadcast_first(wanted)
        if math.isnan(wanted):
            raise fault
        phase = "prune" if wanted else "dense"
        self.flips += phase != self.phase
        self._enter(phase)
        return phase

    def wants_to_prune(self, score: float | None) -> bool:
        """Returns this process's decision."""
        raise NotImplementedError

    def observe(self, real: Tensor, held_out: Tensor | None = None, fake: Tensor | None = None) -> None:
        """Record D's outputs at a step of D; most schedules ignore them. Non-blocking."""

    def told(self) -> dict[str, Any]:
        """Returns the statistics behind the last decision, for logging."""
        return {}

    def _enter(self, phase: str) -> None:
        self.phase = phase
        for pruner, fade in zip(self.pruners, self.fade, strict=True):
            if any(pruner is other for other in self.released):
                continue
            pruner.prune() if phase == "prune" else pruner.integrate(fade)

    def state_dict(self) -> dict[str, Any]:
        return {"decisions": self.decisions, "flips": self.flips, "phase": self.phase}

    def checked(self, state: Any) -> dict[str, Any]:
        """Returns the state if `load_state_dict` can take it. Nothing is changed.

        Raises:
            ValueError, KeyError, TypeError: the state is invalid.
        """
        if not isinstance(state, dict) or state.keys() != self.state_dict().keys():
            raise ValueError(f"the schedule's state is none of a {type(self).__name__}")
        if state["phase"] not in ("prune", "dense"):
            raise ValueError(f"there is no phase {state['phase']}")
        if any(type(state[name]) is not int for name in ("decisions", "flips")):
            raise ValueError("the schedule's counts are none")
        return dict(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the history. The pruners' own states contain their phases: load them too."""
        self.decisions, self.flips, self.phase = state["decisions"], state["flips"], state["phase"]
        held = [p for p in self.pruners if not any(p is other for other in self.released)]
        if any(pruner.phase != self.phase for pruner in held):
            self._enter(self.phase)


class ScoreSchedule(Schedule):
    """Prune while the score is no worse than its weighted recent mean, otherwise integrate (RG-GAN, AAAI 2024).

    With the last five scores S-4..S0 (lower is better): prune while
    `0.1 S-4 + 0.1 S-3 + 0.2 S-2 + 0.2 S-1 + 0.4 S0 >= S0`, both networks together. With fewer scores it prunes.

    Args:
        pruners, fade: see `Schedule`.
        weights: of the last scores, oldest first; their number is the window length.
        dead_band: the phase does not change while the newest score differs from the mean by no more than this share of
            the mean. On a flat curve the published rule (0) follows noise; see `flips`.

    >>> class Recorder:
    ...     phase = "prune"
    ...     prune = lambda self: None
    ...     integrate = lambda self, fade: None
    ...     notice_idle = lambda self: None
    >>> schedule = ScoreSchedule(Recorder())
    >>> [schedule.step(score) for score in (5, 4, 3, 2, 1, 6)]
    ['prune', 'prune', 'prune', 'prune', 'prune', 'dense']
    """

    def __init__(
        self,
        *pruners: Pruner,
        weights: Sequence[float] = (0.1, 0.1, 0.2, 0.2, 0.4),
        dead_band: float = 0.0,
        fade: int | Sequence[int] = 0,
    ) -> None:
        if not weights or dead_band < 0:
            raise ValueError("a ScoreSchedule needs at least one weight, and a dead band of 0 or more")
        super().__init__(*pruners, fade=fade)
        self.weights, self.dead_band = tuple(weights), dead_band
        self.scores: list[float] = []

    def wants_to_prune(self, score: float | None) -> bool:
        if score is None or not math.isfinite(score):
            raise ValueError(f"the score must be a finite number, not {score}")
        self.scores = [*self.scores, float(score)][-len(self.weights) :]
        if len(self.scores) < len(self.weights):
            return True
        self.decisions += 1
        mean = sum(w * s for w, s in zip(self.weights, self.scores, strict=True))
        if self.dead_band and abs(score - mean) <= self.dead_band * abs(mean):
            return self.phase == "prune"
        return mean >= score

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "scores": self.scores}

    def checked(self, state: Any) -> dict[str, Any]:
        clean = super().checked(state)
        return {**clean, "scores": fitted_numbers(clean["scores"], len(self.weights), "scores")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scores = list(state["scores"])
        super().load_state_dict(state)


class PeriodicSchedule(Schedule):
    """Alternates phases of fixed lengths, counted in evaluations (Re-GAN, CVPR 2023). Needs no score.

    Args:
        prune, dense: the lengths, in calls of `step`; at least 1.
        first: 'prune', or 'dense' (as in Re-GAN). fade: see `Schedule`.

    >>> class Recorder:
    ...     phase = "prune"
    ...     prune = lambda self: None
    ...     integrate = lambda self, fade: None
    ...     notice_idle = lambda self: None
    >>> schedule = PeriodicSchedule(Recorder(), prune=2, dense=1)
    >>> [schedule.step() for _ in range(6)]
    ['prune', 'dense', 'prune', 'prune', 'dense', 'prune']
    """

    def __init__(
        self, *pruners: Pruner, prune: int = 5, dense: int = 5, first: str = "prune", fade: int | Sequence[int] = 0
    ) -> None:
        if prune < 1 or dense < 1 or first not in ("prune", "dense"):
            raise ValueError("a PeriodicSchedule takes phases of at least 1 evaluation, and 'prune' or 'dense' first")
        self.lengths, self.first = {"prune": prune, "dense": dense}, first
        super().__init__(*pruners, fade=fade)
        self.left = self.lengths[first]  # evaluations until the phase ends

    def wants_to_prune(self, score: float | None) -> bool:
        self.decisions += 1
        self.left -= 1
        if self.left > 0:
            return self.phase == "prune"
        other = "dense" if self.phase == "prune" else "prune"
        self.left = self.lengths[other]
        return other == "prune"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "left": self.left}

    def checked(self, state: Any) -> dict[str, Any]:
        clean = super().checked(state)
        if type(clean["left"]) is not int:
            raise ValueError("the schedule's evaluations that are left are no number")
        return clean

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.left = state["left"]
        super().load_state_dict(state)


class Always(Schedule):
    """Always prune, never integrate.

    >>> class Recorder:
    ...     phase = "prune"
    ...     prune = notice_idle = lambda self: None
    >>> Always(Recorder()).step(1.0)
    'prune'
    """

    def wants_to_prune(self, score: float | None) -> bool:
        return True

    def checked(self, state: Any) -> dict[str, Any]:
        """States older than format 3 have none for this schedule: None is accepted."""
        return self.state_dict() if state is None else super().checked(state)


class Never(Schedule):
    """Always dense: the same code path, including masks and their cost, without pruning.

    >>> class Recorder:
    ...     phase = "dense"
    ...     integrate = lambda self, fade: None
    ...     notice_idle = lambda self: None
    >>> Never(Recorder()).step(1.0)
    'dense'
    """

    first = "dense"

    def wants_to_prune(self, score: float | None) -> bool:
        return False


def schedule_kind(found: Any) -> Kind[Schedule]:
    """See `as_kind`."""
    return as_kind(found, Schedule, own_schedule_kind)


PERIODIC: Kind[Schedule] = Kind(
    lambda wanted: PeriodicSchedule(
        *wanted.pruners,
        prune=wanted.options["period"],
        dense=wanted.options["period"],
        first="dense",
        fade=wanted.fade,
    ),
    frozenset(("fade", "period")),
)
ALWAYS: Kind[Schedule] = Kind(lambda wanted: Always(*wanted.pruners))
NEVER: Kind[Schedule] = Kind(lambda wanted: Never(*wanted.pruners))
SCORE: Kind[Schedule] = Kind(
    lambda wanted: ScoreSchedule(*wanted.pruners, dead_band=wanted.options["dead_band"], fade=wanted.fade),
    frozenset(("fade", "dead_band")),
)
