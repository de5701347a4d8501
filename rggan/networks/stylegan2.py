"""StyleGAN2 (Karras et al. 2020, sections 2 and 3; sizes as in Karras et al. 2020, "Limited Data", appendix C).

A mapping network makes styles from latents; each convolution of the synthesis network is modulated by its own affine of
a style; pictures are summed over the resolutions (skip generator), the discriminator is residual and ends in the
minibatch standard deviation. 512 channels make the published sizes: at 32x32 the CIFAR-10 networks, at 256x256 those of
"paper256", with 24,767,458 parameters in G (8 mapping layers) and 24,001,089 in D, at 512x512 those of "paper512", with
30,276,583 and 28,982,849: there maps of 64 pixels have all channels too. Different from there: pictures
repeat at their edges when they are upsampled (there: fade to grey), and the discriminator's class projection is one
normalised layer (there: a mapping network).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rggan import ranks
from rggan.gan import Gan
from rggan.losses import path_length
from rggan.networks.family import Argument, Family
from rggan.networks.layers import Equalised, banded, blurred, layout_of, one_hot
from rggan.networks.sizes import Resolution, Sizes, check_resolution, doublings
from rggan.steps import Loss, Outcome, Steps

SIZES = Sizes("StyleGAN2", 32, 512)

PATH_EVERY = 4  # steps of G between two lazy penalties, each of which counts so many times as much
MAPPING_RATE = 0.01  # of the mapping network's learning rate
GROUP = 4  # pictures whose standard deviation the discriminator sees


def channels_by_level(levels: int, width: int) -> list[int]:
    """Channels of the maps 0 to `levels` doublings above the base: `width` up to 32 pixels, then halving each time.

    Of pictures of 512 pixels, from 64 pixels on.

    >>> channels_by_level(6, 512), channels_by_level(7, 512)
    ([512, 512, 512, 512, 256, 128, 64], [512, 512, 512, 512, 512, 256, 128, 64])
    """
    whole = 32 if levels < 7 else 64
    return [max(1, min(width, width * whole // (4 << level))) for level in range(levels + 1)]


def activated(x: Tensor) -> Tensor:
    """Leaky ReLU, slope 0.2, that keeps the variance."""
    return F.leaky_relu(x, 0.2) * 2**0.5


class EqualLinear(Equalised, nn.Linear):
    """Linear with equalised learning rate (Karras et al. 2018, section 4.1): stored as N(0, 1), scaled when used."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__(inputs, outputs)
        self.rate = rate
        nn.init.normal_(self.weight, std=1 / rate)
        nn.init.constant_(self.bias, bias / rate)

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.float(), self.weight * (self.rate / self.in_features**0.5), self.bias * self.rate)


class EqualConv2d(Equalised, nn.Conv2d):
    """Convolution with the equalised learning rate, "same" padding; `down` halves, after a blur."""

    def __init__(self, inputs: int, outputs: int, size: int, bias: bool = True, down: bool = False) -> None:
        super().__init__(inputs, outputs, size, bias=bias)
        self.down = down
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            weight = self.weight * (1 / self.weight[0].numel() ** 0.5)
        pad = self.kernel_size[0] // 2
        if not self.down:
            return F.conv2d(input, weight, self.bias, padding=pad)
        if pad == 0 and input.device.type == "cuda":  # only every second place of the blur is looked at
            return F.conv2d(banded(input, 1, stride=2), weight, self.bias)
        return F.conv2d(blurred(input, pad + 1), weight, self.bias, stride=2)


class ModulatedConv2d(Equalised, nn.Conv2d):
    """A convolution whose weight is scaled per picture by a style, and normalised again (section 2.2, eq. 1 and 3).

    [N, in, H, W], styles [N, w_dim] -> [N, out, H, W], or twice that size with `up`. Instead of one weight for each
    picture in a grouped convolution, the channels are scaled before and after one plain convolution: the same
    numbers, about 3 times faster on a CPU in bf16 (docs/performance.md). Demodulation sees the weight that the
    network computes with: masked ones do not count.
    """

    def __init__(self, inputs: int, outputs: int, size: int, w_dim: int, up: bool = False, demodulate: bool = True):
        super().__init__(inputs, outputs, size, bias=False)
        self.up, self.demodulate = up, demodulate
        self.affine = EqualLinear(w_dim, inputs, bias=1.0)
        nn.init.normal_(self.weight)

    def forward(self, input: Tensor, style: Tensor) -> Tensor:  # type: ignore[override]
        with torch.autocast(input.device.type, enabled=False):
            weight = self.weight * (1 / self.weight[0].numel() ** 0.5)
            scale = self.affine(style)
            if self.demodulate:
                energy = F.linear(scale.square(), weight.square().sum(dim=(2, 3)))
                after = (energy + 1e-8).rsqrt()[:, :, None, None]
        # Rounded once here to what the convolution computes in: autocast leaves products in float32.
        kind = torch.get_autocast_dtype(input.device.type) if torch.is_autocast_enabled(input.device.type) else None
        x = (input * scale[:, :, None, None]).to(kind or input.dtype)
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = blurred(x, 1, gain=4.0)
        else:
            x = F.conv2d(x, weight, padding=self.kernel_size[0] // 2)
        return x * after.to(x.dtype) if self.demodulate else x


class MappingNetwork(nn.Module):
    """Latents [N, z_dim] (and labels [N]) -> styles float32 [N, w_dim], w_dim = z_dim.

    w_average: the moving average of all styles in training, where truncation leads to.
    """

    w_average: Tensor

    def __init__(self, z_dim: int, layers: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.embed = EqualLinear(classes, z_dim) if classes else None
        widths = [2 * z_dim if classes else z_dim, *[z_dim] * layers]
        self.layers = nn.ModuleList([EqualLinear(i, o, rate=MAPPING_RATE) for i, o in pairwise(widths)])
        self.register_buffer("w_average", torch.zeros(z_dim))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        x = unit(z.float())
        if self.embed is not None:
            if labels is None:
                raise ValueError("this generator is class-conditional: give it labels")
            x = torch.cat([x, unit(self.embed(one_hot(labels, self.classes)))], dim=1)
        for layer in self.layers:
            x = activated(layer(x))
        if self.training:
            with torch.no_grad():
                self.w_average.lerp_(ranks.mean(x.detach().mean(dim=0)), 0.002)
        return x


def unit(x: Tensor) -> Tensor:
    """Scaled to mean square 1 over the last dimension."""
    return x * (x.square().mean(dim=-1, keepdim=True) + 1e-8).rsqrt()


class SynthesisLayer(nn.Module):
    """Modulated convolution, noise, bias, activation.

    noise: what is added in evaluation, so that a picture depends on its latents alone; in training it is drawn anew.
    """

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, w_dim: int, size: tuple[int, int], up: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, 3, w_dim, up)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(size))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = self.conv(x, style)
        noise = self.noise
        if self.training:
            noise = ranks.own(torch.randn(ranks.whole(len(x)), 1, *self.noise.shape, device=x.device))
        x = x + (noise * self.noise_strength).to(x.dtype) + self.bias[:, None, None].to(x.dtype)
        return activated(x)


class SynthesisBlock(nn.Module):
    """Two layers (one at the base) and their share of the picture."""

    def __init__(self, inputs: int, outputs: int, channels: int, w_dim: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        if inputs:
            self.layers.append(SynthesisLayer(inputs, outputs, w_dim, size, up=True))
        self.layers.append(SynthesisLayer(outputs, outputs, w_dim, size, up=False))
        self.to_rgb = ModulatedConv2d(outputs, channels, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, image: Tensor | None, styles: list[Tensor]) -> tuple[Tensor, Tensor]:
        for layer, style in zip(self.layers, styles, strict=False):
            x = layer(x, style)
        share = self.to_rgb(x, styles[-1]).float() + self.bias
        if image is not None:
            share = share + F.interpolate(image, scale_factor=2, mode="bilinear")
        return x, share


class StyleGAN2Generator(nn.Module):
    """Latents float [N, z_dim] (and labels int64 [N] if `classes`) -> images float32 [N, C, H, W], about -1..1.

    `truncation` below 1 draws the styles towards their average: better pictures, less various (0: all the same).
    style_mixing: in training, the probability that a picture takes its later styles from other latents (section 3).

    >>> StyleGAN2Generator(32, channels=3, width=16, z_dim=16)(torch.randn(2, 16)).shape
    torch.Size([2, 3, 32, 32])
    >>> StyleGAN2Generator((32, 48), channels=4, width=16, z_dim=16)(torch.randn(2, 16), truncation=0.7).shape
    torch.Size([2, 4, 32, 48])
    """

    def __init__(
        self,
        resolution: Resolution,
        channels: int = 3,
        width: int = 512,
        z_dim: int = 512,
        classes: int = 0,
        mapping_layers: int = 2,
    ) -> None:
        super().__init__()
        size = check_resolution(resolution, SIZES)
        self.z_dim, self.classes, self.style_mixing = z_dim, classes, 0.0
        levels = doublings(min(size))
        self.mapping = MappingNetwork(z_dim, mapping_layers, classes)
        base = (size[0] >> levels, size[1] >> levels)
        widths = [0, *channels_by_level(levels, width)]
        self.constant = nn.Parameter(torch.randn(widths[1], *base))
        self.blocks = nn.ModuleList(
            SynthesisBlock(inputs, outputs, channels, z_dim, (base[0] << level, base[1] << level))
            for level, (inputs, outputs) in enumerate(pairwise(widths))
        )
        self.style_count = 2 * len(self.blocks)

    def forward(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        return self.synthesis(self.styles(z, labels, truncation))

    def styles(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Latents (and labels) -> float32 [N, style_count, w_dim], one style for each layer, coarse to fine."""
        w = self.mapping(z, labels)[:, None].expand(-1, self.style_count, -1)
        if self.training and self.style_mixing > 0:
            other = self.mapping(ranks.drawn_like(z, torch.randn_like), labels)[:, None]
            rows = ranks.whole(len(z))
            cut = ranks.own(torch.randint(1, self.style_count, (rows, 1), device=z.device))
            mixed = ranks.own(torch.rand(rows, 1, device=z.device)) < self.style_mixing
            later = mixed & (torch.arange(self.style_count, device=z.device) >= cut)
            w = torch.where(later[:, :, None], other, w)
        if truncation != 1:
            w = self.mapping.w_average.lerp(w, truncation)
        return w

    def synthesis(self, styles: Tensor) -> Tensor:
        """Styles [N, style_count, w_dim] -> images."""
        x = self.constant.expand(styles.shape[0], -1, -1, -1).contiguous(memory_format=layout_of(self))
        image: Tensor | None = None
        each = list(styles.unbind(dim=1))
        place = 0
        for block in self.blocks:
            # The picture's style is the next block's first.
            used = each[place : place + len(block.layers) + 1]  # type: ignore[arg-type]
            x, image = block(x, image, used)
            place += len(block.layers)  # type: ignore[arg-type]
        assert image is not None
        return image


class DiscriminatorBlock(nn.Module):
    """[N, in, H, W] -> [N, out, H / 2, W / 2]; the first of them takes the picture."""

    def __init__(self, inputs: int, outputs: int, channels: int = 0) -> None:
        super().__init__()
        self.from_rgb = EqualConv2d(channels, inputs, 1) if channels else None
        self.conv1 = EqualConv2d(inputs, inputs, 3)
        self.conv2 = EqualConv2d(inputs, outputs, 3, down=True)
        self.skip = EqualConv2d(inputs, outputs, 1, bias=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.from_rgb is not None:
            x = activated(self.from_rgb(x))
        h = activated(self.conv2(activated(self.conv1(x))))
        out: Tensor = (h + self.skip(x)) * 0.5**0.5
        return out


def minibatch_deviation(x: Tensor, group: int = GROUP) -> Tensor:
    """With one more channel: the standard deviation over the pictures of a group, averaged.

    Karras et al. 2018, section 3. Groups are pictures at equal distances in the batch; their size is the largest up to
    `group` that divides it. Where that divides a rank's part of the batch, all of a group are on one rank.
    """
    n, _, height, width = x.shape
    rows = ranks.whole(n)
    group = next(size for size in range(min(group, rows), 0, -1) if rows % size == 0)
    mean = ranks.own(deviations(ranks.gathered(x.float()), group)) if n % group else deviations(x.float(), group)
    return torch.cat([x, mean[:, None, None, None].expand(n, 1, height, width).to(x.dtype)], dim=1)


def deviations(x: Tensor, group: int) -> Tensor:
    """Float [N, C, H, W] -> the mean standard deviation in the group of each, [N]."""
    deviation = (x.view(group, -1, *x.shape[1:]).var(dim=0, correction=0) + 1e-8).sqrt()
    return deviation.mean(dim=(1, 2, 3)).repeat(group)


class StyleGAN2Discriminator(nn.Module):
    """Images about -1..1, [N, C, H, W] (and labels int64 [N] if `classes`) -> logits float32 [N].

    >>> StyleGAN2Discriminator(32, channels=3, width=16)(torch.zeros(4, 3, 32, 32)).shape
    torch.Size([4])
    """

    batch_statistics = True  # the pictures of a batch see each other

    def __init__(self, resolution: Resolution, channels: int = 3, width: int = 512, classes: int = 0) -> None:
        super().__init__()
        size = check_resolution(resolution, SIZES)
        levels = doublings(min(size))
        self.classes = classes
        widths = channels_by_level(levels, width)[::-1]
        blocks = (
            DiscriminatorBlock(inputs, outputs, channels if i == 0 else 0)
            for i, (inputs, outputs) in enumerate(pairwise(widths))
        )
        self.blocks = nn.ModuleList(blocks)
        self.conv = EqualConv2d(widths[-1] + 1, widths[-1], 3)
        self.hidden = EqualLinear(widths[-1] * (size[0] >> levels) * (size[1] >> levels), widths[-1])
        self.out = EqualLinear(widths[-1], widths[-1] if classes else 1)
        self.embed = EqualLinear(classes, widths[-1]) if classes else None

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x)
        x = activated(self.conv(minibatch_deviation(x)))
        x = self.out(activated(self.hidden(x.float().flatten(1))))
        if self.embed is None:
            return x.squeeze(1)
        if labels is None:
            raise ValueError("this discriminator is class-conditional: give it labels")
        classes = unit(self.embed(one_hot(labels, self.classes)))
        return (x * classes).sum(dim=1) * x.shape[1] ** -0.5


class StyleGAN2Steps(Steps):
    """With lazy path length regularisation of G (Karras et al. 2020, section 3.2).

    Attributes:
        length: the moving mean of the path lengths, a scalar.
    """

    kept = (*Steps.kept, "length")

    def __init__(self, options: Mapping[str, Any], loss: Loss, gamma: float, device: torch.device) -> None:
        super().__init__(options, loss, gamma, device)
        self.length = torch.zeros((), device=device)

    def generator_step(self, gan: Gan, drawn: tuple[Tensor, ...]) -> Outcome:
        outcome = super().generator_step(gan, drawn)
        if self.path_due():  # in float32, on half of a batch: it is expensive
            g: Any = gan.g
            styles = g.styles(*(part[: max(1, len(part) // 2)] for part in gan.latents()))
            self.path_penalty(g.synthesis(styles), styles).backward()
        return outcome

    def plan(self, network: str) -> Hashable:
        if network == "g":
            return self.options["path_length"] > 0 and self.steps_g % PATH_EVERY == 0
        return super().plan(network)

    def path_due(self) -> bool:
        """Whether the step of G that was counted last carries the path length penalty."""
        return self.options["path_length"] > 0 and (self.steps_g - 1) % PATH_EVERY == 0

    def path_penalty(self, images: Tensor, styles: Tensor) -> Tensor:
        """Weighted for a lazy step; moves the mean length."""
        penalty, average = path_length(images, styles, self.length)
        self.length.copy_(average)
        return penalty * self.options["path_length"] * PATH_EVERY


def rule_of_thumb(pixels: int, batch: int) -> float:
    """The weight of R1 of Karras et al. 2020, "Limited Data", appendix C."""
    return 0.0002 * pixels / batch


FAMILY = Family(
    StyleGAN2Generator,
    StyleGAN2Discriminator,
    SIZES,
    settings={
        **{"width_g": 128, "width_d": 128, "z_dim": 256, "batch": 32, "d_steps": 1},  # published: 512
        **{"loss": "nonsaturating", "lr": 0.0025, "beta2": 0.99},
    },
    options=("mapping_layers", "style_mixing", "path_length"),
    arguments={"mapping_layers": Argument(2, 1, 64)},
    r1=rule_of_thumb,
    steps=StyleGAN2Steps,
)
