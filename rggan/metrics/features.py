"""Images -> feature vectors, by two small networks that ship with the package.

`steering` drives training (score, schedule, best snapshot); `reporting` has another architecture
and another seed and never steers, so a generator cannot have been chosen by the network that judges
it. Both were trained by `runs/train_features.py` to classify the CIFAR-10 training images with an odd
number in their file name. Fréchet, kernel and neighbour distances are taken between these features.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "weights"


class FeatureNetwork(nn.Module):
    """Mean activations of every stage, standardised per dimension on the images it was trained on.

    uint8 [N, C, H, W] with 1 or 3 channels at any size -> float32 [N, dim]. The networks read 32x32:
    other sizes are resized with antialiasing.
    """

    resolution = 32

    def __init__(self, stages: list[nn.Module], widths: list[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.dim = sum(widths)
        self.register_buffer("mean", torch.zeros(self.dim))
        self.register_buffer("std", torch.ones(self.dim))
        self.mean: Tensor
        self.std: Tensor

    def pooled(self, x: Tensor) -> Tensor:
        """float [N, 3, 32, 32] in -1..1 -> the concatenated means of the stages, [N, dim]."""
        means = []
        for stage in self.stages:
            x = stage(x)
            means.append(x.float().mean(dim=(2, 3)))
        return torch.cat(means, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        x = images.float()
        if x.shape[2:] != (self.resolution, self.resolution):
            size = (self.resolution, self.resolution)
            x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 255)
        x = x.expand(-1, 3, -1, -1).div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
        return (self.pooled(x) - self.mean) / self.std


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016, option B)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def plain(inputs: int, outputs: int) -> list[nn.Module]:
    """A 3x3 convolution, batch normalisation and GELU."""
    return [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.GELU()]


def residual_network() -> FeatureNetwork:
    """The steering architecture: a residual network of 13 convolutions, 0.7 M weights, 224 features."""
    stem = nn.Sequential(nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
    widths = [32, 64, 128]
    stages: list[nn.Module] = [nn.Sequential(stem, Residual(32, 32, 1), Residual(32, 32, 1))]
    stages += [nn.Sequential(Residual(w // 2, w, 2), Residual(w, w, 1)) for w in widths[1:]]
    return FeatureNetwork(stages, widths)


def plain_network() -> FeatureNetwork:
    """The reporting architecture: seven plain convolutions with GELU and max pooling, 256 features."""
    return FeatureNetwork(
        [
            nn.Sequential(*plain(3, 32), *plain(32, 32)),
            nn.Sequential(nn.MaxPool2d(2), *plain(32, 80), *plain(80, 80)),
            nn.Sequential(nn.MaxPool2d(2), *plain(80, 144), *plain(144, 144), *plain(144, 144)),
        ],
        [32, 80, 144],
    )


ARCHITECTURES = {"steering": residual_network, "reporting": plain_network}


@cache
def feature_network(name: str, device: str = "cpu") -> FeatureNetwork:
    """The shipped network 'steering' or 'reporting', frozen, in float32.

    >>> feature_network("steering")(torch.zeros(2, 1, 16, 16, dtype=torch.uint8)).shape
    torch.Size([2, 224])
    """
    with torch.random.fork_rng(devices=[]):  # the first call must not move the caller's random numbers
        network = ARCHITECTURES[name]()
    network.load_state_dict({k: v.float() for k, v in load_file(WEIGHTS / f"{name}.safetensors").items()})
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device).eval().requires_grad_(False)


@torch.no_grad()
def extract(network: FeatureNetwork, images: Tensor, batch: int = 250) -> Tensor:
    """Features of uint8 images [N, C, H, W] in batches, float64 [N, dim] on the network's device."""
    device = network.mean.device
    return torch.cat([network(part.to(device)).double() for part in images.split(batch)])
