"""Joins the processes that torchrun started to the ranks of one run; where one ends, all end, with one sentence."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from rggan import ranks
from rggan.errors import Failed, UserError, reason
from rggan.pruning import broadcast

WAIT = timedelta(minutes=30)  # for a rank that is still there and does not come
BEAT = 0.5  # seconds between two signs of life
SILENCE = 3.0  # seconds without one, after which a rank is taken for gone
NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class RankLost(Failed):
    """Another rank of the run is gone."""


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


class Hearts:
    """Signs of life of all ranks, in the store that torchrun keeps, and what those that ended had to say.

    A broken connection does not say whose end it was.
    """

    def __init__(self, store: Any, number: int, count: int) -> None:
        self.store, self.number, self.count = store, number, count
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.beat, daemon=True, name="rggan-ranks")
        self.thread.start()

    def beat(self) -> None:
        beats = 0
        with contextlib.suppress(Exception):  # the store is gone: whoever needs it will tell
            while not self.ended.wait(BEAT):
                beats += 1
                self.store.set(f"beat/{self.number}", f"{beats} {socket.gethostname()}")

    def stop(self) -> None:
        self.ended.set()

    def tell(self, error: BaseException) -> None:
        """Leave what this rank ends with, for the others."""
        with contextlib.suppress(Exception):
            kind = "input" if isinstance(error, UserError) else "lost" if isinstance(error, RankLost) else "failure"
            self.store.set(f"end/{self.number}", f"{kind} {reason(error)}")

    def leaving(self) -> None:
        """Rank 0 knows that the run has failed; it may yet draw and say something."""
        with contextlib.suppress(Exception):
            self.store.set("leaving", "")

    def done(self) -> None:
        """Rank 0 has written and drawn what it had to."""
        with contextlib.suppress(Exception):
            self.store.set("done", "")

    def wait_for_first(self) -> None:
        """Until rank 0 has said why the run failed, if it knows: torchrun ends it as soon as this rank has ended."""
        with contextlib.suppress(Exception):
            last, heard = "", time.monotonic()
            while not self.store.check(["leaving"]):
                if time.monotonic() - heard > SILENCE / 2:  # it fails on this rank alone
                    return
                time.sleep(BEAT / 10)
            while not self.store.check(["done"]) and time.monotonic() - heard < 3 * SILENCE:
                if (beat := self.read("beat").get(0, "")) != last:
                    last, heard = beat, time.monotonic()
                time.sleep(BEAT / 5)
            time.sleep(BEAT)  # in which it prints

    def missing(self) -> tuple[RankLost | UserError, int]:
        """What names the ranks that are gone or have ended, and the number of the one that is to tell it."""
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends the others meanwhile
        try:
            before = self.read("beat")
            time.sleep(SILENCE)
            after, ends = self.read("beat"), self.read("end")
        except Exception:  # it was kept by rank 0, or on its machine
            return RankLost("rank 0 is gone, or its machine cannot be reached."), self.number
        silent = [n for n in range(self.count) if n != self.number and before.get(n) == after.get(n)]
        gone = [n for n in silent if n not in ends]
        alive = [n for n in range(self.count) if n not in silent and n not in ends]
        # A rank 0 that ended has said why.
        speaker = 0 if 0 in ends else min(alive, default=0)
        causes = {n: text.split(" ", 1) for n, text in ends.items() if not text.startswith("lost")}
        told = [f"rank {n} ended: {text}" for n, (_, text) in causes.items()]
        told += [f"rank {n}{self.where(after.get(n))} is gone" for n in gone]
        sentence = "; ".join(told) or "the connection to another rank was lost"
        if causes and not gone and all(kind == "input" for kind, _ in causes.values()):
            number, (_, text) = next(iter(causes.items()))
            return UserError(f"Rank {number}: {text}."), speaker
        return RankLost(f"{sentence}. The run is as it was last saved, and the same command continues it."), speaker

    def read(self, kind: str) -> dict[int, str]:
        keys = {n: f"{kind}/{n}" for n in range(self.count)}
        return {n: self.store.get(key).decode() for n, key in keys.items() if self.store.check([key])}

    @staticmethod
    def where(beat: str | None) -> str:
        """
        >>> Hearts.where("3 node7"), Hearts.where(None)
        (' on node7', '')
        """
        return f" on {beat.split(' ', 1)[1]}" if beat else ""


def connection_lost(error: BaseException) -> bool:
    """Whether an exception of a collective says that another rank is gone.

    >>> connection_lost(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:27321"))
    True
    """
    words = ("gloo", "nccl", "connection reset", "connection closed", "broken pipe", "timed out")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


# ---- what all ranks must agree on ----


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
    except (UserError, Failed, OSError, MemoryError, torch.OutOfMemoryError) as found:
        error = found
    told = ranks.of_all(None if error is None else (isinstance(error, UserError), reason(error)))
    failed = {number: each for number, each in enumerate(told) if each is not None}
    if error is not None and (ranks.first() or len(set(told)) == 1):
        raise error
    if failed:
        number, (by_user, text) = next(iter(failed.items()))
        sentence = f"Rank {number}: {text}." if number else f"{text}."
        raise UserError(sentence) if by_user else Failed(sentence)


def same(what: str, told: Mapping[str, Any], advice: str) -> None:
    """Raises UserError where a rank tells something else than rank 0; it names what differs.

    >>> same("options", {"lr": 0.1}, "start all with the same command")
    """
    found = ranks.of_all(dict(told))
    for number, other in enumerate(found):
        names = [name for name in {**found[0], **other} if found[0].get(name) != other.get(name)]
        if names:
            both = ", ".join(f"{name} {other.get(name)} (rank 0: {found[0].get(name)})" for name in names[:5])
            raise UserError(f"Rank {number} has other {what} than rank 0: {both}; {advice}.")


def seen_by_all(folder: Path) -> None:
    """Raises UserError where another rank does not see this folder, which rank 0 can write."""
    if ranks.count() == 1:
        return
    place = folder
    while not os.path.exists(place) and place != place.parent:  # it may not have been made yet
        place = place.parent
    mark = ranks.of_first(place / f".ranks-{secrets.token_hex(8)}")
    with agreed():
        try:
            if ranks.first():
                mark.touch()
        except OSError as error:
            raise UserError(f"Cannot write to the folder {folder}: {error.strerror}.") from error
    blind = [number for number, sees in enumerate(ranks.of_all(os.path.exists(mark))) if not sees]
    if ranks.first():
        mark.unlink(missing_ok=True)
    if blind:
        hosts = ranks.of_all(socket.gethostname())
        raise UserError(
            f"Rank {blind[0]} on {hosts[blind[0]]} does not see the folder {folder} of rank 0: give an `outdir` on a "
            "disk that all machines share, under the same path."
        )
