"""Storage of decoded pixels: in memory, or for large sets in a memory-mapped file in the cache folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from rggan import memory
from rggan.errors import UserError, make_folder
from rggan.files import write_whole


@dataclass(frozen=True)
class Decoded:
    """Decoded pixels, and the results of decoding.

    pixels: uint8 [N, H, W, C] of the readable pictures, in order.
    bad: index among all pictures -> why it cannot be read.
    grey: whether every readable picture is grey. peak: largest value of those of more than 8 bits. coarse: these have
    colours. stacks: how many have several frames or pages.
    """

    pixels: NDArray[np.uint8]
    bad: dict[int, str]
    grey: bool
    peak: float = 0.0
    coarse: bool = False
    stacks: int = 0


class Pixels(NamedTuple):
    """The result of decoding one picture: values [H, W, C]; the others as in `Decoded`."""

    values: NDArray[np.uint8]
    grey: bool
    peak: float = 0.0
    coarse: bool = False
    stack: bool = False


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
    """Returns $RGGAN_CACHE, or rggan/ in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("RGGAN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rggan"


def machine_memory() -> int:
    """Returns the memory in bytes that this process can have: the machine's, or a limit if lower."""
    return memory.total()


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
    """Like `in_memory`, from the memory-mapped file `folder`/`key`.u8, which is created if missing.

    Rows are appended to a temporary file, which is flushed and renamed when complete; `key`.json next to it has the
    other results. Other processes that need the same file wait for it.

    Raises:
        UserError: the folder cannot be written, or its disk is full.
    """
    make_folder(folder)
    path, about, beside = folder / f"{key}.u8", folder / f"{key}.json", folder / f".{key}.part"
    with FileLock(folder / f"{key}.lock"):
        if (found := open_cached(path, about, shape)) is not None:
            return found
        tally = Tally()
        try:
            with beside.open("wb") as file:
                for index, result in enumerate(results()):
                    if (values := tally.add(index, result)) is not None:
                        file.write(values.tobytes())
                file.flush()
                os.fsync(file.fileno())
                told = {"bytes": file.tell(), "shape": shape, **vars(tally)}
            write_whole(about, json.dumps(told).encode())
            os.replace(beside, path)
        except OSError as error:
            raise UserError(
                f"Cannot keep the decoded images in {folder}: {error.strerror}; name another folder in the environment "
                "variable RGGAN_CACHE, or take fewer images (`max_images`) or a smaller `resolution`."
            ) from error
        finally:
            beside.unlink(missing_ok=True)
        found = open_cached(path, about, shape)
        assert found is not None
        return found


def open_cached(path: Path, about: Path, shape: tuple[int, int, int]) -> Decoded | None:
    """Memory-maps a cached file; None if it is incomplete or missing."""
    try:
        told = json.loads(about.read_text())
        if not path.is_file() or path.stat().st_size != told["bytes"] or tuple(told["shape"]) != shape:
            return None
        known: dict[str, Any] = {
            "bad": {int(index): str(reason) for index, reason in told["bad"].items()},
            "grey": bool(told["grey"]),
            "peak": float(told.get("peak", 0)),  # earlier versions did not tell the rest
            "coarse": bool(told.get("coarse", False)),
            "stacks": int(told.get("stacks", 0)),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    count = told["bytes"] // int(np.prod(shape))
    if count == 0:
        return Decoded(np.empty((0, *shape), dtype=np.uint8), **known)
    # Copy on write, because torch requires writable arrays; nothing writes to it.
    return Decoded(np.memmap(path, dtype=np.uint8, mode="c", shape=(count, *shape)), **known)
