"""Layers shared by the networks, independent of pruning."""

from __future__ import annotations

from functools import cache

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


class Equalised(nn.Module):
    """A layer with the equalised learning rate: its weight is divided by the root of its inputs' number when used."""

    weight: Tensor

    @torch.no_grad()
    def narrowed(self, before: int) -> None:
        """After inputs have left: what is computed with the weights stays. before: the number of a neuron's weights."""
        self.weight.mul_((self.weight[0].numel() / before) ** 0.5)


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


def blurred(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """Filtered with [1, 3, 3, 1] in both directions, [N, C, H, W] -> [N, C, H + 2 padding - 3, W + 2 padding - 3].

    On a GPU by two matrix products: its depthwise convolutions, and its pooling, are far slower in bf16
    (docs/performance.md), and on a CPU convolutions are faster.
    """
    if x.device.type == "cuda":
        return banded(x, padding, gain)
    line = x.new_full((4,), 1 / 8)  # filled where it lies: a list would be copied to a GPU at every call
    line[1:3] = 3 / 8
    kernel = (line[:, None] * line * gain).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, kernel, padding=padding, groups=x.shape[1])


def banded(x: Tensor, padding: int, gain: float = 1.0, stride: int = 1) -> Tensor:
    """`blurred` by a product with a banded matrix on either side; of the result every `stride`-th place."""
    kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    height, width = (band(size, padding, stride, gain**0.5, x.device, kind) for size in x.shape[2:])
    if on_gpu_last(x):
        n, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(n * h, w, c)
        rows = torch.bmm(width.expand(n * h, *width.shape), rows).view(n, h, -1)
        rows = torch.bmm(height.expand(n, *height.shape), rows)
        return rows.view(n, len(height), len(width), c).permute(0, 3, 1, 2)
    return height @ (x @ width.T)


@cache
@torch.inference_mode(False)
def band(size: int, padding: int, stride: int, gain: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[1, 3, 3, 1] / 8 along one side as a matrix [outputs, size].

    >>> band(3, 1, 1, 1.0, torch.device("cpu"), torch.float32) * 8
    tensor([[3., 3., 1.],
            [1., 3., 3.]])
    """
    outputs = (size + 2 * padding - 4) // stride + 1
    first = torch.arange(outputs, device=device)[:, None] * stride - padding  # the place that each begins at
    tap = torch.arange(size, device=device) - first
    inner, outer = (tap == 1) | (tap == 2), (tap == 0) | (tap == 3)
    return (inner.float() * 3 + outer.float()).mul_(gain / 8).to(dtype)


def halved(x: Tensor) -> Tensor:
    """[N, C, H, W], sides even -> [N, C, H / 2, W / 2], the means of 2x2 places; on a GPU without its slow pooling.

    >>> halved(torch.arange(8.0).view(1, 1, 2, 4))
    tensor([[[[2.5000, 4.5000]]]])
    """
    if not on_gpu_last(x):
        return F.avg_pool2d(x, 2)
    n, c, height, width = x.shape
    parts = x.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2, c)
    return parts.mean(dim=(2, 4)).permute(0, 3, 1, 2)


def doubled(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W], each place four times.

    >>> doubled(torch.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]])
    """
    if not on_gpu_last(x):
        return F.interpolate(x, scale_factor=2)
    n, c, height, width = x.shape
    places = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(n, height, 2, width, 2, c)
    return places.reshape(n, 2 * height, 2 * width, c).permute(0, 3, 1, 2)


def on_gpu_last(x: Tensor) -> bool:
    """Whether x lies on a GPU with its channels last."""
    return x.device.type == "cuda" and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
