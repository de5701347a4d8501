"""Which data are streams, and the sample that is looked at in place of a whole one."""

from __future__ import annotations

from contextlib import closing

from rggan.data.form import Form
from rggan.data.picture import Listing, Picture
from rggan.data.streams.hub import STREAM, HubShards
from rggan.data.streams.shards import Shards
from rggan.data.streams.tars import TarShards, is_shards
from rggan.errors import UserError

SAMPLE = 1000  # training images that are kept in memory for whatever looks at the training images
SAMPLE_BYTES = 256 * 2**20  # of their files: large pictures make a smaller sample


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

    There are at most `count`, and fewer where their files are large. The number is exact where these are all; else
    the shards that were looked into stand for the others.
    """
    found: list[Picture] = []
    total, size = training_shards(shards), 0
    for index in range(total):
        with closing(shards.pictures(index, labels)) as pictures:
            for picture in pictures:
                found.append(picture)
                size += size_of(picture)
                if len(found) >= count or size >= SAMPLE_BYTES:
                    return found, len(found) * total // (index + 1)
    return found, len(found)


def size_of(picture: Picture) -> int:
    """Bytes of its file; 0 if it cannot be read, which decoding will report."""
    try:
        return len(picture.read())
    except (OSError, ValueError):
        return 0


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
