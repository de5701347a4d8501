"""What else happens during a run: a tracker, a picture of your own, an early stop by your own measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from rggan.errors import UserError
from rggan.registry import Registry

Row = dict[str, Any]


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


def callback(found: Any) -> Callback:
    """The object, or one of the class.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(found, type) and issubclass(found, Callback):
        return found()
    if isinstance(found, Callback):
        return found
    raise TypeError("callback (rggan.training.callbacks.Callback)")


CALLBACKS: Registry[Callback] = Registry("--callbacks", {}, "rggan.callbacks", callback)


class Callbacks(Callback):
    """Several, one after the other.

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
        for one in self.each:
            try:
                getattr(one, method)(*arguments)
            except Exception as error:  # of somebody else's code
                reason = (str(error).strip() or type(error).__name__).splitlines()[-1].rstrip(".")
                raise UserError(
                    f"The callback {type(one).__name__} failed in {method}: {reason}. What was saved before is kept."
                ) from error
