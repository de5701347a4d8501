"""Classes of the pictures in a folder or zip: its folders, or a dataset.json as written by StyleGAN's dataset_tool."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rggan.bounded import parse_json
from rggan.data.forms.members import Member, passed_over, pictures_among
from rggan.data.picture import MAX_BYTES, Listing, Picture, composed, fits, parts_of

LABELS = "dataset.json"
MOST_VALUES = 5_000_000  # of a dataset.json: three for each picture, and those of vectors
LONGEST = 40  # characters of a label that are told


def labelled(members: Sequence[Member], pattern: str, source: Path) -> Listing:
    """Returns the matching pictures among all files of a folder or zip, with their classes.

    Folders around all pictures are stepped into: the classes are the folders inside, and a dataset.json there counts.
    """
    pictures, others = pictures_among(sorted(members, key=lambda member: member.name))
    around = around_all(pictures)
    if around:
        pictures = [replace(picture, label=folder_in(picture, len(around))) for picture in pictures]
    pictures = [picture for picture in pictures if fits(picture, pattern)]
    tables = {tuple(parts[:-1]): m for m in others if (parts := parts_of(m.name))[-1] == LABELS}
    place = next((around[:depth] for depth in range(len(around) + 1) if around[:depth] in tables), None)
    table = None if place is None else tables[place]
    notes = passed_over([m.name for m in others if m is not table and fits(Picture(m.name, m.read), pattern)])
    if table is None or place is None:
        return Listing(pictures, notes)
    found = with_labels(pictures, table, len(place), f"{LABELS} of {source}")
    return Listing(found, (*notes, *found.notes), found.fault)


def around_all(pictures: Sequence[Picture]) -> tuple[str, ...]:
    """Returns the folders that hold all pictures, from the outside in.

    >>> around_all([Picture("set/cats/1.png", bytes), Picture("set/dogs/1.png", bytes)])
    ('set',)
    """
    folders = [parts_of(picture.name)[:-1] for picture in pictures]
    first, last = min(folders, default=[]), max(folders, default=[])
    same = [a == b for a, b in zip(first, last, strict=False)]
    return tuple(first[: same.index(False) if False in same else len(same)])


def folder_in(picture: Picture, depth: int) -> str:
    """Returns the folder below `depth` others that a picture lies in; '' if it lies in none."""
    inside = parts_of(picture.name)[depth:]
    return inside[0] if len(inside) > 1 else ""


def with_labels(pictures: Sequence[Picture], table: Member, depth: int, told: str) -> Listing:
    """Returns the pictures with the labels of a dataset.json that lies in `depth` folders; as they are if it has none.

    {"labels": [["00000/img00000000.png", 6], ...]}; labels are whole numbers, names or one-hot vectors. Names may have
    back-slashes and any Unicode normal form.
    """
    try:
        content = parse_json(table.read(), MAX_BYTES, MOST_VALUES)
    except (OSError, ValueError) as error:
        return left_alone(pictures, f"{told} cannot be read: {str(error).rstrip('.')}")
    pairs = content.get("labels", False) if isinstance(content, dict) else False
    if pairs is None or pairs == []:
        return Listing(pictures)
    if not isinstance(pairs, list) or not all(is_pair(pair) for pair in pairs):
        return Listing(
            pictures, [f"{told} has no pairs of a file name and a label, as dataset_tool writes them: unused"]
        )
    exact, alike = dict(pairs), {key(parts_of(name)): label for name, label in pairs}
    labels = []
    for picture in pictures:
        parts = parts_of(picture.name)
        names = [name for name in (key(parts[depth:]), key(parts)) if name in alike]
        labels.append(exact.get(picture.name, alike[names[0]] if names else None))
    return classified(pictures, labels, told)


def classified(pictures: Sequence[Picture], labels: Sequence[object], told: str) -> Listing:
    """Returns the pictures with these labels as classes; without them if one has none (None) or one that is no class.

    >>> pictures = [Picture("a.png", bytes), Picture("b.png", bytes)]
    >>> [picture.label for picture in classified(pictures, [[0, 1], [1, 0]], "labels.json")]
    ['1', '0']
    >>> classified(pictures, [3, None], "labels.json").fault
    '1 of 2 pictures has no label in labels.json (b.png)'
    """
    missing = [picture.name for picture, label in zip(pictures, labels, strict=True) if label is None]
    if missing:
        have = "has" if len(missing) == 1 else "have"
        first = f"(the first: {missing[0]})" if len(missing) > 1 else f"({missing[0]})"
        return left_alone(pictures, f"{len(missing):,} of {len(pictures):,} pictures {have} no label in {told} {first}")
    classes = [class_of(label) for label in labels]
    if len({len(label) if isinstance(label, list) else 1 for label in labels}) > 1:
        return left_alone(pictures, f"the labels in {told} are vectors of several lengths")
    bad = [i for i, name in enumerate(classes) if name is None]
    if bad:
        first = f"{pictures[bad[0]].name}: {json.dumps(labels[bad[0]])[:LONGEST]}"
        return left_alone(
            pictures,
            f"{len(bad):,} of {len(pictures):,} labels in {told} {'is' if len(bad) == 1 else 'are'} no class (the "
            f"first: {first}); a class is a whole number, a name or a one-hot vector",
        )
    return Listing(replace(picture, label=name) for picture, name in zip(pictures, classes, strict=True))


def left_alone(pictures: Sequence[Picture], fault: str) -> Listing:
    return Listing(pictures, [f"labels are not used: {fault}"], fault)


def class_of(label: object) -> str | None:
    """Returns the class that a label names; None if it names none.

    >>> class_of(6), class_of(6.0), class_of("cat"), class_of([0, 0, 1]), class_of([7]), class_of([0.5, 1])
    ('6', '6', 'cat', '2', '7', None)
    """
    if isinstance(label, list) and len(label) == 1:
        return class_of(label[0])
    if isinstance(label, list):
        ones = [i for i, value in enumerate(label) if type(value) in (int, float) and value == 1]
        rest = [value for i, value in enumerate(label) if i not in ones]
        return str(ones[0]) if len(ones) == 1 and all(type(v) in (int, float) and v == 0 for v in rest) else None
    if type(label) is int or (isinstance(label, float) and label.is_integer()):
        return str(int(label))
    return (label or None) if isinstance(label, str) else None


def key(parts: Sequence[str]) -> str:
    """One spelling of a path."""
    return "/".join(map(composed, parts))


def is_pair(pair: object) -> bool:
    """
    >>> is_pair(["a.png", 3]), is_pair(["a.png", [0, 1]]), is_pair([3, "a.png"])
    (True, True, False)
    """
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
