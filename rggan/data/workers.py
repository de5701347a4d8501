"""Processes that decode pictures: a damaged or malicious one can neither hang, exhaust nor crash this process.

Contents go to a process that has little memory and, for each picture, few seconds of processor time; when that ends it,
or a decoder that crashes, another one takes its place and the picture is unreadable. They are started when they are
first needed, and end with this process.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from io import FileIO
from typing import Any

from rggan.data.decode import BadPicture
from rggan.data.picture import Picture
from rggan.data.worker import LARGE, OUT_OF_MEMORY, TASKS, Request, Task, task_of, too_much_memory
from rggan.errors import UserError, first_line

MEMORY = 512 << 20  # bytes that decoding may take
LARGE_MEMORY, BYTES_PER_PIXEL = 1 << 30, 16  # of a large picture: at least, and by the pixels that it may have
TO_OPEN, TO_DECODE = 2.0, 3.0  # seconds of processor time for a header, and for pixels besides those by their number
WAIT = 120.0  # seconds without an answer after which a process is ended; its own limits come first
MOST = 16  # processes: each takes about 50 MB
MOST_TOLD = 1 << 20  # bytes of JSON in an answer
TOO_LONG = -getattr(signal, "SIGPROF", 0)
CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL")
ONE_LARGE = threading.Lock()

Told = tuple[dict[str, Any], list[bytes | bytearray]]


class NoRoom(UserError):
    """A picture cannot be decoded now, for a reason of this machine; the picture may be good."""


class Limited(str):
    """Why a picture cannot be read that met a limit of time or memory, which it may not meet on a faster machine."""


class Gone(Exception):
    """The process ended without an answer. code: its exit code; None: it did not answer in time."""

    def __init__(self, code: int | None) -> None:
        self.code = code


@dataclass(frozen=True)
class Asked:
    """A picture and its content."""

    picture: Picture
    content: bytes

    @property
    def limits(self) -> dict[str, Any]:
        names = ("name", "shape", "white_level", "max_pixels", "formats")
        return {name: getattr(self.picture, name) for name in names}


class Worker:
    """One process. Not thread-safe."""

    def __init__(self) -> None:
        path = os.pathsep.join(place for place in sys.path if place)
        known = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            # A session of its own: Ctrl-C and a closed terminal are for this process to answer.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "rggan.data.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=known,
                start_new_session=True,
            )
        except OSError as error:
            raise NoRoom(
                f"Cannot start a process to decode pictures: {error.strerror or error}{hint(error)}."
            ) from error
        assert self.process.stdin is not None
        assert isinstance(self.process.stdout, FileIO)
        self.requests, self.answers = self.process.stdin, self.process.stdout

    def ask(self, request: Request, contents: Sequence[bytes]) -> Iterator[Told]:
        """Yields an answer for each content. Raises Gone."""
        head, until = pickle.dumps(request), time.monotonic() + WAIT
        try:
            for part in (len(head).to_bytes(8, "little"), head, *contents):
                self.write(part, until)
            for _ in contents:
                yield self.answer(request.memory)
        except OSError as error:
            raise Gone(self.ended()) from error

    def answer(self, most: int) -> Told:
        """Raises Gone, and ends the process, where it answers otherwise, or with more bytes than that."""
        until = time.monotonic() + WAIT
        length = int.from_bytes(self.read(8, until), "little")
        if length > MOST_TOLD:
            raise Gone(self.ended())
        text = self.read(length, until)
        try:
            found = json.loads(text)
            told, parts = dict(found["told"]), list(found["parts"])
            if not all(type(part) is int and part >= 0 for part in parts) or sum(parts) > most:
                raise ValueError("more than it may answer")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Gone(self.ended()) from error
        return told, [self.read(part, until) for part in parts]

    def read(self, count: int, until: float) -> bytearray:
        """Raises Gone where the process ends first, or takes too long."""
        found, done = bytearray(count), 0  # in place: a large picture is there once
        while done < count:
            self.wait(self.answers.fileno(), select.POLLIN, until)
            part = self.answers.readinto(memoryview(found)[done:])
            if not part:
                raise Gone(self.ended())
            done += part
        return found

    def write(self, content: bytes, until: float) -> None:
        """Raises OSError where the process ends first; Gone where it takes too long."""
        number, view = self.requests.fileno(), memoryview(content)
        os.set_blocking(number, False)
        while view:
            self.wait(number, select.POLLOUT, until)
            view = view[os.write(number, view) :]

    def wait(self, number: int, event: int, until: float) -> None:
        """Raises Gone, and ends the process, where it neither takes nor answers anything until then."""
        poll = select.poll()
        poll.register(number, event)
        if not poll.poll(max(0, 1000 * (until - time.monotonic()))):
            self.close()
            raise Gone(None)

    def ended(self) -> int:
        self.close()
        return self.process.returncode

    def close(self) -> None:
        self.requests.close()
        self.answers.close()
        try:
            self.process.wait(0.5)  # it ends where nothing is left to read
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Workers:
    """At most `count` processes, which threads of this one share."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.free: list[Worker] = []
        self.ended: dict[tuple[str, bytes, int], str] = {}  # task, content and memory that ended a process -> why
        self.room = threading.Semaphore(count)
        self.owner = os.getpid()

    def answers(self, task: str, asked: Sequence[Asked], large: bool = False, **arguments: Any) -> list[Told | str]:
        """What `task` answers for each picture; a text says why one cannot be read.

        Raises:
            NoRoom: the machine has no memory, or no room for a process.
        """
        memory = self.memory_of(asked, large)
        found: list[Told] = []
        again = False
        while (done := len(found)) < len(asked):
            part = asked[done : done + 1] if again else asked[done:]
            ended = (
                [self.ended.get((task, digest(each), memory)) for each in part] if self.ended else [None] * len(part)
            )
            if ended[0] is not None:
                found.append(({"bad": ended[0]}, []))
                continue
            part = part[: next((place for place, why in enumerate(ended) if why is not None), len(part))]
            lengths = [len(each.content) for each in part]
            limits = [each.limits for each in part]
            request = Request(task, limits, lengths, arguments, memory, TO_OPEN, TO_DECODE, large)
            try:
                self.ask(request, part, found)
                again = False
            except Gone as gone:
                again = again and len(found) == done
                why = reason_of(gone.code, memory, again)
                if why is None and again:
                    fails = gone.code is not None and gone.code >= 0
                    mend = (
                        "`python -m rggan.data.worker` says why" if fails else "free some memory, or start again later"
                    )
                    raise NoRoom(
                        f"Cannot decode {asked[done].picture.name} now: its process {how_ended(gone.code)}; {mend}."
                    ) from gone
                if again := why is None:
                    continue
                self.ended[task, digest(asked[len(found)]), memory] = why
                found.append(({"bad": why}, []))
        return [self.meant(task, each, told, memory, arguments) for each, told in zip(asked, found, strict=True)]

    def meant(self, task: str, asked: Asked, found: Told, memory: int, arguments: dict[str, Any]) -> Told | str:
        told, _ = found
        if "machine" in told:
            raise NoRoom(f"Cannot decode {asked.picture.name} now: {told['machine']}; free some memory.")
        if "large" in told:
            with ONE_LARGE:
                return self.answers(task, [asked], large=True, **arguments)[0]
        if "bad" not in told:
            return found
        return Limited(told["bad"]) if told["bad"] == too_much_memory(memory) else told["bad"]

    def memory_of(self, asked: Sequence[Asked], large: bool) -> int:
        """Bytes that decoding one of these may take."""
        if not large:
            return MEMORY
        return max(LARGE_MEMORY, *(BYTES_PER_PIXEL * each.picture.max_pixels for each in asked))

    def ask(self, request: Request, asked: Sequence[Asked], found: list[Told]) -> None:
        """Appends the answers. Raises Gone where the process ends; it is not used any more then."""
        with self.room:
            try:
                worker = self.free.pop()
            except IndexError:
                worker = Worker()
            whole = False
            try:
                for told in worker.ask(request, [each.content for each in asked]):
                    found.append(told)  # noqa: PERF402  # those before the one that ends the process stay
                whole = True
            finally:
                if whole:
                    self.free.append(worker)
                else:
                    worker.close()

    def close(self) -> None:
        if self.owner == os.getpid():
            while self.free:
                self.free.pop().close()


def digest(asked: Asked) -> bytes:
    return hashlib.sha256(asked.content).digest()


def reason_of(code: int | None, memory: int, again: bool) -> str | None:
    """Why a picture cannot be read whose process ended with this code; None: the picture may be good.

    again: whether it ended so for the second time.
    """
    if code == TOO_LONG:
        return Limited("decoding it takes far longer than a picture of its size needs")
    if code == OUT_OF_MEMORY:
        return Limited(too_much_memory(memory))
    crashed = code is not None and code < 0 and signal.Signals(-code).name in CRASHES
    return f"its decoder crashed ({how_ended(code)})" if crashed and again else None


def hint(error: OSError) -> str:
    """What to do about it, for the end of a sentence."""
    return "; raise the limit (`ulimit -n 1024`)" if error.errno in (errno.EMFILE, errno.ENFILE) else ""


def how_ended(code: int | None) -> str:
    """
    >>> how_ended(-9), how_ended(1), how_ended(None)
    ('was ended by SIGKILL', 'ended with exit code 1', 'does not answer')
    """
    if code is None:
        return "does not answer"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def worker_count() -> int:
    """How many pictures are decoded at a time: as many as there are processors for this process, up to `MOST`."""
    from rggan import ranks  # which need torch; the tasks of a worker do not

    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST, there // ranks.world.here))


_workers: Workers | None = None
_starting = threading.Lock()


def workers() -> Workers:
    """Those of this process."""
    global _workers
    with _starting:
        if _workers is None or _workers.owner != os.getpid():
            _workers = Workers(worker_count())
            atexit.register(_workers.close)
        return _workers


def answers(task: str, asked: Sequence[Asked], **arguments: Any) -> list[Told | str]:
    """What a task answers for each of these pictures; a text says why one cannot be read.

    task: of `worker.TASKS`. Pictures that this program makes itself, and raw pixels, are not sent to other processes.

    Raises:
        NoRoom: the machine has no memory, or no room for a process.

    >>> from io import BytesIO
    >>> from PIL import Image
    >>> stream = BytesIO()
    >>> Image.new("RGB", (20, 30)).save(stream, "png")
    >>> pictures = [Asked(Picture("a.png", bytes), stream.getvalue()), Asked(Picture("b.png", bytes), b"no picture")]
    >>> answers("size", pictures)
    [({'size': [20, 30]}, []), ({'size': [0, 0]}, [])]
    """
    assert task in TASKS
    if all(each.picture.own or each.picture.shape is not None for each in asked):
        return [here(task_of(task), each, arguments) for each in asked]
    return workers().answers(task, asked, **arguments)


def here(task: Task, asked: Asked, arguments: dict[str, Any]) -> Told | str:
    """The same in this process."""
    height, width, _ = asked.picture.shape or (0, 0, 0)
    try:
        with ONE_LARGE if height * width > LARGE else nullcontext():
            told, parts = task(asked.picture, asked.content, **arguments)
            return told, [bytes(part) for part in parts]
    except MemoryError as error:
        raise no_memory(asked.picture) from error
    except (BadPicture, ValueError, OSError) as error:
        return first_line(error)


def no_memory(picture: Picture) -> NoRoom:
    return NoRoom(f"Cannot decode {picture.name} now: there is no memory left; free some, or take smaller pictures.")
