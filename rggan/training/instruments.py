"""What an evaluation's line in stats.jsonl tells of the training itself: D's outputs, signals, masks, phases."""

from __future__ import annotations

import math
from typing import Any

from rggan.training.sparsity import adaptive_targets
from rggan.training.trainer import Training


def instruments(training: Training, steps: int) -> dict[str, Any]:
    """What a tick of so many steps tells of D and of the masks, for stats.jsonl.

    d_real, d_fake: D's mean output in training on training images and on generated ones; their difference is D's
    lead. d_sign: the mean sign of the former. layers: `Ledger.look` of each network, and since the run's start how
    many weights came back by importance, and how many of them reached their thresholds in time.
    """
    real, sign, fake = (training.logit_sums / max(1, steps)).tolist()
    told: dict[str, Any] = {"d_real": real, "d_sign": sign, "d_fake": fake}
    told |= training.evaluator.gap()
    if training.ada is not None:
        told["aug_p"] = training.ada.p
    for name, pruner in (("g", training.prune_g), ("d", training.prune_d)):
        for target in adaptive_targets([] if pruner is None else [pruner]):
            told |= {f"signal_{name}": target.value if math.isfinite(target.value) else None}
            told |= {f"set_point_{name}": target.set_point, "signal": target.signal}
    if training.balance is not None:
        told["balance"] = training.balance.ratio if math.isfinite(training.balance.ratio) else None
    told["layers"] = {}
    for ledger in training.ledgers:
        told["layers"]["g" if ledger.pruner is training.prune_g else "d"] = layers = ledger.look()
        if (regrowth := ledger.pruner.rule.regrowth) is not None:
            for row, came, stayed in zip(layers.values(), regrowth.returned, regrowth.stayed, strict=True):
                row |= {"returned": int(came), "returned_and_stayed": int(stayed)}
    return told


def phases(training: Training) -> dict[str, str]:
    """That of each network, where they may differ."""
    if len({pruner.phase for pruner in training.pruners}) < 2 and len(training.schedules) < 2 and not training.finale:
        return {}
    both = (("g", training.prune_g), ("d", training.prune_d))
    return {f"phase_{name}": "dense" if pruner is None else pruner.phase for name, pruner in both}
