"""Checks and unwraps the arguments of a Pruner."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from rggan.pruning.rule import Rule
from rggan.pruning.select import Selection
from rggan.pruning.swap import Swap
from rggan.pruning.target import Course
from rggan.pruning.threshold import Threshold
from rggan.pruning.wrappers import unwrapped

LIVE: weakref.WeakSet[Swap] = weakref.WeakSet()  # pruners that are not detached


def plain_model(model: nn.Module) -> nn.Module:
    """The module inside torch.compile and AveragedModel wrappers.

    Raises:
        ValueError: it is wrapped by DistributedDataParallel.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"a Pruner takes a module first, not a {type(model).__name__}")
    model = unwrapped(model, AveragedModel)
    if isinstance(model, DistributedDataParallel):
        name = type(model.module).__name__
        raise ValueError(
            f"{name} is wrapped by DistributedDataParallel: give the module itself, Pruner(model.module, ...), before "
            "DistributedDataParallel wraps it or after"
        )
    return model


def made_rule(rule: Any, density: Any) -> Rule:
    """Returns the rule, or a `Threshold` if none is given; raises ValueError for anything but an unused rule."""
    if rule is not None and density is not None:
        raise ValueError("give a rule or a density, not both: Threshold(target=density) is a rule")
    if rule is None:
        return Threshold(target=density)
    if isinstance(rule, int | float | Course):
        raise ValueError(f"a Pruner takes a rule third, like Threshold(target={rule}); or write density={rule}")
    if not isinstance(rule, Rule):
        raise ValueError(f"a Pruner takes a rule third, not a {type(rule).__name__}")
    if rule.taken:
        raise ValueError(f"this {type(rule).__name__} belongs to another Pruner: a rule has state, make a new one")
    return rule


def refuse_pruned(selection: Selection) -> None:
    """Raises ValueError if one of the weights already has a Pruner."""
    chosen = {id(found.weight): found.name for found in selection.chosen}

    def twice() -> str | None:
        return next(
            (chosen[id(layer.weight)] for other in LIVE for layer in other.layers if id(layer.weight) in chosen), None
        )

    if twice() is not None:
        gc.collect()  # drops pruners that are no longer referenced
    if (name := twice()) is not None:
        raise ValueError(f"{name} already has a Pruner: call its detach() first")
