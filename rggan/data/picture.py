"""An undecoded picture, and helpers for all input forms."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from PIL import Image

MAX_BYTES = 128 * 2**20  # of one file; also limits what a malicious header can make us allocate


@dataclass(frozen=True)
class Picture:
    """One undecoded picture.

    name: its path inside the source. read: returns its bytes; raises OSError or ValueError on failure.
    label: its class if the source itself has labels; None: the class is its folder.
    shape: [height, width, channels] of raw uint8 pixels (channels 1, 3 or 4); None: an encoded file.

    >>> Picture("cat/1.png", bytes).class_name, Picture("cat/1.png", bytes, label="7").class_name
    ('cat', '7')
    """

    name: str
    read: Callable[[], bytes]
    label: str | None = None
    shape: tuple[int, int, int] | None = None

    @property
    def folder(self) -> str:
        """Its top-level folder ('' at the root): its class, if folders are classes."""
        parts = PurePosixPath(self.name).parts
        return parts[0] if len(parts) > 1 else ""

    @property
    def class_name(self) -> str:
        """Its label, or else its folder; '' if it has no class."""
        return self.folder if self.label is None else self.label


def fits(picture: Picture, pattern: str) -> bool:
    return fnmatch.fnmatchcase(PurePosixPath(picture.name).name, pattern)


def read_file(path: str | Path) -> bytes:
    """Reads a regular file of at most `MAX_BYTES`.

    Raises:
        OSError: it cannot be read. ValueError: it is larger.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe would block
            raise OSError("it is no regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(too_large(status.st_size))
        return Path(path).read_bytes()
    except OSError as error:
        raise OSError(error.strerror or str(error)) from error  # without the path, which the caller names


def too_large(size: int) -> str:
    return f"its {size:,} bytes are more than this reads ({MAX_BYTES:,})"


@cache
def picture_formats() -> tuple[str, ...]:
    """Returns the formats that Pillow itself decodes: not EPS, which runs Ghostscript, nor formats without a decoder.

    >>> "PNG" in picture_formats(), "EPS" in picture_formats()
    (True, False)
    """
    Image.init()
    return tuple(sorted(set(Image.OPEN) - {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}))


@cache
def picture_endings() -> frozenset[str]:
    """Returns the lower-case file extensions of these formats ('.png', '.jpg', ...)."""
    return frozenset(end for end, form in Image.registered_extensions().items() if form in picture_formats())
