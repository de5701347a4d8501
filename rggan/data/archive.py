"""The files of a zip as named byte readers, none of which can read more than it should."""

from __future__ import annotations

import stat
import zipfile
from functools import partial
from itertools import pairwise
from pathlib import Path, PureWindowsPath

from rggan.data.source import MAX_BYTES, Picture, too_large
from rggan.errors import UserError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others zipfile expands without a bound
LOCAL_HEADER = 30  # bytes that precede an entry's data, at least


def list_zip(path: Path) -> list[Picture] | None:
    """All files of a zip; None: this is no zip, neither by its name nor by its content.

    The readers may be called from several threads. Of entries of the same name the last counts.

    Raises:
        UserError: a damaged zip.
    """
    if path.suffix.lower() != ".zip" and not zipfile.is_zipfile(path):
        return None
    archive = open_zip(path)
    overlapping = {
        id(entry)
        for entry, behind in pairwise(sorted(archive.infolist(), key=lambda entry: entry.header_offset))
        if entry.header_offset + LOCAL_HEADER + entry.compress_size > behind.header_offset
    }
    entries = {entry.filename: entry for entry in archive.infolist() if entry.filename and not entry.is_dir()}
    return [
        Picture(name, partial(read_entry, archive, entry, id(entry) in overlapping)) for name, entry in entries.items()
    ]


def open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises whatever it stumbles over: struct.error, UnicodeDecodeError, ...
        raise UserError(f"{path} is damaged: {str(error).rstrip('.')}; make or download it again.") from error


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, overlaps: bool = False) -> bytes:
    """The content of one entry: at most what it declares, and that is at most `MAX_BYTES`.

    Raises:
        ValueError: it is a link, leads outside, is encrypted, damaged, too large, compressed by a method
            that has no bound, or overlaps the next one.
    """
    path = PureWindowsPath(entry.filename)  # knows both slashes, and drives
    if path.anchor or ".." in path.parts:
        raise ValueError("its path leads outside the zip")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ValueError("it is a link")
    if entry.compress_type not in METHODS:
        raise ValueError("its compression method is neither none nor deflate")
    if entry.file_size > MAX_BYTES:
        raise ValueError(too_large(entry.file_size))
    if overlaps:  # as many entries on the same bytes make a zip bomb
        raise ValueError("it overlaps another entry of the zip")
    try:
        with archive.open(entry) as file:
            return file.read(entry.file_size)  # without a number it would expand all there is
    except Exception as error:  # BadZipFile, zlib.error, RuntimeError for encryption, ...
        raise ValueError(str(error).rstrip(".") or "it is damaged") from error
