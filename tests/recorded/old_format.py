"""States as commit 4e49c31 wrote them, from those of now: dense weights, masks, thresholds in the networks' states."""

from __future__ import annotations

import copy
from typing import Any

import torch

from rggan.pruning.packing import from_bits


def held_in_networks(training: dict[str, Any]) -> dict[str, Any]:
    """A `Training.state_dict()` in the form of format 4, whose rules said their ramps without a start."""
    training = copy.deepcopy(training)
    schedules = training.pop("schedules")
    training["schedule"] = schedules[0] if schedules else None
    for name in ("finale", "rewinding"):
        del training[name]
    for name, pruner in zip([n for n in ("g", "d") if training["pruners"]], training["pruners"], strict=False):
        state = training[name]
        for layer, found in pruner.pop("layers").items():
            path, _, tensor = layer.rpartition(".")
            chain = f"{path}.parametrizations.{tensor}."
            normed = f"{chain}original" in state
            weight = state.pop(f"{chain}original" if normed else layer)
            kept = from_bits(found["kept"], weight.shape)
            mask = torch.ones_like(weight)
            mask[~kept] = found["rest"]
            if found["hidden"] is not None:
                weight = weight.clone()
                weight[~kept] = found["hidden"]
            behind = normed and found["hidden"] is None and bool((weight[~kept] != 0).any())
            if normed and not behind:
                for other in [key for key in state if key.startswith(f"{chain}0.")]:
                    state[other.replace(f"{chain}0.", f"{chain}1.")] = state.pop(other)
            place = int(behind)
            state |= {f"{chain}original": weight, f"{chain}{place}.mask": mask}
            state[f"{chain}{place}.threshold"] = found["threshold"]
        target = pruner["rule"].get("target")
        if target is not None:
            pruner["rule"]["target"] = (target["*"] if isinstance(target, dict) else target)[:3]
    return training
