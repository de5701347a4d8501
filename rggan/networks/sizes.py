"""The image sizes that networks support: a base whose shorter side is 4 to 7, doubled a few times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rggan.errors import UserError

Resolution = int | Sequence[int]  # a square's side, or (height, width)

LONGEST = 1024  # of the longer side


class Sizes(NamedTuple):
    """Display name of a family of networks, and the limits of the shorter side in pixels."""

    title: str
    low: int
    high: int


ANY = Sizes("any network", 16, 512)


def doublings(shorter: int) -> int:
    """Returns how often a picture can be halved until its shorter side is 4 to 7.

    >>> doublings(16), doublings(31), doublings(96), doublings(256), doublings(384), doublings(512)
    (2, 2, 4, 6, 6, 7)
    """
    return (shorter // 4).bit_length() - 1


def check_resolution(resolution: Resolution, sizes: Sizes = ANY) -> tuple[int, int]:
    """Returns (height, width) of a resolution if networks of these sizes support it.

    Raises:
        UserError: sides out of range, or not divisible as often as the network doubles; names the nearest valid size.

    >>> check_resolution(32), check_resolution([96, 144], Sizes("FastGAN", 32, 256))
    ((32, 32), (96, 144))
    """
    sides = [resolution, resolution] if isinstance(resolution, int) else list(resolution)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise UserError("`resolution` takes one number of pixels, or HEIGHTxWIDTH.")
    height, width = sides
    nearest = nearest_size(height, width, sizes)
    if (height, width) != nearest:
        family, low, high = sizes
        raise UserError(
            f"`resolution` {height}x{width} does not fit {family} (shorter side {low} to {high} pixels, "
            f"longer one at most {LONGEST}, both multiples of {1 << doublings(min(nearest))} around this size); "
            f"the nearest that does is {nearest[0]}x{nearest[1]}."
        )
    return height, width


def nearest_size(height: int, width: int, sizes: Sizes = ANY) -> tuple[int, int]:
    """Returns the valid size with the least squared change of both sides; too large sizes are scaled down first."""
    _, low, high = sizes
    shorter, longer = sorted((height, width))
    if shorter > high:
        shorter, longer = high, longer * high // shorter
    fits = []
    for short in range(low, high + 1):
        step = 1 << doublings(short)
        if short % step == 0:
            long = (min(longer, LONGEST) + (step - 1) // 2) // step * step  # the nearest multiple
            fits.append((short, max(short, long)))
    short, long = min(fits, key=lambda fit: (fit[0] - shorter) ** 2 + (fit[1] - longer) ** 2)
    return (short, long) if height <= width else (long, short)
