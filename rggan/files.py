"""Files that are there whole or not at all, and places whose names are mistyped."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any, BinaryIO

from rggan.errors import LONGEST, UserError

PART = ".rggan.part"  # how the name ends of what is being written; nobody else gives such names
NAME_BYTES = 255  # of a file
MOST = 1000  # names in a folder that are compared with a mistyped one
CANNOT_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # of a disk, whatever is written


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader, a kill or a power cut meets the old content or the new, never a part of it.

    It is written beside its place (`.NAME.rggan.part`), flushed to the disk and renamed. When that fails nothing
    half-written stays.

    Raises:
        OSError: it cannot be written (the disk is full, the folder is missing or read-only).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "note.txt"), b"whole")
    ...     [(path.name, path.read_bytes()) for path in Path(folder).iterdir()]
    [('note.txt', b'whole')]
    """
    beside = part_of(path)
    file = open_part(beside)
    try:
        with file:
            file.write(content)
            flush(file)
        os.replace(beside, path)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):  # the first error is the one to tell
            beside.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def flush(file: IO[bytes]) -> None:
    """Make what was written outlive a power cut, where the disk has a way to: some network disks have none.

    Raises:
        OSError: it cannot be written (the disk is full or broken).
    """
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in CANNOT_FLUSH:
            raise


def part_of(path: Path) -> Path:
    """Where a file is written before it gets its name: beside it, hidden, under a name that is ours.

    >>> part_of(Path("runs/note.txt")).as_posix()
    'runs/.note.txt.rggan.part'
    """
    name = os.fsencode(path.name)[: NAME_BYTES - len(PART) - 1].decode(errors="ignore")
    return path.with_name(f".{name}{PART}")


def open_part(path: Path) -> BinaryIO:
    """Opens a new file of this name for writing. One that a kill left is removed; whatever else stands there is not.

    Raises:
        OSError: it cannot be made; a link, a pipe or a folder of that name is somebody's.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     open_part(part_of(Path(folder, "a"))).close()
    ...     sorted(os.listdir(folder))
    ['.a.rggan.part']
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
    return path.open("xb")


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


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON as others read it too: null for NaN and infinity, for which it has no word.

    >>> json_text({"fd": 1.5, "interval": [0.0, float("inf")]})
    '{"fd": 1.5, "interval": [0.0, null]}'
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(finite(value), indent=indent, allow_nan=False)


def finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def nearest_place(path: Path, fits: Callable[[Path], bool] = os.path.exists) -> str:
    """What is to be added to a sentence about a place where nothing is; "" where nothing that fits is called so.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "latest").mkdir()
    ...     found = nearest_place(Path(folder) / "lates"), nearest_place(Path(folder) / "other")
    ...     [each.replace(folder, "runs") for each in found]
    ['; did you mean runs/latest?', '']
    """
    found = next(filter(fits, near(path)), None)
    return "" if found is None else f"; did you mean {found}?"


def near(path: Path) -> list[Path]:
    """What is there under almost this name: the rest of it is missing, or some letters."""
    if os.path.exists(path):
        return [path]
    if path.parent == path:
        return []
    found = []
    for folder in near(path.parent):
        try:
            names = sorted(os.listdir(folder))[:MOST]
        except OSError:  # a file, or nothing that may be read
            continue
        begun = [name for name in names if name.startswith(path.name)]
        found += [folder / name for name in begun or get_close_matches(path.name[:LONGEST], names)]
    return found


def check_name(name: str, value: object) -> None:
    """Raises UserError for the text of an option that no file can be called by, or for a path that is too long.

    >>> check_name("data", "my pictures")
    >>> check_name("outdir", Path("a\\0b"))
    Traceback (most recent call last):
    rggan.errors.UserError: `outdir` cannot be 'a\\x00b': no file has such a name.
    """
    try:
        possible = not isinstance(value, str | Path) or b"\0" not in os.fsencode(value)
        if possible and isinstance(value, Path):
            os.lstat(value)
    except UnicodeEncodeError:
        possible = False
    except OSError as error:
        possible = error.errno != errno.ENAMETOOLONG
    if not possible:
        raise UserError(f"`{name}` cannot be {str(value)!r}: no file has such a name.")
