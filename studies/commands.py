"""A job that the command line does: `rggan train`, then `rggan evaluate` of the best snapshot."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.queue import Job, Row, commit

FAST = ("--precision", "bf16", "--device", "cpu")


@dataclass(frozen=True)
class CommandJob(Job):
    """A run that is trained and evaluated as a user would."""

    def evaluation(self, cifar: Path) -> list[str]:
        """How its best snapshot is evaluated: options of `rggan evaluate`."""
        raise NotImplementedError

    def measured_besides(self, folder: Path, cifar: Path) -> Row:
        """More columns of its row, measured on the finished run in `folder`."""
        return {}

    def folders(self, out: Path) -> Row:
        """Options of the run that name folders of this machine: no part of its row."""
        return {}

    def run(self, cifar: Path, out: Path) -> Row:
        started = time.perf_counter()
        place, options = self.folder(out), self.train_options()
        words = flags({"network": "sngan", **options, **self.folders(out)})
        rggan("train", str(self.data(cifar)), *words, "--outdir", str(place))
        (folder,) = place.glob("0*")
        best = json.loads(rggan("evaluate", str(folder), *self.evaluation(cifar), *FAST, "--json"))
        rows = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
        chosen, last = min(rows, key=lambda row: row["score"]), rows[-1]
        quarter = rows[-max(1, len(rows) // 4) :]
        row: Row = {"stage": self.stage, "arm": self.arm, "seed": self.seed, "value": self.value}
        for column, name in (("fid", "fd-small"), ("kid", "kid")):  # the first as in the rows of earlier versions
            row[column] = best[name]["value"] if best.get(name) else None  # no fd-small of a hundred
        row |= {"steering": chosen["score"], "steering_last_quarter": sum(r["score"] for r in quarter) / len(quarter)}
        row |= {name: chosen.get(name) for name in ("kimg", "density_g", "density_d", "phase", "copies", "diversity")}
        row |= {
            f"last_{name}": last[name] for name in ("density_g", "density_d", "phase", "d_real", "d_sign", "d_fake")
        }
        row |= {f"least_density_{network}": min(r[f"density_{network}"] for r in rows) for network in "gd"}
        row |= {"flips": last["flips"], "scores": [round(r["score"], 4) for r in rows]}
        row |= self.measured_besides(folder, cifar)
        if best.get("memorisation"):
            told = best["memorisation"]
            row["memorisation"] = {name: told[name] for name in told if name != "sheet"}  # a path of this machine
        return row | {"options": options, "seconds": round(time.perf_counter() - started), "commit": commit()}


def flags(options: dict[str, Any]) -> list[str]:
    """Options as the command line takes them.

    >>> flags({"width_g": 32, "balance": True, "mirror": False})
    ['--width-g', '32', '--balance', '--no-mirror']
    """
    found = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        found += [flag if value else f"--no-{flag[2:]}"] if isinstance(value, bool) else [flag, str(value)]
    return found


def rggan(*arguments: str) -> str:
    """`rggan ...`: what it prints. A SIGTERM is passed on, so that a training that is stopped keeps its state.

    Raises:
        SystemExit: it failed; with all that it printed.
    """
    command = [sys.executable, "-m", "rggan", *arguments]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        before = signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
        try:
            told, errors = process.communicate()
        finally:
            signal.signal(signal.SIGTERM, before)
    if process.returncode:
        raise SystemExit(f"rggan {' '.join(arguments)}\n{told}{errors}")
    return told
