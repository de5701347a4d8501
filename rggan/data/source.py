"""Resolves `--data` with the first input form that opens it, to a list of undecoded pictures."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from rggan.data.form import Form, checked
from rggan.data.forms.hub import PREFIX
from rggan.data.picture import Picture, fits
from rggan.errors import UserError
from rggan.registry import PLACE, Registry

OPTION = "`data`"
NAMED = re.compile(rf"({PLACE.pattern}):(.*)", re.S)  # package.module:FORM:PLACE


def accept(found: Any) -> Form:
    if not isinstance(found, Form):
        raise TypeError("input form (rggan.data.Form)")
    return found


# In the order in which they are tried: a folder of CIFAR is a folder, too, and an .npz is a zip.
FORMS = Registry(
    OPTION,
    {
        "digits": "rggan.data.forms.digits:FORM",
        "hub": "rggan.data.forms.hub:FORM",
        "cifar": "rggan.data.forms.cifar:FORM",
        "folder": "rggan.data.forms.folder:FORM",
        "array": "rggan.data.forms.arrays:FORM",
        "zip": "rggan.data.forms.archive:FORM",
    },
    "rggan.sources",
    accept,
)


def list_pictures(data: str | Path, pattern: str = "*") -> list[Picture]:
    """Lists the pictures of `data`, sorted by name.

    A folder (nested) or zip of pictures, with the classes of a dataset.json at its root if there is one;
    a .npy or .npz array; CIFAR-10 or CIFAR-100 as published; 'hf:NAME' or 'hf:NAME:SPLIT' for a Hugging Face
    dataset; 'digits' for scikit-learn's, in their own order; data that a form of an installed package reads; or
    'package.module:FORM:PLACE' for PLACE read by a user-defined form, whose code is run.
    `pattern` is a shell pattern on the file name, without its folders. In folders and zips, hidden files and
    files without a known image extension are skipped.

    Raises:
        UserError: nothing there, an unknown format, a damaged source, or no matching picture; a user-defined form
            that cannot be imported, is invalid, or fails.

    >>> len(list_pictures("digits"))
    1797
    """
    form, place = form_of(str(data))
    pictures = form.pictures(place, pattern)
    if not form.as_given:
        pictures = sorted((p for p in pictures if fits(p, pattern)), key=lambda picture: picture.name)
    if not pictures:
        called = "" if pattern == "*" else f" named {pattern}"
        raise UserError(f"No pictures{called} in {data} (PNG, JPEG and whatever else Pillow reads).")
    return pictures


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
        raise UserError(f"There is nothing at {path}; give a folder or a zip of pictures.")
    raise foreign(path)


def named_form(data: str) -> tuple[str, str] | None:
    """Returns (package.module:FORM, PLACE) if `data` has the form 'package.module:FORM:PLACE'; imports nothing.

    >>> named_form("my_forms:LMDB:faces.lmdb"), named_form("hf:uoft-cs/cifar10:test"), named_form("C:/data")
    (('my_forms:LMDB', 'faces.lmdb'), None, None)
    """
    found = None if data.startswith(PREFIX) else NAMED.fullmatch(data)
    return None if found is None else (found[1], found[len(found.groups())])


def foreign(path: Path) -> UserError:
    return UserError(
        f"{path} is neither a folder nor a zip of pictures, nor a .npy or .npz array, nor CIFAR-10 or CIFAR-100 as "
        "published (folder, .tar.gz or one of its batches); give one of these, or hf:NAME for a Hugging Face dataset."
    )
