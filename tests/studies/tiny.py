"""A study of 40 jobs that each take a moment, for tests: no torch, a training that counts its steps."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from studies.queue import Job, Row

STEPS, PAUSE = 4, 0.01


@dataclass(frozen=True)
class Tiny(Job):
    """`begun` in its folder counts its starts, `state` its steps. A file `fail` beside the runs makes it fail, a file
    `kill` ends it after a step."""

    def data(self, cifar: Path) -> Path:
        return cifar

    def run(self, cifar: Path, out: Path) -> Row:
        place = self.folder(out)
        place.mkdir(parents=True, exist_ok=True)
        with (place / "begun").open("a") as file:
            file.write(f"{self.steps(place)}\n")
        if (out / "fail").exists():
            raise SystemExit("it cannot train")
        for step in range(self.steps(place), STEPS):
            time.sleep(PAUSE)
            (place / "state").write_text("x" * (step + 1))
            if (out / "kill").exists():
                os.kill(os.getpid(), signal.SIGKILL)
        row: Row = {"stage": self.stage, "arm": self.arm, "seed": self.seed, "value": self.value}
        return row | {"fid": 1.0 + self.seed, "scores": [0.5] * 2000, "seconds": 1}

    def steps(self, place: Path) -> int:
        return len((place / "state").read_text()) if (place / "state").is_file() else 0


def stages(pictures: Path) -> dict[str, list[Job]]:
    """{stage: its jobs}."""
    return {name: [Tiny(name, "dense, or not", seed, "a b") for seed in range(20)] for name in ("one", "two")}
