"""A run's folder: numbered, found again, locked while somebody trains in it, with log.txt and stats.jsonl."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console

from rggan.config import TrainConfig
from rggan.errors import UserError, make_folder
from rggan.files import write_whole

Row = dict[str, Any]


def describe(config: TrainConfig, size: tuple[int, int]) -> str:
    """What a run's folder is called, behind its number: digits-16-sngan-threshold, flags-64x96-sngan-threshold."""
    data = re.sub(r"[^A-Za-z0-9_.]+", "_", Path(config.data).stem)[:80] or "images"
    side = str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
    return f"{data}-{side}-{config.network}-{config.rule}"


def runs(outdir: Path) -> list[Path]:
    """The run folders in `outdir`, oldest first."""
    found = [path for path in outdir.glob("*/") if re.match(r"\d{5}-", path.name)]
    return sorted(path for path in found if (path / "config.json").is_file())


def saved_options(run: Path) -> dict[str, Any] | None:
    """The options in a run's config.json; None where somebody else's file lies there."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        options = json.loads((run / "config.json").read_text())
        if isinstance(options, dict):
            return options
    return None


def find_run(config: TrainConfig) -> Path | None:
    """The newest run with the same options."""
    for path in reversed(runs(config.outdir)):
        options = saved_options(path)
        if options is not None and config.same_run(options):
            return path
    return None


def new_run(config: TrainConfig, size: tuple[int, int]) -> Path:
    """Make the next numbered folder, with its config.json in it from the first moment.

    Raises:
        UserError: the folder cannot be written.
    """
    beside = config.outdir / ".new"
    try:
        shutil.rmtree(beside, ignore_errors=True)  # of a start that was killed; the caller holds the lock
        make_folder(beside)
        write_options(config, beside)
        numbers = [int(path.name[:5]) for path in config.outdir.glob("[0-9][0-9][0-9][0-9][0-9]-*")]
        path = config.outdir / f"{max(numbers, default=-1) + 1:05d}-{describe(config, size)}"
        return beside.rename(path)
    except OSError as error:
        raise UserError(f"Cannot write to the folder {config.outdir}: {error.strerror}.") from error


def write_options(config: TrainConfig, run: Path) -> None:
    write_whole(run / "config.json", (json.dumps(config.to_json(), indent=2) + "\n").encode())


@contextmanager
def locked(folder: Path, busy: str, wait: float = 0) -> Iterator[None]:
    """Hold the folder; the system lets it go when the process ends, however it ends.

    Raises:
        UserError: it cannot be written; or, with the text `busy`, another process holds it for over `wait` seconds.
    """
    make_folder(folder)
    try:
        lock = FileLock(folder / ".lock", timeout=wait)
        lock.acquire()
    except Timeout as error:
        raise UserError(busy) from error
    except OSError as error:
        raise UserError(f"Cannot write to the folder {folder}: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()


def read_rows(run: Path) -> list[Row]:
    """The ticks of a run, from its stats.jsonl; lines that somebody else cut or wrote are passed over."""
    path = run / "stats.jsonl"
    rows = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if is_row(row)]


def is_row(row: object) -> bool:
    """Whether it has the numbers of a tick.

    >>> is_row({"tick": 0}), is_row([])
    (False, False)
    """
    numbers = ("tick", "kimg", "score", "density_g", "density_d")
    return isinstance(row, dict) and all(type(row.get(name)) in (int, float) for name in numbers) and "phase" in row


class RunLog:
    """Says things on the console and in log.txt, and writes stats.jsonl."""

    def __init__(self, run: Path, console: Console) -> None:
        self.run, self.console = run, console

    def say(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        with contextlib.suppress(OSError), (self.run / "log.txt").open("a") as file:
            file.write(line + "\n")  # a full disk must not stop what can go on without a log

    def write_rows(self, rows: Iterable[Row]) -> None:
        """Write stats.jsonl anew, so that what a resumed run does again never stands there twice.

        What is written depends on the training alone, not on the clock: times stand in log.txt.
        """
        write_whole(self.run / "stats.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def status_line(row: Row, sec_per_kimg: float) -> str:
    """tick 3  kimg 60.0  sec/kimg 1.23  score 0.0451  density G 0.91 D 0.88  prune  copies 0.4%"""
    copies = ""
    if "copies" in row:
        copies = f"  copies {row['copies']:.1%}{' (replays training images)' if row['replays'] else ''}"
    return (
        f"tick {row['tick']:<4d} kimg {row['kimg']:<8.1f} sec/kimg {sec_per_kimg:<7.2f} "
        f"score {row['score']:<9.4f} density G {row['density_g']:.3f} D {row['density_d']:.3f}  {row['phase']}{copies}"
    )
