"""The options of pruning, made into rules and schedules; and whether their saved states have the right form."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from rggan.config import THRESHOLDS, TrainConfig
from rggan.pruning import (
    SET,
    Always,
    Magnitude,
    Never,
    OneShot,
    OverfitSchedule,
    PeriodicSchedule,
    Pruner,
    PublishedThreshold,
    Ramp,
    Regrowth,
    RigL,
    Rows,
    Rule,
    Schedule,
    ScoreSchedule,
    Static,
    Threshold,
    Weights,
)
from rggan.pruning.select import Chosen, Select, prunable
from rggan.training.fit import fitted, fitted_adam, fitted_numbers

PHASES = ("prune", "dense")
RIVAL_DENSITY = 0.5  # where no target is given
UPDATES = 64  # of a ranking rule, in a whole run


def steps_in(config: TrainConfig, network: Literal["g", "d"], kimg: float) -> int:
    """Optimizer steps of a network while D sees so many thousands of real images; at least 1."""
    images = config.batch * (config.d_steps if network == "g" else 1)
    return max(1, round(kimg * 1000 / images))


def selection(network: str) -> Select:
    """Which weights of a family are pruned: all that can be, but not those that turn maps into pictures and back.

    SNGAN's last convolution is pruned too, as the paper's own code does.
    """

    def select(name: str, module: nn.Module) -> Chosen:
        pictures = name.rpartition(".")[2] in ("to_rgb", "from_rgb") and network != "sngan"
        return None if pictures else prunable(name, module)

    return select


def make_rule(config: TrainConfig, network: Literal["g", "d"]) -> Rule:
    """A fresh rule for one network, as the options say."""
    target = config.target_g if network == "g" else config.target_d
    if config.rule == "published":
        penalty = 1e-12 if config.penalty is None else config.penalty
        return PublishedThreshold(penalty, config.threshold_lr, floor=config.floor)
    ramp_steps = steps_in(config, network, config.kimg / 2 if config.ramp is None else config.ramp)
    power = 3 if config.ramp_shape == "cubic" else 1
    if config.rule in THRESHOLDS:
        return Threshold(
            "hard" if config.rule == "hard" else "straight-through",
            1.0 if config.penalty is None else config.penalty,
            config.threshold_lr,
            config.floor,
            None if target is None else Ramp(target, ramp_steps, power),
            Rows() if config.granularity == "row" else Weights(),
            Regrowth(config.regrow) if config.regrow else None,
        )
    density = RIVAL_DENSITY if target is None else target
    steps = steps_in(config, network, config.kimg)
    every = max(1, steps // UPDATES)
    if config.rule == "magnitude":
        return Magnitude(Ramp(density, ramp_steps, power), every)
    if config.rule == "oneshot":
        return OneShot(density, every)
    if config.rule == "static":
        return Static(density, every, config.seed)
    if config.rule == "set":
        return SET(density, every, seed=config.seed)
    assert config.rule == "rigl"
    return RigL(density, every, until=max(1, steps * 3 // 4), seed=config.seed)


def make_schedule(config: TrainConfig, pruners: list[Pruner]) -> Schedule | None:
    """One for all pruners; none where nothing is pruned."""
    if not pruners:
        return None
    networks: list[Literal["g", "d"]] = ["g", "d"] if config.networks == "both" else [config.networks]
    fade = [steps_in(config, network, config.fade) if config.fade else 0 for network in networks]
    if config.schedule == "score":
        return ScoreSchedule(*pruners, dead_band=config.dead_band, fade=fade)
    if config.schedule == "periodic":
        return PeriodicSchedule(*pruners, prune=config.period, dense=config.period, first="dense", fade=fade)
    if config.schedule == "overfit":
        return OverfitSchedule(*pruners, dead_band=config.dead_band, fade=fade)
    return Always(*pruners) if config.schedule == "always" else Never(*pruners)


def fitted_pruner(pruner: Pruner, saved: Any) -> dict[str, Any]:
    """A pruner's saved state, if it has the form of the present one.

    Raises:
        ValueError: something does not fit. KeyError: it is not there.
    """
    found, rule = dict(saved["rule"]), pruner.rule
    own = rule.state_dict()
    extra = {}
    if isinstance(rule, PublishedThreshold):
        own.pop("adam", None)
        if (adam := found.pop("adam", None)) is not None:
            thresholds = [layer.threshold for layer in pruner.layers]
            groups = torch.optim.Adam(thresholds, rule.lr, rule.betas).state_dict()["param_groups"]
            extra = {"adam": fitted_adam(thresholds, groups, adam, "thresholds")}
    if "target" in own:  # states of before format 4 have none: it is that of the options
        found.setdefault("target", own["target"])
        if (found["target"] is None) != (own["target"] is None):
            raise ValueError("the rule has a target in one of the two, and none in the other")
    clean = fitted(own, found, "rule")
    target = clean.get("target") or []
    for ramp in target.values() if isinstance(target, dict) else [target] if target else []:
        Ramp(*ramp)  # in range?
    sizes = [layer.weight.numel() for layer in pruner.layers]
    if "counts" in clean and any(not 0 < n <= size for n, size in zip(clean["counts"], sizes, strict=True)):
        raise ValueError("the rule's counts are none of its layers")
    if clean.get("steps", 0) < 0 or not 0 < clean.get("density", 1.0) <= 1:
        raise ValueError("the rule's steps or density are none")
    state = {"phase": saved["phase"], "fading": saved["fading"], "rule": {**clean, **extra}, "layers": saved["layers"]}
    pruner.check(state)
    return state


def fitted_schedule(schedule: Schedule, saved: Any) -> dict[str, Any]:
    """A schedule's saved state, if it has the form of the present one.

    Raises:
        ValueError: something does not fit. KeyError: it is not there.
    """
    own = schedule.state_dict()
    if saved is None and isinstance(schedule, Always):  # before format 3 this was no schedule
        return own
    free = {name: saved[name] for name in ("scores", "sums", "overfitting") if name in own}  # of no fixed form
    clean: dict[str, Any] = fitted({**own, **free}, saved, "schedule")
    if "scores" in own:
        assert isinstance(schedule, ScoreSchedule)
        fitted_numbers(clean["scores"], len(schedule.weights), "scores")
    if clean.get("overfitting") is not None:
        fitted_numbers([clean["overfitting"]], 1, "overfitting")
    if clean.get("sums") is not None:
        sums = clean["sums"]
        if not isinstance(sums, list) or len(sums) != 4:
            raise ValueError("sums are no four pairs of numbers")
        for row in sums:
            fitted_numbers(row, 2, "sums", 2)
    if clean["phase"] not in PHASES:
        raise ValueError(f"there is no phase {clean['phase']}")
    return clean
