"""A training in a process of its own that ends at one exact place of it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from rggan.cli.main import main
from rggan.metrics.score import Score
from rggan.training.trainer import Training

PLACES = ("half-written", "before rename", "after rename", "evaluating", "step")
CPU = "seconds of the processor"
MARK = "RGGAN_DRILL"  # in the environment of all that a training starts
WORDS = (  # what a file is that is being written, by a part of its name
    ("data.jsonl", "data.jsonl"),
    ("stats", "stats.jsonl"),
    ("config", "config.json"),
    ("generator", "a generator"),
    (".state", "a checkpoint"),
    ("state-", "a checkpoint"),
    (".u8", "a decoding cache"),
    (".png", "pictures"),
    (".webp", "pictures"),
    (".html", "the page"),
)


def what(path: str) -> str:
    """In words, what the file is that was being written."""
    folder, _, name = path.rpartition("/")
    if folder.endswith(".cache"):
        return "a decoding cache"
    return next((words for part, words in WORDS if part in name), name)


class Trap:
    """Counts what happens at every place, and sends this process a signal at one of them.

    Args:
        place: one of PLACES, or anything else for none. count: at which time.
        note: a file that tells the parent where it hit. number: the signal.
    """

    def __init__(self, place: str, count: int, note: Path, number: int = signal.SIGKILL) -> None:
        self.place, self.count, self.note, self.number = place, count, note, number
        self.seen: Counter[str] = Counter()
        fsync, replace, step, score = os.fsync, os.replace, Training.step, Score.__call__

        def trapped_fsync(number: int) -> None:
            path = os.readlink(f"/proc/self/fd/{number}") if Path("/proc/self/fd").exists() else "a file"
            if os.path.isfile(path):
                self.at("half-written", what(path), lambda: os.ftruncate(number, os.fstat(number).st_size // 2))
            fsync(number)

        def trapped_replace(old: Any, new: Any) -> None:
            self.at("before rename", what(str(new)))
            replace(old, new)
            self.at("after rename", what(str(new)))

        def trapped_step(training: Training) -> None:
            step(training)
            self.at("step", "training")

        def trapped_score(judge: Score, images: torch.Tensor) -> float:
            value = score(judge, images)
            self.at("evaluating", "evaluating")
            return value

        os.fsync, os.replace = trapped_fsync, trapped_replace
        Training.step, Score.__call__ = trapped_step, trapped_score  # type: ignore[method-assign]

    def at(self, place: str, doing: str, damage: Any = None) -> None:
        self.seen[place] += 1
        if place == self.place and self.seen[place] == self.count:
            if damage is not None:
                damage()
            self.note.write_text(doing)
            os.kill(os.getpid(), self.number)


def child(arguments: list[str], log: str, trap: Trap | tuple[Any, ...] | None = None, mark: str | None = None) -> None:
    """The process of one attempt: the command line, with its output in a file.

    Args:
        trap: what `Trap` takes. mark: names the attempt; caches lie beside it, and `mark`.counts tells the places that
        were passed.
    """
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup a training would ignore it, as it should
    if mark is not None:
        os.setsid()  # what it starts is known by its session
        os.environ |= {MARK: mark, "RGGAN_CACHE": f"{mark}.cache"}
    torch.set_num_threads(1)
    armed = Trap(*trap) if isinstance(trap, tuple) else Trap("none", 0, Path(os.devnull))
    code = main(arguments)
    if mark is not None:
        Path(f"{mark}.counts").write_text(json.dumps({**armed.seen, CPU: time.process_time()}))
    sys.stdout.flush()
    os._exit(code)


def survivors(leader: int, mark: str, patience: float = 5.0) -> list[str]:
    """The command lines of processes that a training has started and that are there when it has ended, and still after
    `patience` seconds. leader: its process id."""
    deadline = time.perf_counter() + patience
    while found := [line for number in processes() if (line := started_by(number, leader, mark)) is not None]:
        if time.perf_counter() > deadline:
            break
        time.sleep(0.05)
    return found


def processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:  # no Linux
        return []


def started_by(number: int, leader: int, mark: str) -> str | None:
    """The command line of a process of this session, or with this mark in its environment; None: it is neither, or has
    ended."""
    place = Path("/proc", str(number))
    try:
        state, _, _, session = (place / "stat").read_text().rpartition(")")[2].split()[:4]
        marked = f"{MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0")
        if state == "Z" or not (marked or int(session) == leader):
            return None
        return (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") or str(number)
    except OSError:  # gone, or another user's
        return None
