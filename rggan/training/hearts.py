"""Signs of life of the ranks of a run: which is gone, and which of the others is to say so."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from typing import Any

import torch.distributed as dist

from rggan.errors import Failed, UserError, reason

BEAT = 0.5  # seconds between two signs of life
SILENCE = 3.0  # seconds without one, after which a rank is taken for gone


class RankLost(Failed):
    """Another rank of the run is gone."""


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
