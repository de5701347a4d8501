"""The projected study: FastGAN's and the projected discriminator on few pictures, its heads dense, adaptive and static.

    python -m studies list|work|jobs projected [DATA...] --cifar CIFAR10_FOLDER --pictures FACES_FOLDER --out OUT

Each job trains one run and evaluates its best snapshot with the reporting extractor, through which nothing was trained
or selected; runs stay in OUT/runs for the pictures.
CIFAR10_FOLDER holds {train,test}/<class>/NNNN.jpg, of which 1,000 train; FACES_FOLDER holds a hundred pictures,
training set and reference. Arms of a seed have the same G, pictures and number of images; a step of the projected
discriminator takes as long as one of FastGAN's (docs/performance.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studies.families import FamilyJob
from studies.places import RESULTS

ROWS = RESULTS / "projected.jsonl"
DATA: dict[str, dict[str, Any]] = {
    "faces64": {"resolution": 64, "batch": 16, "kimg": 12},
    "faces128": {"resolution": 128, "batch": 8, "kimg": 8},
    "cifar": {"resolution": 32, "batch": 16, "kimg": 40, "max_images": 1000, "pattern": "*[02468].jpg"},
}
# In tries of 6 to 10 kimg with seed 0, 2e-4 in both networks was too slow for either family at this width, and a D of
# a fifth or a tenth of G's rate made the projected one lose modes.
RATE = 1e-3
FASTGAN: dict[str, Any] = {"network": "fastgan", "lr": RATE}
PROJECTED: dict[str, Any] = {"network": "projected", "lr": RATE}
ARMS: dict[str, dict[str, Any]] = {
    "FastGAN": {**FASTGAN, "rule": "none"},
    "projected, dense": {**PROJECTED, "rule": "none"},
    "projected, adaptive": {**PROJECTED, "rule": "threshold", "networks": "d", "target_d": "auto", "adapt_kimg": 2.0},
    "projected, static": {**PROJECTED, "rule": "static", "networks": "d", "target_d": 0.5},
}
EVALUATIONS = 10
COMMON: dict[str, Any] = {
    **{"width_g": 8, "width_d": 8, "z_dim": 128, "channels": "rgb", "mirror": True, "aug": "diff"},
    **{"score_samples": 300, "ema": 0.995, "precision": "bf16"},  # short runs need a short average
}


def options(data: str, arm: str) -> dict[str, Any]:
    """The options of one run, without its seed.

    >>> options("faces64", "projected, dense")["snap"]
    1.2
    """
    found = {**COMMON, **DATA[data], **ARMS[arm]}
    return {**found, "snap": found["kimg"] / EVALUATIONS}


def stages(pictures: Path = Path("faces")) -> dict[str, list[FamilyJob]]:
    """{data set: its jobs}, paired runs beside each other. pictures: the hundred faces."""
    return {
        data: [
            FamilyJob(data, arm, seed, found["kimg"], options(data, arm), None if data == "cifar" else pictures)
            for seed in range(3)
            for arm in ARMS
        ]
        for data, found in DATA.items()
    }
