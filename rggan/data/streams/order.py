"""The order of a stream: lanes, which take its shards in turns, and shuffled pools of their samples.

Sample n of the stream comes from lane n % lanes, so ranks whose number divides that of the lanes share a stream without
reading anything twice, in the order of a single process. In each epoch a lane takes every `lanes`-th shard of a
permutation of all; a pool is the next few samples of a lane, within one epoch, shuffled.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rggan.data.parallel import content_of
from rggan.data.picture import Picture
from rggan.data.pixels import Pixels, depth_of, pixels_from
from rggan.data.streams.shards import Shards
from rggan.data.workers import Asked, answers
from rggan.errors import UserError

LANES = (1, 2, 3, 4, 6, 8, 12, 24)
SHARD_ORDER, POOL_ORDER = 0, 1  # what a random generator is for


def lanes_of(shards: int) -> int:
    """How many lanes read so many shards.

    >>> [lanes_of(count) for count in (1, 2, 5, 7, 11, 1000)]
    [1, 2, 4, 6, 8, 24]
    """
    return max(count for count in LANES if count <= shards)


class Place(NamedTuple):
    """Where a pool of a lane begins.

    epoch: of the lane, from 0. position: among the lane's shards of that epoch. offset: samples of that shard before
    the pool. pool: its number, from 0.
    """

    epoch: int = 0
    position: int = 0
    offset: int = 0
    pool: int = 0


@dataclass(frozen=True)
class Pool:
    """Decoded samples in the order in which they are given out.

    pixels: uint8 [N, C, H, W]. labels: int64 [N]. order: the permutation of 0..N-1. end: where the next pool begins.
    """

    place: Place
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    order: NDArray[np.int64]
    end: Place


@dataclass(frozen=True)
class Reading:
    """What is read of each shard, and how.

    count: the first so many shards are read. how: as `load_images` decodes pictures. classes: name -> number; empty:
    labels are not read. limits: white level and largest size of each picture (`Picture`). skip_bad: leave unreadable
    pictures out.
    """

    shards: Shards
    count: int
    how: dict[str, Any]
    classes: dict[str, int]
    limits: dict[str, Any]
    skip_bad: bool = False

    def pictures(self, index: int) -> Generator[Picture, None, None]:
        return self.shards.pictures(index, bool(self.classes))

    def label(self, picture: Picture, index: int) -> int:
        """Raises UserError for a class that was not there when the classes were counted."""
        if not self.classes:
            return 0
        if (number := self.classes.get(picture.class_name)) is None:
            raise UserError(
                f"{picture.name} of the shard {self.shards.names[index]} has the class {picture.class_name or 'none'}, "
                "which the shards to train on did not have when their classes were counted."
            )
        return number


class Lane:
    """One lane of a stream: reads its pools, one after another.

    seed: of the order. number: of this lane, of `lanes`. size: samples of a pool.

    Attributes:
        skipped: unreadable pictures that were left out. stopped: whether what is being read is not wanted any more.
    """

    def __init__(self, reading: Reading, seed: int, number: int, lanes: int, size: int) -> None:
        self.reading, self.seed, self.number, self.lanes, self.size = reading, seed, number, lanes, size
        self.skipped, self.stopped = 0, False
        self.pictures: Generator[Picture, None, None] | None = None  # those behind `at`
        self.at: Place | None = None

    def shards(self, epoch: int) -> NDArray[np.int64]:
        """The indices of this lane's shards in one epoch, in their order."""
        random = np.random.default_rng([self.seed, SHARD_ORDER, epoch])
        return random.permutation(self.reading.count)[self.number :: self.lanes]

    def close(self) -> None:
        if self.pictures is not None:
            self.pictures.close()
        self.pictures = self.at = None

    def open(self, place: Place) -> None:
        """Go to the samples behind a place.

        Raises:
            UserError: the shard has not so many samples.
        """
        self.close()
        shard = int(self.shards(place.epoch)[place.position])
        self.pictures = self.reading.pictures(shard)
        for _ in range(place.offset):
            if next(self.pictures, None) is None:
                raise UserError(
                    f"The shard {self.reading.shards.names[shard]} has fewer samples than when this run was saved."
                )

    def read(self, place: Place) -> Pool:
        """Reads the pool that begins there: the next `size` samples that are readable, or fewer at an epoch's end.

        Raises:
            UserError: a shard or a picture cannot be read, or a class is new.
        """
        if self.at != place:
            self.open(place)
        self.at = None  # where it fails
        how, names = self.reading.how, self.reading.shards.names
        pixels = np.empty((self.size, depth_of(how), *how["size"]), dtype=np.uint8)
        labels = np.zeros(self.size, dtype=np.int64)
        epoch, position, offset, pool = place
        shards, filled = self.shards(epoch), 0
        while filled < self.size:
            assert self.pictures is not None
            if self.stopped:
                raise RuntimeError("this stream is read no further")
            index = int(shards[position])
            picture = next(self.pictures, None)
            if picture is None:
                if offset == 0:
                    raise UserError(f"The shard {names[index]} holds no samples.")
                position, offset = position + 1, 0
                if position == len(shards):
                    epoch, position = epoch + 1, 0
                    shards = self.shards(epoch)
                self.pictures = self.reading.pictures(int(shards[position]))
                if position == 0 and filled:  # so that a pool holds no sample twice
                    break
                if position == 0 and epoch > place.epoch + 1:
                    raise UserError(f"No picture in a whole epoch of {self.reading.shards.data} can be read.")
                continue
            offset += 1
            found = decoded(picture, self.reading, index)
            if found is None:
                self.skipped += 1
                continue
            pixels[filled] = found.transpose(2, 0, 1)
            labels[filled] = self.reading.label(picture, index)
            filled += 1
        self.at = Place(epoch, position, offset, pool + 1)
        order = np.random.default_rng([self.seed, POOL_ORDER, self.number, pool]).permutation(filled)
        return Pool(place, pixels[:filled], labels[:filled], order, self.at)


def decoded(picture: Picture, reading: Reading, index: int) -> NDArray[np.uint8] | None:
    """Returns uint8 [H, W, C]; None for an unreadable picture that is to be left out.

    Raises:
        UserError: one that is not.
    """
    content = content_of(picture)
    if isinstance(content, str):  # of a file that a data set names
        found: Pixels | str = content
    else:
        asked = Asked(replace(picture, **reading.limits), content)
        found = pixels_from(answers("pixels", [asked], **reading.how)[0], reading.how)
    if not isinstance(found, str):
        return found.values
    if reading.skip_bad:
        return None
    raise UserError(unreadable(picture.name, reading.shards.names[index], found))


def unreadable(name: str, shard: str, why: str) -> str:
    return f"Cannot read {name} of the shard {shard}: {why}; mend or remove it, or pass `skip_bad`."


READERS = threading.Semaphore(os.cpu_count() or 1)


def in_background(job: Callable[[], Pool]) -> Future[Pool]:
    """Runs it in a thread that does not keep the process from ending; as many at a time as there are processors."""
    future: Future[Pool] = Future()

    def work() -> None:
        with READERS:
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

    threading.Thread(target=work, name="rggan-stream", daemon=True).start()
    return future


def possible(lanes: int, batch: int) -> Sequence[int]:
    """The numbers of ranks that can share a stream.

    >>> possible(12, 8)
    [1, 2, 4]
    """
    return [count for count in range(1, lanes + 1) if lanes % count == 0 and batch % count == 0]
