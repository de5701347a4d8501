"""FastGAN: a light generator, and a self-supervised discriminator, which rebuilds its pictures.

Liu, Zhu, Song and Elgammal, "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot
Image Synthesis", ICLR 2021, made for training on a hundred pictures or so. At 256x256 pixels and width 64
the generator and the discriminator's main path are the published ones: the widths of all levels, gated
linear units, skip-layer excitation in both networks, spectral norm on every convolution, batch norm.

What differs from the paper:

- Pictures below 256 pixels leave out the highest levels, and the first map need not be 4x4: its shorter side is 4 to 7
  and its shape that of the picture.
- G gives one picture, not a second one at 128 pixels; D halves the picture itself for its small branch.
- The loss of the rebuilt pictures is their mean absolute difference; the paper takes LPIPS, for which a
  pretrained network would have to be downloaded.
- The rebuilt part is any half-sized crop, not one of the four quarters.
- The noise of G is left out in eval mode: a picture then depends on its latent alone.
- Labels: the paper has none. Here their embedding is added to the latent in G, and D projects on it
  (Miyato and Koyama 2018).

At 512 pixels it is the published network of that size: G has one level more, whose skip-layer excitation comes from
32 pixels; the first convolution of D's main path halves the picture, and all else in D sees it halved.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from rggan import ranks
from rggan.gan import Gan
from rggan.networks.family import Family
from rggan.networks.layers import Conv2d, doubled, halved
from rggan.networks.sizes import Resolution, Sizes, check_resolution, doublings
from rggan.steps import Steps

SIZES = Sizes("FastGAN", 32, 512)


# Channels in quarters of the width, at 4, 8, .. 512 pixels (the paper's ngf and ndf are the width).
QUARTERS = (64, 32, 16, 8, 8, 4, 2, 1)
QUARTERS_IN_D = (64, 64, 32, 16, 8, 4, 2, 1)
WHOLE = 6  # levels of D's main path; of larger pictures its first convolution takes one more
GATED = 4  # levels between the two maps of a skip-layer excitation in G
GATED_IN_D = 3


def width_at(level: int, width: int, quarters: tuple[int, ...] = QUARTERS) -> int:
    """Channels of a map that lies `level` doublings above the base: 4 << level pixels, if that base is 4x4.

    >>> [width_at(level, 64) for level in range(8)]
    [1024, 512, 256, 128, 128, 64, 32, 16]
    """
    return max(1, width * quarters[level] // 4)


def gated(x: Tensor) -> Tensor:
    """Gated linear unit over the channels: the first half times the sigmoid of the second.

    `F.glu` gives the same, but its gradient lies in another layout, and the batch norm before it took 3 times as long.
    """
    values, gates = x.chunk(2, dim=1)
    return values * torch.sigmoid(gates)


class ConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` whose weight is computed outside autocast, like that of `layers.Conv2d`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            weight = self.weight
        out: Tensor = F.conv_transpose2d(input, weight, self.bias)  # of a 1x1 map: no stride, no padding
        return out


class NoiseInjection(nn.Module):
    """Adds fresh noise, the same to all channels, in train mode; how much is learnt and starts at none."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        rows = ranks.whole(len(x))
        noise = ranks.own(torch.randn(rows, 1, *x.shape[2:], device=x.device, dtype=x.dtype))
        return x + self.strength.to(x.dtype) * noise


class GatedConv(nn.Module):
    """[N, in, H, W] -> [N, out, H, W]: one half of the convolution's channels gates the other."""

    def __init__(self, inputs: int, outputs: int, noise: bool = False) -> None:
        super().__init__()
        self.conv = Conv2d(inputs, 2 * outputs, 3, padding=1, bias=False)
        self.noise = NoiseInjection() if noise else nn.Identity()
        self.norm = nn.BatchNorm2d(2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        return gated(self.norm(self.noise(self.conv(x))))


class UpBlock(nn.Module):
    """[N, in, H, W] -> [N, out, 2H, 2W]; `deep` is the paper's second form: two convolutions, with noise."""

    def __init__(self, inputs: int, outputs: int, deep: bool = False) -> None:
        super().__init__()
        self.conv1 = GatedConv(inputs, outputs, noise=deep)
        self.conv2 = GatedConv(outputs, outputs, noise=True) if deep else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(doubled(x)))
        return out


class Excitation(nn.Module):
    """Skip-layer excitation: a map far down the network weighs the channels of another.

    Low [N, in, h, w] and high [N, out, H, W] -> high * gate [N, out, 1, 1], gates in 0..1. Between its two
    convolutions is the published code's SiLU, for which the paper's text has a leaky ReLU.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(inputs, outputs, 4, bias=False)
        self.conv2 = Conv2d(outputs, outputs, 1, bias=False)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        pooled = pooled_to(low, 4)
        return high * torch.sigmoid(self.conv2(F.silu(self.conv1(pooled))))


def pooled_to(x: Tensor, side: int) -> Tensor:
    """`F.adaptive_avg_pool2d`; on a GPU, where that is slow, by plain means if the sides divide."""
    height, width = x.shape[2:]
    if x.device.type == "cpu" or height % side or width % side:
        return F.adaptive_avg_pool2d(x, side)
    return x.unflatten(3, (side, width // side)).unflatten(2, (side, height // side)).mean(dim=(3, 5))


class FastGANGenerator(nn.Module):
    """Latents float [N, z_dim] (and labels int64 [N] if `classes`) -> images in -1..1, float32 [N, C, H, W].

    `width` is the paper's ngf. Labels are not in the paper: their embedding is added to the latent.

    >>> FastGANGenerator(64, channels=3, width=4)(torch.randn(2, 256)).shape
    torch.Size([2, 3, 64, 64])
    >>> FastGANGenerator((64, 96), channels=4, width=4, z_dim=32)(torch.randn(2, 32)).shape
    torch.Size([2, 4, 64, 96])
    """

    def __init__(self, resolution: Resolution, channels: int = 3, width: int = 64, z_dim: int = 256, classes: int = 0):
        super().__init__()
        size = check_resolution(resolution, SIZES)
        self.z_dim, self.classes = z_dim, classes
        levels = doublings(min(size))
        base = (size[0] >> levels, size[1] >> levels)
        widths = [width_at(level, width) for level in range(levels + 1)]
        self.embedding = nn.Embedding(classes, z_dim) if classes else None
        self.first = ConvTranspose2d(z_dim, 2 * widths[0], base, bias=False)
        self.norm = nn.BatchNorm2d(2 * widths[0])
        self.blocks = nn.ModuleList([UpBlock(i, o, deep=n % 2 == 0) for n, (i, o) in enumerate(pairwise(widths))])
        self.excitations = nn.ModuleList([Excitation(i, o) for i, o in zip(widths, widths[GATED:], strict=False)])
        self.to_rgb = Conv2d(widths[-1], channels, 3, padding=1, bias=False)
        initialise(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            if labels is None:
                raise ValueError("this generator is class-conditional: give it labels")
            z = z + self.embedding(labels)
        maps = [gated(self.norm(self.first(z[:, :, None, None])))]
        for level, block in enumerate(self.blocks, start=1):
            h = block(maps[-1])
            if level >= GATED:
                h = self.excitations[level - GATED](maps[level - GATED], h)
            maps.append(h)
        images: Tensor = self.to_rgb(maps[-1])
        return torch.tanh(images.float())


class Halved(nn.Module):
    """`halved` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return halved(x)


class DownBlock(nn.Module):
    """[N, in, H, W] -> [N, out, H/2, W/2]: the mean of a strided and a pooled branch."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *halving(inputs, outputs),
            Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.2),
        )
        self.direct = nn.Sequential(
            Halved(), Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.main(x) + self.direct(x)) / 2
        return out


class Decoder(nn.Module):
    """[N, in, h, w] -> images in -1..1, float32 [N, C, h << doublings, w << doublings]."""

    def __init__(self, inputs: int, channels: int, width: int, doublings: int) -> None:
        super().__init__()
        widths = [inputs, *[width_at(level, width) for level in range(2, 2 + doublings)]]
        self.blocks = nn.Sequential(*[UpBlock(i, o) for i, o in pairwise(widths)])
        self.to_rgb = Conv2d(widths[-1], channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        images: Tensor = self.to_rgb(self.blocks(x))
        return torch.tanh(images.float())


class FastGANDiscriminator(nn.Module):
    """Images in -1..1, [N, C, H, W] (and labels int64 [N] if `classes`) -> logits float32 [N, M], one a patch.

    With `reconstruct` also what the paper calls self-supervision: a loss float32 [N], how far three decoders
    miss the picture. From the last maps of both branches they rebuild the picture at half its sides, and
    from a random crop of the map before, of half its sides, that part of the picture at its full scale.

    `blocks`, from the picture inwards, make the main path: the picture at its full scale is halved down to
    a map whose shorter side is 8 to 15, gated by skip-layer excitations from three blocks earlier. A small
    branch takes the halved picture to a map of that size. A picture of 512 pixels is halved before all but the
    main path. On both maps each 4x4 patch has a logit.
    `width` is the paper's ndf; the decoders' is half of it. Labels are not in the paper: the embedding of the
    label times the last map's mean is added to all logits.

    >>> discriminator = FastGANDiscriminator(64, channels=3, width=4)
    >>> discriminator(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 50])
    >>> [t.shape for t in discriminator(torch.zeros(2, 3, 64, 64), reconstruct=True)]
    [torch.Size([2, 50]), torch.Size([2])]
    """

    batch_statistics = True  # batch norm: real and generated pictures must not share a batch

    def __init__(self, resolution: Resolution, channels: int = 3, width: int = 64, classes: int = 0) -> None:
        super().__init__()
        doubled = doublings(min(check_resolution(resolution, SIZES)))
        self.classes, self.large, levels = classes, doubled > WHOLE, min(doubled, WHOLE)
        # A map has the channels of the next level, in the small branch of the next but one: published so.
        widths = [width_at(level + 1, width, QUARTERS_IN_D) for level in range(levels, 0, -1)]
        small = [width_at(level + 2, width, QUARTERS_IN_D) for level in range(levels - 2, 0, -1)]
        size, stride = (4, 2) if self.large else (3, 1)
        stem = nn.Sequential(Conv2d(channels, widths[0], size, stride, padding=1, bias=False), nn.LeakyReLU(0.2))
        self.blocks = nn.ModuleList([stem, *[DownBlock(i, o) for i, o in pairwise(widths)]])
        gates = zip(widths, widths[GATED_IN_D:], strict=False)
        self.excitations = nn.ModuleList([Excitation(i, o) for i, o in gates])
        self.head = nn.Sequential(
            Conv2d(widths[-1], 2 * widths[-1], 1, bias=False), nn.BatchNorm2d(2 * widths[-1]), nn.LeakyReLU(0.2)
        )
        self.logits = Conv2d(2 * widths[-1], 1, 4, bias=False)
        self.small = nn.Sequential(
            Conv2d(channels, small[0], 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(0.2),
            *[layer for i, o in pairwise(small) for layer in halving(i, o)],
        )
        self.logits_small = Conv2d(small[-1], 1, 4, bias=False)
        self.rebuild_whole = Decoder(widths[-1], channels, width // 2, levels - 2)
        self.rebuild_part = Decoder(widths[-2], channels, width // 2, levels - 2)
        self.rebuild_halved = Decoder(small[-1], channels, width // 2, levels - 2)
        self.embedding = nn.Embedding(classes, widths[-1]) if classes else None
        initialise(self)
        if self.embedding is not None:
            spectral_norm(self.embedding)

    def forward(
        self, x: Tensor, labels: Tensor | None = None, reconstruct: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        maps: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            h = block(maps[-1] if maps else x)
            if i >= GATED_IN_D:
                h = self.excitations[i - GATED_IN_D](maps[i - GATED_IN_D], h)
            maps.append(h)
        if self.large:
            x = halved(x)
        half = halved(x)
        small = self.small(half)
        head = self.head(maps[-1])
        with torch.autocast(x.device.type, enabled=False):
            patches = self.logits(head.float()), self.logits_small(small.float())
            logits = torch.cat([patch.flatten(1) for patch in patches], dim=1)
            if self.embedding is not None:
                if labels is None:
                    raise ValueError("this discriminator is class-conditional: give it labels")
                pooled = maps[-1].float().mean(dim=(2, 3))
                logits = logits + (self.embedding(labels) * pooled).sum(dim=1, keepdim=True)
        if not reconstruct:
            return logits
        crop, part = random_part(maps[-2], x)
        loss = (
            difference(self.rebuild_whole(maps[-1]), half)
            + difference(self.rebuild_halved(small), half)
            + difference(self.rebuild_part(crop), part)
        )
        return logits, loss


class FastGANSteps(Steps):
    """D learns by self-supervision too: how far its decoders miss the real images."""

    def on_real(self, gan: Gan, x: Tensor, labels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | float]:
        on_real, missed = gan.run_d(x, *labels, reconstruct=True)
        return on_real, missed.mean()


def random_part(features: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """A crop of half the sides of [N, K, h, w], at random, and the same part of [N, C, H, W].

    Drawn where they lie, and taken by index: nothing is read back from a GPU.
    """
    height, width = features.shape[2] // 2, features.shape[3] // 2
    top, left = (torch.randint(last + 1, (), device=features.device) for last in (height, width))
    scale = images.shape[2] // features.shape[2]
    return part(features, top, left, height, width), part(
        images, scale * top, scale * left, scale * height, scale * width
    )


def part(x: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Rows from `top` on and columns from `left` on, both int64 scalars.

    >>> part(torch.arange(12.0).view(1, 1, 3, 4), torch.tensor(1), torch.tensor(2), 2, 2)
    tensor([[[[ 6.,  7.],
              [10., 11.]]]])
    """
    rows, columns = (start + torch.arange(count, device=x.device) for start, count in ((top, height), (left, width)))
    last = x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return x.index_select(2, rows).index_select(3, columns).contiguous(memory_format=layout)


def difference(rebuilt: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of each image: [N, C, H, W] twice -> float32 [N]."""
    return (rebuilt - target.float()).abs().mean(dim=(1, 2, 3))


def halving(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """[N, in, H, W] -> [N, out, H/2, W/2], by a strided convolution."""
    conv = Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)


def initialise(network: nn.Module) -> None:
    """Convolutions N(0, 0.02) under a spectral norm, gains of the batch norm N(1, 0.02), biases 0."""
    for module in list(network.modules()):
        if isinstance(module, Conv2d | ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            spectral_norm(module)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def refused(options: Mapping[str, Any]) -> str | None:
    if options["dynamic_d"] != 1:
        return "`dynamic_d` means nothing with `network` fastgan: D's batch norms undo what is drawn."
    return None


FAMILY = Family(
    FastGANGenerator,
    FastGANDiscriminator,
    SIZES,
    settings={"z_dim": 256, "batch": 16, "d_steps": 1, "beta1": 0.5, "beta2": 0.999},
    normed_generator=True,
    refuses=refused,
    steps=FastGANSteps,
)
