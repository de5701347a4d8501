"""The families study: dense and RG-GAN on SNGAN, StyleGAN2 and FastGAN, on two data sets, over three paired seeds.

    python -m studies list|work|jobs families [DATA...] --cifar CIFAR10_FOLDER --pictures FACES_FOLDER --out OUT

Each job trains one run and evaluates it with the reporting extractor. CIFAR10_FOLDER holds
{train,test}/<class>/NNNN.jpg: 1,000 images are drawn, 900 of them train, and the reference of the evaluation is the
10,000 test images. FACES_FOLDER holds a hundred images, which are training set and reference. The arms of a family see
as many images; widths and lengths are what a CPU core trains in minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.commands import CommandJob
from studies.places import RESULTS

ROWS = RESULTS / "families.jsonl"
DATA: dict[str, dict[str, Any]] = {
    "cifar": {"resolution": 32, "max_images": 1000, "pattern": "*[02468].jpg"},
    "faces": {"resolution": 64},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "SNGAN": {"network": "sngan", "width_g": 32, "width_d": 32, "z_dim": 128, "lr": 1e-3, "batch": 32},
    "StyleGAN2": {"network": "stylegan2", "width_g": 32, "width_d": 32, "z_dim": 128, "batch": 16},
    "FastGAN": {"network": "fastgan", "width_g": 12, "width_d": 12, "z_dim": 128, "batch": 16},
}
KIMG = {
    **{("cifar", "SNGAN"): 100, ("cifar", "StyleGAN2"): 60, ("cifar", "FastGAN"): 30},
    **{("faces", "SNGAN"): 60, ("faces", "StyleGAN2"): 24, ("faces", "FastGAN"): 16},
}
EVALUATIONS = 10
COMMON = {"precision": "bf16", "aug": "diff", "score_samples": 300, "ema": 0.995}  # short runs need a short average
ONCE = ("--replicates", "1", "--memorisation", "on")
SHARES = {"ramp": 0.4, "fade": 0.05}  # of the run's length


def options(data: str, family: str, arm: str) -> dict[str, Any]:
    """The options of one run, without its seed."""
    kimg = KIMG[data, family]
    found = {**COMMON, **DATA[data], **FAMILIES[family], "kimg": kimg, "snap": kimg / EVALUATIONS}
    if arm == "dense":
        return {**found, "rule": "none"}
    lengths = {name: share * kimg for name, share in SHARES.items()}
    return {**found, "rule": "threshold", "target_g": 0.5, "target_d": 0.5, "dead_band": 0.05, **lengths}


@dataclass(frozen=True)
class FamilyJob(CommandJob):
    """A run on `faces`, or without them on CIFAR-10."""

    faces: Path | None = None

    def data(self, cifar: Path) -> Path:
        return self.faces or super().data(cifar)

    def evaluation(self, cifar: Path) -> list[str]:
        if self.faces:
            return ["--metrics", "kid", "--samples", "2000", *ONCE]
        return ["--reference", str(cifar / "test"), "--metrics", "fd", "kid", "--samples", "5000", *ONCE]


def stages(pictures: Path = Path("faces")) -> dict[str, list[FamilyJob]]:
    """{data set: its jobs}, paired runs beside each other. pictures: the hundred faces."""
    return {
        data: [
            FamilyJob(f"3-{data}", f"{family} {arm}", seed, family, options(data, family, arm), place)
            for seed in range(3)
            for family in FAMILIES
            for arm in ("dense", "RG-GAN")
        ]
        for data, place in (("cifar", None), ("faces", pictures))
    }
