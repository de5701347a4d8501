"""What else happens during a run: a tracker, a picture of your own, an early stop by your own measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rggan import ranks
from rggan.errors import UserError, reason
from rggan.registry import Registry, called
from rggan.run.folder import Row
from rggan.training.together import agreed, alone


class Callback:
    """Called by a run; each method may be left out. What it raises ends the run, with what was saved before.

    >>> class Scores(Callback):
    ...     def tick(self, row, snapshot):
    ...         print(row["kimg"], row["score"])
    >>> Scores().tick({"kimg": 20.0, "score": 0.5}, nn.Identity())
    20.0 0.5
    """

    def begin(self, run: Path) -> None:
        """The run in this folder begins, or goes on."""

    def tick(self, row: Row, snapshot: nn.Module) -> None:
        """An evaluation is done and written. row: its line in stats.jsonl. snapshot: the generator's EMA, in evaluation
        mode; latents [N, z_dim] (, labels) -> images in -1..1."""

    def end(self, rows: Sequence[Row]) -> None:
        """The run has come to its end; not called where it was stopped or diverged."""


def callback(found: Any) -> Callable[[], Callback]:
    """What makes one for a run: the class, or what gives the object.

    Raises:
        TypeError: it is neither a class of them nor one.
    """
    if isinstance(found, type) and issubclass(found, Callback):
        return found
    if isinstance(found, Callback):
        return lambda: found
    raise TypeError("callback (rggan.training.callbacks.Callback)")


CALLBACKS: Registry[Callable[[], Callback]] = Registry("`callbacks`", {}, "rggan.callbacks", callback)


def checked(callbacks: Sequence[Any]) -> list[Any]:
    """Raises UserError for a class where one of its objects is meant."""
    for one in callbacks:
        if isinstance(one, type):
            raise UserError(f"`callbacks` takes objects: give {one.__name__}(), not {one.__name__}.")
    return list(callbacks)


def make_callbacks(names: Sequence[str]) -> list[Callback]:
    """Raises UserError where one of them is none, or cannot be made."""
    return [called(f"`callbacks` {name}", CALLBACKS.get(name)) for name in names]


class Callbacks(Callback):
    """Several, one after the other; of several ranks on the first. Random numbers that they draw are not the run's.

    Raises:
        UserError: in each method, with its name, where one of them raises.
    """

    def __init__(self, each: Sequence[Callback]) -> None:
        self.each = list(each)

    def begin(self, run: Path) -> None:
        self.call("begin", run)

    def tick(self, row: Row, snapshot: nn.Module) -> None:
        self.call("tick", dict(row), snapshot)

    def end(self, rows: Sequence[Row]) -> None:
        self.call("end", list(rows))

    def call(self, method: str, *arguments: Any) -> None:
        with agreed():
            self.call_here(method, *arguments)

    def call_here(self, method: str, *arguments: Any) -> None:
        for one in self.each if ranks.first() else ():
            try:
                with alone(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                    getattr(one, method)(*arguments)
            except Exception as error:  # of somebody else's code
                raise UserError(
                    f"The callback {type(one).__name__} failed in {method}: {reason(error)}. What was saved before is "
                    "kept."
                ) from error
