"""Residual blocks that families share (Miyato et al. 2018, appendix B.4)."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from rggan.networks.layers import Conv2d, doubled, halved


class GeneratorBlock(nn.Module):
    """[N, in, H, W] and a condition (e.g. labels; None without) -> [N, out, 2H, 2W].

    norm: makes a normalisation for a number of channels; a plain batch norm ignores the condition.
    """

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm1 = norm(inputs)
        self.conv1 = Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = norm(outputs)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        h = doubled(F.relu(normalised(self.norm1, x, condition)))
        h = F.relu(normalised(self.norm2, self.conv1(h), condition))
        # A 1x1 convolution commutes with nearest upsampling: applied first it costs a quarter.
        out: Tensor = self.conv2(h) + doubled(self.shortcut(x))
        return out


class DiscriminatorBlock(nn.Module):
    """[N, in, H, W] -> [N, out, H, W], or half that size with `down`."""

    def __init__(self, inputs: int, outputs: int, down: bool, first: bool = False) -> None:
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = Conv2d(inputs, outputs, 1) if down or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self.first else F.relu(x))
        h = self.conv2(F.relu(h))
        if self.down:  # the 1x1 shortcut commutes with pooling: applied last it costs a quarter
            h, x = halved(h), halved(x)
        out: Tensor = h + self.shortcut(x)
        return out


def normalised(norm: nn.Module, x: Tensor, condition: Tensor | None) -> Tensor:
    out: Tensor = norm(x) if isinstance(norm, nn.BatchNorm2d) else norm(x, condition)
    return out
