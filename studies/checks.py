"""Short checks of the paper's claims, and of their causes here: each takes seconds to minutes, on small networks.

    python -m studies.checks CIFAR10_FOLDER OUT [NAME...]     # writes studies/results/checks.json; NAME: only these

criteria: are pruned weights less important to the images? The last states of the RG-GAN runs that studies.baselines
    left in OUT: the score of the same weights under the learnt mask, a magnitude mask and a random mask, at equal
    density in each layer.
collapse: does regeneration prevent collapse? Thresholds that rise fast, floors off, over five seeds: with nothing, with
    regeneration by importance, by straight-through, and by the floor.
lambda: does the same penalty give about the same density at other widths and batch sizes?
loss or Adam: why does D keep more than thresholds alone would leave it? Without the loss's gradient on thresholds; and
    with masked weights frozen.
moments: what to do with Adam's moments of regrown weights?

All but the first train SNGAN with 16 channels (lambda: 12 to 48) at 16x16 on 200 CIFAR-10 images, one core, fp32.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from rggan.config import TrainConfig
from rggan.data import ImageSet, load_images
from rggan.generation.build import build
from rggan.pruning import Layer, Regrowth, Rule, Threshold
from rggan.training.checkpoint import readable
from rggan.training.ema import EMA
from rggan.training.reading import read_data
from rggan.training.sparsity import make_rules
from rggan.training.trainer import Training
from studies.places import RESULTS
from studies.queue import Row

SEEDS = range(5)
Policy = Literal["clear", "keep", "decay"]  # for the moments of regrown weights
POLICIES: tuple[Policy, ...] = ("clear", "keep", "decay")
Rows = list[Row]


class Frozen(Threshold):
    """Straight-through thresholds with frozen masked weights: Adam cannot move them past the threshold again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.masked = "freeze"


class PenaltyOnly(Threshold):
    """Masked weights train, but the loss has no gradient on the thresholds: they follow the penalty alone."""

    @torch.no_grad()
    def gradient(self, layers: Sequence[Layer]) -> None:
        super().gradient(layers)
        self.pull = {name: torch.zeros_like(pull) for name, pull in self.pull.items()}


def trained(
    data: ImageSet, steps: int, rule: Callable[[], Rule] | None = None, seed: int = 0, **options: Any
) -> Training:
    """A small GAN after so many steps of G, or where it diverged. rule: makes a rule for each network, in place of the
    one that the options name."""
    small = {"width_g": 16, "width_d": 16, "resolution": 16, "precision": "fp32", "aug": "none", "score_samples": 500}
    config = TrainConfig(**{**small, "lr": 1e-3, "device": "cpu", "schedule": "always", **options, "seed": seed})
    made = {network: rule() for network in make_rules(config)} if rule else None
    training = Training(config, data, data, rules=made)
    for _ in range(steps):
        training.step()
        if not training.losses_are_finite():
            break
    return training


def criteria(cifar: Path, out: Path) -> Rows:
    """A row for each seed: scores under four masks, and how much of the mask a magnitude mask shares."""
    found = []
    for folder in sorted(out.glob("runs/2_RG-GAN_0.5_seed_*/0*")):
        config = TrainConfig.from_json(folder / "config.json")
        data = read_data(config)
        training = Training(config, data, data)
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
            live = EMA(training.gan.place(build(training.description["network"])), training.gan.g)
            runs = [lambda network, drawn=drawn: network(*drawn) for drawn in training.evaluator.latents[:16]]
            with training.gan.autocast():
                network = live.snapshot(None, runs)
            scores[name] = training.evaluator.judge(network).score
        shared = kept = 0
        for weight, mask in zip(dense, learnt, strict=True):
            size = weight.abs()
            least = size.flatten().topk(int(mask.sum())).values[-1]
            shared += int((size[mask > 0] >= least).sum())
            kept += int(mask.sum())
        row = {"seed": config.seed, "density": kept / pruner.total, "kept_by_magnitude_too": shared / kept}
        found.append({**row, "scores": scores})
    return found


def regrowing_fast(rate: float) -> Threshold:
    """Thresholds that rise fast, without floor, with regrowth."""
    return Threshold("hard", penalty=1.0, lr=rate, floor=0, regrowth=Regrowth(0.05, 20))


def collapse(cifar: Path, out: Path) -> Rows:
    """A run has collapsed when it diverged, or lost a whole layer, or all variety (5 % of the real images')."""
    data = few(cifar)
    found = []
    for rate in (2e-2, 4e-2):  # at the higher one D's thresholds pass the largest weights
        hard = partial(Threshold, "hard", penalty=1.0, lr=rate)
        arms: dict[str, Callable[[], Rule]] = {
            "no regeneration": partial(hard, floor=0),
            "regrowth by importance": partial(regrowing_fast, rate),
            "straight-through": partial(Threshold, penalty=1.0, lr=rate, floor=0),
            "no regeneration, floor 1 %": partial(hard, floor=0.01),
        }
        for arm, rule in arms.items():
            for seed in SEEDS:
                training = trained(data, 150, rule, seed)
                densities = [d for pruner in training.pruners for d in pruner.densities().values()]
                judged = training.evaluator.judge(training.snapshot()) if training.is_finite() else None
                if judged is not None and not math.isfinite(judged.score):
                    judged = None  # diverged
                row: Row = {"arm": f"rate {rate:g}, {arm}", "seed": seed, "finite": judged is not None}
                row["least_layer"] = min(densities)
                row["diversity"], row["score"] = (None, None) if judged is None else (judged.diversity, judged.score)
                row |= dict(zip(("density_g", "density_d"), training.densities(), strict=True))
                row["collapsed"] = judged is None or row["least_layer"] == 0 or judged.diversity < 0.05
                found.append(row)
    return found


def penalties(cifar: Path, out: Path) -> Rows:
    """Densities after the same steps with the same penalty, by width and batch size."""
    data, found = few(cifar), []
    cells = [(12, 32), (24, 32), (48, 32), (24, 16), (24, 64)]
    for width, batch in cells:
        training = trained(data, 150, width_g=width, width_d=width, batch=batch, penalty=1.0, threshold_lr=1e-3)
        g, d = training.densities()
        found.append({"cell": f"{width} channels, batch {batch}", "density_g": g, "density_d": d})
    return found


def loss_or_adam(cifar: Path, out: Path) -> Rows:
    """Densities without the loss's gradient on thresholds, and with frozen masked weights; three seeds each."""
    data, found = few(cifar), []
    kinds: dict[str, type[Threshold]] = {
        "both": Threshold,
        "masked weights frozen": Frozen,
        "no pull of the loss": PenaltyOnly,
    }
    for name, kind in kinds.items():
        for seed in range(3):
            training = trained(data, 200, partial(kind, penalty=1.0, lr=1e-3), seed)
            g, d = training.densities()
            assert training.prune_d is not None
            thresholds = torch.cat([layer.threshold for layer in training.prune_d.layers])
            found.append({"rule": name, "seed": seed, "density_g": g, "density_d": d,
                          "mean_threshold_d": thresholds.mean().item()})  # fmt: skip
    return found


def regrowing(policy: Policy) -> Threshold:
    """Masks of 40 % of the weights, with regrowth."""
    return Threshold("hard", target=0.4, lr=0.0, regrowth=Regrowth(0.02, 25, policy))


def moments(cifar: Path, out: Path) -> Rows:
    """How many regrown weights stay, by what is done with their moments; three seeds each."""
    data, found = few(cifar), []
    for policy in POLICIES:
        for seed in range(3):
            training = trained(data, 200, partial(regrowing, policy), seed)
            regrowths = [regrowth for p in training.pruners if (regrowth := getattr(p.rule, "regrowth", None))]
            returned = sum(int(count) for regrowth in regrowths for count in regrowth.returned)
            stayed = sum(int(count) for regrowth in regrowths for count in regrowth.stayed)
            score = training.evaluator.judge(training.snapshot()).score
            found.append({"moments": policy, "seed": seed, "returned": returned, "stayed": stayed, "score": score})
    return found


def few(cifar: Path) -> ImageSet:
    """200 images of 16x16."""
    return load_images(str(cifar / "train"), 16, max_images=200, seed=0, pattern="*[02468].jpg")


CHECKS = {
    **{"criteria": criteria, "collapse": collapse, "lambda": penalties},
    **{"loss or Adam": loss_or_adam, "moments": moments},
}


def summary(name: str, rows: Rows) -> list[str]:
    """A line for each group of seeds."""
    lines = []
    if name == "criteria":
        kinds = rows[0]["scores"] if rows else ()
        lines += [f"{kind}: {statistics.mean(row['scores'][kind] for row in rows):.3f}" for kind in kinds]
    group = next((key for key in ("arm", "rule", "moments", "cell") if rows and key in rows[0]), None)
    if group is None:
        return lines
    for value in dict.fromkeys(row[group] for row in rows):
        of = [row for row in rows if row[group] == value]
        numbers = [key for key, v in of[0].items() if isinstance(v, int | float) and key != "seed"]
        means = {key: statistics.mean(v for row in of if (v := row[key]) is not None) for key in numbers
                 if any(row[key] is not None for row in of)}  # fmt: skip
        lines.append(f"{value}: " + ", ".join(f"{key} {mean:.3f}" for key, mean in means.items()))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "checks.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    for name in arguments.names or CHECKS:
        results[name] = CHECKS[name](arguments.cifar, arguments.out)
        print(name, *summary(name, results[name]), sep="\n  ", flush=True)
        path.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
