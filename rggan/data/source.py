"""Resolves `--data` with the first input form that opens it, to a list of undecoded pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rggan.data.form import Form, checked
from rggan.data.forms.hub import PREFIX
from rggan.data.picture import ASKED, Listing, Picture, composed, fits, parse_formats
from rggan.errors import UserError
from rggan.files import nearest_place
from rggan.registry import COMMAND, PLACE, Registry

OPTION = "`data`"
PARTS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval"}  # of a split
NAMED = re.compile(rf"({PLACE.pattern}):(.*)", re.S)  # package.module:FORM:PLACE


def accept(found: Any) -> Form:
    if not isinstance(found, Form):
        raise TypeError("input form (rggan.data.Form)")
    return found


# In the order in which they are tried: CIFAR is a .tar or a folder, too, as shards are, and an .npz is a zip.
FORMS = Registry(
    OPTION,
    {
        "digits": "rggan.data.forms.digits:FORM",
        "stream": "rggan.data.streams.address:FORM",
        "hub": "rggan.data.forms.hub:FORM",
        "cifar": "rggan.data.forms.cifar:FORM",
        "folder": "rggan.data.forms.folder:FORM",
        "array": "rggan.data.forms.arrays:FORM",
        "zip": "rggan.data.forms.archive:FORM",
    },
    "rggan.sources",
    accept,
)


def list_pictures(data: str | Path, pattern: str = "*", formats: Sequence[str] = ()) -> Listing:
    """Lists the pictures of `data`, sorted by name, with notes on how they were read.

    A folder (nested) or zip of pictures, with the classes of a dataset.json at its root if there is one;
    a .npy or .npz array; CIFAR-10 or CIFAR-100 as published; 'hf:NAME' or 'hf:NAME:SPLIT' for a Hugging Face
    dataset; 'digits' for scikit-learn's, in their own order; of shards and streams (`rggan.data.streams`) the first
    ones, in their own order; data that a form of an installed package reads; or
    'package.module:FORM:PLACE' for PLACE read by a user-defined form, whose code is run.
    `pattern` is a shell pattern on the file name, without its folders; `formats` are read besides the common ones. In
    folders and zips, hidden files are
    skipped, and files that are no pictures are passed over, which a note tells.

    Raises:
        UserError: nothing there, an unknown format, a damaged source, or no matching picture; a user-defined form
            that cannot be imported, is invalid, or fails.

    >>> len(list_pictures("digits"))
    1797
    """
    form, place = form_of(str(data))
    more = parse_formats(formats)
    before = ASKED.set(more)
    try:
        found = form.pictures(place, pattern)
    finally:
        ASKED.reset(before)
    listing = found if isinstance(found, Listing) else Listing(found)
    pictures = one_spelling(listing)
    if more:
        pictures = [replace(picture, formats=more) for picture in pictures]
    if not form.as_given:
        pictures = sorted((p for p in pictures if fits(p, pattern)), key=lambda picture: picture.name)
    if not pictures:
        called = "" if pattern == "*" else f" named {pattern}"
        notes = "".join(f"; {note}" for note in listing.notes)
        raise UserError(f"No pictures{called} in {data} (PNG, JPEG and other common formats){notes}.")
    classes = {picture.class_name for picture in pictures}
    if len(classes) > 1 and {name.lower() for name in classes} <= PARTS:
        split = f"the classes are called {' and '.join(sorted(classes))}, like the parts of a split"
        return Listing(
            pictures,
            (*listing.notes, f"{split}: to train on one of them, give it as `data`"),
            listing.fault,
            listing.about,
        )
    return Listing(pictures, listing.notes, listing.fault, listing.about)


def one_spelling(pictures: list[Picture]) -> list[Picture]:
    """Makes one class of those whose names look alike: macOS takes letters and their accents apart."""
    spellings: dict[str, set[str]] = {}
    for picture in pictures:
        spellings.setdefault(composed(picture.class_name), set()).add(picture.class_name)
    twice = {old: new for new, names in spellings.items() if len(names) > 1 for old in names}
    return [
        replace(picture, label=twice[picture.class_name]) if picture.class_name in twice else picture
        for picture in pictures
    ]


def form_of(data: str) -> tuple[Form, str]:
    """Returns (the form that reads `data`, the part of `data` that is passed to it).

    Raises:
        UserError: no form reads it.
    """
    for name in FORMS.builtin:
        if (form := FORMS.get(name)).opens(data):
            return form, data
    path = Path(data)
    there = os.path.exists(path)  # unlike Path.exists, False if access is denied
    if there and not os.path.isdir(path) and not os.path.isfile(path):
        raise foreign(path)  # reading a pipe or device would block
    if not there and (named := named_form(data)) is not None:
        name, place = named
        return checked(FORMS.get(name), f"{OPTION} {name}"), place
    for name in FORMS.installed():
        if (form := checked(FORMS.get(name), f"{OPTION} {name}")).opens(data):
            return form, data
    if not there:
        raise UserError(f"There is nothing at {path}{nearest_place(path) or '; give a folder or a zip of pictures.'}")
    raise foreign(path)


def named_form(data: str) -> tuple[str, str] | None:
    """Returns (package.module:FORM, PLACE) if `data` has the form 'package.module:FORM:PLACE'; imports nothing.

    >>> named_form("my_forms:LMDB:faces.lmdb"), named_form("hf:uoft-cs/cifar10:test"), named_form("C:/data")
    (('my_forms:LMDB', 'faces.lmdb'), None, None)
    """
    found = None if data.startswith((PREFIX, COMMAND)) else NAMED.fullmatch(data)
    return None if found is None else (found[1], found[len(found.groups())])


def foreign(path: Path) -> UserError:
    return UserError(
        f"{path} is neither a folder nor a zip of pictures, nor a .npy or .npz array, nor CIFAR-10 or CIFAR-100 as "
        "published (folder, .tar.gz or one of its batches); give one of these, or hf:NAME for a Hugging Face dataset."
    )
