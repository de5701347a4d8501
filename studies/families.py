"""The families study: dense and RG-GAN on SNGAN, StyleGAN2 and FastGAN, on two data sets, over three paired seeds.

    python -m studies.families CIFAR10_FOLDER FACES_FOLDER OUT list            # the jobs, and which are done
    python -m studies.families CIFAR10_FOLDER FACES_FOLDER OUT work [DATA...]  # do the others; may run twice

Each job trains one run, evaluates it with the reporting extractor, and appends one row to
studies/results/families.jsonl. CIFAR10_FOLDER holds {train,test}/<class>/NNNN.jpg: 1,000 images are drawn, 900 of them
train, and the reference of the evaluation is the 10,000 test images. FACES_FOLDER holds a hundred images, which are
training set and reference. The arms of a family see as many images; widths and lengths are what a CPU core trains in
minutes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.commands import CommandJob
from studies.places import RESULTS
from studies.queue import Job, act

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


def jobs(names: list[str] | None = None, faces: Path = Path("faces")) -> Iterator[FamilyJob]:
    """Every job, paired runs beside each other."""
    for seed in range(3):
        for data in names or DATA:
            for family in FAMILIES:
                for arm in ("dense", "RG-GAN"):
                    place = faces if data == "faces" else None
                    yield FamilyJob(f"3-{data}", f"{family} {arm}", seed, family, options(data, family, arm), place)


def main(about: str | None, rows: Path, made: Callable[[list[str] | None, Path], Iterable[Job]]) -> None:
    """The command line of a study on CIFAR-10 and on faces.

    about: its help. rows: where results go. made: (names of data sets, the folder of faces) -> jobs.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("faces", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("command", choices=("list", "work"))
    parser.add_argument("data", nargs="*")
    parser.add_argument("--rows", type=Path, default=rows)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    act(arguments, made(arguments.data, arguments.faces))


if __name__ == "__main__":
    main(__doc__, ROWS, jobs)
