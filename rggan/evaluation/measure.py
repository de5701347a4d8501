"""Features -> numbers: distances and shares, with their uncertainty and provenance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rggan.errors import UserError
from rggan.evaluation.features import Features, Precision, Progress, collect, views_of
from rggan.evaluation.reference import Reference, saved_features
from rggan.evaluation.subject import Subject
from rggan.metrics import prdc
from rggan.metrics.coverage import DC_K
from rggan.metrics.features import Extractor, View
from rggan.metrics.memorisation import Memorisation
from rggan.metrics.provenance import Provenance
from rggan.metrics.uncertainty import Interval, mean_interval

METRICS = ("fid", "kid", "prdc")
SHARES = ("precision", "recall", "density", "coverage")
ERROR = " error"  # behind the name of a value whose standard error it is
PREFIX: dict[View, str] = {"whole": "", "patches": "patch_"}


def lower_is_better(name: str) -> bool:
    """
    >>> lower_is_better("patch_kid"), lower_is_better("recall")
    (True, False)
    """
    return name.removeprefix("patch_") not in SHARES


@dataclass(frozen=True)
class Number:
    """A value, and how far it may be off.

    value: the mean over `replicates` sample sets. interval: of 95 %, for the expected value over sample sets of this
    size; None: the images are a fixed set, or there was one replicate. standard_error: of KID from one sample
    set, over images of both sides.
    """

    value: float
    provenance: Provenance
    interval: Interval | None = None
    standard_error: float | None = None
    replicates: int = 1

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "standard_error": self.standard_error,
            "replicates": self.replicates,
            "provenance": self.provenance.to_json(),
        }


@dataclass
class Evaluation:
    """All numbers of one subject, and what is to be said beside them."""

    subject: Subject
    numbers: dict[str, Number] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    memorisation: Memorisation | None = None
    sheet: Path | None = None

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {name: number.to_json() for name, number in self.numbers.items()}
        if self.memorisation is not None:
            sheet = None if self.sheet is None else str(self.sheet)
            told["memorisation"] = self.memorisation.to_json() | {"sheet": sheet}
        return {"subject": self.subject.name, **told, "notes": self.notes}


def measure(
    subject: Subject,
    reference: Reference,
    extractor: Extractor,
    metrics: Sequence[str],
    samples: int,
    replicates: int,
    limit: int,
    precision: Precision = "fp32",
    progress: Progress | None = None,
) -> Evaluation:
    """Score the subject against the reference.

    Args:
        metrics: those that must be possible, of `METRICS`; none: all that are, and a note for each that is not.
        samples: images of each replicate (a fixed set is taken whole, once).
        limit: images of each side that KID and the neighbours take at most.

    Raises:
        UserError: a metric that was asked for is not possible; or see `collect`.
    """
    found = Evaluation(subject)
    for saved in (subject.statistics, reference.saved):
        if saved is not None and not saved.known:
            found.notes.append(f"Nothing in {saved.path} says which extractor made it: it is taken on trust.")
    count = subject.count(samples)
    possible = []
    for metric in metrics or METRICS:
        reason = why_not(metric, subject, count, reference, limit)
        if reason is None:
            possible.append(metric)
        elif metrics:
            raise UserError(reason)
        else:
            found.notes.append(reason)
    if not possible:
        return found
    rows = [
        values(features, reference, possible)
        for features in replicate_features(
            subject, reference, extractor, samples, replicates, limit, precision, progress
        )
    ]
    seeds = f"0-{len(rows) * samples - 1}" if subject.generator is not None else ""
    for name in rows[0]:
        if not name.endswith(ERROR):
            told = provenance(name, subject, reference, extractor, count, limit, precision, seeds)
            found.numbers[name] = number(name, rows, told)
    return found


def replicate_features(
    subject: Subject,
    reference: Reference,
    extractor: Extractor,
    samples: int,
    replicates: int,
    limit: int,
    precision: Precision,
    progress: Progress | None,
) -> Iterator[dict[View, Features]]:
    """Of each sample set in turn, so that one is in memory at a time."""
    if subject.statistics is not None:
        yield {"whole": saved_features(subject.statistics, extractor)}
        return
    assert subject.shape is not None
    views = [view for view in views_of(extractor, subject.shape) if view in reference.features]
    for replicate in range(replicates if subject.generator is not None else 1):
        yield collect(extractor, subject.samples(replicate, samples), views, limit, subject.name, precision, progress)


def why_not(metric: str, subject: Subject, count: int | None, reference: Reference, limit: int) -> str | None:
    """One sentence that says why a metric means nothing here; None: it can be taken."""
    features = len(reference.features["whole"].statistics.mean)
    known = [n for n in (count, reference.count) if n is not None]
    fewest = min(known) if known else features + 1
    if metric == "fid":
        if fewest > features:
            return None
        return (
            f"fid needs more images on each side than there are features ({features}), and there are {fewest}: the "
            "covariance is singular then, and the distance tells more of the count than of the images; kid suits few."
        )
    held = None
    if subject.statistics is not None:
        held = subject.name
    elif reference.images is None:
        held = reference.name if reference.saved is None else str(reference.saved.path)
    if held is not None:
        return f"{metric} needs the images themselves, and {held} holds their mu and sigma only."
    if metric == "prdc" and min(fewest, limit) <= DC_K:
        return f"prdc needs at least {DC_K + 1} images on each side, and it has {min(fewest, limit)}."
    return None


def values(features: dict[View, Features], reference: Reference, metrics: Sequence[str]) -> dict[str, float]:
    """All values of one sample set, by name; the standard error of KID as 'kid' + `ERROR`."""
    told: dict[str, float] = {}
    for view, found in features.items():
        prefix, judge = PREFIX[view], reference.features[view]
        if "fid" in metrics:
            told[f"{prefix}fid"] = judge.frechet(found.statistics)
        if "kid" in metrics:
            told[f"{prefix}kid"], told[f"{prefix}kid{ERROR}"] = judge.kernel(found.rows)
        if "prdc" in metrics:
            shares = prdc(judge.balls, found.balls)
            told |= {f"{prefix}{name}": value for name, value in shares._asdict().items()}
    return told


def number(name: str, rows: Sequence[dict[str, float]], told: Provenance) -> Number:
    drawn = [row[name] for row in rows]
    errors = [row[f"{name}{ERROR}"] for row in rows if math.isfinite(row.get(f"{name}{ERROR}", math.nan))]
    return Number(
        statistics.fmean(drawn),
        told,
        mean_interval(drawn) if len(drawn) > 1 else None,
        statistics.fmean(errors) if errors else None,
        len(drawn),
    )


def provenance(
    name: str,
    subject: Subject,
    reference: Reference,
    extractor: Extractor,
    count: int | None,
    limit: int,
    precision: Precision,
    seeds: str,
) -> Provenance:
    metric = name.removeprefix("patch_")

    def used(images: int | None) -> int | None:
        return images if metric == "fid" or images is None else min(images, limit)

    return Provenance(
        metric=metric,
        extractor=extractor.name,
        extractor_hash=extractor.hash,
        resize=extractor.resize,
        view="whole" if metric == name else "patches",
        precision=precision,
        size=reference.size,
        channels=reference.channels,
        samples=used(count),
        reference=reference.name,
        reference_hash=reference.hash,
        reference_split=reference.split,
        reference_images=used(reference.count),
        ema=subject.ema,
        seeds=seeds,
    )
