"""Storage of decoded pixels: in memory, or for large sets in a memory-mapped file in the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from rggan.bounded import read_json, regular_size
from rggan.data.pixels import Pixels
from rggan.data.workers import Limited
from rggan.errors import UserError, make_folder
from rggan.files import flush, write_whole

MOST_ABOUT = 64 << 20  # bytes of what is told of a million pictures
ANEW = "the cache of decoded images {}: it is made anew"
DAMAGED = ANEW.format("was not as it was written")
EARLIER = ANEW.format("is of an earlier version, which kept no hash of it")

CUT = "The cache of decoded images was cut while it was read; start again, and it is made anew."


@dataclass(frozen=True)
class Decoded:
    """Decoded pixels, and the results of decoding.

    pixels: uint8 [N, H, W, C] of the readable pictures, in order.
    bad: index among all pictures -> why it cannot be read.
    grey: whether every readable picture is grey. peak: largest value of those of more than 8 bits. coarse: these have
    colours. stacks: how many have several frames or pages. notes: sentences on the cache.
    """

    pixels: NDArray[np.uint8]
    bad: dict[int, str]
    grey: bool
    peak: float = 0.0
    coarse: bool = False
    stacks: int = 0
    notes: tuple[str, ...] = ()


Results = Iterable[Pixels | str]  # of each picture; a text: why it cannot be read


class Tally:
    """What is told of all pictures together."""

    def __init__(self) -> None:
        self.bad: dict[int, str] = {}
        self.grey, self.peak, self.coarse, self.stacks = True, 0.0, False, 0

    def add(self, index: int, result: Pixels | str) -> NDArray[np.uint8] | None:
        """Returns the pixels; None if it cannot be read."""
        if isinstance(result, str):
            self.bad[index] = result
            return None
        self.grey &= result.grey
        self.peak = max(self.peak, result.peak)
        self.coarse |= result.coarse
        self.stacks += result.stack
        return result.values


def cache_folder() -> Path:
    """Returns $RGGAN_CACHE, or rggan/ in $XDG_CACHE_HOME or ~/.cache.

    Raises:
        UserError: none of them is known.
    """
    if own := os.environ.get("RGGAN_CACHE"):
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rggan"
    except RuntimeError as error:  # a user id of a container, say
        raise UserError(
            "A cache is needed, and this user has no home folder: name one in the environment variable RGGAN_CACHE."
        ) from error


def made_anew(notes: Iterable[str]) -> list[str]:
    """Those notes that tell of a cache which was made anew, as sentences."""
    return [f"{note[0].upper()}{note[1:]}." for note in notes if note in (DAMAGED, EARLIER)]


def in_memory(results: Results, count: int, shape: tuple[int, int, int]) -> Decoded:
    """Collects at most `count` pictures of `shape` [H, W, C] in one array."""
    pixels = np.empty((count, *shape), dtype=np.uint8)
    filled, tally = 0, Tally()
    for index, result in enumerate(results):
        if (values := tally.add(index, result)) is not None:
            pixels[filled] = values
            filled += 1
    return Decoded(pixels[:filled], **vars(tally))


def in_cache(results: Callable[[], Results], key: str, shape: tuple[int, int, int], folder: Path) -> Decoded:
    """Like `in_memory`, from the memory-mapped file `folder`/`key`.u8, which is created if missing, and made anew,
    with a note, if its content is not what was written.

    Rows are appended to a temporary file, which is flushed and renamed when complete; `key`.json next to it has the
    other results, and the SHA-256 of both. Other processes that need the same file wait for it.

    Raises:
        UserError: the folder cannot be written, or its disk is full.
    """
    make_folder(folder)
    path, about, beside = folder / f"{key}.u8", folder / f"{key}.json", folder / f".{key}.part"
    try:
        with FileLock(folder / f"{key}.lock"):
            found = open_cached(path, about, shape)
            if isinstance(found, Decoded):
                return found
            beside.unlink(missing_ok=True)  # a pipe would block, a link lead somewhere else
            try:
                told = write_cache(results(), shape, about, beside)
                os.replace(beside, path)
            finally:
                beside.unlink(missing_ok=True)
            return mapped(path, told, [found] if found else [])
    except OSError as error:
        raise UserError(
            f"Cannot keep the decoded images in {folder}: {error.strerror or error}; name another folder in the "
            "environment variable RGGAN_CACHE, or take fewer images (`max_images`) or a smaller `resolution`."
        ) from error


def write_cache(results: Results, shape: tuple[int, int, int], about: Path, beside: Path) -> dict[str, Any]:
    """Writes the pixels to `beside`, and what else is told of them to `about`; returns that."""
    tally, digest = Tally(), hashlib.sha256()
    with beside.open("wb") as file:
        for index, result in enumerate(results):
            if (values := tally.add(index, result)) is not None:
                row = values.tobytes()
                file.write(row)
                digest.update(row)
        flush(file)
        told = {"bytes": file.tell(), "shape": shape, **vars(tally)}
    if any(isinstance(reason, Limited) for reason in tally.bad.values()):
        told["limited"] = True
    digest.update(json.dumps(told).encode())
    told["sha256"] = digest.hexdigest()
    write_whole(about, json.dumps(told).encode())
    return told


def open_cached(path: Path, about: Path, shape: tuple[int, int, int]) -> Decoded | str | None:
    """Memory-maps a cached file; None if it is missing; a note if it is not to be used."""
    try:
        told = read_json(about, MOST_ABOUT)
        size = regular_size(path)
        if "sha256" not in told and told["bytes"] == size:
            return EARLIER
        expected = told.pop("sha256")
        if told["bytes"] != size or tuple(told["shape"]) != shape:
            return DAMAGED
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        digest.update(json.dumps(told).encode())  # the same text as was written
        if digest.hexdigest() != expected:
            return DAMAGED
        return None if "limited" in told else mapped(path, told)  # another time it may be read
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # foreign JSON
        return DAMAGED


def mapped(path: Path, told: dict[str, Any], notes: Iterable[str] = ()) -> Decoded:
    """The pixels of a complete file, memory-mapped, with what is told of them."""
    shape = tuple(told["shape"])
    count = told["bytes"] // int(np.prod(shape))
    # Copy on write, because torch requires writable arrays; nothing writes to it. An empty file cannot be mapped.
    empty = np.empty((0, *shape), dtype=np.uint8)
    pixels = np.memmap(path, dtype=np.uint8, mode="c", shape=(count, *shape)) if count else empty
    bad = {int(index): reason for index, reason in told["bad"].items()}
    return Decoded(pixels, bad, **{name: told[name] for name in ("grey", "peak", "coarse", "stacks")}, notes=(*notes,))
