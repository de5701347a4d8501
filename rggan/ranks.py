"""Several processes (ranks) that train one run: each computes its share of every batch, and all hold the same state.

The order of images, latents and all other random numbers is that of a single process: each rank draws them for the
whole batch, and takes every `count`-th row of them, from its own number on (`own`). So concatenated batches, and groups
of pictures at equal distances, are shared in the same way, and a state does not depend on the number of ranks.

In a single process every function here returns what it is given; outside `sharing()` so do those that work on rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The ranks of a run.

    rank: this process's number, from 0. count: of all ranks. place, here: its number and their count on this machine.
    devices: the group that sums tensors of the networks. hosts: that of numbers and objects, on CPUs.
    """

    rank: int = 0
    count: int = 1
    place: int = 0
    here: int = 1
    devices: Any = None
    hosts: Any = None


ALONE = World()
world = ALONE  # of this process: `rggan.training.together` sets it
shared = ALONE  # the ranks that the batch of the present step is shared by


def rank() -> int:
    return world.rank


def count() -> int:
    return world.count


def first() -> bool:
    """Whether this is the process that writes and speaks.

    >>> first()
    True
    """
    return world.rank == 0


def join(joined: World) -> None:
    """Be one of these ranks from here on; `ALONE` leaves them."""
    global world
    world = joined


@contextmanager
def sharing() -> Iterator[None]:
    """Context of a training step: its batch is shared by all ranks."""
    global shared
    before, shared = shared, world
    try:
        yield
    finally:
        shared = before


# ---- random numbers and rows ----


def whole(rows: int) -> int:
    """How many rows a batch has of which this rank has so many."""
    return rows * shared.count


def own(values: Tensor) -> Tensor:
    """This rank's rows of those of a whole batch.

    >>> own(torch.arange(4))
    tensor([0, 1, 2, 3])
    """
    return values[shared.rank :: shared.count] if shared.count > 1 else values


def drawn_like(x: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
    """This rank's rows of `draw(batch)`, for a batch of the kind of x, in its layout.

    >>> drawn_like(torch.ones(2, 3), torch.zeros_like).shape
    torch.Size([2, 3])
    """
    if shared.count == 1:
        return draw(x)
    last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return own(draw(torch.empty(whole(len(x)), *x.shape[1:], dtype=x.dtype, device=x.device, memory_format=layout)))


# ---- sums over a shared batch ----


class Sum(torch.autograd.Function):
    """The sum over all ranks; of a gradient too, so that it can be differentiated as often as needed."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=shared.devices)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return Sum.apply(gradient)


def mean(values: Tensor) -> Tensor:
    """The mean over the ranks of a tensor that each has computed of its own rows. It can be differentiated.

    >>> mean(torch.tensor(2.0))
    tensor(2.)
    """
    return values if shared.count == 1 else Sum.apply(values) / shared.count


def gathered(values: Tensor) -> Tensor:
    """The rows of all ranks, in the order of the whole batch. It can be differentiated.

    >>> gathered(torch.arange(2))
    tensor([0, 1])
    """
    if shared.count == 1:
        return values
    placed = values.new_zeros(whole(len(values)), *values.shape[1:])
    placed[shared.rank :: shared.count] = values
    found: Tensor = Sum.apply(placed)
    return found


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their means over the ranks, in one message."""
    if shared.count == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
    dist.all_reduce(flat, group=shared.devices)
    flat /= shared.count
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


# ---- numbers and objects of the hosts ----


def largest(number: int) -> int:
    """Over all ranks, which wait for each other.

    >>> largest(3)
    3
    """
    if world.count == 1:
        return number
    told = torch.tensor(number)
    dist.all_reduce(told, op=dist.ReduceOp.MAX, group=world.hosts)
    return int(told)


def of_all(value: T) -> list[T]:
    """What each rank tells, in the order of their numbers.

    >>> of_all("a")
    ['a']
    """
    if world.count == 1:
        return [value]
    found: list[Any] = [None] * world.count
    dist.all_gather_object(found, value, group=world.hosts)
    return found


def of_first(value: T) -> T:
    """What rank 0 tells.

    >>> of_first(1)
    1
    """
    if world.count == 1:
        return value
    told = [value]
    dist.broadcast_object_list(told, src=0, group=world.hosts)
    return told[0]
