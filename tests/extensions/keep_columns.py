"""A rule with options of its own: whole input columns of each layer stay, those with the largest weights."""

from collections.abc import Sequence
from typing import Any

import torch

from rggan.pruning import Layer, Rule


class KeepColumns(Rule):
    masked = "train"

    def __init__(self, density: float = 0.5, power: float = 2.0, every_step: bool = False) -> None:
        self.density, self.power, self.every_step, self.steps = density, power, every_step, 0

    def begin(self, layers: Sequence[Layer]) -> None:
        self.refresh(layers)

    @torch.no_grad()
    def update(self, layers: Sequence[Layer]) -> None:
        self.steps += 1
        if self.every_step:
            self.refresh(layers)

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            size = layer.weight.abs().pow(self.power).flatten(2).sum(dim=2) if layer.weight.dim() > 2 else layer.weight
            size = size.abs().sum(dim=0)
            kept = size.topk(max(1, round(self.density * len(size)))).indices
            layer.mask.zero_()
            layer.mask[:, kept] = 1

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
