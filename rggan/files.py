"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from rggan.errors import UserError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader, a kill or a power cut meets the old content or the new, never a part of it.

    It is written beside its place (`.NAME.part`), flushed to the disk and renamed. When that fails nothing
    half-written stays.

    Raises:
        OSError: it cannot be written (the disk is full, the folder is missing or read-only).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "note.txt"), b"whole")
    ...     [(path.name, path.read_bytes()) for path in Path(folder).iterdir()]
    [('note.txt', b'whole')]
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):  # the first error is the one to tell
            beside.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make a rename in this folder outlive a power cut, where the system has a way to.

    >>> flush_folder(Path("no such folder"))  # nothing to flush, nothing to tell
    """
    with contextlib.suppress(OSError):  # Windows opens no folders, some network disks refuse
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def write_file(content: bytes, path: Path) -> None:
    """Whole or not at all; raises UserError where it cannot be written."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error
