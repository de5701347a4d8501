"""The first study: dense training, RG-GAN and pruning baselines on few CIFAR-10 images, over paired seeds.

    python -m studies list|work|jobs baselines [STAGE...] --cifar CIFAR10_FOLDER --out OUT    # studies/__main__.py

CIFAR10_FOLDER holds {train,test}/<class>/NNNN.jpg. Each job trains one run in OUT/runs and evaluates it with the
reporting extractor. Seed s fixes subset, initialisation and order, so that arms of one seed are paired.

Stage 1 tunes one hyperparameter of each arm on seeds from 100, evaluated by the reporting extractor against 10,000
CIFAR-10 training images, never the test images. The chosen values are in CHOSEN. Stage 2 confirms on seeds from 0,
against the 10,000 test images. The validation score sees only the training images of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.commands import CommandJob
from studies.places import RESULTS
from studies.queue import Row

ROWS = RESULTS / "baselines.jsonl"
WIDTH = 32
COMMON = {
    **{"resolution": 32, "width_g": WIDTH, "width_d": WIDTH, "kimg": 100, "snap": 10, "precision": "bf16"},
    **{"aug": "none", "lr": 1e-3, "score_samples": 500, "max_images": 200, "pattern": "*[02468].jpg"},
}
ALWAYS = {"schedule": "always"}
OURS = {"target_g": 0.5, "ramp": 40}
INTEGRATE = {"fade": 5, "dead_band": 0.05}
HARD = {"rule": "hard", "regrow": 0.01}
BASELINES: dict[str, dict[str, Any]] = {
    "static": {"rule": "static", **ALWAYS},
    "magnitude": {"rule": "magnitude", "ramp": 40, **ALWAYS},
    "Re-GAN": {"rule": "oneshot", "schedule": "periodic", "period": 2, "networks": "g"},
    "SET": {"rule": "set", **ALWAYS},
    "RigL": {"rule": "rigl", **ALWAYS},
    "ADAPT-like": {"rule": "set", **ALWAYS, "balance": True},
}
# arm: (its options, its tuned hyperparameter, the values that stage 1 tries)
ARMS: dict[str, tuple[dict[str, Any], str, tuple[Any, ...]]] = {
    "dense": ({"rule": "none"}, "lr", (5e-4, 1e-3)),
    "smaller dense": ({"rule": "none"}, "width", (16, 22)),
    "RG-GAN": ({"rule": "threshold", **OURS, **INTEGRATE}, "target_d", (0.5, 0.2)),
    "RG-GAN, hard": ({**HARD, **OURS, **INTEGRATE}, "target_d", (0.5, 0.2)),
    "RG-GAN as described": ({"rule": "threshold"}, "penalty", (1.0, 5.0)),
    "RG-GAN as published": ({"rule": "published"}, "penalty", (1e-12,)),  # its published value: nothing to tune
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
KEPT = ("dense", "RG-GAN")  # arms whose last training states stay; studies/checks.py reads RG-GAN's
EVALUATE = ("--metrics", "fd", "kid", "--samples", "10000", "--replicates", "1", "--memorisation", "off")


@dataclass(frozen=True)
class BaselineJob(CommandJob):
    """A run of one of ARMS; `options` are added to the arm's."""

    def evaluation(self, cifar: Path) -> list[str]:
        if self.stage == "1":
            pattern = self.train_options()["pattern"]
            return ["--reference", str(cifar / "train"), "--pattern", pattern, "--max-images", "10000", *EVALUATE]
        return ["--reference", str(cifar / "test"), *EVALUATE]

    def measured_besides(self, folder: Path, cifar: Path) -> Row:
        return {"knob": ARMS[self.arm][1], **gap(folder, cifar)}

    @property
    def keeps_checkpoints(self) -> bool:
        return self.arm in KEPT

    def train_options(self) -> dict[str, Any]:
        base, tuned, _ = ARMS[self.arm]
        names = {"width": ("width_g", "width_d"), "target": ("target_g", "target_d")}.get(tuned, (tuned,))
        if self.arm == "Re-GAN":
            names = ("target_g",)
        return {**COMMON, **base, **{name: self.value for name in names}, **self.options, "seed": self.seed}


def stages(pictures: Path = Path()) -> dict[str, list[BaselineJob]]:
    """{stage: its jobs}, the most important first. pictures: it has no others."""
    tuned = {arm: values for arm, (_, _, values) in ARMS.items() if len(values) > 1 and arm != "prune only"}
    found = {"1": [BaselineJob("1", arm, TUNING_SEED, value) for arm, values in tuned.items() for value in values]}
    found["2a"] = [BaselineJob("2", arm, seed, CHOSEN[arm]) for seed in range(6) for arm in ("dense", "RG-GAN")]
    sides = ("smaller dense", BEST_BASELINE, "RG-GAN as described", "RG-GAN as published", "prune only")
    found["2s"] = [BaselineJob("2", arm, seed, CHOSEN[arm]) for arm in sides for seed in range(3)]
    diff = {"aug": "diff"}
    found["2b"] = [BaselineJob("2b", arm, seed, CHOSEN[arm], diff) for seed in range(8) for arm in ("dense", "RG-GAN")]
    return found


def gap(folder: Path, cifar: Path) -> dict[str, float]:
    """The last discriminator's mean output on its training images (d_train) and on 500 test images (d_held_out)."""
    from rggan.config import TrainConfig
    from rggan.data import load_images
    from rggan.training.checkpoint import readable
    from rggan.training.evaluator import gap_of
    from rggan.training.reading import read_data
    from rggan.training.trainer import Training

    config = TrainConfig.from_json(folder / "config.json")
    data = read_data(config)
    training = Training(config, data, data)
    training.load_state_dict(next(readable(folder / "checkpoints", print))["training"])
    gan, test = training.gan, load_images(str(cifar / "test"), 32, max_images=500, seed=0)
    return gap_of(gan.d, data, test, config.batch, gan.conditional, gan.autocast)
