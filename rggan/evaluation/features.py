"""Features of a set of images, in one pass over it and in memory that does not grow with it; cached by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load as parse
from safetensors.torch import save
from torch import Tensor

from rggan.bounded import parse_json, read_regular
from rggan.data import ImageSet
from rggan.data.store import cache_folder
from rggan.device import with_float64
from rggan.errors import UserError, make_folder, reason
from rggan.evaluation.subject import content_hash, evenly
from rggan.files import write_whole
from rggan.memory import refuse
from rggan.metrics import Features, Moments, Statistics
from rggan.metrics.features import Extractor, Parts, View, features_of, has_patches

BATCH = 250
VERSION = 1  # of what is cached: another version never takes it
MOST, MOST_HEADER = 512 << 20, 1 << 16  # bytes of what is cached: more is not
PARTS, INT, HASH = ("mean", "covariance", "count", "rows"), torch.int64, "sha256"
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
    notes: list[str] | None = None,
) -> dict[View, Features]:
    """`collect` in all views, from $RGGAN_CACHE/features where the same images were seen by the same extractor.

    An extractor without a hash of its own content ('package.module:function') is asked every time. notes: where it is
    told that what lay there is not used.
    """
    views = views_of(extractor, images.shape)
    if ":" in extractor.name:
        return collect(extractor, images, views, limit, name, precision, progress)
    key: list[Any] = [VERSION, extractor.hash, extractor.resize, content_hash(images), views, limit, precision]
    key.append(extractor.device.type)
    try:
        folder = cache_folder() / "features"
    except UserError:  # there is no place for it
        return collect(extractor, images, views, limit, name, precision, progress)
    path = folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.safetensors"
    try:
        found = load(path, views, len(images), limit, with_float64(extractor.device))
    except FileNotFoundError:
        pass
    except Exception as error:  # whatever foreign bytes raise in safetensors
        if notes is not None:
            notes.append(f"The cached features of {name} are made anew: {reason(error)}.")
    else:
        if progress is not None:
            progress(len(images))
        return found
    found = collect(extractor, images, views, limit, name, precision, progress)
    keep(found, path)
    return found


def load(path: Path, views: Sequence[View], count: int, limit: int, device: torch.device) -> dict[View, Features]:
    """What `keep` wrote, of so many images.

    Raises:
        OSError: it cannot be read. ValueError, or others of safetensors: it is not what was written, or not of these
            images.
    """
    content = read_regular(path, MOST)
    claimed, actual = hashes(content)
    if claimed != actual:
        raise ValueError("what lies there is not what was written" if claimed else "what lies there has no hash")
    tensors = {name: tensor.to(device) for name, tensor in parse(content).items()}
    return {view: checked(view, tensors, count, min(count, limit)) for view in views}


def hashes(content: bytes) -> tuple[str | None, str]:
    """(the SHA-256 that a .safetensors tells of itself, the SHA-256 of what its tensors are called and hold)."""
    length = int.from_bytes(content[:8], "little")
    header = parse_json(content[8 : 8 + length], MOST_HEADER)
    claimed = header.pop("__metadata__", {}).get(HASH) if isinstance(header, dict) else None
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(memoryview(content)[8 + length :])
    return claimed, digest.hexdigest()


def checked(view: View, tensors: Mapping[str, Tensor], count: int, rows: int) -> Features:
    """Raises ValueError for what features of so many images, of which `rows` are kept, cannot be."""
    found = [tensors.get(f"{view}.{name}", torch.empty(0, 0, 0)) for name in PARTS]
    mean, covariance, number, kept = found
    size, real = mean.numel(), torch.float64
    shapes = [(size,), (size, size), (), (rows, size)]
    if [tuple(part.shape) for part in found] != shapes or [part.dtype for part in found] != [real, real, INT, real]:
        raise ValueError("what lies there has other shapes")
    if int(number) != count or not all(part.isfinite().all() for part in found):
        raise ValueError("what lies there is not of these images")
    return Features(Statistics(mean, covariance), count, kept)


def keep(found: dict[View, Features], path: Path) -> None:
    """Into the cache, if it takes it."""
    tensors: dict[str, Tensor] = {}
    for view, features in found.items():
        parts = (*features.statistics, torch.tensor(features.count), features.rows)
        tensors |= {f"{view}.{name}": part.cpu().contiguous() for name, part in zip(PARTS, parts, strict=True)}
    if sum(tensor.nbytes for tensor in tensors.values()) + MOST_HEADER > MOST:
        return
    content = save(tensors, {HASH: hashes(save(tensors))[1]})
    try:
        make_folder(path.parent)
        write_whole(path, content)
    except (OSError, UserError):
        return  # it is only slower the next time
