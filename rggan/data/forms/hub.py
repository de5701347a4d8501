"""A Hugging Face dataset: from the hub, a local folder, or save_to_disk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path, PureWindowsPath
from typing import Any

from rggan.bounded import read_json
from rggan.data.form import Form
from rggan.data.forms.labels import classified
from rggan.data.picture import Listing, Picture, read_file
from rggan.errors import UserError, first_line

PREFIX = "hf:"
IMAGES = ("image", "img")
LABELS = ("label", "labels", "fine_label")


def opens(data: str) -> bool:
    return data.startswith(PREFIX)


def parse_hub(data: str) -> tuple[str, str | None]:
    """'hf:NAME:SPLIT' -> (NAME, SPLIT), 'hf:NAME' -> (NAME, None).

    >>> parse_hub("hf:uoft-cs/cifar10:test[:10%]"), parse_hub("hf:C:/data/flowers")
    (('uoft-cs/cifar10', 'test[:10%]'), ('C:/data/flowers', None))
    """
    found = re.fullmatch(r"(.+?)(?::([\w-]+(?:\[[\d:%-]*\])?))?", data.removeprefix(PREFIX))
    if found is None:
        raise UserError(f"`data` {data} names no dataset; give hf:NAME or hf:NAME:SPLIT.")
    return found[1], found[2]


def pictures(data: str, pattern: str) -> Listing:
    """Lists the pictures of 'hf:NAME' (split train) or 'hf:NAME:SPLIT', named by their index and file name.

    The pictures are the only image column, or the one called image or img; the labels the only class label column, or
    the one called label. Datasets that are not local are downloaded by the library, into its own cache.

    Raises:
        UserError: the library is missing; there is no such dataset, split or column.
    """
    name, split = parse_hub(data)
    datasets = library()
    try:
        table = load_table(datasets, name, split).with_format(None)
        column = image_column(datasets, table)
        table = table.cast_column(column, datasets.Image(decode=False))
        labels = read_labels(datasets, table)
        paths = table.flatten()[f"{column}.path"][:]  # without the pictures' bytes
    except Exception as error:  # the library raises arbitrary exceptions
        raise UserError(f"Cannot load {data}: {first_line(error)}.") from error

    names = [f"{i:08d}" + (f"-{safe_name(path)}" if path else "") for i, path in enumerate(paths)]
    rows = table.select_columns([column])
    found = [Picture(name, partial(read_cell, rows, column, i)) for i, name in enumerate(names)]
    return Listing(found) if not any(labels) else classified(found, labels, data)


def library() -> Any:
    """The module `datasets`, by name: it is optional and untyped."""
    try:
        return import_module("datasets")
    except ImportError as error:
        raise UserError('Hugging Face datasets need one more library: pip install "rggan[huggingface]".') from error


def load_table(datasets: Any, name: str, split: str | None) -> Any:
    """Loads one split as a `datasets.Dataset`."""
    saved = [Path(name) / each for each in ("dataset_dict.json", "state.json")]
    if any(path.is_file() for path in saved):
        for path in (*Path(name).glob("*.json"), *Path(name).glob("*/*.json")):  # which the library reads whole
            read_json(path)
    if saved[0].is_file():  # save_to_disk, all splits
        tables = datasets.load_from_disk(name)
        part = split or "train"
        if part not in tables:
            raise ValueError(f"it has no split {part}; give hf:{name}:SPLIT with one of {', '.join(tables)}.")
        return tables[part]
    if saved[1].is_file():  # save_to_disk, one split
        table = datasets.load_from_disk(name)
        if split and split != str(table.split):
            raise ValueError(f"it was saved as a single split; give hf:{name}.")
        return table
    return datasets.load_dataset(name, split=split or "train")


def image_column(datasets: Any, table: Any) -> str:
    typed = [name for name, feature in table.features.items() if isinstance(feature, datasets.Image)]
    column = only_or_called(typed, typed or table.column_names, IMAGES)
    if column is None:
        raise ValueError(f"it needs one column of images, called image; it has {', '.join(table.column_names)}.")
    return column


def label_column(datasets: Any, table: Any) -> tuple[str | None, list[str] | None]:
    """Returns (the column of classes or None, the names of the classes if it holds their numbers)."""
    features = table.features
    typed = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    plain = [
        name for name, feature in features.items() if getattr(feature, "dtype", "") in ("int64", "int32", "string")
    ]
    column = only_or_called(typed, typed or plain, LABELS)
    return column, features[column].names if column in typed else None


def read_labels(datasets: Any, table: Any) -> list[str | None]:
    """Returns a class name for each row; None if it has none."""
    column, names = label_column(datasets, table)
    if column is None:
        return [None] * len(table)
    return [label_name(value, names) for value in table[column][:]]


def label_name(value: Any, names: Sequence[str] | None) -> str | None:
    """The class of a value in the column of classes; None if it is none (the library's -1).

    >>> label_name(1, ["cat", "dog"]), label_name(-1, ["cat", "dog"]), label_name(7, None)
    ('dog', None, '7')
    """
    if value is None or (names is not None and value < 0):
        return None
    return str(value) if names is None else names[value]


def only_or_called(typed: Sequence[str], among: Sequence[str], wanted: Sequence[str]) -> str | None:
    """
    >>> only_or_called(["photo"], ["photo"], IMAGES), only_or_called(["mask", "img"], ["mask", "img"], IMAGES)
    ('photo', 'img')
    """
    return typed[0] if len(typed) == 1 else next((name for name in wanted if name in among), None)


def read_cell(rows: Any, column: str, index: int) -> bytes:
    try:
        cell = rows[index][column]
    except Exception as error:  # a damaged Arrow file
        raise ValueError(first_line(error)) from error
    return cell_content(cell)


def cell_content(cell: dict[str, Any] | None) -> bytes:
    """The file in a cell of the column of images. Raises ValueError or OSError where there is none."""
    if cell is None or not (cell["bytes"] or cell["path"]):
        raise ValueError("it is empty")
    content: bytes = cell["bytes"] or read_file(cell["path"])
    return content


def safe_name(path: str) -> str:
    """
    >>> safe_name("photos/my cat.png"), safe_name("..\\\\a\\nb")
    ('my_cat.png', 'a_b')
    """
    return re.sub(r"[^\w.-]+", "_", PureWindowsPath(path).name)[-100:]


FORM = Form("Hugging Face", opens, pictures)
