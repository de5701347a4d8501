"""The `Metric` interface: one object with everything that `rggan evaluate` and `rggan compare` need."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from torch import Tensor

from rggan.errors import UserError, reason
from rggan.memory import is_used_up
from rggan.metrics.moments import Statistics
from rggan.metrics.uncertainty import Range
from rggan.registry import Registry
from rggan.run.naming import PATCHES

T = TypeVar("T")
Better = Literal["lower", "higher"]
Value = float | tuple[float, float]  # a value, or (value, standard error), which is NaN if unknown
WORD = re.compile(r"[A-Za-z]\w*", re.ASCII)


@dataclass(frozen=True, eq=False)
class Features:
    """The features of one image set in one view, as passed to metrics.

    statistics: mean [D] and covariance [D, D] of all `count` images, float64.
    rows: the features themselves, float64 [n, D], evenly subsampled to at most --subset images; n is 0 if the set was
        read from a file of statistics.

    All tensors are on the extractor's device and shared by all metrics, which must not modify them.
    """

    statistics: Statistics
    count: int
    rows: Tensor
    made: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, make: Callable[[Features], T]) -> T:
        """Returns `make(self)`, cached: a reference is compared with many sets.

        make: the cache key, so the same function object at each call, not a lambda.

        >>> import torch
        >>> features = Features(Statistics(torch.zeros(2), torch.eye(2)), 3, torch.ones(3, 2))
        >>> def total(features):
        ...     print("summing")
        ...     return features.rows.sum().item()
        >>> features.once(total), features.once(total)
        summing
        (6.0, 6.0)
        """
        if make not in self.made:
            self.made[make] = make(self)
        return self.made[make]


def always(images: int, features: int) -> None:
    """The `why_not` of a metric that is valid for any number of images."""


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric between two feature sets, with its metadata.

    Args:
        name: used in messages.
        values: the values that it computes, each with its direction: {"precision": "higher", "recall": "higher"}.
            Names are identifiers; those that begin with `PATCHES` are reserved for the same values on patches.
        needs: 'statistics' (of all images; also available from a file) or 'features' (rows of both sides).
        compute: `compute(reference, found)` returns a finite value for each of these names, or a pair of it and its
            standard error.
        why_not: `why_not(images, features)` returns one sentence on why the metric is not valid for so many images (of
            the smaller side) and features, or None if it is. Both sides have at least two images.
        called: display name of the metric, or its family, in text; default: its name.
        ranges: what a value can be, where that is not any number: {"precision": "share"} (0..1), or "positive".
            Intervals of shares stay within 0..1, and `rggan compare` takes differences of them and ratios of others.

    Raises:
        ValueError: a name that is not an identifier, no values, or an argument of a wrong type.

    >>> import torch
    >>> def apart(reference, found):
    ...     return {"apart": (reference.statistics.mean - found.statistics.mean).norm()}
    >>> metric = Metric("apart", {"apart": "lower"}, "statistics", apart)
    >>> real, fake = (Features(Statistics(torch.full((2,), x), torch.eye(2)), 9, torch.empty(0, 2)) for x in (0.0, 3.0))
    >>> {name: round(value, 3) for name, (value, error) in metric(real, fake).items()}
    {'apart': 4.243}
    """

    name: str
    values: Mapping[str, Better]
    needs: Literal["statistics", "features"]
    compute: Callable[[Features, Features], Mapping[str, Value]]
    why_not: Callable[[int, int], str | None] = always
    called: str = ""
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping) or not self.values:
            raise ValueError("a metric needs values: which numbers it gives, each with 'lower' or 'higher'")
        for name in (self.name, *self.values):
            if not isinstance(name, str) or not WORD.fullmatch(name) or name.startswith(PATCHES):
                raise ValueError(f"a metric cannot have the name {name!r}: take letters, digits and _, no {PATCHES}")
        for name, better in self.values.items():
            if better not in ("lower", "higher"):
                raise ValueError(f"which {name} is better is 'lower' or 'higher', not {better!r}")
        if self.needs not in ("statistics", "features"):
            raise ValueError(f"a metric needs 'statistics' or 'features', not {self.needs!r}")
        if not isinstance(self.ranges, Mapping) or not set(self.ranges) <= set(self.values):
            raise ValueError(f"ranges are of values of the metric, and not {self.ranges!r}")
        for name, kind in self.ranges.items():
            if kind not in get_args(Range):
                raise ValueError(f"the range of {name} is one of {', '.join(get_args(Range))}, not {kind!r}")
        for function in (self.compute, self.why_not):
            if not callable(function):
                raise ValueError(f"compute and why_not are functions, not a {type(function).__name__}")

    def __call__(self, reference: Features, found: Features) -> dict[str, tuple[float, float]]:
        """Returns {name: (value, standard error or NaN)} for all its `values`, in their order.

        Raises:
            UserError: `compute` raises, or does not return a finite number for exactly these names.
        """
        given = self.told("compute", self.compute, reference, found)
        if not isinstance(given, Mapping) or set(given) != set(self.values):
            what = sorted(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
            raise UserError(f"The metric {self.name} gives {what}, and not {sorted(self.values)}.")
        return {name: self.number(name, given[name]) for name in self.values}

    def number(self, name: str, given: Any) -> tuple[float, float]:
        pair = given if isinstance(given, tuple) else (given, math.nan)
        try:
            value, deviation = map(plain, pair)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise UserError(
                f"The metric {self.name} gives a {type(given).__name__} for {name}, and not a number, or a pair of it "
                "and its standard error."
            ) from error
        if not math.isfinite(value):
            raise UserError(f"The metric {self.name} gives {name} = {value}, which is no finite number.")
        return value, deviation

    def reason(self, images: int, features: int) -> str | None:
        """Returns the result of `why_not`.

        Raises:
            UserError: it raises, or returns neither a sentence nor None.
        """
        found = self.told("why_not", self.why_not, images, features)
        if found is not None and not (isinstance(found, str) and found):
            raise UserError(f"The metric {self.name} gives {found!r} for why_not, and not a sentence or None.")
        return found

    def told(self, what: str, function: Callable[..., Any], *arguments: object) -> Any:
        """Calls a user-defined function, and turns any exception into a UserError."""
        try:
            return function(*arguments)
        except Exception as error:
            if is_used_up(error):
                raise
            raise UserError(f"The metric {self.name} fails in {what}: {reason(error)}.") from error


def plain(value: Any) -> float:
    """Converts numbers of Python, NumPy and PyTorch; unlike float(), rejects strings."""
    if isinstance(value, Tensor):
        value = value.item()
    if isinstance(value, str | bytes | bool):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def accept(found: Any) -> Metric:
    """Returns a `Metric`; raises TypeError for anything else."""
    if not isinstance(found, Metric):
        raise TypeError("rggan.metrics.Metric")
    return found


METRICS: Registry[Metric] = Registry(
    "`metrics`",
    {
        "fd": "rggan.metrics.distances:FRECHET",
        "kid": "rggan.metrics.distances:KID",
        "prdc": "rggan.metrics.coverage:NEIGHBOURS",
    },
    "rggan.metrics",
    accept,
)
