"""What a stream is read from: shards, each of which gives its pictures one after another."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

from rggan.data.picture import Picture


class Shards(Protocol):
    """The parts of a data set that are read one after another, and not at a place of one's own.

    data: the address as the user gave it. names: of the shards, in the order of their names; messages and the identity
    of a run have these. keys: of the shards, wherever they are stored.
    """

    data: str
    names: tuple[str, ...]
    keys: tuple[str, ...]

    def pictures(self, index: int, labels: bool) -> Generator[Picture, None, None]:
        """Yields the pictures of one shard, always in the same order, with their contents in memory.

        labels: whether to read their classes; a picture without a class has the label ''.

        Raises:
            UserError: the shard cannot be read, or something in it is no sample.
        """

    def labels(self, index: int) -> Iterator[tuple[str, str]]:
        """Yields (the picture's name, its class or '') for each picture of one shard, without reading the pictures
        where that can be done."""
