"""Run: the only reader and writer of a run folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from rggan.config import TrainConfig
from rggan.errors import UserError
from rggan.files import write_whole
from rggan.run import places

Row = dict[str, Any]
OF_EVERY_VERSION = {"data", "outdir", "rule"}  # options; a snapshot's config.json has none of them
WAIT = 60  # seconds for another process that keeps an evaluation


@dataclass(frozen=True)
class Run:
    """A run folder, whether there is one or not; `Run.at` looks. As text it is its path.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = Run(Path(folder))
    ...     before = Run.at(run.path)
    ...     run.write_options(TrainConfig(seed=3))
    ...     (before, Run.at(run.path) == run, run.config().seed, run.rows())
    (None, True, 3, [])
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def at(cls, path: Path) -> Run | None:
        """The run of ours that this folder is, of whatever version and however far; None where it is something else."""
        run = cls(path)
        options = run.options()
        return run if options is not None and options.keys() >= OF_EVERY_VERSION else None

    @classmethod
    def named(cls, path: Path) -> Run:
        """The same for a folder that somebody named as a run.

        Raises:
            UserError: it is none.
        """
        if (run := cls.at(path)) is None:
            raise UserError(f"{path} is no run (a folder of `rggan train` with its {places.OPTIONS}).")
        return run

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def best(self) -> Path:
        return self.path / places.BEST

    @property
    def last(self) -> Path:
        return self.path / places.LAST

    @property
    def checkpoints(self) -> Path:
        return self.path / places.CHECKPOINTS

    def options(self) -> dict[str, Any] | None:
        """What stands in config.json; None where nothing, or somebody else's file, lies there."""
        with contextlib.suppress(OSError, ValueError, RecursionError):
            options = json.loads((self.path / places.OPTIONS).read_text())
            if isinstance(options, dict):
                return options
        return None

    def checked_config(self) -> TrainConfig:
        """The options.

        Raises:
            UserError: another version wrote them, they are none, or they name code that nobody named.
        """
        return TrainConfig.from_json(self.path / places.OPTIONS)

    def config(self) -> TrainConfig | None:
        """The options, checked; None where another version wrote them, or they are none."""
        try:
            return self.checked_config()
        except UserError:
            return None

    def write_options(self, config: TrainConfig) -> None:
        """Raises OSError where it cannot be written, as the others that write."""
        content = json.dumps(config.to_json(), indent=2) + "\n"
        write_whole(self.path / places.OPTIONS, content.encode())

    def rows(self) -> list[Row]:
        """The ticks, from stats.jsonl; lines that somebody else cut or wrote are passed over.

        Raises:
            OSError: it is there and cannot be read.
        """
        return [row for row in objects(self.path / places.STATS) if is_row(row)]

    def write_rows(self, rows: Iterable[Row]) -> None:
        """Write stats.jsonl anew, so that what a resumed run does again never stands there twice.

        What is written depends on the training alone, not on the clock: times stand in log.txt.
        """
        write_whole(self.path / places.STATS, text(rows))

    def data_head(self) -> dict[str, Any]:
        """What the head of data.jsonl tells of the images; {} where that is not there."""
        try:
            with (self.path / places.DATA).open() as file:
                head = json.loads(file.readline())
        except (OSError, ValueError, RecursionError):
            return {}
        return head if isinstance(head, dict) else {}

    def class_counts(self, classes: Sequence[str]) -> list[int] | None:
        """How many of the images that it was trained on have each class, by data.jsonl; None where that tells none."""
        found = dict.fromkeys(classes, 0)
        with contextlib.suppress(OSError):
            for line in objects(self.path / places.DATA):
                name = line.get("class")
                if isinstance(name, str) and name in found and not line.get("held_out"):
                    found[name] += 1
        return list(found.values()) if any(found.values()) else None

    def write_data(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write data.jsonl: the head, then a line for each image."""
        write_whole(self.path / places.DATA, text(lines))

    def evaluations(self) -> list[Row]:
        """The numbers that the run was given, oldest first; lines that are none are passed over.

        Raises:
            OSError: metrics.jsonl is there and cannot be read.
        """
        return [row for row in objects(self.path / places.METRICS) if "subject" in row]

    def append_evaluation(self, row: Row) -> None:
        """Keep an evaluation behind those before it.

        Raises:
            OSError: it cannot be written (without `strerror`: another process holds the file for too long).
        """
        with FileLock(self.path / places.METRICS_LOCK, timeout=WAIT):
            path = self.path / places.METRICS
            before = path.read_bytes() if path.is_file() else b""
            if before and not before.endswith(b"\n"):
                before += b"\n"
            write_whole(path, before + text([row]))

    def append_log(self, line: str) -> None:
        with (self.path / places.LOG).open("a") as file:
            file.write(line + "\n")


def text(lines: Iterable[dict[str, Any]]) -> bytes:
    """
    >>> text([{"tick": 0}, {"tick": 1}])
    b'{"tick": 0}\\n{"tick": 1}\\n'
    """
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def objects(path: Path) -> list[Row]:
    """The JSON objects that stand in a file, each in a line of its own; other lines are passed over. [] without it."""
    found = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [each for each in found if isinstance(each, dict)]


def is_row(row: object) -> bool:
    """Whether it has the numbers of a tick.

    >>> is_row({"tick": 0}), is_row([])
    (False, False)
    """
    numbers = ("tick", "kimg", "score", "density_g", "density_d")
    return isinstance(row, dict) and all(type(row.get(name)) in (int, float) for name in numbers) and "phase" in row
