"""What the hooks of pruning take of a training step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rggan.training.trainer import Training


def hook_seconds(training: Training, steps: int) -> float:
    """Seconds that the hooks of all pruners take of one training step; the mean over so many."""
    spent = [0.0]

    def timed(call: Callable[[Any], None]) -> Callable[[Any], None]:
        def run(optimizer: Any) -> None:
            started = time.perf_counter()
            call(optimizer)
            spent[0] += time.perf_counter() - started

        return run

    for pruner in training.pruners:
        pruner.hooks.before, pruner.hooks.after = timed(pruner.hooks.before), timed(pruner.hooks.after)
    for _ in range(steps):
        training.step()
    return spent[0] / steps
