"""Progress bars, where somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def reading(console: Console | None) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar while pictures are read, where somebody looks at it."""
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
    columns = (
        *(TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images")),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=total, completed=done)
        yield lambda images: bar.update(task, completed=images)
