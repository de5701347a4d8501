"""A zip of pictures, read with limits against zip bombs and path traversal."""

from __future__ import annotations

import os
import stat
import zipfile
from functools import partial
from itertools import pairwise
from pathlib import Path, PureWindowsPath

from rggan.data.form import Form
from rggan.data.forms.labels import labelled
from rggan.data.forms.members import Member
from rggan.data.picture import MAX_BYTES, Listing, too_large
from rggan.errors import UserError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile decompresses the others without a limit
LOCAL_HEADER = 30  # minimum bytes before an entry's data


def opens(data: str) -> bool:
    """Whether it is a zip, by name or content."""
    path = Path(data)
    if not os.path.isfile(path):
        return False
    try:
        return path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
    except Exception:  # a damaged zip: opening it reports the error
        return True


def pictures(data: str, pattern: str) -> Listing:
    """Lists the pictures in a zip, with the labels of its dataset.json if there is one.

    Hidden files are skipped; files that are no pictures are passed over and counted.

    Raises:
        UserError: a damaged zip.
    """
    path = Path(data)
    return labelled(list_zip(path), pattern, path)


def list_zip(path: Path) -> list[Member]:
    """Lists all files of a zip; the last of several entries with the same name is used. Readers are thread-safe.

    Raises:
        UserError: a damaged zip.
    """
    archive = open_zip(path)
    overlapping = {
        id(entry)
        for entry, behind in pairwise(sorted(archive.infolist(), key=lambda entry: entry.header_offset))
        if entry.header_offset + LOCAL_HEADER + entry.compress_size > behind.header_offset
    }
    entries = {entry.filename: entry for entry in archive.infolist() if entry.filename and not entry.is_dir()}
    return [
        Member(name, partial(read_entry, archive, entry, id(entry) in overlapping)) for name, entry in entries.items()
    ]


def open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises many types: struct.error, UnicodeDecodeError, ...
        raise UserError(f"{path} is damaged: {str(error).rstrip('.')}; make or download it again.") from error


def read_entry(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, overlaps: bool = False, limit: int = MAX_BYTES
) -> bytes:
    """Reads one entry, limited to its declared size, which is at most `MAX_BYTES`, and to `limit` bytes.

    Raises:
        ValueError: it is a link, leads outside, is encrypted, damaged, too large, compressed with an unsupported
            method, or overlaps the next one.
    """
    path = PureWindowsPath(entry.filename)  # handles both slashes, and drives
    if path.anchor or ".." in path.parts:
        raise ValueError("its path leads outside the zip")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ValueError("it is a link")
    if entry.compress_type not in METHODS:
        raise ValueError("its compression method is neither none nor deflate")
    if entry.file_size > MAX_BYTES:
        raise ValueError(too_large(entry.file_size))
    if overlaps:  # many entries that share bytes make a zip bomb
        raise ValueError("it overlaps another entry of the zip")
    try:
        with archive.open(entry) as file:
            return file.read(min(entry.file_size, limit))  # without a limit it would decompress everything
    except Exception as error:  # BadZipFile, zlib.error, RuntimeError for encryption, ...
        raise ValueError(str(error).rstrip(".") or "it is damaged") from error


FORM = Form("zip", opens, pictures)
