"""What all benchmarks do: a training on noise, and what the hooks of pruning take of its step."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch

from rggan import TrainConfig
from rggan.data import ImageSet
from rggan.training.trainer import Training


def on_noise(config: TrainConfig, count: int, side: int) -> Training:
    """A training on so many images of noise, which are held out too."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=random)
    names = tuple(map(str, range(count)))
    data = ImageSet(store=images, rows=torch.arange(count), labels=None, classes=(), names=names, hashes=names)
    return Training(config, data, dataclasses.replace(data))  # another set, as if it were held out


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
