"""A Hugging Face data set that is streamed: its files are the shards."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from rggan.data.forms.hub import (
    cell_content,
    image_column,
    label_column,
    label_name,
    library,
    load_table,
    parse_hub,
    safe_name,
)
from rggan.data.picture import MAX_BYTES, Picture, too_large
from rggan.errors import UserError, first_line

STREAM = "hf-stream:"


class HubShards:
    """The files of a Hugging Face data set, read as they come (see `Shards`): 'hf-stream:NAME' or
    'hf-stream:NAME:SPLIT', of the hub, or of a folder on this disk.

    Raises:
        UserError: the library is missing; there is no such data set, split or column.
    """

    def __init__(self, data: str) -> None:
        self.data = data
        datasets = library()
        name, split = parse_hub("hf:" + data.removeprefix(STREAM))
        try:
            self.table = streamed_table(datasets, name, split)
            self.column = image_column(datasets, self.table)
            self.table = self.table.cast_column(self.column, datasets.Image(decode=False))
            self.label, self.classes = label_column(datasets, self.table)
            self.count = int(self.table.num_shards)
        except Exception as error:  # the library raises arbitrary exceptions
            raise UserError(f"Cannot load {data}: {first_line(error)}.") from error
        self.names = tuple(f"{data} file {i + 1:05d} of {self.count:05d}" for i in range(self.count))
        self.keys = tuple(f"{i}/{self.count}" for i in range(self.count))

    def pictures(self, index: int, labels: bool) -> Generator[Picture, None, None]:
        label = self.label if labels else None
        for i, row in enumerate(self.rows(index, [self.column] if label is None else [self.column, label])):
            cell = row[self.column]
            path = (cell or {}).get("path")
            name = f"{index:05d}-{i:08d}" + (f"-{safe_name(path)}" if path else "")
            found = None if label is None else label_name(row[label], self.classes)
            yield Picture(name, partial(content_of, cell), found or "")

    def labels(self, index: int) -> Iterator[tuple[str, str]]:
        if self.label is None:
            raise UserError(f"`cond` needs classes, and {self.data} has no column of them.")
        for i, row in enumerate(self.rows(index, [self.label])):
            yield f"{index:05d}-{i:08d}", label_name(row[self.label], self.classes) or ""

    def rows(self, index: int, columns: list[str]) -> Iterator[dict[str, Any]]:
        """Yields the rows of one file."""
        try:
            yield from self.table.select_columns(columns).shard(num_shards=self.count, index=index)
        except Exception as error:  # of files, networks and formats
            raise UserError(f"Cannot read the shard {self.names[index]}: {first_line(error)}.") from error


def content_of(cell: dict[str, Any] | None) -> bytes:
    """The file in a cell of the column of images, which may be an address. Raises ValueError or OSError."""
    path = (cell or {}).get("path") or ""
    if cell is None or cell["bytes"] or "://" not in path:
        return cell_content(cell)
    try:
        with import_module("fsspec").open(path, "rb") as file:  # comes with `datasets`
            content: bytes = file.read(MAX_BYTES + 1)
    except Exception as error:  # of networks
        raise ValueError(first_line(error)) from error
    if len(content) > MAX_BYTES:
        raise ValueError(too_large(len(content)))
    return content


def streamed_table(datasets: Any, name: str, split: str | None) -> Any:
    """Opens one split as a `datasets.IterableDataset` that knows its columns."""
    if (Path(name) / "dataset_dict.json").is_file() or (Path(name) / "state.json").is_file():  # save_to_disk
        saved = load_table(datasets, name, split)
        return saved.to_iterable_dataset(num_shards=max(1, len(saved.cache_files)))
    table = datasets.load_dataset(name, split=split or "train", streaming=True)
    return table if table.features is not None else table._resolve_features()  # by its first rows
