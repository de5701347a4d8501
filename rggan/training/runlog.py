"""A run's folder: numbered, found again, with log.txt and stats.jsonl."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from rggan.config import TrainConfig
from rggan.errors import make_folder

Row = dict[str, Any]


def describe(config: TrainConfig, resolution: int) -> str:
    """What a run's folder is called, behind its number: digits-16-sngan-threshold."""
    data = re.sub(r"[^A-Za-z0-9_.]+", "_", Path(config.data).stem) or "images"
    return f"{data}-{resolution}-{config.network}-{config.rule}"


def runs(outdir: Path) -> list[Path]:
    """The run folders in `outdir`, oldest first."""
    found = [path for path in outdir.glob("*/") if re.match(r"\d{5}-", path.name)]
    return sorted(path for path in found if (path / "config.json").is_file())


def find_run(config: TrainConfig) -> Path | None:
    """The newest run with the same options."""
    for path in reversed(runs(config.outdir)):
        try:
            if config.same_run(json.loads((path / "config.json").read_text())):
                return path
        except (OSError, ValueError, AttributeError):  # somebody else's folder
            continue
    return None


def new_run(config: TrainConfig, resolution: int) -> Path:
    """Make the next numbered folder, with its config.json."""
    make_folder(config.outdir)
    numbers = [int(path.name[:5]) for path in config.outdir.glob("[0-9][0-9][0-9][0-9][0-9]-*")]
    path = config.outdir / f"{max(numbers, default=-1) + 1:05d}-{describe(config, resolution)}"
    make_folder(path)
    (path / "config.json").write_text(json.dumps(config.to_json(), indent=2) + "\n")
    return path


def read_rows(run: Path) -> list[Row]:
    """The ticks of a run, from its stats.jsonl."""
    path = run / "stats.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError):  # the last line of a run that was killed
            rows.append(json.loads(line))
    return rows


class RunLog:
    """Says things on the console and in log.txt, and writes stats.jsonl."""

    def __init__(self, run: Path, console: Console) -> None:
        self.run, self.console = run, console

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        with (self.run / "log.txt").open("a") as file:
            file.write(line + "\n")

    def write_rows(self, rows: Iterable[Row]) -> None:
        """Write stats.jsonl anew: what a resumed run will do again must not stand there twice."""
        beside = self.run / ".stats.part"
        beside.write_text("".join(json.dumps(row) + "\n" for row in rows))
        beside.replace(self.run / "stats.jsonl")

    def add_row(self, row: Row) -> None:
        with (self.run / "stats.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


def status_line(row: Row) -> str:
    """tick 3  kimg 60.0  sec/kimg 1.23  score 0.0451  density G 0.91 D 0.88  prune"""
    return (
        f"tick {row['tick']:<4d} kimg {row['kimg']:<8.1f} sec/kimg {row['sec_per_kimg']:<7.2f} "
        f"score {row['score']:<9.4f} density G {row['density_g']:.3f} D {row['density_d']:.3f}  {row['phase']}"
    )
