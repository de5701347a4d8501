"""Features -> numbers: distances and shares, with their uncertainty and provenance."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rggan.data.store import made_anew
from rggan.errors import UserError
from rggan.evaluation.chosen import PREFIX, Chosen, chosen
from rggan.evaluation.features import Precision, Progress, collect, views_of
from rggan.evaluation.reference import Reference, saved_features
from rggan.evaluation.subject import Subject
from rggan.metrics import Features, Metric
from rggan.metrics.coverage import OF_REFERENCE
from rggan.metrics.features import Extractor, View
from rggan.metrics.memorisation import Memorisation
from rggan.metrics.provenance import Provenance, favour
from rggan.metrics.uncertainty import Interval, Range, mean_interval, share_interval
from rggan.run.naming import FD, distance_name, is_distance

UNRELATED = "The network of `features` reporting selects no snapshot, and no D looks through it."


@dataclass(frozen=True)
class Number:
    """A value, and how far it may be off.

    value: the mean over `replicates` sample sets. interval: of 95 %, for the expected value over sample sets of this
    size; None: the images are a fixed set, or there was one replicate. standard_error: of KID (and of what else gives
    one) from one sample set, over images of both sides. metric: what gave it.
    """

    value: float
    provenance: Provenance
    metric: Metric
    interval: Interval | None = None
    standard_error: float | None = None
    replicates: int = 1

    @property
    def range(self) -> Range:
        return self.metric.ranges.get(self.provenance.metric, "any")

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "standard_error": self.standard_error,
            "replicates": self.replicates,
            "lower_is_better": self.metric.values[self.provenance.metric] == "lower",
            "range": self.range,
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
    singular: bool = False,
) -> Evaluation:
    """Score the subject against the reference.

    Args:
        metrics: those that must be possible, by name (see `chosen`); none: all built-in ones that are, and a note for
            each that is not.
        samples: images of each replicate (a fixed set is taken whole, once).
        limit: images of each side that metrics take at most that need the features themselves.
        singular: take what was asked for also where it means little for so few images, with a note, as papers do.

    Raises:
        UserError: a metric that was asked for is not possible, or fails; or see `chosen` and `collect`.
    """
    found = Evaluation(subject)
    for images in (subject.images, reference.images):
        found.notes += [] if images is None else made_anew(images.notes)
    found.notes += reference.notes
    for saved in (subject.statistics, reference.saved):
        if saved is not None and not saved.known:
            found.notes.append(f"Nothing in {saved.path} says which extractor made it: it is taken on trust.")
    if (
        subject.generator is not None
        and subject.class_mix == "even"
        and not subject.generator.config.get("class_counts")
    ):
        found.notes.append(
            f"How often its classes are in the data is not told by {subject.name}: all are drawn equally often."
        )
    count = subject.count(samples)
    possible = []
    for one in chosen(metrics):
        reason = why_not(one.metric, subject, count, reference, limit)
        if reason is None:
            possible.append(one)
        elif metrics and singular and one.metric.needs == "statistics":
            possible.append(one)
            found.notes.append(reason)
        elif metrics:
            raise UserError(reason)
        else:
            found.notes.append(reason)
    if not possible:
        return found
    rows = [
        values(features, reference, possible, extractor)
        for features in replicate_features(
            subject, reference, extractor, samples, replicates, limit, precision, progress
        )
    ]
    seeds = f"0-{len(rows) * samples - 1}" if subject.generator is not None else ""
    giver = {name: one for one in possible for name in one.metric.values}
    distance = distance_name(extractor.name, extractor.hash)
    if any(is_distance(name) and name not in (FD, distance) for name in metrics):
        found.notes.append(f"FID is by the published Inception network; by {extractor.name} it is called {distance}.")
    for name in rows[0]:
        plain = name.removeprefix(PREFIX["patches"])
        plain = FD if plain == distance else plain
        view: View = "whole" if plain == name else "patches"
        told = provenance(plain, giver[plain], view, subject, reference, extractor, count, limit, precision, seeds)
        found.numbers[name] = number(name, rows, giver[plain].metric, told)
    if flattered := favour(dataclasses.asdict(told)):
        found.notes.append(f"{extractor.name} flatters {subject.name} beside others: {flattered}. {UNRELATED}")
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


def why_not(metric: Metric, subject: Subject, count: int | None, reference: Reference, limit: int) -> str | None:
    """One sentence that says why a metric means nothing here; None: it can be taken."""
    if metric.needs == "features":
        held = None
        if subject.statistics is not None:
            held = subject.name
        elif reference.images is None:
            held = reference.name if reference.saved is None else str(reference.saved.path)
        if held is not None:
            return f"{metric.name} needs the images themselves, and {held} holds their mu and sigma only."
    known = [n for n in (count, reference.count) if n is not None]
    if not known:  # files of others may not tell
        return None
    return metric.reason(used(metric, min(known), limit), len(reference.features["whole"].statistics.mean))


def values(
    features: dict[View, Features], reference: Reference, metrics: Sequence[Chosen], extractor: Extractor
) -> dict[str, tuple[float, float]]:
    """{name: (value, standard error or NaN)} of one sample set."""
    distance = distance_name(extractor.name, extractor.hash)
    return {
        PREFIX[view] + (distance if name == FD else name): value
        for view, found in features.items()
        for one in metrics
        for name, value in one.metric(reference.features[view], found).items()
    }


def number(name: str, rows: Sequence[dict[str, tuple[float, float]]], metric: Metric, told: Provenance) -> Number:
    drawn = [row[name][0] for row in rows]
    errors = [error for _, error in (row[name] for row in rows) if math.isfinite(error)]
    interval = None
    if len(drawn) > 1:
        share = metric.ranges.get(told.metric) == "share"
        interval = share_interval(drawn, *images_of(told.to_json())) if share else mean_interval(drawn)
    return Number(
        statistics.fmean(drawn),
        told,
        metric,
        interval,
        statistics.fmean(errors) if errors else None,
        len(drawn),
    )


def images_of(provenance: dict[str, Any]) -> tuple[int | None, bool]:
    """How many images a share is of, if that is told, and whether they are the same for all sample sets.

    >>> images_of({"metric": "precision", "samples": 5000, "reference_images": 100})
    (5000, False)
    >>> images_of({"metric": "recall", "samples": 5000, "reference_images": 100})
    (100, True)
    """
    shared = provenance["metric"] in OF_REFERENCE
    count = provenance.get("reference_images" if shared else "samples")
    return (count if isinstance(count, int) else None), shared


def used(metric: Metric, images: int, limit: int) -> int:
    """How many of so many images of a side go into it."""
    return images if metric.needs == "statistics" else min(images, limit)


def provenance(
    name: str,
    giver: Chosen,
    view: View,
    subject: Subject,
    reference: Reference,
    extractor: Extractor,
    count: int | None,
    limit: int,
    precision: Precision,
    seeds: str,
) -> Provenance:
    samples, real = (None if n is None else used(giver.metric, n, limit) for n in (count, reference.count))
    return Provenance(
        metric=name,
        metric_code=giver.code,
        metric_hash=giver.hash,
        extractor=extractor.name,
        extractor_hash=extractor.hash,
        resize=extractor.resize,
        view=view,
        precision=precision,
        size=reference.size,
        channels=reference.channels,
        samples=samples,
        reference=reference.name,
        reference_hash=reference.hash,
        reference_split=reference.split,
        reference_images=real,
        ema=subject.ema,
        class_mix=subject.class_mix,
        seeds=seeds,
        looked_through=subject.looked_through,
        steered_by=subject.steered_by,
    )
