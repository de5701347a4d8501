"""Ctrl-C, SIGTERM and a closed terminal: the first one asks a run to stop, so that the step ends and the state is
saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

HANG_UP = getattr(signal, "SIGHUP", None)  # of a terminal that is closed; Windows has none


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
    """Yields what tells the number of the SIGINT, SIGTERM or SIGHUP that came, 0 before; a second one does what it
    always does, but for SIGHUP, which a shell repeats. Where SIGHUP is ignored (nohup) it stays so.

    Outside the main thread, where Python takes no signals, it stays 0.
    """
    asked = 0
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = number
        for each, handler in before.items():
            signal.signal(each, signal.SIG_IGN if each == HANG_UP else handler)
        if number == HANG_UP:  # nobody reads what is said from here on, and to say it would fail
            for each in terminals:
                silence(each)

    before: dict[int, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    for each in (signal.SIGINT, signal.SIGTERM, HANG_UP):
        if each is not None and (each != HANG_UP or signal.getsignal(each) != signal.SIG_IGN):
            before[each] = signal.signal(each, ask)
    try:
        yield lambda: asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def silence(number: int) -> None:
    """What is written to this open file from here on goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
