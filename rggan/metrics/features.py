"""Images -> feature vectors, by two small networks that ship with the package or any other `Extractor`.

`steering` computes the validation score (for schedules and the best snapshot); `reporting` has another architecture
and another seed and is used for evaluation only, so that no generator is selected by the network that evaluates it.
Both were trained by `studies/train_features.py` to classify the CIFAR-10 training images with an odd
number in their file name. Fréchet, kernel and neighbour metrics compare these features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from rggan.device import with_float64
from rggan.errors import UserError

WEIGHTS = Path(__file__).parent / "weights"
MOST_PATCHES = 3  # along each axis of a large image

View = Literal["whole", "patches"]


class Parts(Protocol):
    """Images that need not fit in memory: yields uint8 [at most `batch`, C, H, W] in a fixed order."""

    def parts(self, batch: int) -> Iterator[Tensor]: ...

    def __len__(self) -> int: ...


class Extractor(Protocol):
    """Maps images to features.

    name: its display name. hash: SHA-256 of everything that determines its features.
    resolution: side in pixels of its (largest) square input; None: it takes any size.
    resize: description of how other sizes are resized.

    Called with uint8 (or float in 0..255) [N, 1 or 3, H, W] it returns [N, D], each row independent of the others.
    """

    name: str
    hash: str
    resolution: int | None
    resize: str

    @property
    def device(self) -> torch.device: ...

    def __call__(self, images: Tensor) -> Tensor: ...


class FeatureNetwork(nn.Module):
    """Mean activations of every stage, standardised per dimension on the network's training images.

    uint8 [N, C, H, W] (or float in 0..255) with 1 or 3 channels at any size -> float32 [N, dim]. The
    networks take 32x32 images: other sizes are resized with antialiasing.
    """

    resolution: int | None = 32
    resize = "bicubic, antialiased, to 32x32"
    name = hash = ""  # set when the weights are loaded

    def __init__(self, stages: list[nn.Module], widths: list[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.dim = sum(widths)
        self.register_buffer("mean", torch.zeros(self.dim))
        self.register_buffer("std", torch.ones(self.dim))
        self.mean: Tensor
        self.std: Tensor

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def pooled(self, x: Tensor) -> Tensor:
        """float [N, 3, 32, 32] in -1..1 -> the concatenated means of the stages, [N, dim]."""
        means = []
        for stage in self.stages:
            x = stage(x)
            means.append(x.float().mean(dim=(2, 3)))
        return torch.cat(means, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        assert self.resolution is not None
        x = resized(images.float(), self.resolution)
        x = x.expand(-1, 3, -1, -1).div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
        return (self.pooled(x) - self.mean) / self.std


def resized(x: Tensor, side: int) -> Tensor:
    """float [N, C, H, W] in 0..255 -> [N, C, side, side]: bicubic, antialiased; unchanged if it has that size."""
    if x.shape[2:] == (side, side):
        return x
    return F.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 255)


class Residual(nn.Module):
    """A residual block of two 3x3 convolutions (He et al. 2016, option B)."""

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
    """Returns the shipped network 'steering' or 'reporting', frozen, in float32.

    >>> feature_network("steering")(torch.zeros(2, 1, 16, 16, dtype=torch.uint8)).shape
    torch.Size([2, 224])
    """
    with torch.random.fork_rng(devices=[]):  # the first call must not advance the caller's random state
        network = ARCHITECTURES[name]()
    weights = WEIGHTS / f"{name}.safetensors"
    network.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
    network.name, network.hash = name, hashlib.sha256(weights.read_bytes()).hexdigest()
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device).eval().requires_grad_(False)


def views(images: Tensor) -> list[Tensor]:
    """Returns the network inputs: the images themselves, or RGBA images composited on white and on black.

    uint8 [N, C, H, W] -> one or two of uint8 or float in 0..255 [N, 1 or 3, H, W]. A single background does not
    determine alpha; two backgrounds determine colour and alpha.
    """
    if images.shape[1] != 4:
        return [images]
    alpha = images[:, 3:].float() / 255
    on_black = images[:, :3] * alpha
    return [on_black + 255 * (1 - alpha), on_black]


def patches(images: Tensor, side: int) -> list[Tensor]:
    """Crops evenly spaced squares [N, C, side, side] of [N, C, H, W] at full resolution, at most three along an axis.

    Downscaled to `side` pixels, a large image and its blurred copy look the same; patches differ.

    >>> len(patches(torch.zeros(1, 3, 64, 96), 32)), len(patches(torch.zeros(1, 3, 512, 512), 32))
    (6, 9)
    """
    height, width = images.shape[2:]

    def places(length: int) -> list[int]:
        count = min(MOST_PATCHES, length // side)
        return [round(i * (length - side) / max(1, count - 1)) for i in range(count)]

    return [images[:, :, top : top + side, left : left + side] for top in places(height) for left in places(width)]


def has_patches(extractor: Extractor, height: int, width: int) -> bool:
    """Whether images of this size are larger than the extractor's input."""
    side = extractor.resolution
    return side is not None and min(height, width) >= side and max(height, width) > side


@torch.no_grad()
def features_of(extractor: Extractor, images: Tensor, view: View = "whole", first: int = 0) -> Tensor:
    """Computes the features of one batch, uint8 [n, C, H, W] -> float64 [n, D] (on the device, see `with_float64`).

    RGBA images have [n, 2 * D]: the features on white and on black. With `view='patches'` the features of an image are
    the mean over its `patches`.

    Args:
        first: index of the first of these images in the whole set, for the message.

    Raises:
        UserError: features that are NaN or infinite.
    """
    features = torch.cat([look(extractor, seen, view) for seen in views(images.to(extractor.device))], dim=1)
    if not features.isfinite().all():
        place = first + int((~features.isfinite()).any(dim=1).nonzero()[0, 0])
        raise UserError(f"The extractor {extractor.name} gives NaN or infinite features for image {place}.")
    return features


def feature_parts(
    extractor: Extractor, images: Tensor | Parts, batch: int = 250, view: View = "whole"
) -> Iterator[Tensor]:
    """Yields `features_of` all images, at most `batch` at a time."""
    done = 0
    for part in images.split(batch) if isinstance(images, Tensor) else images.parts(batch):
        yield features_of(extractor, part, view, done)
        done += len(part)


def look(extractor: Extractor, images: Tensor, view: View) -> Tensor:
    """Returns float64 features [N, D] of one batch without alpha."""
    home = with_float64(extractor.device)
    if view == "whole":
        return extractor(images).to(home).double()
    assert extractor.resolution is not None
    squares = patches(images, extractor.resolution)
    total = extractor(squares[0]).to(home).double()
    for square in squares[1:]:
        total += extractor(square).to(home)
    return total / len(squares)


def extract(extractor: Extractor, images: Tensor | Parts, batch: int = 250, view: View = "whole") -> Tensor:
    """Concatenates `feature_parts`, [N, D].

    >>> extract(feature_network("steering"), torch.zeros(2, 4, 16, 24, dtype=torch.uint8)).shape
    torch.Size([2, 448])
    """
    return torch.cat(list(feature_parts(extractor, images, batch, view)))
