"""The options of pruning, made into rules and schedules; and whether their saved states have the right form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from rggan.config import TrainConfig
from rggan.errors import UserError, reason
from rggan.gan import Gan
from rggan.memory import is_used_up
from rggan.methods import NONE, SCHEDULES, kind_of_rule
from rggan.networks import FAMILIES
from rggan.options import own_of_rule, own_of_schedules
from rggan.pruning import (
    Adaptive,
    DensityPath,
    Pruner,
    Ramp,
    Rule,
    Schedule,
    coupled,
)
from rggan.pruning.kind import Wanted
from rggan.pruning.select import Chosen, Select, prunable
from rggan.pruning.target import Course
from rggan.pruning.whole_channels import Coupling
from rggan.registry import called
from rggan.run.folder import Run

Network = Literal["g", "d"]
Rules = Mapping[Network, Rule]
Schedules = Callable[[Mapping[Network, Pruner]], Sequence[Schedule]]


def steps_in(config: TrainConfig, network: Network, kimg: float) -> int:
    """Optimizer steps of a network while D sees so many thousands of real images; at least 1."""
    images = config.batch * (config.d_steps if network == "g" else 1)
    return max(1, round(kimg * 1000 / images))


def selection(network: str, rows: bool = False) -> Select:
    """Which weights of a family are pruned: all that train and can be, but not in the layers that it wants whole.

    rows: whether whole rows are pruned. Those layers then take part: what they read goes, and their own rows stay.
    """
    whole = () if rows else FAMILIES.get(network).whole

    def select(name: str, module: nn.Module) -> Chosen:
        frozen = next(module.parameters(), None) is None  # pretrained: its weights are no parameters
        return None if frozen or name.rpartition(".")[2] in whole else prunable(name, module)

    return select


def make_ramp(config: TrainConfig, network: Network, density: float) -> Ramp:
    """To this density, along the options."""
    steps = steps_in(config, network, config.kimg / 2 if config.ramp is None else config.ramp)
    return Ramp(density, steps, 3 if config.ramp_shape == "cubic" else 1)


def make_target(config: TrainConfig, network: Network) -> Course | None:
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
    return [p for p in pruners if p.rule.courses and all(isinstance(course, Ramp) for course in p.rule.courses)]


def adaptive_targets(pruners: Iterable[Pruner]) -> list[Adaptive]:
    """The targets that follow a signal."""
    return [course for pruner in pruners for course in pruner.rule.courses if isinstance(course, Adaptive)]


def coupling_of(config: TrainConfig, network: Network, gan: Gan) -> Coupling | None:
    """The channels of a network of which whole rows are pruned; None: single weights are.

    Raises:
        UserError: somebody's network that does not run on latents or images alone, or has no such rows.
    """
    if config.granularity_of(network) != "row":
        return None
    module = gan.g if network == "g" else gan.d
    shape = (2, config.z_dim) if network == "g" else (2, *gan.batches.shape)
    labels = [torch.zeros(2, dtype=torch.int64, device=gan.device)] if gan.conditional else []
    flag = f"`granularity` row: {network.upper()} of `network` {config.network}"
    try:
        found = coupled(module, torch.zeros(shape, device=gan.device), *labels)
    except Exception as error:
        if is_used_up(error):
            raise
        raise UserError(f"{flag} cannot be traced: {reason(error)}.") from error
    if all(label < 0 for dims in found.values() for labels in dims.values() for label in labels):
        raise UserError(f"{flag} has no rows that can leave it.")
    return found


def make_rule(config: TrainConfig, network: Network, gan: Gan | None = None) -> Rule:
    """A fresh rule for one network, as the options say (which are not 'none').

    gan: where whole rows are pruned, the networks that it is for; None: to see whether it can be made.

    Raises:
        UserError: a rule of the user's own that cannot be made of them.
    """
    kind = kind_of_rule(config.rule)
    assert kind is not None
    wanted = Wanted(
        options=vars(config),
        coupling=None if gan is None else coupling_of(config, network, gan),
        own=own_of_rule(config),
        target=make_target(config, network) if "target_g" in kind.options else None,
        ramp=lambda density: make_ramp(config, network, density),
        steps=steps_in(config, network, config.kimg),
    )
    return called(f"`rule` {config.rule}", kind.make, wanted)


def make_rules(config: TrainConfig, gan: Gan | None = None) -> Rules:
    """Those of the networks that the options prune."""
    networks: tuple[Network, ...] = ("g", "d")
    if config.rule == NONE:
        return {}
    return {network: make_rule(config, network, gan) for network in networks if config.networks in ("both", network)}


def make_schedules(config: TrainConfig, pruners: Mapping[Network, Pruner]) -> list[Schedule]:
    """One for all pruners where their options are the same and neither has its own; else one for each."""
    if not pruners:
        return []
    names = {network: config.schedule_of(network) for network in pruners}
    own = config.schedule_g is not None or config.schedule_d is not None
    if not own and len(set(names.values())) == 1:
        return [make_schedule(config, names[next(iter(names))], dict(pruners))]
    return [make_schedule(config, names[network], {network: pruner}) for network, pruner in pruners.items()]


def make_schedule(config: TrainConfig, name: str, pruners: dict[Network, Pruner]) -> Schedule:
    """Raises UserError where a schedule of the user's own cannot be made."""
    fade = [steps_in(config, network, config.fade) if config.fade else 0 for network in pruners]
    own = own_of_schedules(config, [config.schedule_of(network) for network in pruners])[name]
    wanted = Wanted(vars(config), own, pruners=list(pruners.values()), fade=fade)
    return called(f"`schedule` {name}", SCHEDULES.get(name).make, wanted)


def checked_pruner(pruner: Pruner, saved: Any) -> dict[str, Any]:
    """A pruner's saved state, if it has the form of the present one.

    Raises:
        ValueError, KeyError, TypeError: it has not.
    """
    target = {"target": own["target"]} if "target" in (own := pruner.rule.state_dict()) else {}
    # States of before format 4 have no target: it is that of the options.
    return pruner.checked({**saved, "rule": {**target, **saved["rule"]}})
