"""Where pictures lie: a folder or a zip, as a sorted list of named byte readers."""

from __future__ import annotations

import fnmatch
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from PIL import Image

from rggan.errors import UserError


@dataclass(frozen=True)
class Picture:
    """One undecoded picture: its path inside the source, and how to read its bytes."""

    name: str
    read: Callable[[], bytes]

    @property
    def folder(self) -> str:
        """The top-level folder that holds it ('' at the root): its class, where folders are classes."""
        parts = PurePosixPath(self.name).parts
        return parts[0] if len(parts) > 1 else ""


@cache
def picture_endings() -> frozenset[str]:
    """Lower-case file endings that this Pillow can open ('.png', '.jpg', ...)."""
    Image.init()
    return frozenset(end for end, fmt in Image.registered_extensions().items() if fmt in Image.OPEN)


def list_pictures(path: Path, pattern: str = "*") -> list[Picture]:
    """The pictures of a folder (nested) or zip, sorted by name.

    `pattern` is a shell pattern on the file name, without its folders. Hidden files and files
    that are no pictures by their ending are passed over.

    Raises:
        UserError: nothing there, neither a folder nor a zip, or no picture that fits.
    """
    if path.is_dir():
        pictures = [
            Picture((Path(folder) / name).relative_to(path).as_posix(), (Path(folder) / name).read_bytes)
            for folder, _, names in os.walk(path, followlinks=True)  # class folders may be links
            for name in names
        ]
    elif path.is_file() and zipfile.is_zipfile(path):
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{path} is a damaged zip: {error}.") from error
        pictures = [
            Picture(entry.filename, lambda entry=entry: archive.read(entry))  # type: ignore[misc]
            for entry in archive.infolist()
            if not entry.is_dir()
        ]
    elif path.exists():
        raise UserError(f"{path} is neither a folder nor a zip of pictures.")
    else:
        raise UserError(f"There is nothing at {path}; give a folder or a zip of pictures.")

    def wanted(picture: Picture) -> bool:
        parts = PurePosixPath(picture.name)
        hidden = any(part.startswith((".", "__MACOSX")) for part in parts.parts)
        fits = fnmatch.fnmatchcase(parts.name, pattern)
        return not hidden and parts.suffix.lower() in picture_endings() and fits

    pictures = sorted(filter(wanted, pictures), key=lambda picture: picture.name)
    if not pictures:
        called = "" if pattern == "*" else f" named {pattern}"
        raise UserError(f"No pictures{called} in {path} (PNG, JPEG and whatever else Pillow reads).")
    return pictures
