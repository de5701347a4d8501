"""The process that decodes pictures of others, with limits of time and memory; `workers` starts and asks it.

It answers with JSON and plain bytes: what is decoded in here cannot make the other side execute anything.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import IO, Any, NamedTuple

from rggan.data.decode import BadPicture, header_size
from rggan.data.picture import Picture
from rggan.data.pixels import may_be_stack
from rggan.errors import first_line

PIXELS_PER_SECOND = 6_000_000  # of common formats ten times as many are decoded
SLOW = (b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")  # JPEG 2000, of which a quarter is
LONGEST = 16.0  # seconds of processor time that pixels may take at most
FREE_BYTES, BYTES_PER_PIXEL = 4 << 20, 256  # a file that has more besides is no picture of its size
LARGE = 16_000_000  # pixels from which pictures are decoded one at a time: each may take hundreds of MB
OUT_OF_MEMORY = 77  # exit code where the system limits no memory, and this process watched its own
TASKS = {
    "pixels": "rggan.data.pixels:pixels_task",
    "size": "rggan.data.pixels:size_task",
    "largest": "rggan.data.pixels:largest_task",
    "small": "rggan.data.pixels:small_task",
    "record": "rggan.data.audit.doctor:record_task",
    "mended": "rggan.data.audit.mend:mended_task",
}

Answer = tuple[dict[str, Any], Sequence[bytes]]  # what JSON can hold, and bytes besides
Task = Callable[..., Answer]  # of a Picture, its content, and what it was asked with


class Request(NamedTuple):
    """Asks for some pictures: their contents follow, of these lengths.

    limits: the fields of each `Picture` beside its content. arguments: of the task. memory: bytes that each may take.
    to_open, to_decode: seconds of processor time for a header, and for the pixels besides those by their number. large:
    whether large ones are decoded, or reported as that.
    """

    task: str
    limits: list[dict[str, Any]]
    lengths: list[int]
    arguments: dict[str, Any]
    memory: int
    to_open: float
    to_decode: float
    large: bool


def task_of(name: str) -> Task:
    module, _, function = TASKS[name].partition(":")
    found: Task = getattr(import_module(module), function)
    return found


def answer(task: Task, picture: Picture, content: bytes, request: Request) -> Answer:
    """Does the task; never raises for a file's content.

    The answer has 'bad', why it cannot be read; or 'machine', why it cannot now; or 'large'; or what the task answers.
    """
    try:
        limit_time(request.to_open)
        width, height = header_size(picture)
        pixels = width * height
        if pixels > LARGE and not request.large:
            return {"large": True}, []
        frames = may_be_stack(content)  # of which the first is used
        if pixels and not frames and len(content) > FREE_BYTES + BYTES_PER_PIXEL * pixels:
            raise BadPicture(f"its {len(content):,} bytes are far more than {width}x{height} pixels need")
        slow = 4 if content.startswith(SLOW) else 1
        limit_time(min(LONGEST, request.to_decode + slow * pixels / PIXELS_PER_SECOND))
        return task(picture, content, **request.arguments)
    except MemoryError:
        return {"bad" if limited_by_us(request.memory) else "machine": too_much_memory(request.memory)}, []
    except Exception as error:  # whatever it is: of the file
        return {"bad": first_line(error)}, []
    finally:
        limit_time(0)


def too_much_memory(memory: int) -> str:
    return f"decoding it takes more than {memory / 1e9:.1f} GB of memory"


def limit_time(seconds: float) -> None:
    """Lets the system end this process after so many seconds of processor time; 0: no more."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def limit_memory(memory: int) -> None:
    """Limits what this process takes from now on; where the system does not, a thread looks at it."""
    global BASE
    if sys.platform != "linux":
        WATCH.memory = memory
        return
    import resource

    BASE = BASE or virtual_memory()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = BASE + memory
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


BASE = 0  # bytes of address space with everything imported


def virtual_memory() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def limited_by_us(memory: int) -> bool:
    """Whether the limit that was met is that of `limit_memory`, and not a lower one that was there before."""
    if sys.platform != "linux":
        return True
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] == BASE + memory


class Watch:
    """Ends this process where its memory grows beyond `memory`: for systems that enforce no limit."""

    def __init__(self) -> None:
        self.memory = 0

    def start(self) -> None:
        try:
            import resource
        except ImportError:  # Windows
            return

        def watch() -> None:
            unit = 1 if sys.platform == "darwin" else 1024
            begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
            while True:
                time.sleep(0.05)
                taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - begun
                if self.memory and taken > self.memory:
                    os._exit(OUT_OF_MEMORY)

        threading.Thread(target=watch, daemon=True).start()


WATCH = Watch()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answers requests until there are no more."""
    while head := requests.read(8):
        request: Request = pickle.loads(requests.read(int.from_bytes(head, "little")))
        contents = [requests.read(length) for length in request.lengths]
        task = task_of(request.task)
        limit_memory(request.memory)
        while contents:
            content = contents.pop(0)
            limits = request.limits[-len(contents) - 1]
            told, parts = answer(task, Picture(read=partial(bytes, content), **limits), content, request)
            send(answers, told, parts)


def send(answers: IO[bytes], told: dict[str, Any], parts: Sequence[bytes]) -> None:
    text = json.dumps({"told": told, "parts": [len(part) for part in parts]}).encode()
    for each in (len(text).to_bytes(8, "little"), text, *parts):
        answers.write(each)
    answers.flush()


def main() -> None:
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    warnings.simplefilter("ignore")  # Pillow's, about unusual files
    if sys.platform != "linux":
        WATCH.start()
    try:
        serve(requests, answers)
    except (BrokenPipeError, EOFError, pickle.UnpicklingError):  # the other side is gone
        os._exit(1)


if __name__ == "__main__":
    main()
