"""The whole drill, and the page that tells its figures: python -m tests.faults --page docs/reliability.md

Disks of a given size are mounted in a namespace of its own (`unshare`), where the system allows that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import PIL
import torch

from tests.faults.configurations import CONFIGURATIONS
from tests.faults.drill import Drill, Outcome
from tests.faults.fuzz import run as fuzz
from tests.faults.page import failures, page
from tests.faults.ranks import RanksDrill
from tests.faults.traps import CPU

INSIDE = "RGGAN_DRILL_NAMESPACE"
ON_DISKS = ("threshold", "threshold, bf16")


def instants(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kills of runs by each configuration."""
    found = {}
    stops, moments = max(1, options.kills // 20), max(1, options.kills // 10)
    for name in options.configuration or CONFIGURATIONS:
        drill = Drill(folder / str(len(found)), CONFIGURATIONS[name], options.seed)
        outcome = drill.instants(max(1, options.kills - 3 * stops - 4 * moments), stops, moments)
        two = drill.two_at_once() or "refused, exact"
        found[name] = {**vars(outcome), "two at once": two, "seconds": round(drill.counts[CPU], 1)}
        print(name, json.dumps(found[name]), flush=True)
        shutil.rmtree(drill.folder)
    return {"configurations": found}


def disks(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Runs on full and read-only disks; nothing where nothing can be mounted."""
    outcome = Outcome()
    for name in ON_DISKS if os.environ.get(INSIDE) == "1" else ():
        drill = Drill(folder / name, CONFIGURATIONS[name], options.seed)
        disk = drill.folder / "disk"
        disk.mkdir()
        for number in range(options.disks):
            share = 0.02 + 0.93 * number / max(1, options.disks - 1)
            outcome.add(*drill.starved(disk, share, go_on=number % 2 == 1))
        for _ in range(max(1, options.disks // 5)):
            outcome.add(*drill.read_only(disk))
    return vars(outcome)


def ranks(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kills of single ranks, of two and of three: two thirds of them, and the rest."""
    outcome = Outcome()
    third = options.ranks // 3
    for number, kills in ((2, options.ranks - third), (3, third)):
        part = RanksDrill(folder / str(number), number, options.seed).moments(kills)
        outcome.tried += part.tried
        outcome.exact += part.exact
        outcome.failures += part.failures
    return vars(outcome)


def inputs(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Hostile input."""
    return fuzz(options.inputs, options.seed, folder / "fuzz").to_json()


PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "drill": instants,
    "disks": disks,
    "ranks": ranks,
    "inputs": inputs,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="write the figures here (and beside it as .json)")
    parser.add_argument("--kills", type=int, default=40, help="of each configuration")
    parser.add_argument("--configuration", action="append", choices=[*CONFIGURATIONS], help="these alone")
    parser.add_argument("--disks", type=int, default=20, help="full disks per precision")
    parser.add_argument("--ranks", type=int, default=30, help="ranks that are killed at random instants")
    parser.add_argument("--inputs", type=int, default=30_000, help="hostile inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", action="append", choices=[*PARTS], help="this part alone; the others stay as they are on the page"
    )
    options = parser.parse_args()
    if INSIDE not in os.environ and shutil.which("unshare"):
        able = subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode == 0
        os.environ[INSIDE] = "1" if able else "0"
        if able:
            os.execvp("unshare", ["unshare", "-Urm", sys.executable, "-m", "tests.faults", *sys.argv[1:]])
    told = before(options.page) if options.only else {}
    for name in options.only or PARTS:
        told[name] = part(PARTS[name], options)
        print(name, json.dumps(told[name], indent=2), flush=True)
        if options.page:  # what is done stays, should the next part end early
            written(told, options.page)
    return 1 if failures(told) else 0


def before(place: Path | None) -> dict[str, Any]:
    """The figures that are there."""
    if place is None or not (figures := place.with_suffix(".json")).is_file():
        return {}
    return {name: told for name, told in json.loads(figures.read_text()).items() if name in PARTS}


def part(work: Callable[[Path, argparse.Namespace], dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """What one part found, with what made it."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        told = work(Path(folder), options)
    versions = {"Python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__}
    versions |= {"Pillow": PIL.__version__, "system": platform.system()}
    minutes = round((time.perf_counter() - started) / 60, 1)
    return {**told, "seed": options.seed, "minutes": minutes, "versions": versions}


def written(told: dict[str, Any], place: Path) -> None:
    place.with_suffix(".json").write_text(json.dumps(told, indent=2) + "\n")
    place.write_text(page(told))


if __name__ == "__main__":
    sys.exit(main())
