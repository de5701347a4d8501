"""Which data are streams, and the sample that is looked at in place of a whole one."""

from __future__ import annotations

from contextlib import closing
from itertools import islice

from rggan.data.form import Form
from rggan.data.picture import Listing, Picture
from rggan.data.streams.hub import STREAM, HubShards
from rggan.data.streams.shards import Shards
from rggan.data.streams.tars import TarShards, is_shards
from rggan.errors import UserError

SAMPLE = 1000  # training images that are kept in memory for whatever looks at the training images


def is_stream(data: str) -> bool:
    """Whether these data are read as a stream.

    >>> is_stream("shards-{00..99}.tar"), is_stream("hf-stream:uoft-cs/cifar10:test"), is_stream("digits")
    (True, True, False)
    """
    return data.startswith(STREAM) or is_shards(data)


def open_shards(data: str) -> Shards:
    """Raises UserError where there are none, or a library is missing."""
    shards: Shards = HubShards(data) if data.startswith(STREAM) else TarShards(data)
    if not shards.names:
        raise UserError(f"{data} names no shards.")
    return shards


def training_shards(shards: Shards) -> int:
    """How many are trained on: all but the last one, which is held out, where there are several."""
    return max(1, len(shards.names) - 1)


def first_pictures(shards: Shards, labels: bool, count: int = SAMPLE) -> tuple[list[Picture], int]:
    """Returns (the first pictures of the training shards, how many all of these have, as far as that is known).

    The number is exact where there are at most `count`; else all shards are taken to be as large as those before the
    last one that was looked into.
    """
    found: list[Picture] = []
    total = training_shards(shards)
    for index in range(total):
        with closing(shards.pictures(index, labels)) as pictures:
            found += islice(pictures, count - len(found))
        if len(found) >= count:
            return found, len(found) * total // (index + 1)
    return found, len(found)


def sample(data: str, pattern: str) -> Listing:
    """Lists the first pictures of the training shards.

    Raises:
        UserError: as `Shards`; or a pattern, which streams do not have.
    """
    if pattern != "*":
        raise UserError(f"`pattern` means nothing for {data}: all pictures of shards are taken.")
    shards = open_shards(data)
    pictures, about = first_pictures(shards, labels=True)
    told = f"a sample: the first {len(pictures):,} pictures of {training_shards(shards):,} shards to train on"
    return Listing(pictures, [told], about=about)


FORM = Form("stream", is_stream, sample, as_given=True)
