"""Run folders that nobody trained, for pages of them."""

import json

import torch

from rggan import TrainConfig
from rggan.data.named import remember
from rggan.data.pictures import grid, save_picture
from rggan.run.places import fakes

KIMG = [2.016, 4.032, 6.016, 8.0]
LAYERS = {"g": ["linear.weight", "blocks.0.conv1.weight"], "d": ["blocks.0.conv1.weight"]}


def make_rows(scores=(30.0, 3.0, 0.5, 0.25), kimg=KIMG):
    rows = []
    for tick, (score, at) in enumerate(zip(scores, kimg, strict=True)):
        layers = {
            network: {name: {"density": 1 - 0.1 * tick, "births": tick, "deaths": 10 * tick} for name in names}
            for network, names in LAYERS.items()
        }
        rows.append(
            {
                **{"tick": tick, "kimg": at, "score": score, "diversity": 0.9},
                **{
                    "density_g": 1 - 0.1 * tick,
                    "density_d": 1 - 0.2 * tick,
                    "phase": "dense" if tick == 2 else "prune",
                },
                **{"d_sign": 0.2 * tick - 0.1, "d_real": 1.0, "d_fake": -1.0, "copies": 0.01 * tick, "layers": layers},
            }
        )
    return rows


def make_samples(seed):
    """uint8 [64, 3, 16, 24], random."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(256, (64, 3, 16, 24), generator=random, dtype=torch.uint8)


def make_sheet(seed):
    return grid(make_samples(seed))


def make_run(folder, rows=None, pictures=(("a.png", "cat"), ("b.png", "dog")), sheets=(0, 2, 4, 6, 8), **options):
    """A run of 16 x 24 pixels in this folder, with a sheet at each of these kimg, of data that were named here."""
    folder.mkdir(parents=True)
    config = TrainConfig.of("sngan", **{"data": "pictures", "snap": 2.0, "kimg": 8.0, **options})
    remember(config.data)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    head = {"data": config.data, "key": "k1", "size": [16, 24], "channels": 3, "images": len(pictures), "skipped": []}
    lines = [head, *({"name": name, "sha256": f"{name}", "class": label} for name, label in pictures)]
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = make_rows() if rows is None else rows
    (folder / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    for kimg in sheets:
        save_picture(make_sheet(kimg), folder / fakes(kimg))
    save_picture(make_sheet(1000), folder / "reals.png")
    return folder
