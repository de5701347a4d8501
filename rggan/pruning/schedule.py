"""WHEN to prune and when to integrate: RG-GAN decides after each evaluation, from the score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from rggan.pruning.pruner import Pruner


class ScoreSchedule:
    """Prune while the score does not get worse than its own recent mean, otherwise integrate.

    With the last five scores S-4..S0 (lower is better): prune while
    `0.1 S-4 + 0.1 S-3 + 0.2 S-2 + 0.2 S-1 + 0.4 S0 >= S0`, both networks together (RG-GAN, AAAI 2024).
    Below five scores it prunes.

    Args:
        pruners: one or more, usually G's and D's; they begin pruning at once.
        weights: of the last scores, oldest first; their number is the window.

    Attributes:
        phase: 'prune' or 'dense'. scores: the window so far. decisions: how many phases were chosen from
        a full window.

    >>> class Recorder:
    ...     prune = integrate = lambda self: None
    >>> schedule = ScoreSchedule(Recorder())
    >>> [schedule.step(score) for score in (5, 4, 3, 2, 1, 6)]
    ['prune', 'prune', 'prune', 'prune', 'prune', 'dense']
    """

    def __init__(self, *pruners: Pruner, weights: Sequence[float] = (0.1, 0.1, 0.2, 0.2, 0.4)) -> None:
        if not pruners or not weights:
            raise ValueError("a ScoreSchedule needs at least one pruner and one weight")
        self.pruners = pruners
        self.weights = tuple(weights)
        self.scores: list[float] = []
        self.decisions = 0
        self.phase = "prune"
        self._enter("prune")

    def step(self, score: float) -> str:
        """Take the newest score, switch the phase where it calls for it, and return the phase.

        In a distributed run the first process decides for all.

        Raises:
            ValueError: the score is NaN or infinite.
        """
        score = float(score)
        if not math.isfinite(score):
            raise ValueError(f"the score must be a finite number, not {score}")
        self.scores = [*self.scores, score][-len(self.weights) :]
        improving = True
        if len(self.scores) == len(self.weights):
            self.decisions += 1
            improving = sum(w * s for w, s in zip(self.weights, self.scores, strict=True)) >= score
        self._enter("prune" if _agreed(improving) else "dense")
        return self.phase

    def _enter(self, phase: str) -> None:
        self.phase = phase
        for pruner in self.pruners:
            pruner.prune() if phase == "prune" else pruner.integrate()

    def state_dict(self) -> dict[str, Any]:
        return {"scores": self.scores, "decisions": self.decisions, "phase": self.phase}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the history, and put the pruners into its phase."""
        self.scores, self.decisions = list(state["scores"]), state["decisions"]
        self._enter(state["phase"])


def _agreed(decision: bool) -> bool:
    """The first process's decision, in every process."""
    if not (dist.is_available() and dist.is_initialized()):
        return decision
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    told = torch.tensor([decision], dtype=torch.int32, device=device)
    dist.broadcast(told, src=0)
    return bool(told.item())
