"""Pictures -> one set of uint8 images, with labels if the source has classes, seeded subsets, and a held-out split."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rggan import memory, ranks
from rggan.data.classes import balanced_subset, class_names, present
from rggan.data.decode import Resize, parse_color, parse_size
from rggan.data.depth import told_range, with_limits
from rggan.data.mapped import MappedFile
from rggan.data.parallel import CHUNK, NOTHING, in_order
from rggan.data.picture import MAX_PIXELS, Picture
from rggan.data.pixels import Pixels, depth_of, pixels_from
from rggan.data.source import list_pictures
from rggan.data.store import CUT, Decoded, cache_folder, in_cache, in_memory
from rggan.data.streams.address import is_stream
from rggan.data.workers import Told
from rggan.errors import UserError
from rggan.ranges import check_ranges

HELD_OUT_FROM = 1000  # images from which a tenth is held out for the validation score
SHARED_FROM = 64 << 20  # bytes of pixels from which the ranks on a machine share one copy: the first decodes
VERSION = 1  # of the decoding: cached pixels of another version are not used

SIDES = (16, 256)  # range of the square sides chosen if no resolution is given
Channels = Literal["auto", "grey", "rgb", "rgba"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageSet:
    """Decoded images.

    store: uint8 [M, C, H, W], C is 1 (grey), 3 (RGB) or 4 (RGBA); large ones are memory-mapped.
    rows: int64 [N], indices of the set's images in the store.
    labels: int64 [N], indices into `classes`; None if the source has no classes.
    names, hashes: N file names, N SHA-256 of the files (of raw arrays: of their pixels).
    skipped: names of unreadable files that were left out.
    notes: sentences on how the pictures were read. fault: why labels that are there were not used (see `Listing`).
    aliases: identities of the same images with the classes that earlier versions found.
    white_level: value of pictures above 8 bits that became white; None: 65535.
    key: SHA-256 of everything that determines the pixels: names, contents, size, channels. file: of a mapped store.
    """

    store: Tensor
    rows: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    key: str = ""
    mapped: bool = False
    notes: tuple[str, ...] = ()
    fault: str | None = None
    aliases: tuple[str, ...] = ()
    white_level: float | None = None
    file: MappedFile | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, channels, height, width = self.store.shape
        return channels, height, width

    @property
    def identity(self) -> str:
        """SHA-256 of pixels and classes: must be unchanged to continue a run."""
        return identity_of(self.key, self.classes, None if self.labels is None else self.labels.tolist())

    @property
    def images(self) -> Tensor:
        """uint8 [N, C, H, W] in memory; a copy, unless the set is the whole store."""
        if len(self.rows) == len(self.store) and bool((self.rows.diff() == 1).all()):
            return self.store
        return self.stored(self.rows)

    def stored(self, rows: Tensor) -> Tensor:
        """Returns these rows of the store. Raises UserError where its file was cut meanwhile."""
        if self.file is not None:
            self.file.check()
        return self.store[rows]

    def at(self, index: Tensor) -> Tensor:
        """Returns the images at these indices, uint8 [len(index), C, H, W]."""
        return self.stored(self.rows[index]).contiguous()  # a mapped store is channels-last: sums would differ

    @property
    def in_memory(self) -> int:
        """How many images are in memory at most while a network trains on them."""
        return len(self)

    @property
    def class_counts(self) -> list[int]:
        """Images of each class."""
        return [] if self.labels is None else self.labels.bincount(minlength=len(self.classes)).tolist()

    def parts(self, batch: int) -> Iterator[Tensor]:
        """Yields all images, at most `batch` at a time."""
        for rows in self.rows.split(batch):
            yield self.stored(rows).contiguous()

    def take(self, indices: NDArray[np.int64]) -> ImageSet:
        """Returns the subset at these indices, in this order; the store is shared."""
        index = torch.from_numpy(indices)
        return replace(
            self,
            rows=self.rows[index],
            labels=None if self.labels is None else self.labels[index],
            names=tuple(self.names[i] for i in indices),
            hashes=tuple(self.hashes[i] for i in indices),
        )

    def split(self, seed: int) -> tuple[ImageSet, ImageSet | None]:
        """Returns (training images, held-out images): from 1,000 images on, a class-stratified tenth is held out.

        Below 1,000 images all are used for training, and the second part is None.

        >>> digits = load_images("digits", resolution=16)
        >>> train, held_out = digits.split(seed=0)
        >>> len(train), len(held_out)
        (1617, 180)
        """
        if len(self) < HELD_OUT_FROM:
            return self, None
        order = np.random.default_rng(seed).permutation(len(self))
        if self.labels is not None:
            order = order[np.argsort(self.labels.numpy()[order], kind="stable")]
        held_out = np.zeros(len(self), dtype=bool)
        held_out[order[::10]] = True
        return self.take(np.flatnonzero(~held_out)), self.take(np.flatnonzero(held_out))


def identity_of(key: str, classes: Sequence[str], labels: list[int] | None) -> str:
    return hashlib.sha256(json.dumps([key, classes, labels]).encode()).hexdigest()


def load_images(
    data: str | Path,
    resolution: int | str | tuple[int, int] | None = None,
    *,
    channels: Channels = "auto",
    resize: Resize = "crop",
    background: str = "white",
    max_images: int | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    pattern: str = "*",
    skip_bad: bool = False,
    memory_share: float = 0.25,
    white_level: float | str | None = None,
    max_pixels: int = MAX_PIXELS,
    formats: Sequence[str] = (),
    progress: Progress | None = None,
    sides: tuple[int, int] = SIDES,
) -> ImageSet:
    """Loads pictures at one size; for `data` see `list_pictures`.

    EXIF orientation is applied, 16-bit grey is scaled to 8, palettes and CMYK become RGB; of an animation or a stack
    of pages the first is used. Resizing is Lanczos.

    Args:
        resolution: 64, '64x96' or (64, 96): height, width. Default: a square whose side is the largest
            power of two not above the median shorter side, within `sides`.
        channels: 'auto' is grey if every picture is, else RGB; 'rgba' keeps transparency.
        resize: 'crop' (the centre), 'fit' (the whole picture, padded with the background) or 'stretch'.
        background: colour behind transparency and for padding.
        max_images, fraction: how many to use (the smaller of both), drawn by `seed`, class-balanced
            if the source has classes.
        pattern: a shell pattern on the file name ('*[02468].jpg').
        skip_bad: skip unreadable files instead of raising.
        memory_share: sets that take more than this share of the machine's memory are memory-mapped from
            a file in the cache folder ($RGGAN_CACHE, or ~/.cache/rggan), keyed by their content. So are those above
            64 MiB that several ranks on a machine train on.
        white_level: value of pictures above 8 bits (PNG, TIFF, arrays) that becomes white; 'auto': their largest;
            None: 65535, and those of unknown range are refused.
        max_pixels: pictures that have more are refused; JPEGs are decoded at a half to an eighth of their size.
        formats: that are read besides the common ones, as Pillow calls them ('TGA').
        progress: is called with (pictures done, all pictures).

    Raises:
        UserError: no readable picture; an unreadable file (named); an invalid count, fraction, size or colour.

    >>> load_images("digits", resolution=16, max_images=100).images.shape
    torch.Size([100, 1, 16, 16])
    """
    size = None if resolution is None else parse_size(resolution)
    for name, value, known in (("channels", channels, Channels), ("resize", resize, Resize)):
        if value not in get_args(known):
            raise UserError(f"`{name}` is one of {', '.join(get_args(known))}, not {value}.")
    color = parse_color(background)
    if is_stream(str(data)):
        raise UserError(f"{data} is a stream, which only training takes: give pictures in a folder or a zip.")
    check_ranges({"max_images": max_images, "fraction": fraction})
    pictures, white = with_limits(list_pictures(data, pattern, formats), white_level, max_pixels)

    classes = class_names(pictures)
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number.get(picture.class_name, 0) for picture in pictures])
    count = max(1, round(len(pictures) * fraction))
    chosen = balanced_subset(labels, min(count, max_images or count), seed)
    taken = [pictures[i] for i in chosen]

    if size is None:
        side = natural_resolution(short_sides(taken), sides)
        size = (side, side)
    how: dict[str, Any] = {"size": size, "channels": channels, "resize": resize, "background": color}
    how |= {} if white is None else {"white_level": white}
    how |= {} if max_pixels == MAX_PIXELS else {"max_pixels": max_pixels}
    decoded, hashes, key = decode(taken, how, memory_share, progress)
    good = [i for i in range(len(taken)) if i not in decoded.bad]
    if decoded.bad and (not skip_bad or not good):
        first = min(decoded.bad)
        others = f" ({len(decoded.bad) - 1} more are unreadable too)" if len(decoded.bad) > 1 else ""
        if not good:
            raise UserError(
                f"None of the {len(taken)} pictures can be read; the first: {taken[first].name}: {decoded.bad[first]}."
            )
        raise UserError(
            f"Cannot read {taken[first].name}: {decoded.bad[first]}{others}; mend or remove it, or pass `skip_bad`."
        )
    pixels = decoded.pixels[..., : 1 if channels == "auto" and decoded.grey else None]
    mapped = isinstance(decoded.pixels, np.memmap)
    store = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    found = labels[chosen[good]]
    numbers, there, notes = present(found, classes)
    notes += [*told_of(decoded, white), *decoded.notes]
    aliases = [] if there == classes else [identity_of(key, classes, found.tolist())]
    if there and len(good) < HELD_OUT_FROM:  # else classes decide which images are held out
        aliases.append(identity_of(key, (), None))
    return ImageSet(
        store=store if mapped else store.contiguous(),
        rows=torch.arange(len(good)),
        labels=torch.from_numpy(numbers) if there else None,
        classes=there,
        names=tuple(taken[i].name for i in good),
        hashes=tuple(hashes[i] for i in good),
        skipped=tuple(taken[i].name for i in sorted(decoded.bad)),
        key=key,
        mapped=mapped,
        notes=(*pictures.notes, *notes),
        fault=pictures.fault,
        aliases=tuple(aliases),
        white_level=white,
        file=MappedFile(decoded.pixels, CUT) if mapped else None,
    )


def told_of(decoded: Decoded, white: float | None) -> list[str]:
    """Returns notes on pictures that are more than 8-bit, or more than one picture."""
    sentence = told_range(decoded.peak, white, decoded.coarse)
    notes = [] if sentence is None else [sentence]
    if decoded.stacks:
        have = "picture has" if decoded.stacks == 1 else "pictures have"
        notes.append(f"{decoded.stacks:,} {have} several frames or pages: the first of each is used")
    return notes


def decode(
    pictures: Sequence[Picture], how: dict[str, Any], memory_share: float, progress: Progress | None = None
) -> tuple[Decoded, list[str], str]:
    """Returns (pixels, SHA-256 of each picture, key of the whole set)."""
    shape = (*how["size"], depth_of(how))
    size = len(pictures) * int(np.prod(shape))
    large = size > memory_share * memory.total()
    shared = ranks.world.here > 1 and math.isfinite(memory_share) and size > SHARED_FROM  # a stream caches nothing
    hashes: list[str] = []

    def finish(picture: Picture, content: bytes | None, found: Told | str) -> tuple[str, Pixels | str]:
        if content is None:
            return "unreadable", str(found)
        digest = hashlib.sha256(content).hexdigest()
        return digest, pixels_from(found, how) if found != NOTHING else ""

    def run(decoding: bool) -> Iterator[Pixels | str]:
        hashes.clear()
        for digest, result in in_order(pictures, "pixels" if decoding else None, finish, **(how if decoding else {})):
            hashes.append(digest)
            yield result
            if progress is not None and (len(hashes) % CHUNK == 0 or len(hashes) == len(pictures)):
                progress(len(hashes), len(pictures))

    def key() -> str:
        files = [[picture.name, digest] for picture, digest in zip(pictures, hashes, strict=True)]
        return hashlib.sha256(json.dumps([VERSION, how, files]).encode()).hexdigest()

    if not large and not shared:
        decoded = in_memory(run(decoding=True), len(pictures), shape)
        return decoded, hashes, key()
    for _ in run(decoding=False):  # only hashes
        pass
    name, known = key(), list(hashes)

    def unchanged() -> Iterator[Pixels | str]:
        yield from run(decoding=True)
        if hashes != known:  # they would be cached under a wrong key
            raise UserError("The pictures changed while they were read; start again when nobody writes to them.")

    try:
        return in_cache(unchanged, name, shape, cache_folder()), known, name
    except UserError:
        if large:
            raise
        return in_memory(unchanged(), len(pictures), shape), known, name  # no room for a cache: each has its own


def short_sides(pictures: Sequence[Picture]) -> list[int]:
    """Returns the shorter sides in pixels of up to 500 pictures; 0 for unreadable ones."""

    def side(picture: Picture, content: bytes | None, found: Told | str) -> int:
        return 0 if isinstance(found, str) else min(found[0]["size"])

    return list(in_order(pictures[:: max(1, len(pictures) // 500)], "size", side))


def natural_resolution(found: Sequence[int], sides: tuple[int, int] = SIDES) -> int:
    """Returns the largest power of two not above the median shorter side, within `sides`.

    >>> natural_resolution([30, 32, 640]), natural_resolution([8]), natural_resolution([4000])
    (32, 16, 256)
    """
    readable = [side for side in found if side > 0]
    median = int(np.median(readable)) if readable else 16
    return min(sides[1], max(sides[0], 1 << (median.bit_length() - 1)))
