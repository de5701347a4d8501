"""An undecoded picture, and helpers for all input forms."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rggan.errors import UserError, nearest, one_line

MAX_PIXELS = 64_000_000  # of one picture: 256 MB decoded, with several copies
# Others are read where they are asked for: their decoders meet few files, and many flaws were found in them.
COMMON = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
MAX_BYTES = 128 * 2**20  # of one file; also limits what a malicious header can make us allocate
LONGEST_NAME = 170  # letters and accents apart of a name: 255 bytes of UTF-8
SEPARATOR = re.compile(r"/|\\(?!x[0-9a-f]{2})")  # Windows writes back-slashes; \xff stands for a byte that is no UTF-8


@dataclass(frozen=True)
class Picture:
    """One undecoded picture.

    name: its path inside the source. read: returns its bytes; raises OSError or ValueError on failure.
    label: its class if the source itself has labels; None: the class is its folder.
    shape: [height, width, channels] of raw uint8 pixels (channels 1, 3 or 4); None: an encoded file.
    levels: returns the values of raw pixels that are not 8-bit, for another white level; None: there are none.
    white_level: value above 8 bits that becomes white; None: 65535, of 16 bits. max_pixels: larger ones are refused.

    >>> Picture("cat/1.png", bytes).class_name, Picture("cat/1.png", bytes, label="7").class_name
    ('cat', '7')
    """

    name: str
    read: Callable[[], bytes]
    label: str | None = None
    shape: tuple[int, int, int] | None = None
    levels: Callable[[], NDArray[Any]] | None = None
    white_level: float | None = None
    max_pixels: int = MAX_PIXELS
    formats: tuple[str, ...] = ()
    own: bool = False

    @property
    def folder(self) -> str:
        """Its top-level folder ('' at the root): its class, if folders are classes."""
        parts = parts_of(self.name)
        return parts[0] if len(parts) > 1 else ""

    @property
    def class_name(self) -> str:
        """Its label, or else its folder; '' if it has no class."""
        return self.folder if self.label is None else self.label


class Listing(list[Picture]):
    """The pictures of a source, and how it was read.

    notes: sentences that a user should see. fault: why labels that are there were not used; None: nothing is wrong.
    about: how many the whole source has, about, where these are a sample of it; None: these are all.
    """

    def __init__(
        self,
        pictures: Iterable[Picture] = (),
        notes: Iterable[str] = (),
        fault: str | None = None,
        about: int | None = None,
    ) -> None:
        super().__init__(pictures)
        self.notes, self.fault, self.about = tuple(map(one_line, notes)), fault, about


def parts_of(name: str) -> list[str]:
    """Folders and file name of a path inside a source, whose separators are slashes or back-slashes.

    >>> parts_of("./cats/1.png"), parts_of("cats\\\\1.png")
    (['cats', '1.png'], ['cats', '1.png'])
    """
    return [part for part in SEPARATOR.split(name) if part not in ("", ".")]


def composed(name: str) -> str:
    """A folder or file's name in one spelling: macOS takes letters and their accents apart.

    Those that are longer than any file system's stay as they are: many accents in a row take quadratic time.

    >>> composed("u\\u0308") == "\\u00fc"
    True
    """
    return name if len(name) > LONGEST_NAME else unicodedata.normalize("NFC", name)


def fits(picture: Picture, pattern: str) -> bool:
    return fnmatch.fnmatchcase((parts_of(picture.name) or [""])[-1], pattern)


def read_file(path: str | Path, limit: int | None = None) -> bytes:
    """Reads a regular file of at most `MAX_BYTES`; at most its first `limit` bytes.

    Raises:
        OSError: it cannot be read. ValueError: it is larger.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe would block
            raise OSError("it is no regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(too_large(status.st_size))
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError as error:
        raise OSError(error.strerror or str(error)) from error  # without the path, which the caller names


def scaled(values: NDArray[Any], white: float | None = None) -> NDArray[np.uint8]:
    """Values above 8 bits -> uint8: `white` and more is 255; None: 65535 is.

    Raises:
        ValueError: a value is below 0, or no number.

    >>> scaled(np.array([0, 2048, 4095, 9000]), 4095).tolist()
    [0, 128, 255, 255]
    """
    if white is None:
        return (values // 257).astype(np.uint8)
    if not values.min() >= 0:  # also rejects NaN
        raise ValueError("its values are not all numbers from 0 on")
    return np.rint(np.minimum(values, white) * np.float32(255 / white)).astype(np.uint8)


def too_large(size: int) -> str:
    return f"its {size:,} bytes are more than this reads ({MAX_BYTES:,})"


@cache
def every_format() -> tuple[str, ...]:
    """Returns the formats that Pillow itself decodes: not EPS, which runs Ghostscript, nor formats without a decoder;
    HEIF (.heic) where pillow-heif is installed.

    >>> "TGA" in every_format(), "EPS" in every_format()
    (True, False)
    """
    Image.init()
    with contextlib.suppress(Exception):  # it is missing, or made for another Pillow
        import_module("pillow_heif").register_heif_opener()  # by name: it is optional
    return tuple(sorted(set(Image.OPEN) - {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}))


@cache
def picture_formats(more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Returns the formats that are read: those in which pictures usually come, and `more`.

    >>> "PNG" in picture_formats(), "TGA" in picture_formats(), "TGA" in picture_formats(("TGA",))
    (True, False, True)
    """
    return tuple(name for name in every_format() if name in (*COMMON, *more))


def parse_formats(names: Iterable[str]) -> tuple[str, ...]:
    """Names of formats as Pillow calls them, in any case, sorted.

    Raises:
        UserError: Pillow reads no such format.

    >>> parse_formats(["tga", "DDS"])
    ('DDS', 'TGA')
    """
    known = every_format()
    found = tuple(sorted({name.upper() for name in names}))
    for name in found:
        if name not in known:
            there = ", ".join(sorted(set(known) - set(COMMON)))
            raise UserError(f"`formats` {name}: choose from {there}{nearest(name, known) or '.'}")
    return found


ASKED: ContextVar[tuple[str, ...]] = ContextVar("formats", default=())  # read besides the common ones while listing


@cache
def endings_of(formats: tuple[str, ...]) -> frozenset[str]:
    """Returns the lower-case file extensions of these formats ('.png', '.jpg', ...)."""
    every_format()  # registers them
    return frozenset(end for end, form in Image.registered_extensions().items() if form in formats)


def picture_endings() -> frozenset[str]:
    """Returns the lower-case file extensions of the formats that are read."""
    return endings_of(picture_formats(ASKED.get()))
