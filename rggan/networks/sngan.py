"""SNGAN: residual generator and spectrally normalised discriminator (Miyato et al. 2018, appendix B.4).

At 32x32 pixels, 256 channels in G and 128 in D these are the published sizes: 4,276,739 and 1,053,824
parameters. From 64 pixels on the blocks above 32 pixels are narrower, halving at each doubling.
The smallest feature map need not be 4x4: its shorter side is 4 to 7, and its aspect ratio is that of the image.
Class-conditional networks use conditional batch normalisation in G and a projection in D (Miyato and
Koyama 2018).
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from rggan.networks.blocks import DiscriminatorBlock, GeneratorBlock
from rggan.networks.family import Family
from rggan.networks.layers import ConditionalBatchNorm2d, Conv2d, Linear
from rggan.networks.sizes import Resolution, Sizes, check_resolution, doublings

SIZES = Sizes("SNGAN", 16, 256)


def width_at(level: int, width: int) -> int:
    """Returns the channels of the block `level` doublings above the base: 4 << level pixels, if the base is 4x4."""
    return max(1, width * 32 // max(32, 4 << level))


class SNGANGenerator(nn.Module):
    """Latents float [N, z_dim] (and labels int64 [N] if `classes`) -> images in -1..1, [N, C, H, W].

    >>> SNGANGenerator(32, channels=3, width=16)(torch.randn(2, 128)).shape
    torch.Size([2, 3, 32, 32])
    >>> SNGANGenerator((32, 48), channels=4, width=16)(torch.randn(2, 128)).shape
    torch.Size([2, 4, 32, 48])
    """

    def __init__(self, resolution: Resolution, channels: int = 3, width: int = 256, z_dim: int = 128, classes: int = 0):
        super().__init__()
        size = check_resolution(resolution, SIZES)
        self.z_dim, self.classes = z_dim, classes
        levels = doublings(min(size))
        self.base = (size[0] >> levels, size[1] >> levels)
        widths = [width_at(level, width) for level in range(levels + 1)]
        self.linear = Linear(z_dim, self.base[0] * self.base[1] * widths[0])
        norm = partial(ConditionalBatchNorm2d, classes=classes) if classes else nn.BatchNorm2d
        self.blocks = nn.ModuleList([GeneratorBlock(i, o, norm) for i, o in pairwise(widths)])
        self.norm = nn.BatchNorm2d(widths[-1])
        self.to_rgb = Conv2d(widths[-1], channels, 3, padding=1)
        initialise(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.classes and labels is None:
            raise ValueError("this generator is class-conditional: give it labels")
        h = self.linear(z)
        h = h.view(z.shape[0], -1, *self.base)
        for block in self.blocks:
            h = block(h, labels)
        images: Tensor = self.to_rgb(F.relu(self.norm(h)))
        return torch.tanh(images.float())


class SNGANDiscriminator(nn.Module):
    """Images in -1..1, [N, C, H, W] (and labels int64 [N] if `classes`) -> logits float32 [N].

    >>> SNGANDiscriminator(32, channels=3, width=16)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2])
    """

    def __init__(self, resolution: Resolution, channels: int = 3, width: int = 128, classes: int = 0) -> None:
        super().__init__()
        levels = doublings(min(check_resolution(resolution, SIZES)))
        self.classes = classes
        # Downsampled to twice the base size, where two more blocks follow.
        widths = [channels, *[width_at(level, width) for level in range(levels, 1, -1)], width, width]
        blocks = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            blocks.append(DiscriminatorBlock(inputs, outputs, down=i < levels - 1, first=i == 0))
        self.blocks = nn.ModuleList(blocks)
        self.linear = Linear(width, 1, bias=False)
        self.embedding = nn.Embedding(classes, width) if classes else None
        initialise(self)
        for module in self.modules():
            if isinstance(module, Conv2d | Linear | nn.Embedding):
                spectral_norm(module)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x)
        h = F.relu(x).float().sum(dim=(2, 3))
        with torch.autocast(h.device.type, enabled=False):
            logits: Tensor = self.linear(h).squeeze(1)
            if self.embedding is not None:
                if labels is None:
                    raise ValueError("this discriminator is class-conditional: give it labels")
                logits = logits + (self.embedding(labels) * h).sum(dim=1)
        return logits


def initialise(network: nn.Module) -> None:
    """Xavier-uniform weights, gain sqrt(2) in the residual branches and 1 elsewhere; biases 0."""
    for name, module in network.named_modules():
        if isinstance(module, Conv2d | Linear):
            residual = name.endswith(("conv1", "conv2"))
            nn.init.xavier_uniform_(module.weight, 2**0.5 if residual else 1.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# The last convolution is pruned too, as in the paper's own code.
FAMILY = Family(SNGANGenerator, SNGANDiscriminator, SIZES, whole=())
