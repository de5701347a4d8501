"""The options of pruning, made into rules and schedules; and whether their saved states have the right form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from rggan.config import ScheduleName, TrainConfig
from rggan.options import THRESHOLDS
from rggan.pruning import (
    SET,
    Adaptive,
    Always,
    DensityPath,
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
from rggan.pruning.overfitting import Overfitting
from rggan.pruning.select import Chosen, Select, prunable
from rggan.pruning.target import Course, Target
from rggan.run.folder import Run
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


def make_ramp(config: TrainConfig, network: Literal["g", "d"], density: float) -> Ramp:
    """To this density, along the options."""
    steps = steps_in(config, network, config.kimg / 2 if config.ramp is None else config.ramp)
    return Ramp(density, steps, 3 if config.ramp_shape == "cubic" else 1)


def make_target(config: TrainConfig, network: Literal["g", "d"]) -> Course | None:
    """The course of one network's density, in its steps; None where the options name none."""
    target = config.target_g if network == "g" else config.target_d
    if target is None:
        return None
    if target == "auto":
        return Adaptive(
            config.signal,
            config.set_point,
            config.adapt_kimg,
            config.adapt_band,
            config.density_low,
            config.density_high,
        )
    if isinstance(target, str):
        # Of a run that goes on the points are in its state; a new one was looked through before (`read_fresh`).
        rows = [row for row in Run(Path(target)).rows() if row[f"density_{network}"] > 0]
        points = {steps_in(config, network, row["kimg"]): row[f"density_{network}"] for row in rows}
        return DensityPath([(0, 1.0), *points.items()])
    return make_ramp(config, network, target)


def with_ramps(pruners: Iterable[Pruner]) -> list[Pruner]:
    """Those whose density comes to its end by the clock."""

    def ramped(rule: Rule) -> bool:
        target = getattr(rule, "target", None)
        courses = list(target.courses.values()) if isinstance(target, Target) else [target]
        return all(isinstance(course, Ramp) for course in courses)

    return [pruner for pruner in pruners if ramped(pruner.rule)]


def adaptive_targets(pruners: Iterable[Pruner]) -> list[Adaptive]:
    """The targets that follow a signal."""
    found: list[Adaptive] = []
    for pruner in pruners:
        target = getattr(pruner.rule, "target", None)
        courses = target.courses.values() if isinstance(target, Target) else [target]
        found += [course for course in courses if isinstance(course, Adaptive)]
    return found


def make_rule(config: TrainConfig, network: Literal["g", "d"]) -> Rule:
    """A fresh rule for one network, as the options say."""
    if config.rule == "published":
        penalty = 1e-12 if config.penalty is None else config.penalty
        return PublishedThreshold(penalty, config.threshold_lr, floor=config.floor)
    target = make_target(config, network)
    spread: dict[str, Any] = {"distribution": config.distribution, "min_fan": config.min_fan}
    spread = {name: value for name, value in spread.items() if value is not None}
    if config.rule in THRESHOLDS:
        return Threshold(
            "hard" if config.rule == "hard" else "straight-through",
            1.0 if config.penalty is None else config.penalty,
            config.threshold_lr,
            config.floor,
            target,
            Rows() if config.granularity == "row" else Weights(),
            Regrowth(config.regrow) if config.regrow else None,
            **spread,
        )
    # Of a plain density the rules of others, but for the gradual one, know no ramp.
    density = RIVAL_DENSITY if target is None else target.density if isinstance(target, Ramp) else target
    steps = steps_in(config, network, config.kimg)
    every = max(1, steps // UPDATES)
    if config.rule == "magnitude":
        return Magnitude(target or make_ramp(config, network, RIVAL_DENSITY), every, **spread)
    if config.rule == "oneshot":
        return OneShot(density, every, **spread)
    if config.rule == "static":
        return Static(density, every, config.seed, **spread)
    if config.rule == "set":
        return SET(density, every, seed=config.seed, **spread)
    assert config.rule == "rigl"
    return RigL(density, every, until=max(1, steps * 3 // 4), seed=config.seed, **spread)


def make_schedules(config: TrainConfig, pruners: Mapping[Literal["g", "d"], Pruner]) -> list[Schedule]:
    """One for all pruners where their options are the same and neither has its own; else one for each."""
    if not pruners:
        return []
    names = {network: config.schedule_of(network) for network in pruners}
    own = config.schedule_g is not None or config.schedule_d is not None
    if not own and len(set(names.values())) == 1:
        return [make_schedule(config, names[next(iter(names))], dict(pruners))]
    return [make_schedule(config, names[network], {network: pruner}) for network, pruner in pruners.items()]


def make_schedule(config: TrainConfig, name: ScheduleName, pruners: dict[Literal["g", "d"], Pruner]) -> Schedule:
    together = list(pruners.values())
    fade = [steps_in(config, network, config.fade) if config.fade else 0 for network in pruners]
    if name == "score":
        return ScoreSchedule(*together, dead_band=config.dead_band, fade=fade)
    if name == "periodic":
        return PeriodicSchedule(*together, prune=config.period, dense=config.period, first="dense", fade=fade)
    if name == "overfit":
        return OverfitSchedule(*together, dead_band=config.dead_band, fade=fade)
    return Always(*together) if name == "always" else Never(*together)


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
        found.setdefault("target", own.pop("target"))
        rule.check({"target": found["target"]})
        extra["target"] = found.pop("target")
    clean = fitted(own, found, "rule")
    sizes = [layer.weight.numel() for layer in pruner.layers]
    if "counts" in clean and any(not 0 < n <= size for n, size in zip(clean["counts"], sizes, strict=True)):
        raise ValueError("the rule's counts are none of its layers")
    if clean.get("steps", 0) < 0 or not 0 < clean.get("density", 1.0) <= 1:
        raise ValueError("the rule's steps or density are none")
    kept = {"phase": saved["phase"], "fading": saved["fading"], "fixed": saved.get("fixed") is True}
    state = {**kept, "rule": {**clean, **extra}, "layers": saved["layers"]}
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
    if "sums" in own:
        Overfitting.sums_from(clean["sums"])
    if clean["phase"] not in PHASES:
        raise ValueError(f"there is no phase {clean['phase']}")
    return clean
