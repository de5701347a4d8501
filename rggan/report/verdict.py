"""A run's verdict in plain words, from what its folder holds: whether it still improves, why, and what to do."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from rggan.run.folder import Row

Kind = Literal["starting", "improving", "flat", "worse", "overfits", "copies", "collapsed"]

FEWEST = 6  # evaluations from which a trend is told
WINDOW = 3  # evaluations whose median is taken
RISE = 3.0  # noises above the lowest running median from which the score counts as rising ...
LEAST_RISE = 0.3  # ... if it is this share of the lowest as well: scores also drift, which neighbours do not show
DRIFT = 1.1  # ... and so many times what a random walk of such steps moves by: about half of the walks rise further
NEAR_NOISE = 0.5  # share of what noise scores above which nothing was learnt yet
CERTAIN = 0.9  # D's mean sign on training images from which it overfits
OF_LEAD = 0.5  # D's gap between training and held-out images, as a share of that to generated ones
DIVERSE = 0.25  # share of the real images' diversity below which samples have collapsed
NAMES = {
    "starting": "too early to tell",
    "improving": "still improving",
    "worse": "getting worse",
    "overfits": "D overfits",
    "copies": "copies training pictures",
}


@dataclass(frozen=True)
class Scale:
    """The validation score of known things, computed when a run starts.

    halves: how far two sets of real images are apart. Where images are held out, as many training images as samples
        and the held-out ones, else two halves of the training images. noise: score of as many images of uniform noise
        as samples. sizes: how many images the two real sets have.

    >>> print(Scale(0.021, 9.13, (50, 50)).line())
    two sets of real pictures (50 and 50) score 0.021, noise scores 9.1
    >>> Scale.of({"scale": {"halves": 0.1, "noise": 2.0, "sizes": [50, 50]}}), Scale.of({})
    (Scale(halves=0.1, noise=2.0, sizes=(50, 50)), None)
    """

    halves: float
    noise: float
    sizes: tuple[int, int] | None = None

    @classmethod
    def of(cls, head: Mapping[str, Any]) -> Scale | None:
        """That in the header of data.jsonl (`Run.data_head`); None in older runs."""
        found = head.get("scale")
        if not isinstance(found, Mapping) or not (finite(found.get("halves")) and finite(found.get("noise"))):
            return None
        sizes = found.get("sizes")
        known = isinstance(sizes, list | tuple) and len(sizes) == 2 and all(type(size) is int for size in sizes)
        return cls(float(found["halves"]), float(found["noise"]), (sizes[0], sizes[1]) if known and sizes else None)

    def line(self) -> str:
        of = f" ({self.sizes[0]:,} and {self.sizes[1]:,})" if self.sizes else ""
        return f"two sets of real pictures{of} score {short(self.halves)}, noise scores {short(self.noise)}"


@dataclass(frozen=True)
class Verdict:
    """What an evaluation says of the run.

    because: the reason, without a full stop. advice: what to do, one sentence or one that ends in a command; options
    stand in backticks.
    """

    kind: Kind
    because: str
    advice: str

    def line(self) -> str:
        return f"{NAMES.get(self.kind, self.kind)}: {self.because}"


def verdict(rows: Sequence[Row], scale: Scale | None, options: Mapping[str, Any], run: str = "RUN") -> Verdict:
    """Of a run's evaluations (stats.jsonl), the scale of its score, and its options (config.json).

    run: its folder, as commands name it.

    The first of these that holds:
    "collapsed": in the last three evaluations the samples' diversity is below a quarter of the real images'.
    "copies": in two of them the test for copies found more than chance explains.
    "starting": there are fewer than six evaluations.
    "overfits": the score does not improve, D's mean sign on training images is 0.9 or more (median of the last three),
    and where images are held out, D tells them from training images half as well as generated ones, or better.
    "worse", "improving" or "flat": by `Trend`.

    >>> rows = [{"kimg": 10.0 * i, "score": 4 / i} for i in range(1, 9)]
    >>> print(verdict(rows, None, {"kimg": 80}).line())
    still improving: the score fell from 1 at kimg 40 to 0.57 at kimg 70, neighbouring evaluations differ by 0.04
    >>> verdict(rows, None, {"kimg": 80}, "runs/00000-digits").advice
    'Go on with: rggan train `resume` runs/00000-digits `kimg` 160'
    """
    rows = [row for row in rows if finite(row.get("score")) and finite(row.get("kimg"))]
    ended = bool(rows) and finite(options.get("kimg")) and rows[-1]["kimg"] >= options["kimg"]
    if (found := collapsed(rows)) is not None:
        return Verdict("collapsed", found, "Train anew with a lower `lr` or another `seed`; the best snapshot is kept.")
    if (found := copying(rows)) is not None:
        anew = f"train anew with {remedies(options)}, or for fewer `kimg`"
        return Verdict("copies", found, f"Look at them (`rggan evaluate` draws them beside their originals); {anew}.")
    if len(rows) < FEWEST:
        count = f"{len(rows)} evaluation{'' if len(rows) == 1 else 's'}"
        longer = f"train anew with a smaller `snap`, or {go_on(run, rows, options)}" if ended else "wait."
        return Verdict("starting", f"{count} so far, {FEWEST} show a trend", f"Too few to judge by: {longer}")
    trend = Trend.of(rows)
    if trend.kind != "improving" and (certain := certainty(rows)) is not None:
        return Verdict(
            "overfits",
            f"{certain}, and the score {trend.course}",
            f"The best snapshot, of kimg {kimg_of_best(rows)}, is kept; train anew with {remedies(options)}.",
        )
    further = go_on(run, rows, options) if ended else "let it run."
    because = f"the score {trend.course}, neighbouring evaluations differ by {short(trend.noise)}"
    if trend.kind == "improving":
        return Verdict("improving", because, further[0].upper() + further[1:])
    if trend.kind == "worse":
        kept = f"the best snapshot, of kimg {kimg_of_best(rows)}, is kept"
        return Verdict("worse", because, f"More of the same rarely helps: {kept}; a lower `lr` may get further.")
    if scale is not None and trend.now > NEAR_NOISE * scale.noise:
        because += f"; noise scores {short(scale.noise)}"
        return Verdict("flat", because, f"The samples are still near noise; {further}")
    if scale is not None and trend.now <= scale.halves + trend.noise:
        because += f"; two sets of real pictures score {short(scale.halves)}"
        return Verdict("flat", because, "By this score nothing is left to gain: look at the samples, and use them.")
    wider = "train anew with wider networks (`width_g`, `width_d`) or more pictures"
    return Verdict("flat", because, f"More of the same rarely helps: use the best snapshot, or {wider}.")


def go_on(run: str, rows: Sequence[Row], options: Mapping[str, Any]) -> str:
    """How a run that has ended trains for longer: twice as long, or until there are enough evaluations for a trend.

    >>> go_on("my runs/00000", [{"kimg": 20.0}], {"kimg": 20, "snap": 20})
    "go on with: rggan train `resume` 'my runs/00000' `kimg` 120"
    """
    snap = options["snap"] if finite(options.get("snap")) else 0
    kimg = max(2 * options["kimg"], FEWEST * snap if len(rows) < FEWEST else 0)
    return f"go on with: rggan train `resume` {shlex.quote(run)} `kimg` {kimg:g}"


@dataclass(frozen=True)
class Trend:
    """How the score moves, compared with how much it varies by chance.

    Running medians of three neighbours are compared, which a single lucky or unlucky evaluation does not move. Noise is
    the robust standard deviation of a score around the mean of its two neighbours, over the last two thirds of the
    evaluations; a steady trend leaves it as it is. "worse": the newest median lies above the lowest one by more than
    three noises, by more than 0.3 of it, and by more than such steps add up to by chance in so many evaluations: 1.1 of
    their standard deviation times the root of the number of evaluations in between. "improving": the lowest median of
    the last third lies below the lowest one before by more than one noise, and the newest one does not lie three above
    it. Else "flat".

    course: in words, to follow "the score". now: the newest median.
    """

    kind: Literal["improving", "flat", "worse"]
    course: str
    noise: float
    now: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Trend:
        """At least `FEWEST` rows.

        >>> [Trend.of([{"kimg": i, "score": s} for i, s in enumerate(scores)]).kind
        ...  for scores in ([3, 2, 1.1, 1, 1.1, 1, 1.1, 1], [3, 2, 1.1, 1, 1.1, 1, 2, 3, 3])]
        ['flat', 'worse']
        """
        scores, kimg = [row["score"] for row in rows], [row["kimg"] for row in rows]
        medians = [(median(scores[i - 1 : i + 2]), kimg[i]) for i in range(1, len(rows) - 1)]
        third = math.ceil(len(rows) / 3)
        spread, now = noise(scores), medians[-1][0]
        before, after, lowest = min(medians[:-third]), min(medians[-third:]), min(medians)
        since = len(medians) - 1 - medians.index(lowest)
        rises = now - lowest[0] > RISE * spread
        if rises and now - lowest[0] > max(LEAST_RISE * abs(lowest[0]), DRIFT * math.sqrt(since) * step(scores)):
            return cls("worse", f"rose from {at(lowest)} to {at(medians[-1])}", spread, now)
        if before[0] - after[0] > spread and not rises:
            return cls("improving", f"fell from {at(before)} to {at(after)}", spread, now)
        best = lowest if rises else before
        course = f"has not improved since kimg {short_kimg(best[1])} ({short(best[0])}, now {short(now)})"
        return cls("flat", course, spread, now)


def noise(scores: Sequence[float]) -> float:
    """The standard deviation of one score about the course of its neighbours, by the median absolute deviation."""
    first = max(1, len(scores) // 3)
    apart = [abs(scores[i] - (scores[i - 1] + scores[i + 1]) / 2) for i in range(first, len(scores) - 1)]
    # Of normal noise the median of |x| is 0.6745 standard deviations, and x has 1 + 1/4 + 1/4 of its variance.
    return median(apart) / (0.6745 * math.sqrt(1.5))


def step(scores: Sequence[float]) -> float:
    """The standard deviation of what one evaluation changes the score by, from the same evaluations as the noise."""
    later = scores[max(1, len(scores) // 3) :]
    return median(abs(after - before) for before, after in pairwise(later)) / 0.6745


def collapsed(rows: Sequence[Row]) -> str | None:
    """Why the samples count as collapsed; of a run that was never diverse not before a trend is told."""
    shares = recent(rows, "diversity")
    if len(shares) < WINDOW or max(shares) >= DIVERSE:
        return None
    before, kimg = max((row["diversity"], row["kimg"]) for row in rows if finite(row.get("diversity")))
    if before < DIVERSE and len(rows) < FEWEST:
        return None
    was = f", after {before:.0%} at kimg {short_kimg(kimg)}" if before >= DIVERSE else ""
    return f"the samples vary only {shares[-1]:.0%} as much as the real pictures{was}"


def copying(rows: Sequence[Row]) -> str | None:
    """Why it counts as copying; None where images are held out, of which the rows tell nothing."""
    last = [row for row in rows if type(row.get("replays")) is bool and finite(row.get("copies"))][-WINDOW:]
    if sum(row["replays"] for row in last) < 2:
        return None
    share = median(row["copies"] for row in last)
    return f"{share:.0%} of the samples are copies, more than chance explains"


def certainty(rows: Sequence[Row]) -> str | None:
    """Why D counts as overfitting: it is certain of its training images, and not of others like them."""
    signs = recent(rows, "d_sign")
    if len(signs) < WINDOW or median(signs) < CERTAIN:
        return None
    because = f"D takes {(1 + median(signs)) / 2:.0%} of the training pictures for real"
    train, held_out, fake = (recent(rows, key) for key in ("d_train", "d_held_out", "d_fake"))
    if len(held_out) < WINDOW:
        return because
    gap, lead = median(train) - median(held_out), median(train) - median(fake)
    if gap < OF_LEAD * lead:
        return None
    return f"{because} and held-out ones rather for generated"


def remedies(options: Mapping[str, Any]) -> str:
    """What is known to help against overfitting and copies and is not in use yet, at most two of it.

    >>> remedies({"aug": "none", "rule": "none"}), remedies({"aug": "diff", "target_d": "auto", "mirror": True})
    ('`aug` diff or `rule` threshold and `target_d` auto', 'more pictures or a smaller D (`width_d`)')
    """
    pruned = options.get("rule", "none") != "none" and options.get("networks", "both") in ("both", "d")
    ways = [
        ("`aug` diff", options.get("aug") == "none"),
        ("`rule` threshold and `target_d` auto", options.get("rule") == "none"),
        ("`target_d` auto", pruned and options.get("target_d") is None),
        ("`mirror`", options.get("mirror") is False),
    ]
    found = [way for way, open_ in ways if open_][:2]
    return " or ".join(found or ["more pictures", "a smaller D (`width_d`)"])


def recent(rows: Sequence[Row], key: str) -> list[float]:
    """A key's values in the last three rows, those that are numbers."""
    values: list[Any] = [row.get(key) for row in rows[-WINDOW:]]
    return [float(value) for value in values if finite(value)]


def kimg_of_best(rows: Sequence[Row]) -> str:
    return short_kimg(min(rows, key=lambda row: row["score"])["kimg"])


def at(place: tuple[float, float]) -> str:
    score, kimg = place
    return f"{short(score)} at kimg {short_kimg(kimg)}"


def short_kimg(kimg: float) -> str:
    """
    >>> short_kimg(520.064), short_kimg(80), short_kimg(0.032)
    ('520.1', '80', '0.032')
    """
    return f"{kimg:.1f}".removesuffix(".0") if kimg >= 1 else f"{kimg:.2g}"


def short(score: float) -> str:
    """
    >>> short(0.18731), short(-0.0071), short(123.4), short(0)
    ('0.19', '-0.0071', '123', '0')
    >>> short(14.37)
    '14.4'
    """
    return f"{score:.0f}" if abs(score) >= 100 else f"{score:.3g}" if abs(score) >= 10 else f"{score:.2g}"


def finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
