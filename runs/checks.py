"""Short checks of the paper's words, and of what decides them here: each takes seconds to minutes, on small networks.

    python runs/checks.py CIFAR10_FOLDER STUDY_OUT [NAME...]     # writes docs/checks.json; NAME: only these

criteria: is what goes less important to the pictures? The last states of the study's RG-GAN runs (STUDY_OUT): the score
    of the same weights under the learnt mask, under magnitude and under chance, at equal density in each layer.
collapse: does regeneration prevent collapse? Thresholds that rise fast, floors off, over five seeds: with nothing, with
    regeneration by importance, by straight-through, and by the floor.
lambda: does the same penalty give about the same density at other widths and batch sizes?
loss or Adam: why does D keep more than thresholds alone would leave it? Without the loss's gradient on thresholds; and
    with masked weights frozen.
moments: what to do with Adam's averages of weights that return?

All but the first train SNGAN with 16 channels (lambda: 12 to 48) at 16x16 on 200 CIFAR-10 images, one core, fp32.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rggan.training.engine as engine
import torch

from rggan.config import TrainConfig
from rggan.data import ImageSet, load_images
from rggan.pruning import Layer, Regrowth, Rule, Threshold
from rggan.training.checkpoint import readable
from rggan.training.reading import read_data
from rggan.training.sparsity import make_rules

DOCS = Path(__file__).parents[1] / "docs"
SEEDS = range(5)
Rows = list[dict[str, Any]]


class Frozen(Threshold):
    """Straight-through thresholds, but masked weights do not train: what Adam does to them cannot bring them back."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.masked = "freeze"


class Deaf(Threshold):
    """Masked weights train, but thresholds follow the penalty alone."""

    @torch.no_grad()
    def gradient(self, layers: Sequence[Layer]) -> None:
        super().gradient(layers)
        self.pull = {name: torch.zeros_like(pull) for name, pull in self.pull.items()}


def trained(
    data: ImageSet, steps: int, rule: Callable[[], Rule] | None = None, seed: int = 0, **options: Any
) -> engine.Training:
    """A small GAN after so many steps of G; `rule` in place of the options' one."""
    small = {"width_g": 16, "width_d": 16, "resolution": 16, "precision": "fp32", "aug": "none", "score_samples": 500}
    config = TrainConfig(**{**small, "lr": 1e-3, "device": "cpu", "schedule": "always", **options, "seed": seed})
    made = {network: rule() for network in make_rules(config)} if rule else None
    training = engine.Training(config, data, data, rules=made)
    for _ in range(steps):
        training.step()
        if not training.losses_are_finite():
            break
    return training


def criteria(cifar: Path, out: Path) -> Rows:
    found = []
    for folder in sorted(out.glob("runs/2_RG-GAN_0.5_seed_*/0*")):
        config = TrainConfig.from_json(folder / "config.json")
        data = read_data(config)
        training = engine.Training(config, data, data)
        training.load_state_dict(next(readable(folder / "checkpoints", print))["training"])
        pruner = training.prune_g
        assert pruner is not None
        random = torch.Generator().manual_seed(0)
        learnt = [layer.mask.clone() for layer in pruner.layers]
        dense = [layer.dense() for layer in pruner.layers]
        scores = {}
        for name in ("dense weights", "learnt mask", "magnitude", "chance"):
            with pruner.dense():
                for layer, mask, weight in zip(pruner.layers, learnt, dense, strict=True):
                    size = torch.rand(mask.shape, generator=random) if name == "chance" else weight.abs()
                    chosen = size.flatten().topk(int(mask.sum())).indices
                    other = torch.zeros(mask.numel()).index_fill_(0, chosen, 1).view(mask.shape)
                    layer.mask.copy_({"dense weights": torch.ones_like(mask), "learnt mask": mask}.get(name, other))
            live = engine.EMA(training.place(engine.build(training.network)), training.g)
            runs = [lambda network, drawn=drawn: network(*drawn) for drawn in training.latents[:16]]
            with training.autocast():
                network = live.snapshot(None, runs)
            scores[name] = training.judge(network).score
        shared = kept = 0
        for weight, mask in zip(dense, learnt, strict=True):
            size = weight.abs()
            least = size.flatten().topk(int(mask.sum())).values[-1]
            shared += int((size[mask > 0] >= least).sum())
            kept += int(mask.sum())
        row = {"seed": config.seed, "density": kept / pruner.total, "kept_by_magnitude_too": shared / kept}
        found.append({**row, "scores": scores})
    return found


def collapse(cifar: Path, out: Path) -> Rows:
    """A run has collapsed when it diverged, or lost a whole layer, or all variety (5 % of the real images')."""
    data = few(cifar)
    found = []
    for rate in (2e-2, 4e-2):  # at the higher one D's thresholds pass the largest weights
        fast = {"penalty": 1.0, "lr": rate}
        arms: dict[str, Callable[[], Rule]] = {
            "no regeneration": lambda fast=fast: Threshold("hard", **fast, floor=0),
            "regrowth by importance": lambda fast=fast: Threshold("hard", **fast, floor=0, regrowth=Regrowth(0.05, 20)),
            "straight-through": lambda fast=fast: Threshold(**fast, floor=0),
            "no regeneration, floor 1 %": lambda fast=fast: Threshold("hard", **fast, floor=0.01),
        }
        for arm, rule in arms.items():
            for seed in SEEDS:
                training = trained(data, 150, rule, seed)
                densities = [d for pruner in training.pruners for d in pruner.densities().values()]
                judged = training.judge(training.snapshot()) if training.is_finite() else None
                lost = judged is None or not math.isfinite(judged.score)
                row = {"arm": f"rate {rate:g}, {arm}", "seed": seed, "finite": not lost, "least_layer": min(densities)}
                row |= {"diversity": None if lost else judged.diversity, "score": None if lost else judged.score}
                row |= dict(zip(("density_g", "density_d"), training.densities(), strict=True))
                row["collapsed"] = lost or row["least_layer"] == 0 or judged.diversity < 0.05
                found.append(row)
    return found


def penalties(cifar: Path, out: Path) -> Rows:
    data, found = few(cifar), []
    cells = [(12, 32), (24, 32), (48, 32), (24, 16), (24, 64)]
    for width, batch in cells:
        training = trained(data, 150, width_g=width, width_d=width, batch=batch, penalty=1.0, threshold_lr=1e-3)
        g, d = training.densities()
        found.append({"cell": f"{width} channels, batch {batch}", "density_g": g, "density_d": d})
    return found


def loss_or_adam(cifar: Path, out: Path) -> Rows:
    data, found = few(cifar), []
    for kind in (Threshold, Frozen, Deaf):
        for seed in range(3):
            training = trained(data, 200, lambda kind=kind: kind(penalty=1.0, lr=1e-3), seed)
            g, d = training.densities()
            name = {"Threshold": "both", "Frozen": "masked weights frozen", "Deaf": "no pull of the loss"}[
                kind.__name__
            ]
            thresholds = torch.cat([layer.threshold for layer in training.prune_d.layers])
            found.append({"rule": name, "seed": seed, "density_g": g, "density_d": d,
                          "mean_threshold_d": thresholds.mean().item()})  # fmt: skip
    return found


def moments(cifar: Path, out: Path) -> Rows:
    data, found = few(cifar), []
    for policy in ("clear", "keep", "decay"):
        for seed in range(3):

            def rule(policy: str = policy) -> Rule:
                return Threshold("hard", target=0.4, lr=0.0, regrowth=Regrowth(0.02, 25, policy))  # type: ignore[arg-type]

            training = trained(data, 200, rule, seed)
            counts = [p.rule.regrowth for p in training.pruners]
            returned = sum(int(n) for c in counts for n in c.returned)
            stayed = sum(int(n) for c in counts for n in c.stayed)
            score = training.judge(training.snapshot()).score
            found.append({"moments": policy, "seed": seed, "returned": returned, "stayed": stayed, "score": score})
    return found


def few(cifar: Path) -> ImageSet:
    return load_images(str(cifar / "train"), 16, max_images=200, seed=0, pattern="*[02468].jpg")


CHECKS = {
    **{"criteria": criteria, "collapse": collapse, "lambda": penalties},
    **{"loss or Adam": loss_or_adam, "moments": moments},
}


def summary(name: str, rows: Rows) -> list[str]:
    """A line for each group of seeds."""
    told = []
    if name == "criteria":
        kinds = rows[0]["scores"] if rows else ()
        told += [f"{kind}: {statistics.mean(row['scores'][kind] for row in rows):.3f}" for kind in kinds]
    group = next((key for key in ("arm", "rule", "moments", "cell") if rows and key in rows[0]), None)
    for value in dict.fromkeys(row[group] for row in rows) if group else ():
        of = [row for row in rows if row[group] == value]
        numbers = [key for key, v in of[0].items() if isinstance(v, int | float) and key != "seed"]
        means = {key: statistics.mean(v for row in of if (v := row[key]) is not None) for key in numbers
                 if any(row[key] is not None for row in of)}  # fmt: skip
        told.append(f"{value}: " + ", ".join(f"{key} {mean:.3f}" for key, mean in means.items()))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = DOCS / "checks.json"
    told = json.loads(path.read_text()) if path.is_file() else {}
    for name in arguments.names or CHECKS:
        told[name] = CHECKS[name](arguments.cifar, arguments.out)
        print(name, *summary(name, told[name]), sep="\n  ", flush=True)
        path.write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
