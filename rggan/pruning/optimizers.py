"""The optimizers that a Pruner follows: unwrapped, with hooks before and after each step."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import register_optimizer_step_pre_hook


class PruningWarning(UserWarning):
    """Weights are trained without the pruning that the user probably expects."""


def plain_optimizers(given: Any) -> list[Optimizer]:
    """Returns the optimizers without the wrappers of Accelerate, Lightning and others.

    Raises:
        ValueError: not an optimizer, or one whose step a mask cannot follow (LBFGS).
    """
    found = [plain_optimizer(one) for one in (given if isinstance(given, list | tuple) else [given])]
    found = list({id(one): one for one in found}.values())
    if not found:
        raise ValueError("a Pruner needs an optimizer: the one that trains the model, or a list of all that do")
    return found


def plain_optimizer(given: Any) -> Optimizer:
    if isinstance(given, LRScheduler):
        raise ValueError(f"{type(given).__name__} is a learning-rate scheduler: give its optimizer instead")
    seen = given
    while isinstance(getattr(seen, "optimizer", None), Optimizer):
        seen = seen.optimizer
    if isinstance(seen, LBFGS):
        raise ValueError("LBFGS asks for the loss several times within a step, at other weights: no mask can follow")
    if not isinstance(seen, Optimizer) or not hasattr(seen, "_optimizer_step_pre_hooks"):
        raise ValueError(
            f"{type(given).__name__} is no torch.optim.Optimizer with hooks: give the one that trains the model"
        )
    return seen


def trainers(optimizers: Sequence[Optimizer]) -> dict[int, list[Optimizer]]:
    """Returns {id of a parameter: the optimizers that train it}."""
    found: dict[int, list[Optimizer]] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                found.setdefault(id(parameter), []).append(optimizer)
    return found


# Called by a single global hook on all optimizers. It is never removed: torch may be iterating over its hooks when the
# last of these is garbage-collected.
ALL: weakref.WeakSet[Hooks] = weakref.WeakSet()


def watch(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Before a step of any optimizer: call `foreign` of all `Hooks` that do not follow it."""
    for hooks in list(ALL):
        if hooks.handles and optimizer not in hooks.optimizers:
            hooks.foreign(optimizer)


@functools.cache
def watch_all() -> None:
    register_optimizer_step_pre_hook(watch)


class Hooks:
    """Calls `before(optimizer)` once gradients are computed and `after(optimizer)` after the step.

    A closure (Lightning always passes one) runs first, with the masked weights; `before` is called between it and the
    optimizer's update. `foreign(optimizer)` is called when any other optimizer steps.
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        before: Callable[[Optimizer], None],
        after: Callable[[Optimizer], None],
        foreign: Callable[[Optimizer], None],
    ) -> None:
        self.optimizers, self.before, self.after = list(optimizers), before, after
        self.handles = []
        for optimizer in self.optimizers:
            self.handles += [optimizer.register_step_pre_hook(self.pre), optimizer.register_step_post_hook(self.post)]
            # Before hooks registered by other code: a weight average updated in a hook must see sparse weights.
            optimizer._optimizer_step_post_hooks.move_to_end(self.handles[-1].id, last=False)  # type: ignore[attr-defined]
        self.foreign = foreign
        watch_all()
        ALL.add(self)

    def pre(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        closure = args[1] if len(args) > 1 else kwargs.get("closure")  # args[0] is the optimizer itself
        if not callable(closure):
            self.before(optimizer)
            return None
        asked = False

        def first() -> Any:
            nonlocal asked
            if asked:
                raise ValueError(
                    f"{type(optimizer).__name__} asks for the loss several times within a step, at other weights: "
                    "no mask can follow"
                )
            asked = True
            loss = closure()
            self.before(optimizer)
            return loss

        if len(args) > 1:
            return (args[0], first, *args[2:]), kwargs
        return args, {**kwargs, "closure": first}

    def post(self, optimizer: Optimizer, *_: Any) -> None:
        self.after(optimizer)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles = []
