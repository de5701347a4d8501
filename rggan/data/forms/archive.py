"""A zip of pictures, read with limits against zip bombs and path traversal."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from functools import partial
from itertools import pairwise
from pathlib import Path, PureWindowsPath

from rggan.bounded import regular_size
from rggan.data.form import Form
from rggan.data.forms.labels import labelled
from rggan.data.forms.members import Member
from rggan.data.picture import MAX_BYTES, Listing, too_large
from rggan.errors import UserError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile decompresses the others without a limit
LOCAL_HEADER = 30  # minimum bytes before an entry's data
ENTRY, ENTRY_HEADER = b"PK\1\2", 46  # what each entry of the directory begins with, and bytes before its name
MOST_ENTRIES = 2_000_000  # each takes about a kB of memory
FEW_ENTRIES = 50_000  # that a zip of any size may have
SMALLEST = 256  # bytes of one on average, where it has more
LARGEST_EXTRA, MOST_EXTRA = 4096, 64 << 20  # bytes of extra fields of an entry, and of all: `zipfile` takes them apart


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
    """Raises UserError for a zip that is damaged, or has more entries than this reads."""
    try:
        return Zip(Watched(path))
    except UserError:
        raise
    except Exception as error:  # zipfile raises many types: struct.error, UnicodeDecodeError, ...
        raise UserError(f"{path} is damaged: {str(error).rstrip('.')}; make or download it again.") from error


class Zip(zipfile.ZipFile):
    """A zip that closes the file that it is given."""

    def __init__(self, file: Watched) -> None:
        self.file = file
        try:
            super().__init__(file)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        super().close()
        self.file.close()


class Watched(io.BufferedReader):
    """The file of a zip, whose directory is looked over before `zipfile`, which reads it whole, parses it."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, regular_size(path)
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_BYTES:
            raise ValueError(too_large(size))
        content = super().read(size)
        if content.startswith(ENTRY):
            check_directory(content, self.path, self.size)
        return content


def check_directory(content: bytes, path: Path, size: int) -> None:
    """size: of the zip in bytes. Raises UserError where its directory takes long to parse."""
    most = min(MOST_ENTRIES, max(FEW_ENTRIES, size // SMALLEST))
    at = count = extra = 0
    while content[at : at + 4] == ENTRY and at + ENTRY_HEADER <= len(content):
        name, more, comment = struct.unpack_from("<HHH", content, at + 28)
        at, count, extra = at + ENTRY_HEADER + name + more + comment, count + 1, extra + more
        if count > most:
            raise UserError(
                f"{path} has over {most:,} entries, more than this reads in {size:,} bytes; give its folder unpacked."
            )
        if more > LARGEST_EXTRA or extra > MOST_EXTRA:
            raise UserError(
                f"{path} has entries with more than their names and sizes; make it again with another program."
            )


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
