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
from pathlib import Path
from typing import Any

import numpy
import PIL
import torch

from tests.faults.drill import Drill, Outcome
from tests.faults.fuzz import run as fuzz
from tests.faults.page import failures, page
from tests.faults.ranks import RanksDrill

INSIDE = "RGGAN_DRILL_NAMESPACE"


def disks(drill: Drill, count: int) -> Outcome | None:
    """Runs on full and read-only disks; None where nothing can be mounted."""
    if os.environ.get(INSIDE) != "1":
        return None
    outcome = Outcome()
    disk = drill.folder / "disk"
    disk.mkdir()
    for number in range(count):
        outcome.add(*drill.starved(disk, 0.02 + 0.93 * number / max(1, count - 1), go_on=number % 2 == 1))
    for _ in range(max(1, count // 5)):
        outcome.add(*drill.read_only(disk))
    return outcome


def killed_ranks(folder: Path, count: int, seed: int) -> Outcome:
    """Kills of single ranks, of two and of three: two thirds of them, and the rest."""
    outcome = Outcome()
    for number, kills in ((2, count - count // 3), (3, count // 3)):
        part = RanksDrill(folder / str(number), number, seed).moments(kills)
        outcome.tried += part.tried
        outcome.exact += part.exact
        outcome.failures += part.failures
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="write the figures here (and beside it as .json)")
    parser.add_argument("--traps", type=int, default=1000, help="exact places per precision (default: all there are)")
    parser.add_argument("--moments", type=int, default=10, help="random moments per signal and precision")
    parser.add_argument("--disks", type=int, default=20, help="full disks per precision")
    parser.add_argument("--ranks", type=int, default=30, help="ranks that are killed at random instants")
    parser.add_argument("--inputs", type=int, default=12_000, help="hostile inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["ranks"], help="this part alone; the others stay as they are on the page")
    options = parser.parse_args()
    if options.only:
        told = json.loads(options.page.with_suffix(".json").read_text())
        return written({**told, "ranks": rank_part(options.ranks, options.seed)}, options.page)
    if INSIDE not in os.environ and shutil.which("unshare"):
        able = subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode == 0
        os.environ[INSIDE] = "1" if able else "0"
        if able:
            os.execvp("unshare", ["unshare", "-Urm", sys.executable, "-m", "tests.faults", *sys.argv[1:]])
    started = time.perf_counter()
    told: dict[str, Any] = {"seed": options.seed, "precisions": {}}
    for precision in ("fp32", "bf16"):
        with tempfile.TemporaryDirectory() as folder:
            drill = Drill(Path(folder), precision, options.seed)
            instants = drill.instants(options.traps, options.moments)
            part: dict[str, Any] = {"instants": vars(instants), "two at once": drill.two_at_once() or "refused, exact"}
            starved = disks(drill, options.disks)
            part["disks"] = None if starved is None else vars(starved)
            told["precisions"][precision] = part
            print(precision, json.dumps(part, indent=2), flush=True)
    told["ranks"] = rank_part(options.ranks, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        told["inputs"] = fuzz(options.inputs, options.seed, Path(folder) / "fuzz").to_json()
    told["minutes"] = round((time.perf_counter() - started) / 60, 1)
    versions = {"Python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__}
    told["versions"] = versions | {"Pillow": PIL.__version__, "system": platform.system()}
    print(json.dumps(told["inputs"], indent=2))
    return written(told, options.page)


def rank_part(count: int, seed: int) -> dict[str, Any]:
    """What killed ranks left."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        told = vars(killed_ranks(Path(folder), count, seed))
    told = {**told, "seed": seed, "torch": torch.__version__, "minutes": round((time.perf_counter() - started) / 60, 1)}
    print("ranks", json.dumps(told, indent=2), flush=True)
    return told


def written(told: dict[str, Any], place: Path | None) -> int:
    """Write the page; the exit code."""
    if place:
        place.with_suffix(".json").write_text(json.dumps(told, indent=2) + "\n")
        place.write_text(page(told))
    return 1 if failures(told) else 0


if __name__ == "__main__":
    sys.exit(main())
