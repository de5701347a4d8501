"""Features of a set of images, in one pass over it and in memory that does not grow with it; cached by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from rggan.data import ImageSet
from rggan.data.store import cache_folder
from rggan.device import with_float64
from rggan.errors import UserError, make_folder
from rggan.evaluation.subject import content_hash, evenly
from rggan.files import write_whole
from rggan.memory import refuse
from rggan.metrics import Features, Moments, Statistics
from rggan.metrics.features import Extractor, Parts, View, features_of, has_patches

BATCH = 250
VERSION = 1  # of what is cached: another version never takes it
ALIKE = 1e-10  # of the squared features: variance below which all images are the same picture

Precision = Literal["fp32", "bf16"]
Progress = Callable[[int], None]  # is told how many more images are done


def views_of(extractor: Extractor, shape: tuple[int, int, int]) -> list[View]:
    """'whole', and 'patches' for images (channels, height, width) that are larger than the extractor sees."""
    return ["whole", "patches"] if has_patches(extractor, *shape[1:]) else ["whole"]


def collect(
    extractor: Extractor,
    images: Parts,
    views: Sequence[View],
    limit: int,
    name: str,
    precision: Precision = "fp32",
    progress: Progress | None = None,
) -> dict[View, Features]:
    """Features of all images in each view; `limit` of them, evenly spaced, are kept.

    Raises:
        UserError: features that are not finite; or all images (of `name`) are the same picture.
    """
    moments: dict[View, Moments] = {view: Moments() for view in views}
    kept: dict[View, Tensor] = {}
    wanted = torch.zeros(len(images), dtype=torch.bool)
    wanted[evenly(len(images), limit)] = True
    done = filled = 0
    for part in parts(images, extractor.device, precision):
        for view in views:
            with arithmetic(extractor.device, precision):
                features = features_of(extractor, part, view, done)
            moments[view].add(features)
            if view not in kept:  # at once: many small pieces between large ones would tear the memory to shreds
                if features.device.type == "cpu":
                    refuse("`subset`", int(wanted.sum()), features.shape[1] * features.element_size())
                kept[view] = features.new_empty(int(wanted.sum()), features.shape[1])
            rows = features[wanted[done : done + len(part)].to(features.device)]
            kept[view][filled : filled + len(rows)] = rows
        done += len(part)
        filled += len(rows)
        if progress is not None:
            progress(len(part))
    found = {view: Features(moments[view].statistics(), done, kept[view]) for view in views}
    mean, covariance = found["whole"].statistics
    if covariance.trace() <= ALIKE * (len(mean) + mean.square().sum()):
        raise UserError(
            f"All {done} images of {name} are the same picture to {extractor.name}: no distance or share can be "
            "taken; look at them."
        )
    return found


def arithmetic(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def parts(images: Parts, device: torch.device, precision: Precision) -> Iterator[Tensor]:
    """The images, made in this precision where they are made."""
    batches = images.parts(BATCH)
    while True:
        with arithmetic(device, precision):
            part = next(batches, None)
        if part is None:
            return
        yield part


def collect_cached(
    extractor: Extractor,
    images: ImageSet,
    limit: int,
    name: str,
    precision: Precision = "fp32",
    progress: Progress | None = None,
) -> dict[View, Features]:
    """`collect` in all views, from $RGGAN_CACHE/features where the same images were seen by the same extractor.

    An extractor without a hash of its own content ('package.module:function') is asked every time.
    """
    views = views_of(extractor, images.shape)
    if ":" in extractor.name:
        return collect(extractor, images, views, limit, name, precision, progress)
    key: list[Any] = [VERSION, extractor.hash, extractor.resize, content_hash(images), views, limit, precision]
    key.append(extractor.device.type)
    path = cache_folder() / "features" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.safetensors"
    if (found := load(path, extractor.device)) is not None and list(found) == views:
        if progress is not None:
            progress(len(images))
        return found
    found = collect(extractor, images, views, limit, name, precision, progress)
    keep(found, path)
    return found


def load(path: Path, device: torch.device) -> dict[View, Features] | None:
    """What lies there; None where nothing does, or nothing whole."""
    try:
        tensors = load_file(path, str(with_float64(device)))
        views: list[View] = [view for view in ("whole", "patches") if f"{view}.mean" in tensors]
        return {
            view: Features(
                Statistics(tensors[f"{view}.mean"], tensors[f"{view}.covariance"]),
                int(tensors[f"{view}.count"]),
                tensors[f"{view}.rows"],
            )
            for view in views
        }
    except (OSError, SafetensorError, KeyError):
        return None


def keep(found: dict[View, Features], path: Path) -> None:
    """Into the cache, if it takes it."""
    tensors = {}
    for view, features in found.items():
        tensors[f"{view}.mean"], tensors[f"{view}.covariance"] = features.statistics
        tensors[f"{view}.count"] = torch.tensor(features.count)
        tensors[f"{view}.rows"] = features.rows
    try:
        make_folder(path.parent)
        write_whole(path, save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))
    except (OSError, UserError):
        return  # it is only slower the next time
