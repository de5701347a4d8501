"""What the two networks are trained for: the adversarial loss, and what regularises it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rggan.config import TrainConfig
from rggan.losses import hinge_d, hinge_g, lecam, nonsaturating_d, nonsaturating_g, path_length
from rggan.networks import FAMILIES

LOSSES = {"hinge": (hinge_d, hinge_g), "nonsaturating": (nonsaturating_d, nonsaturating_g)}
R1_EVERY, PATH_EVERY = 16, 4  # steps between two lazy penalties, which count so many times as much
LECAM_DECAY = 0.99


class Objective:
    """The losses of one training, with what they remember.

    gamma: the weight of the R1 penalty, taken on every 16th step of D. real, fake: moving averages of D's mean outputs
    (LeCam). length: that of the path lengths.
    """

    def __init__(self, config: TrainConfig, pixels: int, device: torch.device) -> None:
        self.loss_d, self.loss_g = LOSSES[config.loss]
        self.lecam, self.path = config.lecam, config.path_length
        self.gamma = config.gamma
        if self.gamma is None:
            thumb = FAMILIES.get(config.network).r1
            self.gamma = 0.0 if thumb is None else thumb(pixels, config.batch)
        self.real, self.fake, self.length = (torch.zeros((), device=device) for _ in range(3))
        self.steps_d = self.steps_g = 0
        self.averaging = False  # whether `real` and `fake` have begun

    def of_d(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """D's loss of a step."""
        loss: Tensor = self.loss_d(on_real, on_fake)
        if self.lecam:
            real, fake = on_real.detach().mean(), on_fake.detach().mean()
            weight = 1 - LECAM_DECAY if self.averaging else 1.0  # the first values count whole
            self.averaging = True
            self.real, self.fake = self.real.lerp(real, weight), self.fake.lerp(fake, weight)
            loss = loss + self.lecam * lecam(on_real, on_fake, self.real, self.fake)
        return loss

    def r1_due(self) -> bool:
        """Whether this step of D carries the R1 penalty; counts the step."""
        self.steps_d += 1
        return bool(self.gamma) and (self.steps_d - 1) % R1_EVERY == 0

    def r1_weight(self) -> float:
        return (self.gamma or 0.0) / 2 * R1_EVERY

    def path_due(self) -> bool:
        """Whether this step of G carries the path length penalty; counts the step."""
        self.steps_g += 1
        return self.path > 0 and (self.steps_g - 1) % PATH_EVERY == 0

    def path_penalty(self, images: Tensor, styles: Tensor) -> Tensor:
        """Weighted for a lazy step; moves the average length."""
        penalty, self.length = path_length(images, styles, self.length)
        return penalty * self.path * PATH_EVERY

    def state_dict(self) -> dict[str, Any]:
        return {
            "averages": torch.stack([self.real, self.fake, self.length]),
            "steps": [self.steps_d, self.steps_g],
            "averaging": self.averaging,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.real, self.fake, self.length = (x.clone() for x in state["averages"].to(self.real.device).unbind())
        self.steps_d, self.steps_g = state["steps"]
        self.averaging = state["averaging"]
