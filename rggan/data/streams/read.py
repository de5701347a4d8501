"""A stream as a training takes it: a sample of it and held-out images in memory, and how the rest is read."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rggan import memory
from rggan.data.classes import class_names
from rggan.data.decode import Resize, parse_color, parse_size
from rggan.data.depth import told_range
from rggan.data.images import (
    SIDES,
    Channels,
    ImageSet,
    Progress,
    decode,
    identity_of,
    natural_resolution,
    short_sides,
)
from rggan.data.picture import MAX_PIXELS, Picture, parse_formats
from rggan.data.pixels import depth_of
from rggan.data.streams.address import SAMPLE, first_pictures, open_shards, training_shards
from rggan.data.streams.order import Reading, unreadable
from rggan.data.streams.shards import Shards
from rggan.errors import UserError

BUFFER = 10_000  # images of a stream that are held in memory, unless `shuffle_buffer` says otherwise
HELD_OUT = 10_000  # images of the last shard that the score compares with
HELD_OUT_BYTES = 2 << 30  # that they take at most
CHUNK, CHUNK_BYTES = 64, 1 << 28  # encoded pictures that are held at a time, and bytes after which there are fewer
PASSES = 8  # shards whose classes are read at a time


@dataclass(frozen=True)
class Streamed(ImageSet):
    """The first images of a stream, as an ordinary set for whatever looks at the training images, and the stream.

    reading: how the stream is read. held_out: images of its last shard; None where it has one only. buffer: images of
    the stream that are held in memory, by all ranks together. counts: images of each class in all training shards;
    empty: classes are not used. about: how many training images there are, as far as that is known.
    """

    reading: Reading = field(kw_only=True)
    held_out: ImageSet | None = field(kw_only=True)
    buffer: int = field(kw_only=True)
    counts: tuple[int, ...] = field(kw_only=True)
    about: int = field(kw_only=True)

    @property
    def identity(self) -> str:
        return identity_of(self.key, self.classes, None)

    @property
    def in_memory(self) -> int:
        return self.buffer + len(self) + len(self.held_out or ())

    @property
    def class_counts(self) -> list[int]:
        return list(self.counts)

    def split(self, seed: int) -> tuple[ImageSet, ImageSet | None]:
        """Returns (the set itself, the images of the last shard or None), whatever the seed."""
        return self, self.held_out

    def take(self, indices: NDArray[np.int64]) -> ImageSet:
        """Returns a subset of the sample, an ordinary set."""
        return ImageSet(**{each.name: getattr(self, each.name) for each in fields(ImageSet)}).take(indices)

    def lines(self) -> list[str]:
        """For people: what the stream is made of, and what stands for it."""
        channels, height, width = self.shape
        kind = {1: "grey", 3: "RGB", 4: "RGBA"}[channels]
        names, several = self.reading.shards.names, self.held_out is not None
        told = [
            f"data       {self.reading.shards.data}: {self.reading.count:,} shard{'s' if several else ''} to train on, "
            f"read as a stream, {width}x{height} {kind}"
        ]
        if self.classes:
            told.append(f"classes    {len(self.classes)}: {', '.join(self.classes[:12])}; {sum(self.counts):,} images")
        told += [f"note       {note}" for note in self.notes]
        if self.skipped:
            told.append(
                f"skipped    {len(self.skipped)} unreadable among those looked at: {', '.join(self.skipped[:5])}"
            )
        against = f"{len(self.held_out)} images of the last shard, {names[-1]}" if self.held_out else "that sample"
        told.append(f"sample     the first {len(self):,} images stand for all where training images are looked at")
        told.append(
            f"training   with {self.buffer:,} images in memory (`shuffle_buffer`); the score compares with {against}"
        )
        return told

    def head(self) -> dict[str, Any]:
        """For data.jsonl."""
        held_out = len(self.held_out or ())
        return {"shards": list(self.reading.shards.keys), "sample": len(self), "held_out": held_out}


def load_stream(
    data: str,
    resolution: int | str | None = None,
    *,
    channels: Channels = "auto",
    resize: Resize = "crop",
    background: str = "white",
    skip_bad: bool = False,
    white_level: float | str | None = None,
    max_pixels: int = MAX_PIXELS,
    formats: Sequence[str] = (),
    cond: bool = False,
    shuffle_buffer: int = BUFFER,
    progress: Progress | None = None,
    sides: tuple[int, int] = SIDES,
) -> Streamed:
    """Opens a stream: its first images and held-out ones are decoded; with `cond` the classes of all are counted.

    The options are those of `load_images`; resolution and channels that are not given follow the first images.

    Raises:
        UserError: no shard, or one that cannot be read; a white level of 'auto'; no classes where `cond` needs them; a
            held-out shard of fewer than two images.
    """
    if white_level == "auto":
        raise UserError(f"`white_level` auto looks at all pictures, which a stream ({data}) does not: give a number.")
    shards = open_shards(data)
    count = training_shards(shards)
    pictures, about = first_pictures(shards, labels=cond)
    pictures = [replace(picture, formats=parse_formats(formats)) for picture in pictures]
    size = None if resolution is None else parse_size(resolution)
    if size is None:
        side = natural_resolution(short_sides(pictures), sides)
        size = (side, side)
    how: dict[str, Any] = {"size": size, "channels": channels, "resize": resize, "background": parse_color(background)}
    white = None if white_level is None else float(white_level)
    limits: dict[str, Any] = {"white_level": white, "max_pixels": max_pixels, "formats": parse_formats(formats)}
    counted = classes_of(shards, count) if cond else Counter()
    classes = class_names([Picture(name, bytes, label=name) for name in counted])
    if cond and not classes:
        raise UserError(f"`cond` needs classes, and the shards of {data} have {'one' if counted else 'none'}.")
    number = {name: index for index, name in enumerate(classes)}
    how_read = Reading(shards, count, how, number, limits, skip_bad)
    last = len(shards.names) - 1
    refuse_memory(shuffle_buffer, size, depth_of(how))
    sample = image_set(how_read, pictures, SAMPLE, 0, classes, progress)
    if channels == "auto":
        how = {**how, "channels": {1: "grey", 3: "rgb"}[sample.shape[0]]}
        how_read = replace(how_read, how=how)
    held_out = None
    if last > 0:
        with closing(how_read.shards.pictures(last, cond)) as rest:
            most = max(2, min(HELD_OUT, HELD_OUT_BYTES // (size[0] * size[1] * depth_of(how))))
            held_out = image_set(how_read, rest, most, last, classes, progress)
        if len(held_out) < 2:
            raise UserError(
                f"The last shard, {shards.names[last]}, is held out for the score and has {len(held_out)} picture: "
                "put more into it."
            )
    key = hashlib.sha256(json.dumps([sample.key, held_out and held_out.key, shards.keys]).encode()).hexdigest()
    notes = list(sample.notes)
    if channels == "auto" and about > len(pictures):
        notes.append(f"`channels` {how['channels']}, as the first {len(pictures):,} pictures are")
    known = {each.name: getattr(sample, each.name) for each in fields(ImageSet)}
    known |= {"key": key, "notes": tuple(notes), "white_level": white}
    counts = tuple(counted[name] for name in classes)
    return Streamed(**known, reading=how_read, held_out=held_out, buffer=shuffle_buffer, counts=counts, about=about)


def refuse_memory(buffer: int, size: tuple[int, int], depth: int) -> None:
    """Raises UserError where so many images take more than half of this machine's memory, with all of its ranks."""
    each = size[0] * size[1] * depth
    most = memory.total() // 2 // each
    if buffer > most:
        raise UserError(
            f"`shuffle_buffer` {buffer:,} images of {size[0]}x{size[1]} take {buffer * each / 1e9:,.1f} GB, more than "
            f"half of this machine's memory: take at most {most:,}, or a smaller `resolution`."
        )


def image_set(
    reading: Reading,
    pictures: Sequence[Picture] | Generator[Picture, None, None],
    most: int,
    index: int,
    classes: tuple[str, ...],
    progress: Progress | None = None,
) -> ImageSet:
    """Decodes at most `most` pictures of this shard, or from it on, without holding the files of all of them.

    Raises:
        UserError: none can be read; or one cannot, and `skip_bad` is not given.
    """
    given, shard = iter(pictures), reading.shards.names[index]
    size = (most, depth_of(reading.how), *reading.how["size"])
    pixels = np.empty(size, dtype=np.uint8)  # pages that nothing is written to take no memory
    names: list[str] = []
    hashes: list[str] = []
    labels: list[int] = []
    skipped: list[str] = []
    keys: list[str] = []
    grey, peak, coarse, done = True, 0.0, False, 0
    for part in chunks(given, most, reading.limits):
        found, digests, key = decode(part, reading.how, math.inf)
        if found.bad and not reading.skip_bad:
            first = min(found.bad)
            raise UserError(unreadable(part[first].name, shard, found.bad[first]))
        good = [i for i in range(len(part)) if i not in found.bad]
        pixels[len(names) : len(names) + len(good)] = found.pixels.transpose(0, 3, 1, 2)
        names += [part[i].name for i in good]
        hashes += [digests[i] for i in good]
        labels += [reading.label(part[i], index) for i in good]
        skipped += [part[i].name for i in found.bad]
        keys.append(key)
        grey, peak, coarse, done = grey and found.grey, max(peak, found.peak), coarse or found.coarse, done + len(part)
        if progress is not None:
            progress(done, most)
    if not names:
        raise UserError(f"None of the {done} pictures of the shard {shard} can be read.")
    grey = grey and reading.how["channels"] == "auto"
    told = told_range(peak, reading.limits["white_level"], coarse)
    return ImageSet(
        store=torch.from_numpy(pixels[: len(names), : 1 if grey else None]).contiguous(),
        rows=torch.arange(len(names)),
        labels=torch.tensor(labels) if classes else None,
        classes=classes,
        names=tuple(names),
        hashes=tuple(hashes),
        skipped=tuple(skipped),
        key=hashlib.sha256(json.dumps(keys).encode()).hexdigest(),
        notes=() if told is None else (told,),
        white_level=reading.limits["white_level"],
    )


def chunks(pictures: Iterator[Picture], most: int, limits: dict[str, Any]) -> Iterator[list[Picture]]:
    """Yields at most `most` pictures, a few at a time, with these limits."""
    part, size = list[Picture](), 0
    for picture in islice(pictures, most):
        part.append(replace(picture, **limits))
        size += held(picture)
        if len(part) == CHUNK or size >= CHUNK_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def held(picture: Picture) -> int:
    """Bytes of a picture whose content is in memory; 0 for others.

    >>> held(Picture("a.png", partial(bytes, b"four"))), held(Picture("a.png", bytes))
    (4, 0)
    """
    read = picture.read
    return len(read.args[0]) if isinstance(read, partial) and read.func is bytes else 0


def classes_of(shards: Shards, count: int) -> Counter[str]:
    """How many pictures of each class the training shards have, by one pass over all of them.

    Raises:
        UserError: a picture has no class.
    """

    def of_shard(index: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for name, label in shards.labels(index):
            if not label:
                raise UserError(
                    f"`cond` needs a class for each picture, and {name} of the shard {shards.names[index]} has none "
                    "(`.cls`, or 'label' or 'class' in `.json`)."
                )
            found[label] += 1
        return found

    total: Counter[str] = Counter()
    with ThreadPoolExecutor(min(PASSES, os.cpu_count() or 1)) as pool:
        for found in pool.map(of_shard, range(count)):
            total.update(found)
    return total
