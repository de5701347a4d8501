"""Labels of the pictures in a folder or zip, from a dataset.json as written by StyleGAN's dataset_tool."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

from rggan.data.picture import Picture, fits, picture_endings
from rggan.errors import UserError

LABELS = "dataset.json"


def labelled(files: list[Picture], pattern: str, source: Path) -> list[Picture]:
    """Returns the matching pictures among all files of a folder or zip, with the labels of its dataset.json.

    Raises:
        UserError: a damaged dataset.json, or one without a label for one of these pictures.
    """

    def wanted(picture: Picture) -> bool:
        path = PurePosixPath(picture.name)
        # '..' in a zip is not hidden: reading it reports the error
        hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in path.parts)
        return not hidden and path.suffix.lower() in picture_endings() and fits(picture, pattern)

    pictures = [file for file in files if wanted(file)]
    labels = next((read_labels(file, source) for file in files if file.name == LABELS), None)
    if not labels:
        return pictures
    for picture in pictures:
        if picture.name not in labels:
            raise UserError(f"{picture.name} has no label in {LABELS} of {source}; add it, or remove the picture.")
    return [replace(picture, label=str(labels[picture.name])) for picture in pictures]


def read_labels(file: Picture, source: Path) -> dict[str, int] | None:
    """{"labels": [["00000/img00000000.png", 6], ...]} -> {name: label}; null -> None.

    Raises:
        UserError: it cannot be read, is not such JSON, or a label is not a single integer.
    """
    try:
        content = json.loads(file.read())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"Cannot read {LABELS} of {source}: {error}; mend or remove it.") from error
    if not isinstance(content, dict) or "labels" not in content:
        raise UserError(f'{LABELS} of {source} has no "labels"; write it as dataset_tool does, or remove it.')
    pairs = content["labels"]
    if pairs is None:
        return None
    if not isinstance(pairs, list) or not all(is_pair(pair) for pair in pairs):
        raise UserError(f"The labels in {LABELS} of {source} must be pairs of a file name and one integer.")
    return dict(pairs)


def is_pair(pair: object) -> bool:
    """
    >>> is_pair(["a.png", 3]), is_pair(["a.png", [0, 1]]), is_pair(["a.png", True])
    (True, False, False)
    """
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and type(pair[1]) is int
