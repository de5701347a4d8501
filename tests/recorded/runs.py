"""Short runs of every family and rule whose every bit is recorded: what they are, and how they are written down.

    python -m tests.recorded.runs FILE     # writes the rows of the present code

`rows.json` was written by commit 4e49c31, whose masks were parametrizations in the model. Floating point differs
between processors and builds of torch, so each row says too what the same network does without a pruner.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import torch
from torch import Tensor

from rggan import TrainConfig
from rggan.data import load_images
from rggan.pruning import Rows, Threshold, merged_state_dict
from rggan.training.sparsity import make_rule
from rggan.training.trainer import Training

STEPS = 40
WIDTHS = {"sngan": 6, "stylegan2": 6, "fastgan": 2, "biggan": 4}
MOVED = {"threshold_lr": 0.02}
RULES: dict[str, dict[str, Any]] = {
    "none": {"rule": "none"},
    "penalty": {**MOVED, "penalty": 1.0},
    "target": {**MOVED, "ramp": 0.08, "target_g": 0.5, "target_d": 0.4},
    "rows": {**MOVED, "ramp": 0.08, "networks": "g", "target_g": 0.6},
    "hard": {**MOVED, "rule": "hard", "penalty": 3.0},
    "hard, target, regrowth": {**MOVED, "rule": "hard", "ramp": 0.08, "target_g": 0.5, "target_d": 0.5, "regrow": 0.02},
    "published": {"rule": "published", "penalty": 1e-4, "threshold_lr": 2e-3},
    "static": {"rule": "static", "target_g": 0.4, "target_d": 0.6},
    "magnitude": {"rule": "magnitude", "target_g": 0.4, "target_d": 0.4, "ramp": 0.08},
    "one shot": {"rule": "oneshot", "target_g": 0.5, "target_d": 0.5},
    "SET": {"rule": "set", "target_g": 0.4, "target_d": 0.4},
    "RigL, balance": {"rule": "rigl", "target_g": 0.4, "target_d": 0.4, "balance": True},
}
CELLS = [
    (family, rule)
    for family in WIDTHS
    for rule in RULES
    if not (rule == "published" and family in ("fastgan", "biggan"))
]


def make(family: str, rule: str) -> Training:
    options = {
        **{"width_g": WIDTHS[family], "width_d": WIDTHS[family], "z_dim": 8, "batch": 4, "d_steps": 1, "kimg": 0.16},
        **{"score_samples": 8, "precision": "fp32", "aug": "none", "device": "cpu", "seed": 3, "lr": 1e-3},
        **({"mapping_layers": 2} if family == "stylegan2" else {}),
        **RULES[rule],
    }
    if family == "fastgan" and rule != "none":
        # Its D sees real and generated pictures apart. The graph of then summed the gradients of each pass before it
        # added them to the weight's; without masks in the graph, and without a pruner, all parts are added one by one.
        options = {name: value for name, value in options.items() if name not in ("target_d", "balance")}
        options["networks"] = "g"
    data = load_images("digits", 16 if family == "sngan" else 32, max_images=40)
    config = TrainConfig.of(family, **options)
    run = Training(config, data, data, rules={"g": rows_alone(config)} if rule == "rows" else None)
    for pruner in run.pruners:
        if getattr(pruner.rule, "regrowth", None) is not None:
            pruner.rule.regrowth.every = 7
    return run


def rows_alone(config: TrainConfig) -> Threshold:
    """As the runs pruned rows then: each layer's by themselves, and all but one could go."""
    rule = make_rule(config, "g")
    assert isinstance(rule, Threshold)
    rule.granularity, rule.min_fan = Rows(least=1), 0
    return rule


def course(run: Training, first: int, last: int) -> None:
    """The steps from `first` on: pruned, dense at once, pruned, dense over six steps, pruned.

    The published rule integrates at once both times: its mask stood in the graph then, where a fading one multiplied
    the gradients of the loss and of R1 apart, which rounds otherwise than their sum does.
    """
    for step in range(first, last):
        for pruner in run.pruners:
            if step in (18, 30):
                pruner.integrate(fade=6 if step == 30 and run.config.rule != "published" else 0)
            if step in (22, 38):
                pruner.prune()
        run.step()


def digest(tensors: list[Tensor]) -> str:
    """Of values: both zeros are one."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update((tensor.detach().contiguous() + 0).numpy().tobytes())
    return found.hexdigest()[:16]


def fingerprint(run: Training) -> dict[str, Any]:
    """Effective weights and the other state, dense weights, masks, thresholds, moments, EMA; and the densities."""

    def values(state: dict[str, Tensor]) -> list[Tensor]:
        return [state[name] for name in sorted(state)]

    layers = [layer for pruner in run.pruners for layer in pruner.layers]
    old = bool(layers) and not isinstance(layers[0].mask, Tensor)  # the code that wrote rows.json
    masks = [layer.mask.mask if old else layer.mask for layer in layers]
    thresholds = [layer.mask.threshold if old else layer.threshold for layer in layers]
    dense = [layer.weight if old else layer.dense() for layer in layers]
    states = [optimizer.state_dict()["state"] for optimizer in (run.gan.opt_g, run.gan.opt_d)]
    moments = [part for state in states for row in state.values() for part in row.values()]
    return {
        "effective": digest([*values(merged_state_dict(run.gan.g)), *values(merged_state_dict(run.gan.d))]),
        "dense": digest(dense),
        "masks": digest(masks),
        "thresholds": digest(thresholds),
        "moments": digest(moments),
        "ema": digest(values(run.ema.network.state_dict())),
        "densities": [round(density, 6) for density in run.densities()],
    }


def row(family: str, rule: str) -> dict[str, Any]:
    run = make(family, rule)
    found = []
    for first, last in ((0, 18), (18, 33), (33, STEPS)):  # masks, a fade in the middle, masks again
        course(run, first, last)
        found.append(fingerprint(run))
    return {"family": family, "rule": rule, "seen": found}


def main() -> None:
    torch.set_num_threads(1)
    rows = [row(*cell) for cell in CELLS]
    with open(sys.argv[1], "w") as file:
        file.write(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
