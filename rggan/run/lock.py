"""A lock that allows one process at a time in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rggan.errors import UserError, make_folder
from rggan.run.places import LOCK


@contextmanager
def locked(folder: Path, busy: str, wait: float = 0) -> Iterator[None]:
    """Context that locks a folder; the operating system releases the lock however the process ends.

    Raises:
        UserError: it cannot be written; or, with the text `busy`, another process holds it for over `wait` seconds.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder), "busy"):
    ...     with locked(Path(folder), "Somebody is at work in it."):
    ...         print("not reached")
    Traceback (most recent call last):
    rggan.errors.UserError: Somebody is at work in it.
    """
    make_folder(folder)
    try:
        lock = FileLock(folder / LOCK, timeout=wait)
        lock.acquire()
    except Timeout as error:
        raise UserError(busy) from error
    except OSError as error:
        raise UserError(f"Cannot write to the folder {folder}: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()
