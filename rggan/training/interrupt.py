"""Ctrl-C and SIGTERM: the first one asks a run to stop, so that the step ends and the state is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal; what is left on disk was said."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def stop_told(say: Callable[[str], None], left: Callable[[], str]) -> Iterator[None]:
    """Where Ctrl-C stops at once (before the training, or for the second time): says what is left on disk, and raises
    Interrupted.

    >>> try:
    ...     with stop_told(print, lambda: "stopped; nothing was written."):
    ...         raise KeyboardInterrupt
    ... except Interrupted as stop:
    ...     print(stop)
    stopped; nothing was written.
    stopped by SIGINT
    """
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt as error:
        say(left())
        raise Interrupted(signal.SIGINT) from error


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], int]]:
    """Yields what tells the number of the SIGINT or SIGTERM that came, 0 before; a second one does what it always does.

    Outside the main thread, where Python takes no signals, it stays 0.
    """
    asked = 0

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = number
        for each, handler in before.items():
            signal.signal(each, handler)

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    for each in (signal.SIGINT, signal.SIGTERM):
        before[each] = signal.signal(each, ask)
    try:
        yield lambda: asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
