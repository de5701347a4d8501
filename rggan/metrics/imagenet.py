"""The `imagenet` extractor: EfficientNet-Lite0, pretrained on ImageNet, at the pictures' own size up to 128 pixels."""

from __future__ import annotations

import hashlib
from functools import cache

import torch
from torch import Tensor

from rggan.metrics.features import resized
from rggan.pretrained import LITE0, WIDTHS, Pretrained, tensors

MAPS = (1, 3)  # of the backbone: a middle one, for texture, and the last
UNIT = 3.0  # of the features: in it their mean square is about 1, as KID's kernel, (x.y / D + 1)^3, takes them
SMALLEST, LARGEST = 64, 128  # sides of pictures that are looked at as they are


class ImageNetFeatures(torch.nn.Module):
    """The means of two maps of a pretrained network, of which the first sees texture and the last what is shown.

    uint8 [N, C, H, W] (or float in 0..255) with 1 or 3 channels -> float32 [N, 360]. Pictures whose sides lie between
    64 and 128 pixels are looked at as they are, where studies/extractors.py finds that little is lost; others are
    resized to 128x128 with antialiasing, and of larger ones `resolution` makes patches.

    Raises:
        UserError: the extra `rggan[pretrained]` is not installed, or its weights are others.
    """

    name = "imagenet"
    resolution: int | None = LARGEST
    resize = f"none from {SMALLEST} to {LARGEST} pixels, else bicubic, antialiased, to {LARGEST}x{LARGEST}"
    scaling = "(x - 127) / 128"  # of the pictures, as the network was trained
    dim = sum(WIDTHS[i] for i in MAPS)

    def __init__(self, pretrained: Pretrained = LITE0) -> None:
        super().__init__()
        self.backbone = pretrained.backbone().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        told = [
            self.name,
            pretrained.name,
            pretrained.sha256,
            self.resize,
            self.scaling,
            f"means of maps {MAPS} / {UNIT}",
        ]
        self.hash = hashlib.sha256("\0".join(told).encode()).hexdigest()

    @property
    def device(self) -> torch.device:
        return next(tensor for _, tensor in tensors(self.backbone)).device

    def forward(self, images: Tensor) -> Tensor:
        x = images.float()
        if min(x.shape[2:]) < SMALLEST or max(x.shape[2:]) > LARGEST:
            x = resized(x, LARGEST)
        x = x.expand(-1, 3, -1, -1).sub(127).div(128).contiguous(memory_format=torch.channels_last)
        maps = self.backbone(x)
        return torch.cat([maps[i].float().mean(dim=(2, 3)) for i in MAPS], dim=1) / UNIT


@cache
def imagenet_network(device: str = "cpu") -> ImageNetFeatures:
    """Raises UserError as `ImageNetFeatures`.

    >>> from rggan.metrics import extract
    >>> extract(imagenet_network(), torch.zeros(2, 3, 64, 96, dtype=torch.uint8)).shape
    torch.Size([2, 360])
    """
    return ImageNetFeatures().to(device)
