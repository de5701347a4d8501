"""Storage of decoded pixels: in memory, or for large sets in a memory-mapped file in the cache folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from rggan.errors import UserError, make_folder
from rggan.files import write_whole

FALLBACK_MEMORY = 8 << 30  # bytes, if the system does not report it


@dataclass(frozen=True)
class Decoded:
    """Decoded pixels, and the results of decoding.

    pixels: uint8 [N, H, W, C] of the readable pictures, in order.
    bad: index among all pictures -> why it cannot be read.
    grey: whether every readable picture is grey.
    """

    pixels: NDArray[np.uint8]
    bad: dict[int, str]
    grey: bool


# The result of decoding for each picture: pixels [H, W, C] and whether they are grey, or why it cannot be read.
Results = Iterable[tuple[NDArray[np.uint8], bool] | str]


def cache_folder() -> Path:
    """Returns $RGGAN_CACHE, or rggan/ in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("RGGAN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rggan"


def machine_memory() -> int:
    """Returns the memory in bytes available to this process: the machine's, or the container's limit if lower."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = FALLBACK_MEMORY
    try:
        return min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return memory


def in_memory(results: Results, count: int, shape: tuple[int, int, int]) -> Decoded:
    """Collects at most `count` pictures of `shape` [H, W, C] in one array."""
    pixels = np.empty((count, *shape), dtype=np.uint8)
    filled, bad, grey = 0, {}, True
    for index, result in enumerate(results):
        if isinstance(result, str):
            bad[index] = result
            continue
        pixels[filled], is_grey = result
        grey &= is_grey
        filled += 1
    return Decoded(pixels[:filled], bad, grey)


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
        bad, grey = {}, True
        try:
            with beside.open("wb") as file:
                for index, result in enumerate(results()):
                    if isinstance(result, str):
                        bad[index] = result
                        continue
                    file.write(result[0].tobytes())
                    grey &= result[1]
                file.flush()
                os.fsync(file.fileno())
                told = {"bytes": file.tell(), "shape": shape, "bad": bad, "grey": grey}
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
        bad = {int(index): str(reason) for index, reason in told["bad"].items()}
        grey = bool(told["grey"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    count = told["bytes"] // int(np.prod(shape))
    if count == 0:
        return Decoded(np.empty((0, *shape), dtype=np.uint8), bad, grey)
    # Copy on write, because torch requires writable arrays; nothing writes to it.
    return Decoded(np.memmap(path, dtype=np.uint8, mode="c", shape=(count, *shape)), bad, grey)
