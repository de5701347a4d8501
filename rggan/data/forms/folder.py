"""A folder of pictures, nested as anyone likes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rggan.data.form import Form
from rggan.data.forms.labels import labelled
from rggan.data.picture import Picture, read_file
from rggan.errors import UserError


def opens(data: str) -> bool:
    return os.path.isdir(Path(data))


def pictures(data: str, pattern: str) -> list[Picture]:
    """The pictures below a folder, with the labels of its dataset.json where there is one.

    Hidden files and files that are no pictures by their ending are passed over.

    Raises:
        UserError: a folder that cannot be listed; a damaged dataset.json.
    """
    root = Path(data)
    return labelled(list_folder(root), pattern, root)


def list_folder(root: Path) -> list[Picture]:
    """All files below a folder, each folder once: links to folders are followed, so that a cycle of links ends."""
    files = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise UserError(f"Cannot list the folder {error.filename}: {error.strerror}.") from error

    def folders(top: str) -> Iterator[tuple[str, list[str]]]:
        waiting = [top]
        for start in waiting:  # grows meanwhile: links wait until what they may point to was met under its own name
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
            inner = os.fsencode(path.relative_to(root).as_posix())  # bytes that are no UTF-8 stay visible: \xff
            files.append(Picture(inner.decode(errors="backslashreplace"), partial(read_file, path)))
    return files


FORM = Form("folder", opens, pictures)
