"""Batches of a stream, in one order for any number of ranks."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rggan import ranks
from rggan.data.batches import Batches, Drawn
from rggan.data.streams.order import Lane, Place, Pool, in_background, lanes_of, possible
from rggan.data.streams.read import Streamed
from rggan.errors import UserError

LABELS = 1_000_000  # at most so many stand for the frequencies of the classes
PLACES = len(Place._fields) + 1  # numbers that say where a lane is


class StreamBatches(Batches):
    """Endless batches of a stream (see `rggan.data.streams.order`): the interface of `Batches`.

    Of each batch this process has the rows of its rank, as `ranks.own` takes them; `batch` is the size of the whole.
    Each lane holds one pool and reads the next in the background: together at most `data.buffer` images.

    Raises:
        UserError: so many ranks cannot share the stream or the batch.

    Attributes:
        skipped: unreadable pictures that this process left out.
    """

    def __init__(self, data: Streamed, batch: int, seed: int = 0, mirror: bool = False, device: str = "cpu") -> None:
        self.data, self.device, self.shape = data, torch.device(device), tuple(data.shape)
        self.reading, self.buffer = data.reading, data.buffer
        self.batch, self.rank, self.ranks = batch, ranks.world.rank, ranks.world.count
        self.lanes = lanes_of(self.reading.count)
        if self.ranks not in possible(self.lanes, batch):
            told = ", ".join(map(str, possible(self.lanes, batch)))
            raise UserError(
                f"{self.ranks} ranks cannot share {self.reading.count:,} shards, which are read in {self.lanes} lanes, "
                f"and a `batch` of {batch}: their number divides both. Possible here: {told}."
            )
        self.labels = labels_of(data.counts, self.device)
        self.random = torch.Generator().manual_seed(seed)
        own = batch // self.ranks
        # What was drawn last lies at fixed places on the device, where a recorded step finds it. The index of a batch
        # is that of its classes.
        self.index = torch.zeros(own, dtype=torch.int64, device=self.device)
        self.flips = torch.zeros(own, 1, 1, 1, device=self.device) if mirror else None
        self.pixels = torch.empty(own, *data.shape, dtype=torch.uint8, device=self.device)
        self.reader = ThreadPoolExecutor(1, "rggan-batches") if self.device.type == "cuda" else None
        self.ahead: Future[Drawn] | None = None
        self.first = 0  # the lane of the next sample
        self.earlier = 0  # unreadable pictures, before the lanes began anew
        self.begin(seed, [(0,) * PLACES] * self.lanes)
        self.before = self.order()

    @property
    def skipped(self) -> int:
        return self.earlier + sum(source.lane.skipped for source in self.sources.values())

    def begin(self, seed: int, places: list[tuple[int, ...]]) -> None:
        """Go on in the order of this seed, each lane (epoch, position, offset, pool, given) at its place."""
        self.seed, self.places = seed, places
        size = max(1, self.buffer // (2 * self.lanes))
        self.sources = {
            number: Source(Lane(self.reading, seed, number, self.lanes, size), *split(places[number]))
            for number in range(self.rank, self.lanes, self.ranks)
        }

    def read(self) -> Drawn:
        """Returns this rank's rows of the next batch: classes, pixels, and a number in 0..1 for each flip."""
        rows = range(self.rank, self.batch, self.ranks)
        pixels = np.empty((len(rows), *self.shape), dtype=np.uint8)
        labels = np.empty(len(rows), dtype=np.int64)
        for place, row in enumerate(rows):
            pixels[place], labels[place] = self.sources[(self.first + row) % self.lanes].next()
        self.first = (self.first + self.batch) % self.lanes
        flips = None
        if self.flips is not None:  # of the whole batch, so that they are those of a single process
            flips = torch.rand(self.batch, 1, 1, 1, generator=self.random)[self.rank :: self.ranks]
        drawn = torch.from_numpy(pixels)
        return torch.from_numpy(labels), drawn.pin_memory() if self.reader is not None else drawn, flips

    def drawn(self) -> tuple[Tensor, Tensor | None]:
        """Returns this rank's rows of the batch that was drawn last, as `Batches.drawn` does."""
        assert self.pixels is not None
        x = self.pixels.float().div_(127.5).sub_(1)
        if self.flips is not None:
            x = torch.where(self.flips < 0.5, x.flip(3), x)
        return x, None if self.labels is None else self.index

    def reseed(self, seed: int) -> None:
        """Begin another order: each lane with a new epoch."""
        self.forget_ahead()
        self.random.manual_seed(seed)
        self.first = 0
        self.stop()
        self.begin(seed, [(0,) * PLACES] * self.lanes)

    def order(self) -> dict[str, Any]:
        """What decides the next batch that is read; lanes of other ranks are where `gather` found them."""
        places = list(self.places)
        for number, source in self.sources.items():
            places[number] = source.state()
        return {
            "random": self.random.get_state(),
            "seed": self.seed,
            "first": self.first,
            "lanes": torch.tensor(places),
            "size": self.buffer,
            "shards": self.data.key,
        }

    def gather(self) -> None:
        """Learn where the lanes of other ranks are, for the next `state_dict`."""
        self.places = list(map(tuple, self.state_dict()["lanes"].tolist()))
        for rank, told in enumerate(ranks.of_all(self.places)):
            self.places[rank :: self.ranks] = told[rank :: self.ranks]

    def state_dict(self) -> dict[str, Any]:
        """Where all lanes are; those of other ranks where they were when `gather` was called last."""
        own = self.order() if self.ahead is None else self.before
        lanes = torch.tensor(self.places)
        lanes[self.rank :: self.ranks] = own["lanes"][self.rank :: self.ranks]
        return {**own, "lanes": lanes}

    def checked(self, state: dict[str, Any]) -> dict[str, Any]:
        """Returns the state if it is valid for this stream.

        Raises:
            ValueError: it is not. KeyError: a part is missing.
        """
        random, seed, first, lanes = state["random"], state["seed"], state["first"], state["lanes"]
        try:
            torch.Generator().set_state(random)
        except RuntimeError as error:
            raise ValueError("the state of the random generator is none") from error
        if state["shards"] != self.data.key or state["size"] != self.buffer:
            raise ValueError("the shards, or how many of their images are held in memory, are others")
        if type(seed) is not int or not 0 <= seed < 2**64:
            raise ValueError("the seed of the order is none")
        if type(first) is not int or not 0 <= first < self.lanes or first % math.gcd(self.lanes, self.batch):
            raise ValueError("no batch begins at that lane")
        if not isinstance(lanes, Tensor) or lanes.dtype != torch.int64 or lanes.shape != (self.lanes, PLACES):
            raise ValueError("the lanes are at no places")
        size = max(1, self.buffer // (2 * self.lanes))
        for number, (_, position, _, _, given) in enumerate(lanes.tolist()):
            shards = len(range(number, self.reading.count, self.lanes))
            if position >= shards or given > size or lanes[number].min() < 0:
                raise ValueError("a lane is at a place that is not there")
        return {**{name: state[name] for name in ("seed", "first", "size", "shards")}, "random": random.clone()} | {
            "lanes": lanes.clone()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`; use `checked` first for untrusted ones."""
        self.forget_ahead()
        self.stop()
        self.random.set_state(state["random"])
        self.first = state["first"]
        self.begin(state["seed"], [tuple(place) for place in state["lanes"].tolist()])

    def forget_ahead(self) -> None:
        if self.ahead is not None:
            wait([self.ahead])
            self.ahead = None

    def stop(self) -> None:
        """Read no further."""
        for source in self.sources.values():
            source.close()
        self.earlier, self.sources = self.skipped, {}


class Source:
    """What a lane gives out: the pool that is at hand, and the next one, which is read in the background.

    place: where the pool at hand begins. given: how many of it were given out.
    """

    def __init__(self, lane: Lane, place: Place, given: int) -> None:
        self.lane, self.place, self.given = lane, place, given
        self.pool: Pool | None = None
        self.ahead: Future[Pool] | None = None

    def state(self) -> tuple[int, ...]:
        return (*self.place, self.given)

    def next(self) -> tuple[Any, int]:
        """Returns the next sample: (uint8 [C, H, W], class).

        Raises:
            UserError: it cannot be read.
        """
        if self.pool is not None and self.given >= len(self.pool.order):
            self.place, self.given, self.pool = self.pool.end, 0, None  # its memory is free for the next but one
        if self.pool is None:
            self.ask()
            assert self.ahead is not None
            pool = self.ahead.result()
            if self.given > len(pool.order):
                raise UserError("The shards have fewer samples than when this run was saved.")
            self.pool, self.ahead = pool, None
            self.ask()
            return self.next()
        index = self.pool.order[self.given]
        self.given += 1
        return self.pool.pixels[index], int(self.pool.labels[index])

    def ask(self) -> None:
        """Begin to read the pool behind the one at hand, unless that is done already."""
        if self.ahead is None:
            self.ahead = in_background(partial(self.lane.read, self.place if self.pool is None else self.pool.end))

    def close(self) -> None:
        self.lane.stopped = True  # what is being read ends by itself


def split(place: tuple[int, ...]) -> tuple[Place, int]:
    return Place(*place[:-1]), place[-1]


def labels_of(counts: tuple[int, ...], device: torch.device) -> Tensor | None:
    """int64, classes as often as in the data, or in proportion where these are more than a million; None: no classes.

    >>> labels_of((2, 1), torch.device("cpu"))
    tensor([0, 0, 1])
    """
    if not counts:
        return None
    share = min(1.0, LABELS / sum(counts))
    often = torch.tensor([max(1, round(count * share)) for count in counts])
    return torch.repeat_interleave(torch.arange(len(counts)), often).to(device)
