"""Curves over kimg as SVG: where lines, ticks and shaded phases lie, in percent of the plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

DOTS = 60  # evaluations up to which each gets a dot
RANGE = 10  # largest / smallest value from which positive values get a logarithmic axis
SCALES: dict[str, Callable[[float], float]] = {"linear": float, "log": math.log, "counts": math.log1p}


@dataclass(frozen=True)
class Series:
    """One line. Values that are NaN leave a gap.

    place: which colour of the page's palette it takes. width: in pixels; wider ones come first, as they lie below.
    shift: of the dashes, in pixels. arm: of lines in a row that the legend tells together; their names are within it.
    """

    name: str
    kimg: Sequence[float]
    values: Sequence[float]
    place: int
    style: str = ""  # "dashed", "dotted", "dashdot" or nothing
    width: float = 2
    shift: float = 0
    arm: str = ""

    @property
    def full_name(self) -> str:
        return ", ".join(filter(None, (self.arm, self.name)))

    @property
    def known(self) -> list[float]:
        return [value for value in self.values if math.isfinite(value)]

    def path(self, axes: Axes) -> str:
        """The SVG path in a square of 1000 x 1000."""
        steps, pen = [], "M"
        for kimg, value in zip(self.kimg, self.values, strict=True):
            if not math.isfinite(value):
                pen = "M"
                continue
            steps.append(f"{pen}{10 * axes.across(kimg):.1f} {10 * axes.down(value):.1f}")
            pen = "L"
        return "".join(steps)

    def dots(self, axes: Axes) -> str:
        """Lines of no length, which round caps make dots of any aspect ratio; "" where there are too many.

        A broken line has a dot only where one value makes no line.
        """
        points = [(k, v) for k, v in zip(self.kimg, self.values, strict=True) if math.isfinite(v)]
        if len(points) > (1 if self.style else DOTS):
            return ""
        return "".join(f"M{10 * axes.across(kimg):.1f} {10 * axes.down(value):.1f}h0" for kimg, value in points)


@dataclass(frozen=True)
class Level:
    """A horizontal line to compare with."""

    name: str
    value: float


@dataclass(frozen=True)
class Axes:
    """kimg from 0 to `end`, and values from `low` to `high`, on a scale of `SCALES`."""

    end: float
    low: float
    high: float
    scale: str = "linear"

    def across(self, kimg: float) -> float:
        """Percent from the left."""
        return 100 * kimg / self.end

    def down(self, value: float) -> float:
        """Percent from the top.

        >>> axes = Axes(end=10, low=1, high=100, scale="log")
        >>> axes.across(5), axes.down(10), axes.down(100)
        (50.0, 50.0, 0.0)
        """
        place = SCALES[self.scale]
        return 100 * (place(self.high) - place(value)) / (place(self.high) - place(self.low))

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def ticks(self) -> list[float]:
        if self.scale == "linear":
            return even_ticks(self.low, self.high, 5)
        return log_ticks(self.low, self.high) if self.low > 0 else [0.0, *log_ticks(1, self.high)]


@dataclass(frozen=True)
class Chart:
    """A chart of one or several lines.

    unit: what is on the vertical axis. limits: of the axis; None: by the values. bands: (start, end) of shaded phases.
    scale: 'log' if all values are positive and span more than a factor of ten; 'counts' is 0, 1, 10, 100.
    """

    title: str
    unit: str
    series: Sequence[Series]
    limits: tuple[float, float] | None = None
    levels: Sequence[Level] = ()
    bands: Sequence[tuple[float, float]] = ()
    band: str = ""
    scale: str = "linear"
    note: str = ""

    @property
    def axes(self) -> Axes:
        values = [value for each in self.series for value in each.known]
        end = max((kimg for each in self.series for kimg in each.kimg), default=0) or 1.0
        if self.limits is not None:
            return Axes(end, *self.limits)
        if self.scale == "counts":
            return Axes(end, 0, 1.5 * max([1.0, *values]), "counts")
        wanted = [*values, *(level.value for level in self.levels)]
        if self.scale == "log" and min(values, default=0) > 0:
            wanted = [value for value in wanted if value > 0]
            if max(wanted) > RANGE * min(wanted):
                return Axes(end, min(wanted) / 1.15, max(wanted) * 1.15, "log")
        elif self.levels and values:  # far away ones would flatten the line; the legend tells their values
            far = max(values) + (max(values) - min(values) or abs(values[0]))
            wanted = [value for value in wanted if value <= far]
        low, high = min(wanted, default=0.0), max(wanted, default=1.0)
        margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        return Axes(end, low - margin, high + margin)

    @property
    def kimg_ticks(self) -> list[tuple[float, str]]:
        """(percent from the left, label)."""
        axes = self.axes
        return [(axes.across(kimg), label(kimg)) for kimg in even_ticks(0, axes.end, 5)]

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(percent from the top, label), the lowest value first."""
        axes = self.axes
        return [(axes.down(value), label(value)) for value in axes.ticks]

    @property
    def legend(self) -> list[tuple[str, list[Series]]]:
        """(arm, its lines); lines of no arm stand alone."""
        found: list[tuple[str, list[Series]]] = []
        for each in self.series:
            if found and each.arm and each.arm == found[-1][0]:
                found[-1][1].append(each)
            else:
                found.append((each.arm, [each]))
        return found

    @property
    def points(self) -> list[dict[str, Any]]:
        """What the page's script reads values from."""
        return [
            {"kimg": list(each.kimg), "values": [v if math.isfinite(v) else None for v in each.values]}
            for each in self.series
        ]

    @property
    def told(self) -> str:
        """The chart in one sentence, for those who do not see it.

        >>> Chart("Score", "lower is better", [Series("score", [1, 2], [0.5, 0.25], 0)]).told
        'Score over kimg 0 to 2: score from 0.5 to 0.25.'
        """
        lines = [
            f"{each.full_name} from {label(each.known[0])} to {label(each.known[-1])}"
            for each in self.series
            if each.known
        ]
        return f"{self.title} over kimg 0 to {self.axes.end:g}: {'; '.join(lines) or 'no values'}."


def label(value: float) -> str:
    """Four digits, without exponents where numbers are ordinary.

    >>> label(0.123456), label(12345678.0), label(-0.0), label(math.nan)
    ('0.1235', '12,345,678', '0', '')
    """
    if not math.isfinite(value):
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value + 0:.4g}"


def even_ticks(low: float, high: float, wanted: int) -> list[float]:
    """About `wanted` round numbers from low to high.

    >>> even_ticks(0, 24.1, 5), even_ticks(-1, 1, 5)
    ([0.0, 5.0, 10.0, 15.0, 20.0], [-1.0, -0.5, 0.0, 0.5, 1.0])
    """
    rough = (high - low) / wanted
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= 0.8 * rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, and 2 and 5 between them where they are few.

    >>> log_ticks(0.15, 40), log_ticks(0.001, 900)
    ([0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0], [0.001, 0.01, 0.1, 1.0, 10.0, 100.0])
    """
    decades = math.log10(high / low)

    def found(factors: Sequence[int]) -> Iterator[float]:
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
            for factor in factors:
                value = float(f"{factor}e{power}")
                if low <= value <= high:
                    yield value

    return list(found((1,) if decades > 3.5 else (1, 3) if decades > 2.6 else (1, 2, 5)))
