"""Weight rewinding: the masks of a late network on the weights of an early one.

Frankle, Dziugaite, Roy and Carbin 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis": a sparse network
trains well from its weights of early in training, and badly from a new initialisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rggan.pruning import Pruner
from rggan.pruning.form import fitted


class Rewinding:
    """Keeps the networks' weights of `images` seen, and goes back to them when the masks have reached their
    targets.

    Attributes:
        early: the dense weights of each network then; None before. done: whether it went back.
    """

    def __init__(self, pruners: Sequence[Pruner], images: int) -> None:
        self.pruners, self.images = list(pruners), images
        self.early: list[dict[str, Tensor]] | None = None
        self.done = False

    def due(self, images: int) -> bool:
        """Whether so many images are enough for the next of the two."""
        if self.done:
            return False
        if self.early is None:
            return images >= self.images
        return all(pruner.phase == "prune" and pruner.reached for pruner in self.pruners)

    def step(self) -> None:
        """Keep the weights, or go back to them."""
        if self.early is None:
            self.early = []
            for pruner in self.pruners:
                with pruner.dense():
                    self.early.append({n: p.detach().clone() for n, p in pruner.model.named_parameters()})
            return
        for pruner, weights in zip(self.pruners, self.early, strict=True):
            pruner.rewind(weights)
        self.done, self.early = True, []

    def state_dict(self) -> dict[str, Any]:
        return {"early": self.early, "done": self.done}

    def checked(self, state: Any) -> dict[str, Any]:
        """Raises ValueError or KeyError for what is no such state."""
        early, done = state["early"], state["done"]
        if type(done) is not bool:
            raise ValueError("rewinding was done, or not")
        if early:
            own = [{n: p.detach() for n, p in pruner.model.named_parameters()} for pruner in self.pruners]
            early = fitted(own, early, "rewinding")
        return {"early": early, "done": done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.early, self.done = state["early"], state["done"]
