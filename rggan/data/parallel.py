"""Many pictures, read and decoded in parallel, in their order."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rggan.data.picture import Picture
from rggan.data.workers import Asked, NoRoom, Told, answers, hint, no_memory, worker_count
from rggan.errors import first_line

CHUNK = 256  # pictures decoded ahead
GROUP, GROUP_BYTES = 16, 4 << 20  # pictures that are sent together, and bytes of their files
PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}  # errors of a file that are none of its own

NOTHING: Told = ({}, [])  # the answer where nothing was asked
T = TypeVar("T")
Finish = Callable[[Picture, bytes | None, Told | str], T]


def in_order(
    pictures: Sequence[Picture], task: str | None, finish: Finish[T], chunk: int = CHUNK, **arguments: Any
) -> Iterator[T]:
    """Yields `finish(picture, content, answer)` for each picture.

    task: see `answers`; None: they are read only, and answered with ({}, []). A text in place of the answer says why a
    picture cannot be read; content is None where its file cannot be. `finish` is called in several threads.

    Raises:
        NoRoom: the machine has no memory, no room for a process, or no more open files.

    >>> list(in_order([Picture("a", lambda: b"abc")], None, lambda picture, content, told: content))
    [b'abc']
    """

    def work(group: Sequence[Picture]) -> list[T]:
        done: list[T] = []
        waiting: list[Asked] = []

        def flush() -> None:
            if waiting:
                found = answers(task, waiting, **arguments) if task is not None else [NOTHING] * len(waiting)
                done.extend(finish(w.picture, w.content, told) for w, told in zip(waiting, found, strict=True))
                waiting.clear()

        for picture in group:
            content = content_of(picture)
            if isinstance(content, str):
                flush()
                done.append(finish(picture, None, content))
                continue
            waiting.append(Asked(picture, content))
            if sum(len(each.content) for each in waiting) > GROUP_BYTES:
                flush()
        flush()
        return done

    with ThreadPoolExecutor(worker_count()) as pool:
        for start in range(0, len(pictures), chunk):
            part = pictures[start : start + chunk]
            size = max(1, min(GROUP, -(-len(part) // worker_count())))
            for found in pool.map(work, [part[i : i + size] for i in range(0, len(part), size)]):
                yield from found


def content_of(picture: Picture) -> bytes | str:
    """The content of its file; a text says why that cannot be read.

    Raises:
        NoRoom: for a reason that is none of the file's.
    """
    try:
        return picture.read()
    except MemoryError as error:
        raise no_memory(picture) from error
    except Exception as error:  # sources raise arbitrary exceptions
        if {getattr(each, "errno", None) for each in (error, error.__cause__)} & PASSING:
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            told = hint(cause) if isinstance(cause, OSError) else ""
            raise NoRoom(f"Cannot read {picture.name} now: {first_line(error)}{told}.") from error
        return first_line(error)
