"""A run folder and a generator of each family, with what follows from them: written once, by commit 0cc3085.

python -m tests.recorded.before FOLDER    # what the present code writes, and what it makes of it
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file

from rggan import Generator, TrainConfig, train
from rggan.generation.build import build
from rggan.run.folder import Run
from tests.recorded.runs import digest

OPTIONS: dict[str, Any] = {
    **{
        "max_images": 60,
        "resolution": 16,
        "cond": True,
        "width_g": 2,
        "width_d": 2,
        "z_dim": 8,
        "batch": 4,
        "lr": 1e-3,
    },
    **{"kimg": 0.4, "snap": 0.1, "score_samples": 16, "keep": 1, "precision": "fp32", "device": "cpu"},
    **{
        "seed": 3,
        "networks": "both",
        "target_d": "auto",
        "adapt_kimg": 0.05,
        "set_point": -0.9,
        "target_g": 0.5,
        "ramp": 0.2,
    },
    **{"schedule_g": "score", "finale": 0.25, "finale_dense": True},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "sngan": {"resolution": [16, 24], "channels": 1, "width": 2, "z_dim": 4, "classes": 0},
    "stylegan2": {"resolution": [32, 32], "channels": 3, "width": 2, "z_dim": 4, "classes": 3, "mapping_layers": 2},
    "fastgan": {"resolution": [32, 32], "channels": 3, "width": 1, "z_dim": 4, "classes": 0},
    "biggan": {"resolution": [32, 32], "channels": 3, "width": 2, "z_dim": 8, "classes": 3},
}


def followed(run: Path) -> dict[str, Any]:
    """What comes when this run goes on to twice its length."""
    config = dataclasses.replace(TrainConfig.from_json(run / "config.json"), resume=run, kimg=0.8, device="cpu")
    train(config, Console(file=io.StringIO()))
    weights = load_file(run / "last" / "generator.safetensors")
    rows = Run(run).rows()
    return {
        "ends": [[row["score"], row["density_g"], row["density_d"]] for row in rows],
        "rows": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        "generator": digest([weights[name] for name in sorted(weights)]),
    }


def pictures(folder: Path) -> list[str]:
    """Digests of what a generator draws: plain, truncated, of a class."""
    generator = Generator.from_pretrained(folder)
    label = 1 if generator.classes else None
    made = (generator.images(range(5)), generator.images(range(3), truncation=0.5), generator.images([7], label))
    return [digest([images]) for images in made]


def main() -> None:
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    run = train(TrainConfig(outdir=out / "run-2", **OPTIONS), Console(file=io.StringIO()))
    for network, options in FAMILIES.items():
        torch.manual_seed(5)
        config = {"network": {"name": network, **options}, "classes": ["a", "b", "c"][: options["classes"]]}
        Generator(build(config["network"]), config).save(out / "generators" / network)
    told = {name: pictures(out / "generators" / name) for name in FAMILIES}
    shutil.copytree(run, copy := out / "copy")
    found = {"torch": torch.__version__, "run": followed(copy), "pictures": {**told, "run": pictures(run)}}
    shutil.rmtree(copy)
    (out / "before.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
