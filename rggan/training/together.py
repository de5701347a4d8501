"""Joins the processes that torchrun started to the ranks of one run; where one ends, all end, with one sentence."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from rggan import ranks
from rggan.errors import Failed, UserError, reason
from rggan.memory import is_used_up
from rggan.pruning import broadcast
from rggan.training.hearts import Hearts, RankLost, connection_lost

WAIT = timedelta(minutes=30)  # for a rank that is still there and does not come
NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launched(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes torchrun, or what sets the same variables, started for this run; 1: it is alone.

    With RGGAN_ALONE=1 each process trains a run of its own.

    >>> launched({}), launched({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"})
    (1, 2)
    """
    count = environment.get("WORLD_SIZE", "1")
    if environment.get("RGGAN_ALONE"):
        return 1
    return int(count) if count.isdigit() and all(name in environment for name in NEEDED) else 1


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Context in which this process is one of the ranks that torchrun started, if it did.

    An exception that leaves it is marked as `quiet` on all ranks but the one that is to tell it.

    Raises:
        RankLost: another rank is gone, or ended on its own; the sentence names it. UserError: it ended for bad input.
    """
    if launched() == 1 or ranks.count() > 1 or lonely:
        yield
        return
    found, number, count = next(rendezvous("env://", timeout=WAIT))
    store = dist.PrefixStore(meet(found, number, count), found)  # type: ignore[attr-defined]
    global hearts
    hearts = Hearts(store, number, count)
    own, whole = not dist.is_initialized(), True
    try:
        try:
            ranks.join(enter(store, number, count))
            broadcast.alike = True  # gradients are averaged, and outputs gathered, before a rule sees them
            yield
        except (UserError, Failed, KeyboardInterrupt) as error:
            hearts.tell(error)
            raise
        except Exception as error:
            whole = False
            if not connection_lost(error):
                hearts.tell(error)
                raise
            lost, speaker = hearts.missing()
            lost.quiet = speaker != number  # type: ignore[union-attr]
            hearts.tell(lost)
            raise lost from error
    except BaseException as error:
        error.quiet = getattr(error, "quiet", number != 0)  # type: ignore[attr-defined]
        if number == 0:
            hearts.leaving()
        elif whole:
            hearts.wait_for_first()
        raise
    finally:
        if number == 0:
            hearts.done()
        hearts.stop()
        if whole:  # else it would wait for those that are gone
            leave(own)
        ranks.join(ranks.ALONE)
        broadcast.alike = False


lonely = False  # within `alone`
hearts: Hearts | None = None  # of the ranks that were joined last


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Context in which this rank does something that the others know nothing of, even train another run."""
    global lonely
    joined_before, before = ranks.world, lonely
    ranks.join(ranks.ALONE)
    lonely = True
    try:
        yield
    finally:
        ranks.join(joined_before)
        lonely = before


def meet(store: Any, number: int, count: int) -> str:
    """A name that the processes of this start alone share: torchrun's store holds what an earlier start left in it.

    Raises:
        RankLost: not all have come.
    """
    own, last = secrets.token_hex(8), time.monotonic() + WAIT.total_seconds()

    def wait(what: str) -> None:
        if time.monotonic() > last:
            raise RankLost(
                f"{what} did not come within {WAIT.total_seconds() / 60:.0f} minutes; where each process is to train a "
                "run of its own, set RGGAN_ALONE=1."
            )
        time.sleep(0.02)

    if number:
        store.set(f"rggan/here/{number}", own)
        while not store.check([f"rggan/welcome/{own}"]):
            wait("rank 0")
        name = store.get(f"rggan/welcome/{own}").decode()
        store.set(f"{name}/came/{number}", "")
        return str(name)
    missing = set(range(1, count))
    while missing:
        for other in sorted(missing):
            if store.check([f"rggan/{own}/came/{other}"]):
                missing.discard(other)
            elif store.check([f"rggan/here/{other}"]):  # perhaps of one that is gone: it is not heard of again
                store.set(f"rggan/welcome/{store.get(f'rggan/here/{other}').decode()}", f"rggan/{own}")
        wait(f"rank {min(missing, default=0)}")
    return f"rggan/{own}"


def enter(store: Any, number: int, count: int) -> ranks.World:
    """The ranks, after all have come."""
    cards = torch.cuda.device_count()
    # Networks on CPUs speak by gloo, those on cards by NCCL: which, the tensors say.
    backend = "cpu:gloo,cuda:nccl" if cards and dist.is_nccl_available() else "gloo"
    if dist.is_initialized():  # by whoever calls us
        if (dist.get_rank(), dist.get_world_size()) != (number, count):
            raise UserError("The process group of torch.distributed has other numbers than RANK and WORLD_SIZE.")
        devices = dist.new_group(backend=backend, timeout=WAIT)
    else:
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=WAIT)
        devices = dist.group.WORLD
    hosts = dist.new_group(backend="gloo", timeout=WAIT)
    machines: list[Any] = [None] * count
    dist.all_gather_object(machines, socket.gethostname(), group=hosts)
    here, place = machines.count(machines[number]), machines[:number].count(machines[number])
    if "LOCAL_RANK" in os.environ:  # torchrun knows it
        here, place = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), int(os.environ["LOCAL_RANK"])
    if cards:
        torch.cuda.set_device(place % cards)
    return ranks.World(number, count, place, here, devices, hosts)


def leave(own: bool) -> None:
    """Close the connections. own: the process group is ours, and not the caller's."""
    if own and dist.is_initialized():
        dist.destroy_process_group()
    elif ranks.world.hosts is not None:
        for group in (ranks.world.hosts, ranks.world.devices):
            dist.destroy_process_group(group)


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """What fails in here on one rank fails on all; where it is not rank 0, the sentence says which.

    >>> with agreed():
    ...     raise UserError("no such thing.")
    Traceback (most recent call last):
    rggan.errors.UserError: no such thing.
    """
    if ranks.count() == 1:
        yield
        return
    error: BaseException | None = None
    try:
        yield
    except Exception as found:
        if not isinstance(found, UserError | Failed | OSError) and not is_used_up(found):
            raise
        error = found
    told = ranks.of_all(None if error is None else (isinstance(error, UserError), reason(error)))
    failed = {number: each for number, each in enumerate(told) if each is not None}
    if error is not None and (ranks.first() or len(set(told)) == 1):
        raise error
    if failed:
        number, (by_user, text) = next(iter(failed.items()))
        sentence = f"Rank {number}: {text}." if number else f"{text}."
        raise UserError(sentence) if by_user else Failed(sentence)
