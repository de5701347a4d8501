"""Projected GAN: a discriminator that sees pictures through a frozen network, pretrained on ImageNet.

Sauer, Chitta, Müller and Geiger, "Projected GANs Converge Faster", NeurIPS 2021. Maps of four scales of
EfficientNet-Lite1 are mixed by fixed random convolutions, across channels (1x1) and across scales (3x3, from the
coarsest map up), and a small head judges patches of each. Only the heads train. The generator is FastGAN's.

What differs from the paper:

- Pictures are projected at their own size (there: resized to 224 or more pixels); those whose shorter side is below 64
  are enlarged twice.
- A mixed map goes through its 3x3 convolution before it is enlarged, not after: the same sums at a quarter of the cost.
- Grey becomes three equal channels. Of a picture with alpha D sees the colours over a chequerboard of black and white,
  as picture editors show transparency.
- Labels: their embedding is projected on each head's mean map (Miyato and Koyama 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from rggan.networks.family import Family
from rggan.networks.fastgan import FastGANGenerator
from rggan.networks.layers import Conv2d
from rggan.networks.sizes import Resolution, Sizes, check_resolution, doublings
from rggan.pretrained import LITE1, STRIDES, WIDTHS

SIZES = Sizes("Projected", 32, 512)

MIXED = (64, 128, 256, 512)  # channels of the mixed maps, fine to coarse
SEED = 2021  # of the fixed random weights
LEAST = 64  # pixels of the shorter side that the pretrained network sees
CELL = 4  # pixels of the chequerboard's


class Projection(nn.Module):
    """Images float [N, C, H, W], about -1..1 (C 1, 3 or 4) -> four maps [N, MIXED[i], h, w], fine to coarse.

    Frozen, the same on every machine, and in no state file. Gradients pass to the images. All in channels-last, in
    which the pretrained network takes half the time on a CPU.

    Raises:
        UserError: the pretrained network is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = LITE1.backbone()
        own = torch.Generator().manual_seed(SEED)  # the caller's random numbers stay where they are
        for i, (inputs, outputs) in enumerate(zip(WIDTHS, MIXED, strict=True)):
            self.register_buffer(f"channels{i}", kaiming(own, outputs, inputs, 1), persistent=False)
        for i, (outputs, inputs) in enumerate(pairwise(MIXED)):
            self.register_buffer(f"scales{i}", kaiming(own, outputs, inputs, 3), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.backbone(seen(images).contiguous(memory_format=torch.channels_last))
        mixed = [F.conv2d(x, self.get_buffer(f"channels{i}")) for i, x in enumerate(maps)]
        for i in range(len(mixed) - 2, -1, -1):
            coarser = F.conv2d(mixed[i + 1], self.get_buffer(f"scales{i}"), padding=1)
            mixed[i] = mixed[i] + F.interpolate(coarser, mixed[i].shape[2:], mode="bilinear")
        return mixed


def kaiming(own: torch.Generator, outputs: int, inputs: int, size: int) -> Tensor:
    """A convolution's weight, uniform with variance 1 / (3 fan-in): PyTorch's own start, as in the published code.

    What comes from coarser maps fades on its way to the finest one, which would see little else otherwise.
    """
    return nn.init.kaiming_uniform_(torch.empty(outputs, inputs, size, size), a=5**0.5, generator=own)


def seen(images: Tensor) -> Tensor:
    """What of images [N, C, H, W] the pretrained network sees: [N, 3, H, W], or twice that size.

    >>> seen(torch.ones(1, 1, 64, 96)).shape, seen(torch.ones(1, 3, 32, 48)).shape
    (torch.Size([1, 3, 64, 96]), torch.Size([1, 3, 64, 96]))
    """
    channels = images.shape[1]
    x = over_chequers(images) if channels == 4 else images.expand(-1, 3, -1, -1)
    return F.interpolate(x, scale_factor=2, mode="bilinear") if min(x.shape[2:]) < LEAST else x


def over_chequers(images: Tensor) -> Tensor:
    """Pictures with alpha [N, 4, H, W] over a chequerboard of black and white, [N, 3, H, W].

    Whatever the colours, two cells beside each other differ as far as the picture is transparent there.

    >>> over_chequers(torch.tensor([0.5, 0.5, 0.5, -1.0])[:, None, None].expand(1, 4, 1, 8))[0, 0, 0].tolist()
    [-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0]
    """
    height, width = images.shape[2:]
    rows, columns = (torch.arange(side, device=images.device) // CELL for side in (height, width))
    board = ((rows[:, None] + columns) % 2 * 2 - 1).to(images.dtype)
    opaque = (images[:, 3:] + 1) / 2
    return board + (images[:, :3] - board) * opaque


class Head(nn.Module):
    """[N, in, h, w] -> [N, out, h', w'], halved while the shorter side stays 4 or more; convolved at least once."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        halvings = max(0, doublings(side))
        widths = [inputs, *[max(1, outputs >> level) for level in range(max(0, halvings - 1), -1, -1)]]
        self.layers = nn.Sequential()
        for i, o in pairwise(widths):
            conv = Conv2d(i, o, 4, stride=2, padding=1) if halvings else Conv2d(i, o, 3, padding=1)
            self.layers.extend([spectral_norm(conv), nn.BatchNorm2d(o), nn.LeakyReLU(0.2)])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class ProjectedDiscriminator(nn.Module):
    """Images about -1..1, [N, C, H, W] (and labels int64 [N] if `classes`) -> logits float32 [N, M], one a patch.

    `blocks` are the heads, from the finest map to the coarsest, up to their last maps of 8 * `width` channels, at
    most 512. Each head has as many logits as the others: those of a smaller map count several times.

    >>> discriminator = ProjectedDiscriminator(64, channels=3, width=4)
    >>> discriminator(torch.zeros(2, 3, 64, 64)).shape  # of each head 4x4
    torch.Size([2, 64])
    >>> sorted({name.split(".")[0] for name in discriminator.state_dict()})
    ['blocks', 'logits']
    """

    batch_statistics = True  # batch norm: real and generated pictures must not share a batch

    def __init__(self, resolution: Resolution, channels: int = 3, width: int = 64, classes: int = 0) -> None:
        super().__init__()
        shorter = min(check_resolution(resolution, SIZES))
        shorter *= 1 if shorter >= LEAST else 2
        self.classes, last = classes, min(8 * width, 512)
        self.projection = Projection()
        heads = zip(MIXED, STRIDES, strict=True)
        self.blocks = nn.ModuleList([Head(mixed, last, -(-shorter // stride)) for mixed, stride in heads])
        self.logits = nn.ModuleList([spectral_norm(Conv2d(last, 1, 3, padding=1)) for _ in MIXED])
        self.embedding = spectral_norm(nn.Embedding(classes, last * len(MIXED))) if classes else None

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embedding is not None and labels is None:
            raise ValueError("this discriminator is class-conditional: give it labels")
        maps = [block(h) for block, h in zip(self.blocks, self.projection(x), strict=True)]
        with torch.autocast(x.device.type, enabled=False):
            patches = [conv(h.float()) for conv, h in zip(self.logits, maps, strict=True)]
            if self.embedding is not None:
                told = self.embedding(labels).chunk(len(maps), dim=1)
                means = [(e * h.float().mean(dim=(2, 3))).sum(dim=1) for e, h in zip(told, maps, strict=True)]
                patches = [patch + mean[:, None, None, None] for patch, mean in zip(patches, means, strict=True)]
            size = patches[0].shape[2:]
            return torch.cat([F.interpolate(patch, size).flatten(1) for patch in patches], dim=1)

    def train(self, mode: bool = True) -> ProjectedDiscriminator:
        """The projection stays in eval mode."""
        super().train(mode)
        self.projection.train(False)
        return self


def refused(options: Mapping[str, Any]) -> str | None:
    name = options["network"]
    if options["dynamic_d"] != 1:
        return f"`dynamic_d` means nothing with `network` {name}: D's batch norms undo what is drawn."
    if options["freeze_d"]:
        return f"`freeze_d` means nothing with `network` {name}: what lies next to the picture in its D never trains."
    return None


FAMILY = Family(
    FastGANGenerator,
    ProjectedDiscriminator,
    SIZES,
    # This D is right about most images long before it overfits: only where it is right about all does it lose weights.
    settings={"z_dim": 256, "batch": 16, "d_steps": 1, "beta2": 0.99, "aug": "diff", "set_point": 0.9},
    normed_generator=True,
    refuses=refused,
    looks_through=LITE1.name,
)
