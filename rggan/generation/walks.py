"""Latent interpolation between seeds, and tables of mixed styles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rggan.errors import UserError
from rggan.generation.generator import Generator


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation from start [N, D] (share [N]: 0) to end (1); norms are interpolated linearly.

    Normal latents have nearly the same norm, and linear interpolation passes through norms that are smaller than any in
    training (White 2016, "Sampling Generative Networks", section 2.1; the formula of Shoemake 1985 used there can leave
    the range of the end points' norms if they differ). Between parallel or opposite vectors, where the arc is
    undefined, the interpolation is linear. The end points are exact.

    >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]), torch.tensor([0.5]))
    tensor([[1.4142, 1.4142]])
    """
    t = share.double()[:, None]
    a, b = start.double(), end.double()
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a, unit_b = a / length_a, b / length_b
    angle = (unit_a * unit_b).sum(dim=1, keepdim=True).clamp(-1, 1).acos()
    direction = (((1 - t) * angle).sin() * unit_a + (t * angle).sin() * unit_b) / angle.sin()
    # A zero vector has no angle: NaN compares false, which gives linear interpolation.
    way = torch.where(angle.sin() > 1e-6, direction * torch.lerp(length_a, length_b, t), torch.lerp(a, b, t))
    return way.to(start.dtype)  # rounding makes the end points exact


def straight(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Linear interpolation from start [N, ...] (share [N]: 0) to end (1). The end points are exact.

    >>> straight(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]), torch.tensor([0.5]))
    tensor([[0.5000, 1.5000]])
    """
    return torch.lerp(start, end, share.view(-1, *[1] * (start.dim() - 1)).to(start.dtype))


def walk(
    generator: Generator,
    seeds: Sequence[int],
    between: int,
    label: int | str | None = None,
    truncation: float = 1.0,
) -> Iterator[Tensor]:
    """Yields uint8 [C, H, W] from seed to seed and back to the first one: len(seeds) * (between + 1) pictures.

    Picture k * (between + 1) is that of seeds[k]. StyleGAN2 interpolates styles linearly, the others latents
    spherically (truncation applies to the seeds' latents; interpolated ones may exceed it). The class is `label`, or
    the one drawn by the first seed.

    Raises:
        UserError (at the call, not later): fewer than two seeds, fewer than one picture between, a class or truncation
            that the generator does not take.

    >>> from rggan.networks.sngan import SNGANGenerator
    >>> network = {"name": "sngan", "resolution": [16, 24], "channels": 1, "width": 8, "z_dim": 16, "classes": 0}
    >>> config = {"network": network, "classes": []}
    >>> len(list(walk(Generator(SNGANGenerator((16, 24), 1, 8, z_dim=16), config), [1, 2, 3], between=4)))
    15
    """
    if len(seeds) < 2:
        raise UserError("A walk (`walk`) leads from seed to seed: give at least two `seeds`.")
    if between < 1:
        raise UserError(f"A walk (`walk`) has at least one picture between two seeds, not {between}.")
    number = generator.class_number(label)
    if number is None:
        _, drawn = generator.latents(seeds[:1], None)
        number = None if drawn is None else int(drawn[0])
    points, labels = generator.points(seeds, number, truncation)
    return steps(generator, points, labels, between)


def steps(generator: Generator, points: Tensor, labels: Tensor | None, between: int) -> Iterator[Tensor]:
    """Yields the pictures of `walk`, computed in batches."""
    way = slerp if generator.style_network is None else straight
    ends = points.cpu()  # MPS has no float64
    count = len(points) * (between + 1)
    for start in range(0, count, generator.batch):
        place = torch.arange(start, min(start + generator.batch, count))
        leg, step = place // (between + 1), place % (between + 1)
        part = way(ends[leg], ends[(leg + 1) % len(ends)], step.double() / (between + 1))
        yield from generator.drawn(part.to(points.device), None if labels is None else labels[leg.to(labels.device)])


def mixing(
    generator: Generator,
    coarse: Sequence[int],
    fine: Sequence[int],
    layer: int | None = None,
    label: int | str | None = None,
    truncation: float = 1.0,
) -> Tensor:
    """Returns a style mixing table, row by row: uint8 [(1 + len(coarse)) * (1 + len(fine)), C, H, W].

    Row i has the styles of coarse[i] in the layers before `layer` (default: half of them), column j those of fine[j]
    from there on (Karras et al. 2019, section 3.1). The first row and column are the unmixed pictures; the corner is
    white.

    Raises:
        UserError: not a StyleGAN2, a layer that leaves nothing to mix, an invalid class or truncation.
    """
    cut = check_layer(generator, layer)
    number = generator.class_number(label)
    rows, _ = generator.points(coarse, number, truncation)
    columns, _ = generator.points(fine, number, truncation)
    before = rows[:, None, :cut].expand(-1, len(fine), -1, -1)
    after = columns[None, :, cut:].expand(len(coarse), -1, -1, -1)
    mixed = torch.cat([before, after], dim=2)
    head = generator.drawn(columns, None)
    corner = torch.full_like(head[:1], 255)
    corner[:, 3:] = 0
    table = [corner, head]
    for left, styles in zip(generator.drawn(rows, None), mixed, strict=True):
        table += [left[None], generator.drawn(styles, None)]
    return torch.cat(table)


def check_layer(generator: Generator, layer: int | None) -> int:
    """Returns the layer that `mixing` mixes from; raises UserError as it does."""
    styled = generator.style_network
    if styled is None:
        name = generator.config["network"]["name"]
        raise UserError(f"Styles (`mix`) are StyleGAN2's, and this generator is of the network {name}.")
    cut = styled.style_count // 2 if layer is None else layer
    if not 1 <= cut < styled.style_count:
        raise UserError(f"There is no layer {cut} to mix from: choose a layer from 1 to {styled.style_count - 1}.")
    return cut
