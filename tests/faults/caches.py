"""Caches that are not what was written into them: each fault by its description, applied to a whole cache."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Fault = Callable[[Path, Path], object]  # is given the pixels (KEY.u8) and what is told of them (KEY.json)


def rewritten(change: Callable[[dict[str, Any]], object]) -> Fault:
    """What is told is changed, and is JSON as before."""

    def fault(pixels: Path, about: Path) -> None:
        told = json.loads(about.read_text())
        change(told)
        about.write_text(json.dumps(told))

    return fault


def instead(make: Callable[[Path], object], of_pixels: bool) -> Fault:
    """Something else stands in the place of one of both files."""

    def fault(pixels: Path, about: Path) -> None:
        path = pixels if of_pixels else about
        path.unlink()
        make(path)

    return fault


def one_byte(pixels: Path, about: Path) -> None:
    content = bytearray(pixels.read_bytes())
    content[len(content) // 2] ^= 1
    pixels.write_bytes(content)


def zeros(path: Path) -> None:
    """As long as it was, and black."""
    path.write_bytes(bytes(path.stat().st_size))


def to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


# Made anew, with a line. 'sha256' is what `rggan.data.store` calls the hash: earlier versions told none.
DECODED: dict[str, Fault] = {
    "one byte of the pixels": one_byte,
    "pixels all zero": lambda pixels, about: zeros(pixels),
    "pixels cut": lambda pixels, about: os.truncate(pixels, pixels.stat().st_size - 1),
    "pixels longer": lambda pixels, about: os.truncate(pixels, pixels.stat().st_size + 1),
    "pixels cut, and told so": lambda pixels, about: (
        os.truncate(pixels, pixels.stat().st_size - 16 * 16 * 3),
        rewritten(lambda told: told.update(bytes=told["bytes"] - 16 * 16 * 3))(pixels, about),
    ),
    "told to be grey": rewritten(lambda told: told.update(grey=True)),
    "told to have a bad picture": rewritten(lambda told: told.update(bad={"3": "it is damaged"})),
    "told another peak": rewritten(lambda told: told.update(peak=4095.0)),
    "told more than it is": rewritten(lambda told: told.update(more=1)),
    "of an earlier version": rewritten(lambda told: told.pop("sha256", None)),
    "another hash": rewritten(lambda told: told.update(sha256="0" * 64)),
    "a hash that is a number": rewritten(lambda told: told.update(sha256=0)),
    "no JSON": lambda pixels, about: about.write_text("{"),
    "JSON of a list": lambda pixels, about: about.write_text("[1]"),
    "JSON of many brackets": lambda pixels, about: about.write_text("[" * 100_000),
    "what is told is a pipe": instead(os.mkfifo, of_pixels=False),
    "what is told is a device": instead(to_device, of_pixels=False),
    "the pixels are a pipe": instead(os.mkfifo, of_pixels=True),
    "the pixels are a device": instead(to_device, of_pixels=True),
}
# One sentence: what stands there is somebody's.
REFUSED: dict[str, Fault] = {
    "what is told is a folder": instead(os.mkdir, of_pixels=False),
    "the pixels are a folder": instead(os.mkdir, of_pixels=True),
    "the lock is a folder": lambda pixels, about: (
        pixels.unlink(),
        pixels.with_suffix(".lock").unlink(missing_ok=True),
        pixels.with_suffix(".lock").mkdir(),
    ),
}
