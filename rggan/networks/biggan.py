"""BigGAN: a class-conditional generator; each block is conditioned on the label and its own chunk of the latent.

Brock, Donahue and Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", ICLR 2019,
appendix B; projection discriminator of Miyato and Koyama 2018; self-attention of Zhang et al. 2019. At 128 pixels,
1000 classes, width 96 and 120 latent dimensions these are the published sizes: 70,433,988 parameters in G and
87,982,370 in D. At 32 pixels and width 64 the channels are those of the authors' CIFAR-10 networks.

What differs from the paper:

- The first feature map need not be 4x4: its shorter side is 4 to 7, and its aspect ratio is that of the image.
- Attention is at half the image's resolution at 64 pixels, too.
- The latent need not split evenly: the first layer takes the remainder.
- Without labels, gains and biases of a block depend on its chunk of the latent alone.

What differs from the authors' CIFAR-10 script: there the whole latent goes to the first layer and each batch norm
has its own gains and biases for each class; here the latent is split and the label's embedding is shared at every
size. Weights are initialised orthogonally as in the paper; there they are not. D is the same, 4,207,361 parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from rggan.networks.blocks import DiscriminatorBlock, GeneratorBlock
from rggan.networks.family import Family
from rggan.networks.layers import Conv2d, Linear
from rggan.networks.sizes import Resolution, Sizes, check_resolution, doublings

SIZES = Sizes("BigGAN", 32, 128)


EMBEDDING = 128  # dimensions of the label's embedding, which is shared by all blocks of G
# Channels in multiples of the width, by the number of doublings. Of G: the first map, then each block's output.
GENERATOR = {3: (4, 4, 4, 4), 4: (16, 16, 8, 4, 2), 5: (16, 16, 8, 4, 2, 1)}
# Of D, from the input on; the first HALVINGS blocks downsample.
DISCRIMINATOR = {3: (4, 4, 4, 4), 4: (1, 2, 4, 8, 16), 5: (1, 2, 4, 8, 16, 16)}
HALVINGS = {3: 2, 4: 4, 5: 5}
ATTENTIVE = 4  # doublings from which both networks have self-attention


def chunks(z_dim: int, levels: int) -> list[int]:
    """Returns the latent dimensions of the first layer and of each of `levels` blocks.

    >>> chunks(128, 3), chunks(120, 5), chunks(5, 4)
    ([32, 32, 32, 32], [20, 20, 20, 20, 20, 20], [1, 1, 1, 1, 1])
    >>> chunks(128, 4)
    [28, 25, 25, 25, 25]
    """
    each = z_dim // (levels + 1)
    if each < 1:
        raise ValueError(f"z_dim is {z_dim}: give each of {levels} blocks and the first layer one dimension at least")
    return [z_dim - levels * each, *[each] * levels]


class ConditionalNorm(nn.Module):
    """Batch normalisation with gains and biases linear in a condition, [N, C, H, W] and [N, K] -> [N, C, H, W]."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = Linear(condition, channels, bias=False)  # its deviation from 1
        self.bias = Linear(condition, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, bias = 1 + self.gain(condition)[:, :, None, None], self.bias(condition)[:, :, None, None]
        return self.norm(x) * gain.to(x.dtype) + bias.to(x.dtype)


class SelfAttention(nn.Module):
    """Self-attention with a residual connection, scaled by a learnt gain that starts at 0.

    [N, C, H, W] -> [N, C, H, W], sides even: queries at each position, keys and values max-pooled 2x2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        queries, values = max(1, channels // 8), max(1, channels // 2)
        self.theta = Conv2d(channels, queries, 1, bias=False)
        self.phi = Conv2d(channels, queries, 1, bias=False)
        self.g = Conv2d(channels, values, 1, bias=False)
        self.o = Conv2d(values, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        theta = self.theta(x).flatten(2)
        phi = F.max_pool2d(self.phi(x), 2).flatten(2)
        g = F.max_pool2d(self.g(x), 2).flatten(2)
        # Not `scaled_dot_product_attention`: gradient penalties need a second derivative.
        scores = theta.transpose(1, 2) @ phi  # [N, HW, HW/4]
        weights = scores.float().softmax(dim=2).to(g.dtype)
        gathered = (g @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma.to(x.dtype) * self.o(gathered)


class BigGANGenerator(nn.Module):
    """Latents float [N, z_dim] (and labels int64 [N] if `classes`) -> images in -1..1, float32 [N, C, H, W].

    The latent is split: the first chunk is the input of the first layer; each other chunk, concatenated with the
    label's embedding, conditions the batch norms of a block. `width` is the paper's ch.

    >>> BigGANGenerator(32, channels=3, width=4)(torch.randn(2, 128)).shape
    torch.Size([2, 3, 32, 32])
    >>> generator = BigGANGenerator((64, 96), channels=4, width=2, z_dim=20, classes=5)
    >>> generator(torch.randn(2, 20), torch.tensor([0, 4])).shape
    torch.Size([2, 4, 64, 96])
    """

    def __init__(self, resolution: Resolution, channels: int = 3, width: int = 64, z_dim: int = 128, classes: int = 0):
        super().__init__()
        size = check_resolution(resolution, SIZES)
        self.z_dim, self.classes = z_dim, classes
        levels = doublings(min(size))
        self.base = (size[0] >> levels, size[1] >> levels)
        self.chunks = chunks(z_dim, levels)
        widths = [width * times for times in GENERATOR[levels]]
        norm = partial(ConditionalNorm, condition=self.chunks[-1] + (EMBEDDING if classes else 0))
        self.embedding = nn.Embedding(classes, EMBEDDING) if classes else None
        self.linear = Linear(self.chunks[0], self.base[0] * self.base[1] * widths[0])
        self.blocks = nn.ModuleList([GeneratorBlock(i, o, norm) for i, o in pairwise(widths)])
        self.attention = SelfAttention(widths[-2]) if levels >= ATTENTIVE else nn.Identity()
        self.norm = nn.BatchNorm2d(widths[-1])
        self.to_rgb = Conv2d(widths[-1], channels, 3, padding=1)
        initialise(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        first, *conditions = z.split(self.chunks, dim=1)
        if self.embedding is not None:
            if labels is None:
                raise ValueError("this generator is class-conditional: give it labels")
            shared = self.embedding(labels)
            conditions = [torch.cat([shared, chunk], dim=1) for chunk in conditions]
        h = self.linear(first).view(z.shape[0], -1, *self.base)
        for block, condition in zip(self.blocks[:-1], conditions[:-1], strict=True):
            h = block(h, condition)
        h = self.blocks[-1](self.attention(h), conditions[-1])
        images: Tensor = self.to_rgb(F.relu(self.norm(h)))
        return torch.tanh(images.float())


class BigGANDiscriminator(nn.Module):
    """Images in -1..1, [N, C, H, W] (and labels int64 [N] if `classes`) -> logits float32 [N].

    `blocks` are in order from the input; `attention` follows the first. `width` is the paper's ch.

    >>> BigGANDiscriminator(64, channels=3, width=4)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2])
    """

    batch_statistics = False

    def __init__(self, resolution: Resolution, channels: int = 3, width: int = 64, classes: int = 0) -> None:
        super().__init__()
        levels = doublings(min(check_resolution(resolution, SIZES)))
        self.classes = classes
        widths = [channels, *[width * times for times in DISCRIMINATOR[levels]]]
        blocks = []
        for n, (inputs, outputs) in enumerate(pairwise(widths)):
            blocks.append(DiscriminatorBlock(inputs, outputs, down=n < HALVINGS[levels], first=n == 0))
        self.blocks = nn.ModuleList(blocks)
        self.attention = SelfAttention(widths[1]) if levels >= ATTENTIVE else nn.Identity()
        self.linear = Linear(widths[-1], 1)
        self.embedding = nn.Embedding(classes, widths[-1]) if classes else None
        initialise(self)
        if self.embedding is not None:
            spectral_norm(self.embedding)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.attention(self.blocks[0](x))
        for block in self.blocks[1:]:
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
    """Initialises weights orthogonally and biases to 0; adds spectral norm to convolutions and linear layers."""
    for module in list(network.modules()):
        if isinstance(module, Conv2d | Linear | nn.Embedding):
            nn.init.orthogonal_(module.weight)
        if isinstance(module, Conv2d | Linear):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            spectral_norm(module)


def refused(options: Mapping[str, Any]) -> str | None:
    if options["z_dim"] < 7:
        return f"`z_dim` {options['z_dim']}: BigGAN gives each of its blocks a part of it; take 7 at least."
    return None


FAMILY = Family(
    BigGANGenerator,
    BigGANDiscriminator,
    SIZES,
    settings={"d_steps": 4, "beta2": 0.999},
    normed_generator=True,
    refuses=refused,
)
