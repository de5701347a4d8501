"""Run: the only reader and writer of a run folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from rggan.bounded import MOST_BYTES, json_lines, parse_json, read_json, read_regular, regular_size
from rggan.config import TrainConfig
from rggan.errors import UserError
from rggan.files import json_text, nearest_place, write_whole
from rggan.run import places
from rggan.run.naming import of_today

Row = dict[str, Any]
OF_EVERY_VERSION = {"data", "outdir", "rule"}  # options of every version; a snapshot's config.json has none of them
MOST_METRICS = 64 << 20  # bytes of metrics.jsonl: an evaluation takes about 2,000
WAIT = 60  # seconds to wait for another process that appends an evaluation


@dataclass(frozen=True)
class Run:
    """A run folder, which need not exist; `Run.at` checks. str() is its path.

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
        """Returns the run in this folder, of any version and at any stage; None if it is something else.

        A link beside the run (`latest`) is followed, so that the run is called by its own name."""
        with contextlib.suppress(OSError, ValueError):
            if path.is_symlink() and len((target := path.readlink()).parts) == 1:
                path = path.with_name(str(target))
        run = cls(path)
        options = run.options()
        return run if options is not None and options.keys() >= OF_EVERY_VERSION else None

    @classmethod
    def around(cls, path: Path) -> Run | None:
        """Returns the run that a run folder, a snapshot in it or a file of a snapshot belongs to; else None."""
        return next(filter(None, map(cls.at, (path, *path.resolve().parents[:2]))), None)

    @classmethod
    def named(cls, path: Path) -> Run:
        """Like `at`, for a folder that the user named as a run.

        Raises:
            UserError: it is not a run.
        """
        if (run := cls.at(path)) is None:
            if (around := cls.around(path)) is not None:
                raise UserError(f"{path} lies in a run: give the run folder, {around}.")
            hint = nearest_place(path, lambda place: cls.at(place) is not None)
            raise UserError(f"{path} is no run{hint or f' (a folder of `rggan train` with its {places.OPTIONS}).'}")
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
        """Returns the content of config.json; None if it is missing or invalid."""
        with contextlib.suppress(OSError, ValueError):
            options = read_json(self.path / places.OPTIONS)
            if isinstance(options, dict):
                return options
        return None

    def checked_config(self) -> TrainConfig:
        """Returns the options.

        Raises:
            UserError: they are invalid, of another version, or name code that is not trusted.
        """
        return TrainConfig.from_json(self.path / places.OPTIONS)

    def config(self) -> TrainConfig | None:
        """Returns the options; None if they are invalid or of another version."""
        try:
            return self.checked_config()
        except UserError:
            return None

    def write_options(self, config: TrainConfig) -> None:
        """Write config.json. Raises OSError if it cannot be written, like all writing methods."""
        content = json.dumps(config.to_json(), indent=2) + "\n"
        write_whole(self.path / places.OPTIONS, content.encode())

    def rows(self) -> list[Row]:
        """Returns the ticks in stats.jsonl; invalid lines are skipped.

        Raises:
            OSError: it exists and cannot be read. UserError: it is too large.
        """
        return [row for row in objects(self.path / places.STATS) if is_row(row)]

    def write_rows(self, rows: Iterable[Row]) -> None:
        """Rewrite stats.jsonl, so that ticks repeated by a resumed run are not duplicated.

        Its content depends on the training alone, not on the clock: times are in log.txt.
        """
        write_whole(self.path / places.STATS, text(rows))

    def data_head(self) -> dict[str, Any]:
        """Returns the header of data.jsonl; {} if there is none."""
        path = self.path / places.DATA
        with contextlib.suppress(OSError, ValueError):
            regular_size(path)
            with path.open("rb") as file:
                head = parse_json(file.readline(MOST_BYTES))
            if isinstance(head, dict):
                return head
        return {}

    def pictures(self) -> list[Row]:
        """Returns the lines of data.jsonl after its header, one for each picture; [] if there are none.

        Raises:
            UserError: it is too large.
        """
        with contextlib.suppress(OSError):
            return [line for line in objects(self.path / places.DATA) if "name" in line]
        return []

    def class_counts(self, classes: Sequence[str]) -> list[int] | None:
        """Returns the number of training images of each class, from data.jsonl; None if it has no classes.

        Raises:
            UserError: it is too large.
        """
        found = dict.fromkeys(classes, 0)
        with contextlib.suppress(OSError):
            for line in objects(self.path / places.DATA):
                name = line.get("class")
                if isinstance(name, str) and name in found and not line.get("held_out"):
                    found[name] += 1
        return list(found.values()) if any(found.values()) else None

    def write_data(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write data.jsonl: the header, then a line for each image."""
        write_whole(self.path / places.DATA, text(lines))

    def evaluations(self) -> list[Row]:
        """Returns the run's evaluations, oldest first, with the names of today; invalid lines are skipped.

        Raises:
            OSError: metrics.jsonl exists and cannot be read. UserError: it is too large.
        """
        return [of_today(row) for row in objects(self.path / places.METRICS) if "subject" in row]

    def append_evaluation(self, row: Row) -> None:
        """Append an evaluation to metrics.jsonl.

        Raises:
            OSError: it cannot be written (without `strerror`: another process holds the lock for too long).
        """
        with FileLock(self.path / places.METRICS_LOCK, timeout=WAIT):
            path = self.path / places.METRICS
            try:
                before = read_regular(path, MOST_METRICS) if path.is_file() else b""
            except ValueError as error:
                raise OSError(None, str(error)) from error
            if before and not before.endswith(b"\n"):
                before += b"\n"
            write_whole(path, before + text([row]))

    def tracked(self) -> dict[str, Any]:
        """Returns what trackers have of the run, from track.json; {} if it is missing or invalid."""
        with contextlib.suppress(OSError, ValueError):
            found = read_json(self.path / places.TRACKED)
            if isinstance(found, dict) and isinstance(found.get("id"), str) and isinstance(found.get("logged"), dict):
                return found
        return {}

    def append_log(self, line: str) -> None:
        with (self.path / places.LOG).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line + "\n")


def text(lines: Iterable[dict[str, Any]]) -> bytes:
    """
    >>> text([{"tick": 0}, {"tick": 1}])
    b'{"tick": 0}\\n{"tick": 1}\\n'
    """
    return "".join(json_text(line) + "\n" for line in lines).encode()


def objects(path: Path) -> Iterator[Row]:
    """Yields the JSON objects of a file with one per line; other lines are skipped. None if there is no file.

    Raises:
        OSError: it cannot be read. UserError: it is too large.
    """
    if not path.is_file():
        return
    try:
        yield from json_lines(path)
    except ValueError as error:
        raise UserError(f"Cannot read {path}: {error}; put the right one there, or move it away.") from error


def is_row(row: object) -> bool:
    """Whether a row has the numbers of a tick.

    >>> is_row({"tick": 0}), is_row([])
    (False, False)
    """
    numbers = ("tick", "kimg", "score", "density_g", "density_d")
    return isinstance(row, dict) and all(type(row.get(name)) in (int, float) for name in numbers) and "phase" in row
