"""What a subject is compared with: pictures, the images that its run was trained on, or saved statistics."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from rggan.data import ImageSet
from rggan.data.streams.read import Streamed
from rggan.device import with_float64
from rggan.errors import UserError
from rggan.evaluation.features import Precision, collect_cached
from rggan.evaluation.progress import counting
from rggan.evaluation.saved import SavedStatistics, is_statistics, read_statistics, write_statistics
from rggan.evaluation.subject import (
    KINDS,
    Reading,
    Subject,
    content_hash,
    read_images,
    reference_images,
    training_images,
)
from rggan.generation.discreet import shown
from rggan.metrics import Features, Statistics
from rggan.metrics.features import Extractor, View, features_of

ALL, TRAINING = "all images", "the images that the run was trained on"
SAMPLE, HELD_OUT = "the first images that the run was trained on", "the images that the run held out"  # of a stream


@dataclass(frozen=True, eq=False)
class Reference:
    """Features of the reference by view, and what is computed from them once for all subjects.

    name: of its source. hash: SHA-256 of the content. split: which part of the source it is.
    size: "32x32". count: of its images; None: the saved statistics do not tell.
    features: by view; only statistics (no rows) where it was read from a file of them.
    images: None where it was; saved: that file. notes: sentences on caches that were made anew.
    """

    name: str
    hash: str
    split: str
    size: str
    channels: int
    count: int | None
    features: dict[View, Features]
    images: ImageSet | None = None
    saved: SavedStatistics | None = None
    notes: tuple[str, ...] = ()


def open_reference(
    name: str | None,
    subject: Subject,
    how: Reading,
    extractor: Extractor,
    limit: int,
    precision: Precision = "fp32",
    console: Console | None = None,
) -> Reference:
    """Read `name` as the subject needs it; None: the images that the subject's run was trained on.

    Raises:
        UserError: it cannot be read, does not fit the subject, or is of another extractor.
    """
    if name is not None and is_statistics(Path(name)):
        return from_statistics(name, read_statistics(Path(name)), extractor)
    split = ALL
    if name is None:
        if subject.options is None and subject.run is not None:
            subject.run.checked_config()  # says why they cannot be read
        if subject.options is None:
            raise UserError(f"{subject.name} is no run: say with `reference` what to compare it with.")
        if how != Reading():
            raise UserError(
                "`resolution`, `channels`, `resize`, `background`, `pattern`, `max_images` and `skip_bad` say how a "
                "`reference` is read: give one, or leave them out to take the run's own images as it was trained."
            )
        images, held_out = training_images(subject, console)
        name, split = subject.options.data, TRAINING
        if isinstance(images, Streamed):  # of whose training images a few are in memory
            images, split = (images, SAMPLE) if held_out is None else (held_out, HELD_OUT)
    elif subject.shape is None:
        assert subject.statistics is not None
        images = read_images(name, of_statistics(subject.statistics, how), console)
    else:
        images = reference_images(name, subject, how, console)
    notes: list[str] = []
    with counting("reference", len(images), console) as progress:
        features = collect_cached(extractor, images, limit, name, precision, progress, notes)
    channels, height, width = images.shape
    size = f"{height}x{width}"
    hashed = content_hash(images)
    return Reference(name, hashed, split, size, channels, len(images), features, images, notes=tuple(notes))


def of_statistics(saved: SavedStatistics, how: Reading) -> Reading:
    """Pictures are read as those were from which the statistics come, where the file tells."""
    if how.resolution is not None or "size" not in saved.known:
        return how
    channels = KINDS.get(saved.known.get("channels", 0), how.channels)
    return dataclasses.replace(how, resolution=str(saved.known["size"]), channels=channels)


def from_statistics(name: str, saved: SavedStatistics, extractor: Extractor) -> Reference:
    known = saved.known
    content = saved.statistics.mean.numpy().tobytes() + saved.statistics.covariance.numpy().tobytes()
    digest = known.get("content_hash") or hashlib.sha256(content).hexdigest()
    count = known.get("images")
    features = saved_features(saved, extractor)
    split, size, channels = known.get("split", "unknown"), known.get("size", "unknown"), known.get("channels", 0)
    source = known.get("source", name)
    return Reference(source, digest, split, size, channels, count, {"whole": features}, saved=saved)


def saved_features(saved: SavedStatistics, extractor: Extractor) -> Features:
    """On the extractor's device (of MPS, on the CPU); there are no rows."""
    mean, covariance = (part.to(with_float64(extractor.device)) for part in saved.statistics)
    return Features(Statistics(mean, covariance), saved.known.get("images") or 0, torch.empty(0, len(mean)))


def check_statistics(subject: Subject, reference: Reference, extractor: Extractor, precision: Precision) -> None:
    """Raises UserError for saved statistics of another extractor, precision, size or channels than the other side."""
    shape = None if reference.images is None else reference.images.shape
    for saved, other_shape, other in (
        (subject.statistics, shape, reference.saved),
        (reference.saved, subject.shape, subject.statistics),
    ):
        if saved is None:
            continue
        known = saved.known
        if known.get("extractor_hash", extractor.hash) != extractor.hash:
            raise UserError(
                f"{saved.path} holds statistics of the extractor {known.get('extractor')} "
                f"({known['extractor_hash'][:8]}), not of {extractor.name} ({extractor.hash[:8]}): pass the same with "
                "`features`, or make them anew with `save_statistics`."
            )
        if known.get("precision", precision) != precision:
            raise UserError(f"{saved.path} was made with `precision` {known['precision']}: give the same.")
        given = len(saved.statistics.mean)
        if other is not None:
            wanted, who = len(other.statistics.mean), str(other.path)
        else:
            wanted, who = dimension(extractor, other_shape or (3, 32, 32)), extractor.name
        if given != wanted:
            raise UserError(
                f"{saved.path} holds statistics of {given} features, and {who} has {wanted}: they are of another "
                "extractor; pass the one that made them with `features`."
            )
        size, channels = (other.known.get("size"), other.known.get("channels")) if other else (None, None)
        if other_shape is not None:
            channels, size = other_shape[0], f"{other_shape[1]}x{other_shape[2]}"
        for what, ours, theirs in (("size", known.get("size"), size), ("channels", known.get("channels"), channels)):
            if ours is not None and theirs is not None and ours != theirs:
                raise UserError(f"{saved.path} is of images of {what} {ours}, and the other side has {theirs}.")


def dimension(extractor: Extractor, shape: tuple[int, int, int]) -> int:
    """How many features it gives for images (channels, height, width)."""
    return features_of(extractor, torch.zeros(2, *shape, dtype=torch.uint8)).shape[1]


def save_reference(path: Path, reference: Reference, extractor: Extractor, precision: Precision) -> None:
    """Write mu and sigma of its features into an .npz, and what decides them.

    Raises:
        UserError: it cannot be written.
    """
    known: dict[str, Any] = {
        "extractor": extractor.name,
        "extractor_hash": extractor.hash,
        "resize": extractor.resize,
        "view": "whole",
        "precision": precision,
        "size": reference.size,
        "channels": reference.channels,
        "images": reference.count,
        "source": shown(reference.name),
        "content_hash": reference.hash,
        "split": reference.split,
    }
    write_statistics(path, reference.features["whole"].statistics, known)
