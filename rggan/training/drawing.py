"""What is drawn at the end of a training: progress.png, page.html, the nearest training pictures of its samples."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from rggan import ranks
from rggan.data.pictures import save_picture
from rggan.errors import reason
from rggan.generation.generator import Generator
from rggan.report.page.page import write_page
from rggan.report.plot import plot_run
from rggan.report.replays import replay_sheet
from rggan.report.verdict import Scale
from rggan.run.folder import Run
from rggan.run.log import say
from rggan.run.places import PROGRESS, replays
from rggan.training import together
from rggan.training.interrupt import Interrupted
from rggan.training.keeper import WriteFailed
from rggan.training.loop import Diverged, Loop

SHEET = 64  # samples whose nearest training pictures are drawn
WORTH_A_LOOK = 60  # seconds of training, after which seconds for a look over the pictures are few


@contextmanager
def drawn(run: Run, console: Console) -> Iterator[None]:
    """Draw the run when it ends, also where it stops before its time."""
    if not ranks.first():
        yield
        return
    started = time.perf_counter()
    try:
        yield
    except (Diverged, Interrupted, WriteFailed):
        if together.hearts is not None:
            together.hearts.leaving()
        draw_progress(run)
        draw_page(run, console, look=False)  # whoever stopped it waits
        raise
    draw_progress(run)
    draw_page(run, console, look=time.perf_counter() - started > WORTH_A_LOOK)


def draw_replays(loop: Loop) -> None:
    """The nearest training pictures of its samples, where the evaluations look for copies. Whatever goes wrong with it,
    memory that is used up, say, what was trained is worth more."""
    run, evaluator = loop.run, loop.training.evaluator
    if evaluator.memoriser is None:
        return
    try:
        samples = Generator.from_pretrained(run.path, str(loop.training.gan.device)).images(range(SHEET))
        sheet = replay_sheet(samples, evaluator.data, evaluator.memoriser(samples))
        save_picture(sheet, run.path / replays())
    except Exception as error:
        loop.log.say(f"No nearest training pictures were drawn: {reason(error)}.")


def draw_page(run: Run, console: Console, look: bool) -> None:
    """Its page.html. Whatever goes wrong with it, what was trained is worth more."""
    try:
        told = f"page       {write_page(run, look=look)}"
    except Exception as error:
        told = f"No page was made: {reason(error)}."
    with contextlib.suppress(OSError):  # the terminal may be gone
        say(console, told)


def draw_progress(run: Run) -> None:
    """Its progress.png, if there is anything to draw and the disk takes it. No display is needed."""
    with contextlib.suppress(OSError):  # what was trained is worth more than its picture
        if rows := run.rows():
            plot_run(rows, run.path / PROGRESS, run.name, Scale.of(run.data_head()))
