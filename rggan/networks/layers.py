"""Layers shared by the networks, independent of pruning."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` whose weight is computed outside autocast.

    A parametrized weight (e.g. spectral norm) would otherwise be normalised in half precision.
    """

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            weight = self.weight
        return self._conv_forward(input, weight, self.bias)


class Linear(nn.Linear):
    """`nn.Linear` whose weight is computed outside autocast."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            weight = self.weight
        return F.linear(input, weight, self.bias)


class ConditionalBatchNorm2d(nn.Module):
    """Batch normalisation with one gain and bias per class (Dumoulin et al. 2017).

    [N, C, H, W] and labels int64 [N] -> [N, C, H, W].
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(classes, channels)
        self.bias = nn.Embedding(classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        gain, bias = self.gain(labels)[:, :, None, None], self.bias(labels)[:, :, None, None]
        return self.norm(x) * gain.to(x.dtype) + bias.to(x.dtype)


def layout_of(network: nn.Module) -> torch.memory_format:
    """Returns the memory format of the network's convolutions."""
    for parameter in network.parameters():
        if parameter.dim() == 4 and min(parameter.shape[1:]) > 1:
            last = parameter.is_contiguous(memory_format=torch.channels_last)
            return torch.channels_last if last else torch.contiguous_format
    return torch.contiguous_format


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """int64 [N] -> float32 [N, classes]. PyTorch's own reads the largest label back, and waits.

    >>> one_hot(torch.tensor([2, 0]), 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()
