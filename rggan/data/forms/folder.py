"""A folder of pictures, with subfolders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rggan.data.form import Form
from rggan.data.forms.labels import labelled
from rggan.data.forms.members import Member
from rggan.data.picture import Listing, read_file
from rggan.errors import UserError


def opens(data: str) -> bool:
    return os.path.isdir(Path(data))


def pictures(data: str, pattern: str) -> Listing:
    """Lists the pictures below a folder, with the labels of its dataset.json if there is one.

    Hidden files are skipped; files that are no pictures are passed over and counted.

    Raises:
        UserError: a folder that cannot be listed.
    """
    root = Path(data)
    return labelled(list_folder(root), pattern, root)


def list_folder(root: Path) -> list[Member]:
    """Lists all files below a folder. Links to folders are followed; each folder is visited once, so cycles end."""
    files = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise UserError(f"Cannot list the folder {error.filename}: {error.strerror}.") from error

    def folders(top: str) -> Iterator[tuple[str, list[str]]]:
        waiting = [top]
        for start in waiting:  # grows: links are visited last, so that their targets keep their own names
            for folder, inside, names in os.walk(start, onerror=refuse):
                real = os.path.realpath(folder)
                if real in seen:
                    inside.clear()
                    continue
                seen.add(real)
                inside.sort()
                waiting += [link for name in inside if os.path.islink(link := os.path.join(folder, name))]
                yield folder, names

    for folder, names in folders(str(root)):
        for name in names:
            path = Path(folder, name)
            inner = os.fsencode(path.relative_to(root).as_posix())  # bytes that are not UTF-8 are shown as \xff
            files.append(Member(inner.decode(errors="backslashreplace"), partial(read_file, path)))
    return files


FORM = Form("folder", opens, pictures)
