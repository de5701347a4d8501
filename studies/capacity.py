"""The capacity study: does a discriminator whose density follows its overfitting make a better GAN from few images?

    python -m studies list|work|jobs capacity [STAGE...] --cifar CIFAR10_FOLDER --out OUT    # studies/__main__.py
    python -m studies list|work|jobs capacity faces --pictures FOLDER --out OUT  # the other networks, a hundred images

CIFAR10_FOLDER holds {train,test}/<class>/NNNN.jpg. Each job trains one run in OUT/runs; its row has the curve of its
snapshots (studies/curves.py): fd-small of 2,000 samples by the reporting extractor at every evaluation. Seed s fixes
subset, initialisation and order, so that arms of one seed are paired.

Stages: `pilot` and `longer` (dense, how long it takes until it overfits), `tune` (seeds from 100, evaluated
against CIFAR-10 training images), the claims and the controls (seeds from 0, evaluated against test images), `faces`
(FastGAN and StyleGAN2 at 64 pixels, evaluated against their training images, for there are no others: described, no
claim). Fixed before they were run:

    end points  "best": fd-small of the snapshot with the best validation score. "last": mean of the last quarter.
    (a)         adaptive D against dense, 100 images, no augmentation
    (b), (c)    the same with 1,000 images; with 100 and DiffAugment
    (d)         G at half of its weights besides: at most 1.05 of (a)'s arm
    (e)         the dense finale against the same drop of G's learning rate without it
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rggan import TrainConfig
from rggan.data import load_images
from rggan.presets import settings
from studies.curves import Evaluator, Point, train_with_curve
from studies.places import RESULTS
from studies.queue import Job, Row, commit, row_of, write_alone

ROWS = RESULTS / "capacity.jsonl"
SIDE, REFERENCE = 16, 5000
COMMON: dict[str, Any] = {
    **{"resolution": SIDE, "width_g": 32, "width_d": 32, "batch": 16, "d_steps": 2, "kimg": 96, "snap": 8},
    **{"lr": 1e-3, "ema": 0.995, "aug": "none", "precision": "fp32", "device": "cpu", "score_samples": 500},
    **{"max_images": 100, "pattern": "*[02468].jpg"},
}
DENSE: dict[str, Any] = {"rule": "none"}
ADAPTIVE: dict[str, Any] = {"rule": "threshold", "networks": "d", "target_d": "auto"}
PILOT = {100: (96, 6), 200: (128, 8), 500: (288, 12), 1000: (512, 16)}  # images: kimg, between two evaluations
LONGER_PILOT = {1000: (1024, 32), 500: (576, 24), 200: (256, 16)}  # in PILOT only that of 100 rose again
TUNED: dict[str, tuple[dict[str, Any], str, tuple[Any, ...]]] = {  # arm: options, tuned, tried
    "dense": (DENSE, "lr", (1e-3, 5e-4)),
    "adaptive": ({**ADAPTIVE, "adapt_kimg": 10}, "set_point", (0.5, 0.7)),
}
# The best of each arm by "best" on the tuning seed.
ARMS_A: dict[str, dict[str, Any]] = {"dense": DENSE, "adaptive": {**ADAPTIVE, "adapt_kimg": 10, "set_point": 0.5}}
TUNING_SEED = 100
SEEDS, FEW_SEEDS = range(6), range(3)
HALF_G = {**ARMS_A["adaptive"], "networks": "both", "target_g": 0.5, "ramp": 40, "schedule": "always"}
FINALE = {"finale": 0.25, "finale_lr": 0.1}
SAME_PATH = "the adaptive run's"  # density over time, of the same seed: taken from its row
CONTROLS: dict[str, dict[str, Any]] = {
    "small dense D": {**DENSE, "width_d": 12},  # as many weights as the adaptive D ends with
    "static, same path": {"rule": "static", "networks": "d", "target_d": SAME_PATH, "min_fan": 1},
    "D dropout": {**DENSE, "dropout_d": 0.2},
    "dense, half the rate": {**DENSE, "lr": COMMON["lr"] / 2},  # nearly as good as adaptive on the tuning seed
}
MORE_CONTROLS: dict[str, dict[str, Any]] = {
    "magnitude, same path": {"rule": "magnitude", "networks": "d", "target_d": SAME_PATH, "min_fan": 1},
    "DynamicD rows": {**DENSE, "dynamic_d": 0.5},
    "decay": {**DENSE, "lr_decay": 0.3},
    "R1": {**DENSE, "gamma": 0.1},
    "LeCam": {**DENSE, "lecam": 0.3},
    "ADA": {**DENSE, "aug": "ada", "ada_kimg": 50},
}
ROUNDED = 4
FACES: dict[str, dict[str, Any]] = {  # the networks of studies/families.py, without its augmentation
    "FastGAN": {**settings("fastgan"), "width_g": 12, "width_d": 12, "z_dim": 128, "kimg": 16, "lr": 2e-4},
    "StyleGAN2": {**settings("stylegan2"), "width_g": 32, "width_d": 32, "z_dim": 128, "kimg": 24, "batch": 16},
}


@dataclass(frozen=True)
class CurveJob(Job):
    """A run with the curve of all its snapshots.

    faces: training set and reference, if not CIFAR-10.
    """

    faces: Path | None = None

    def data(self, cifar: Path) -> Path:
        return self.faces or super().data(cifar)

    def train_options(self) -> dict[str, Any]:
        return {**COMMON, **self.options, "seed": self.seed}

    def evaluator(self, cifar: Path) -> Evaluator:
        """Tuning has another reference than what is reported."""
        options = self.train_options()
        part, pattern = ("train", options["pattern"]) if self.stage.startswith("tune") else ("test", "*")
        place, count = (self.faces, options["max_images"]) if self.faces else (cifar / part, REFERENCE)
        return Evaluator(load_images(str(place), options["resolution"], max_images=count, seed=0, pattern=pattern))

    def run(self, cifar: Path, out: Path) -> Row:
        started = time.perf_counter()
        options = self.train_options()
        given = {**options}
        if options.get("target_d") == SAME_PATH:
            given["target_d"] = str(density_path(self.seed, out))
        config = TrainConfig(data=str(self.data(cifar)), outdir=self.folder(out), **given)
        _, curve = train_with_curve(config, self.evaluator(cifar))
        row: Row = {"stage": self.stage, "arm": self.arm, "seed": self.seed, "value": self.value}
        row |= end_points(curve)
        row["curve"] = [
            {key: rounded(value) for key, value in point.items() if isinstance(value, int | float | str)}
            for point in curve
        ]
        return row | {"options": options, "seconds": round(time.perf_counter() - started), "commit": commit()}


def density_path(seed: int, out: Path) -> Path:
    """A run folder with the densities over time of the adaptive run of this seed, for `--target-d`.

    Raises:
        SystemExit: that run has no row yet.
    """
    row = row_of(CurveJob("a", "adaptive", seed, ""), out)
    if row is None:
        raise SystemExit(f"The controls of seed {seed} take the densities of (a)'s adaptive run: run stage a first.")
    folder = out / "paths" / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_alone(folder / "stats.jsonl", "".join(json.dumps(point) + "\n" for point in row["curve"]))
    return folder


def end_points(curve: list[Point]) -> dict[str, float]:
    """Of fd-small. best: at the lowest validation score. last: mean of the last quarter. lowest: of the run.

    >>> end_points([{"score": s, "fid": f} for s, f in ((3.0, 90), (1.0, 60), (1.5, 55), (2.0, 70))])
    {'best': 60, 'last': 70.0, 'lowest': 55}
    """
    quarter = curve[-max(1, len(curve) // 4) :]
    return {
        "best": min(curve, key=lambda point: point["score"])["fid"],
        "last": sum(point["fid"] for point in quarter) / len(quarter),
        "lowest": min(point["fid"] for point in curve),
    }


def rounded(value: Any) -> Any:
    return round(value, ROUNDED) if isinstance(value, float) else value


def faces_jobs(faces: Path) -> list[CurveJob]:
    """Dense, adaptive, DiffAugment and both, on the families for images of 64 pixels."""
    found = []
    for family, options in FACES.items():
        shared = {**options, "resolution": 64, "pattern": "*", "d_steps": 1, "snap": options["kimg"] / 8}
        for seed in FEW_SEEDS:
            for aug in ("none", "diff"):
                for arm, method in ARMS_A.items():
                    value = f"{family}, DiffAugment" if aug == "diff" else family
                    # A density may halve within the same share of the run as on CIFAR-10.
                    speed = {"adapt_kimg": options["kimg"] * 10 / 96} if arm == "adaptive" else {}
                    found.append(CurveJob("faces", arm, seed, value, {**shared, **method, "aug": aug, **speed}, faces))
    return found


def stages(pictures: Path = Path("faces")) -> dict[str, list[CurveJob]]:
    """{stage: its jobs}, the most important first. pictures: training set of stage `faces`."""
    pilot, longer = (
        [
            CurveJob(stage, "dense", 0, images, {**DENSE, "max_images": images, "kimg": kimg, "snap": snap})
            for images, (kimg, snap) in lengths.items()
        ]
        for stage, lengths in (("pilot", PILOT), ("pilot, longer", LONGER_PILOT))
    )
    tune = [
        CurveJob("tune", arm, TUNING_SEED, value, {**options, tuned: value})
        for arm, (options, tuned, values) in TUNED.items()
        for value in values
    ]
    # Where dense overfits later: the same learning rates with 200 images.
    later = {**DENSE, "max_images": 200, "kimg": 128}
    tune += [CurveJob("tune, 200 images", "dense", TUNING_SEED, lr, {**later, "lr": lr}) for lr in (1e-3, 2e-3)]
    a = [CurveJob("a", arm, seed, "", options) for seed in SEEDS for arm, options in ARMS_A.items()]
    few = [CurveJob("a", "half G", seed, "", HALF_G) for seed in FEW_SEEDS]
    controls, more = (
        [CurveJob("a", arm, seed, "", options) for arm, options in arms.items() for seed in FEW_SEEDS]
        for arms in (CONTROLS, MORE_CONTROLS)
    )
    finale = {"finale": {**HALF_G, **FINALE}, "drop": {**HALF_G, **FINALE, "finale_dense": False}}
    e = [CurveJob("e", arm, seed, "", options) for seed in FEW_SEEDS for arm, options in finale.items()]
    c = [CurveJob("c", arm, seed, "", {**o, "aug": "diff", "kimg": 240}) for seed in SEEDS for arm, o in ARMS_A.items()]
    b = [CurveJob("b", arm, s, "", {**o, "max_images": 1000, "kimg": 400}) for s in SEEDS for arm, o in ARMS_A.items()]
    found = {"tune": tune, "a": a, "controls": controls, "d": few, "e": e, "pilot": pilot}
    found |= {"longer": longer, "more": more}
    return {**found, "c": c, "b": b, "faces": faces_jobs(pictures)}
