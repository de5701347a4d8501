"""The files of generated pictures and films: how they are named, and which of them may be written.

Each carries a mark, by which the same picture is known again: the generator, the seed and the options, hashed. So the
same command again goes on where it was stopped, and another picture of the same name is not lost.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rggan.errors import UserError
from rggan.files import write_file

LONGEST = 60  # letters of a class in a file name
KEY = "rggan"


def safe(name: str) -> str:
    """A name as a part of file names on every system.

    >>> safe("cats & dogs/small"), safe("..")
    ('cats_dogs_small', '_')
    """
    letters = re.sub(r"[^\w.+-]+", "_", unicodedata.normalize("NFC", name))[:LONGEST]
    return letters if re.search(r"\w", letters) else "_"


def class_part(classes: Sequence[str], number: int) -> str:
    """What names a class in a file: its name, with its number where another class would be the same file.

    >>> [class_part(["cat", "Cat", "a/b"], number) for number in range(3)]
    ['cat-0', 'Cat-1', 'a_b']
    """
    name = safe(classes[number])
    alike = [each for each in classes if safe(each).casefold() == name.casefold()]
    return name if len(alike) == 1 else f"{name}-{number}"


def stem(begin: str, label: str | None = None, truncation: float = 1.0, mix: str | None = None) -> str:
    """The name of a file without its ending. label: of `class_part`; mix: how classes are drawn, if it was asked for.

    >>> stem("seed0003"), stem("seed0003", "cats", 0.7), stem("grid", mix="even")
    ('seed0003', 'seed0003-cats-trunc0.7', 'grid-classes_even')
    """
    parts = [begin, label, None if truncation == 1 else f"trunc{truncation:g}", mix and f"classes_{mix}"]
    return "-".join(part for part in parts if part)


def fingerprint(weights: Path) -> str:
    """SHA-256 of a generator's file."""
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mark(generator: str, **what: Any) -> str:
    """A short text that only this picture has. generator: its `fingerprint`; what: its seed and options.

    >>> mark("a", seed=1) == mark("a", seed=1) != mark("b", seed=1)
    True
    """
    told = json.dumps([generator, what], sort_keys=True, default=str)
    return f"{KEY}:{hashlib.sha256(told.encode()).hexdigest()[:32]}"


def missing(files: Mapping[Path, str], overwrite: bool = False) -> set[Path]:
    """Those of these files (path -> mark) that are to be written: with `overwrite` all, else those that are not there.

    Raises:
        UserError: one is there and has another mark.
    """
    if overwrite:
        return set(files)
    there = [path for path in files if path.exists()]
    if others := [path for path in there if not path.is_file() or files[path].encode() not in path.read_bytes()]:
        more = f", and so are {len(others) - 1} more" if len(others) > 1 else ""
        raise UserError(
            f"{others[0]} is there already{more}, and something else: give another `outdir`, or `overwrite` to "
            "replace what is there."
        )
    return set(files) - set(there)


def write_png(picture: Image.Image, path: Path, note: str) -> None:
    """A whole PNG with its mark, or UserError."""
    info, stream = PngInfo(), io.BytesIO()
    info.add_text(KEY, note)
    picture.save(stream, "png", pnginfo=info)
    write_file(stream.getvalue(), path)
