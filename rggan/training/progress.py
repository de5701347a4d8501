"""Progress bars, where somebody looks at them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY = 0.2  # seconds between two messages to a notebook


def in_notebook() -> bool:
    """Whether a notebook shows what is displayed. IPython is not imported for it: there it is already."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@contextmanager
def notebook_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar below the cell, gone at its end; yields what moves it: how many are done, of how many. Rich's own bar needs
    ipywidgets there."""
    from IPython.display import display

    handle = display({"text/html": what, "text/plain": what}, raw=True, display_id=True)
    last = 0.0

    def move(done: int, total: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= EVERY:
            last, text = now, f"{what}: {done:,} of {total:,} images"
            bar = f'<progress max="{total}" value="{done}"></progress> {text}'
            handle.update({"text/html": bar, "text/plain": text}, raw=True)

    try:
        yield move
    finally:
        handle.update({"text/html": "", "text/plain": ""}, raw=True)


@contextmanager
def reading(console: Console | None) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar while pictures are read, where somebody looks at it."""
    if console is not None and in_notebook():
        with notebook_bar("reading pictures") as move:
            yield move
        return
    if console is None or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("[bold]reading pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading")
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def training_bar(console: Console, total: int, done: int) -> Iterator[Callable[[int], None]]:
    """A bar of images; yields what moves it. total: images of the whole run, done: before."""
    if in_notebook():
        with notebook_bar("training") as move:
            yield lambda images: move(images, total)
        return
    columns = (
        *(TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images")),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
    )
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("training", total=total, completed=done)
    bar.start()
    try:
        yield lambda images: bar.update(task, completed=images)
    finally:
        with suppress(OSError):  # the terminal may be gone
            bar.stop()
