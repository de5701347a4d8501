"""The study: dense, RG-GAN and its baselines in one loop, on few CIFAR-10 images, over paired seeds.

    python runs/study.py CIFAR10_FOLDER OUT list             # the jobs of every stage, and which are done
    python runs/study.py CIFAR10_FOLDER OUT work [STAGE...]  # do the others; may run twice, may be stopped

CIFAR10_FOLDER holds {train,test}/<class>/NNNN.jpg. Each job trains one run in OUT/runs, judges it with the reporting
network and appends one row to docs/study.jsonl (`--rows` names another file). A job whose row is there is not done
again. Seed s fixes subset, initialisation and order, so that arms of one seed are paired.

Stage 1 tunes one knob of each arm on seeds from 100; its judge is the reporting network against 10,000 CIFAR-10
training images, never the test images. The chosen values stand in CHOSEN. Stage 2 confirms on seeds from 0, against the
10,000 test images. What steers sees only the training images of a run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

ROWS = Path(__file__).parents[1] / "docs" / "study.jsonl"
WIDTH = 32
COMMON = {
    **{"resolution": 32, "width_g": WIDTH, "width_d": WIDTH, "kimg": 100, "snap": 10, "precision": "bf16"},
    **{"aug": "none", "lr": 1e-3, "score_samples": 500, "max_images": 200, "pattern": "*[02468].jpg"},
}
ALWAYS = {"schedule": "always"}
OURS = {"target_g": 0.5, "ramp": 40}
INTEGRATE = {"fade": 5, "dead_band": 0.05}
HARD = {"rule": "hard", "regrow": 0.01}
BASELINES = {
    "static": {"rule": "static", **ALWAYS},
    "magnitude": {"rule": "magnitude", "ramp": 40, **ALWAYS},
    "Re-GAN": {"rule": "oneshot", "schedule": "periodic", "period": 2, "networks": "g"},
    "SET": {"rule": "set", **ALWAYS},
    "RigL": {"rule": "rigl", **ALWAYS},
    "ADAPT-like": {"rule": "set", **ALWAYS, "balance": True},
}
# arm: (its options, its knob, the values that stage 1 tries)
ARMS: dict[str, tuple[dict[str, Any], str, tuple[Any, ...]]] = {
    "dense": ({"rule": "none"}, "lr", (5e-4, 1e-3)),
    "smaller dense": ({"rule": "none"}, "width", (16, 22)),
    "RG-GAN": ({"rule": "threshold", **OURS, **INTEGRATE}, "target_d", (0.5, 0.2)),
    "RG-GAN, hard": ({**HARD, **OURS, **INTEGRATE}, "target_d", (0.5, 0.2)),
    "RG-GAN as described": ({"rule": "threshold"}, "penalty", (1.0, 5.0)),
    "RG-GAN as published": ({"rule": "published"}, "penalty", (1e-12,)),  # by its definition: nothing to tune
    "prune only": ({"rule": "threshold", **OURS, **ALWAYS}, "target_d", (0.5, 0.2)),
    **{arm: (options, "target", (0.5, 0.8)) for arm, options in BASELINES.items()},
}
# What stage 1 found best; `prune only` is RG-GAN without its schedule, and takes its value.
CHOSEN: dict[str, Any] = {
    **{"dense": 1e-3, "smaller dense": 22, "RG-GAN": 0.5, "RG-GAN as described": 1.0, "RG-GAN as published": 1e-12},
    **{"prune only": 0.5, "magnitude": 0.8},
}
BEST_BASELINE = "magnitude"
TUNING_SEED = 100
KEPT = ("dense", "RG-GAN")  # arms whose last training states runs/checks.py looks into
EVALUATE = ("--metrics", "fid", "kid", "--samples", "10000", "--replicates", "1", "--memorisation", "off")
FAST = ("--precision", "bf16", "--device", "cpu")


@dataclass(frozen=True)
class Job:
    """One run."""

    stage: str
    arm: str
    seed: int
    value: Any
    options: dict[str, Any] = field(default_factory=dict)

    def data(self, cifar: Path) -> Path:
        """What it trains on."""
        return cifar / "train"

    def evaluation(self, cifar: Path) -> list[str]:
        """How its best snapshot is judged: options of `rggan evaluate`."""
        if self.stage == "1":
            pattern = self.train_options()["pattern"]
            return ["--reference", str(cifar / "train"), "--pattern", pattern, "--max-images", "10000", *EVALUATE]
        return ["--reference", str(cifar / "test"), *EVALUATE]

    def told_besides(self, folder: Path, cifar: Path) -> dict[str, Any]:
        """What its row tells besides: how far D's outputs on training and test images lie apart."""
        return {"knob": ARMS[self.arm][1], **gap(folder, cifar)}

    def run(self, cifar: Path, out: Path) -> dict[str, Any]:
        """Train, judge, and tell all of it in one row."""
        return do(self, cifar, out)

    @property
    def key(self) -> str:
        return f"{self.stage} {self.arm} {self.value} seed {self.seed}"

    def train_options(self) -> dict[str, Any]:
        base, knob, _ = ARMS[self.arm]
        names = {"width": ("width_g", "width_d"), "target": ("target_g", "target_d")}.get(knob, (knob,))
        if self.arm == "Re-GAN":
            names = ("target_g",)
        return {**COMMON, **base, **{name: self.value for name in names}, **self.options, "seed": self.seed}


def stages() -> dict[str, list[Job]]:
    """Every job, in the order of their worth."""
    tuned = {arm: values for arm, (_, _, values) in ARMS.items() if len(values) > 1 and arm != "prune only"}
    found = {"1": [Job("1", arm, TUNING_SEED, value) for arm, values in tuned.items() for value in values]}
    found["2a"] = [Job("2", arm, seed, CHOSEN[arm]) for seed in range(6) for arm in ("dense", "RG-GAN")]
    sides = ("smaller dense", BEST_BASELINE, "RG-GAN as described", "RG-GAN as published", "prune only")
    found["2s"] = [Job("2", arm, seed, CHOSEN[arm]) for arm in sides for seed in range(3)]
    diff = {"aug": "diff"}
    found["2b"] = [Job("2b", arm, seed, CHOSEN[arm], diff) for seed in range(8) for arm in ("dense", "RG-GAN")]
    return found


def flags(options: dict[str, Any]) -> list[str]:
    told = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        told += [flag if value else f"--no-{flag[2:]}"] if isinstance(value, bool) else [flag, str(value)]
    return told


def run(*arguments: str) -> str:
    """`rggan ...`: what it printed."""
    done = subprocess.run([sys.executable, "-m", "rggan", *arguments], text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"rggan {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout


def do(job: Job, cifar: Path, out: Path) -> dict[str, Any]:
    """Train, judge, and tell all of it in one row."""
    started = time.perf_counter()
    place = out / "runs" / job.key.replace(" ", "_").replace(",", "")
    options = job.train_options()
    run("train", "--data", str(job.data(cifar)), *flags(options), "--outdir", str(place))
    (folder,) = place.glob("0*")
    best = json.loads(run("evaluate", str(folder), *job.evaluation(cifar), *FAST, "--json"))
    rows = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    chosen = min(rows, key=lambda row: row["score"])
    quarter = rows[-max(1, len(rows) // 4) :]
    row = {"stage": job.stage, "arm": job.arm, "seed": job.seed, "value": job.value}
    row |= {name: best[name]["value"] if best.get(name) else None for name in ("fid", "kid")}  # no FID of a hundred
    row |= {"steering": chosen["score"], "steering_last_quarter": sum(r["score"] for r in quarter) / len(quarter)}
    row |= {name: chosen.get(name) for name in ("kimg", "density_g", "density_d", "phase", "copies", "diversity")}
    row |= {
        f"last_{name}": rows[-1][name] for name in ("density_g", "density_d", "phase", "d_real", "d_sign", "d_fake")
    }
    row |= {"least_density_g": min(r["density_g"] for r in rows), "least_density_d": min(r["density_d"] for r in rows)}
    row |= {"flips": rows[-1]["flips"], "scores": [round(r["score"], 4) for r in rows]}
    row |= job.told_besides(folder, cifar)
    if best.get("memorisation"):
        row["memorisation"] = best["memorisation"]
    row |= {"options": options, "seconds": round(time.perf_counter() - started), "commit": commit()}
    if job.arm not in KEPT:
        shutil.rmtree(folder / "checkpoints")
    return row


def gap(folder: Path, cifar: Path) -> dict[str, float]:
    """The last discriminator's mean output on its training images and on test images, which nothing has seen."""
    from rggan.config import TrainConfig
    from rggan.data import load_images
    from rggan.training import instruments
    from rggan.training.checkpoint import readable
    from rggan.training.reading import read_data
    from rggan.training.trainer import Training

    config = TrainConfig.from_json(folder / "config.json")
    data = read_data(config)
    training = Training(config, data, data)
    training.load_state_dict(next(readable(folder / "checkpoints", print))["training"])
    return instruments.gap(training, load_images(str(cifar / "test"), 32, max_images=500, seed=0))


def commit() -> str:
    """Of the code that is running; with + where it was changed since."""
    folder = Path(__file__).parents[1]
    told = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=folder, capture_output=True, text=True)
    return told.stdout.strip()


def done_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def key_of(row: dict[str, Any]) -> str:
    return Job(row["stage"], row["arm"], row["seed"], row["value"]).key


def open_jobs(names: list[str]) -> Iterator[Job]:
    for name, jobs in stages().items():
        for job in jobs:
            if not names or name in names:
                yield job


def work(cifar: Path, out: Path, rows: Path, jobs: Iterable[Job]) -> None:
    """Each job whose row is not there and that no other worker holds."""
    (out / "locks").mkdir(parents=True, exist_ok=True)
    for job in jobs:
        lock = FileLock(out / "locks" / f"{job.key.replace(' ', '_')}.lock", timeout=0)
        try:
            with lock:
                if job.key in {key_of(row) for row in done_rows(rows)}:
                    continue
                print(job.key, flush=True)
                row = job.run(cifar, out)
                with FileLock(out / "rows.lock"), rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                ends = ", ".join(f"{n} {row[n]:.4g}" for n in ("fid", "kid", "best", "last") if row.get(n) is not None)
                print(f"  {ends} in {row['seconds']} s", flush=True)
        except Timeout:
            continue


def act(arguments: argparse.Namespace, jobs: Iterable[Job]) -> None:
    """The command: do the jobs, or list them and say which are done."""
    if arguments.command == "work":
        work(arguments.cifar, arguments.out, arguments.rows, jobs)
        return
    there = {key_of(row) for row in done_rows(arguments.rows)}
    for job in jobs:
        print("done" if job.key in there else "    ", job.key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("command", choices=("list", "work"))
    parser.add_argument("stages", nargs="*")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    act(arguments, open_jobs(arguments.stages))


if __name__ == "__main__":
    main()
