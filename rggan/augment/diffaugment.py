"""DiffAugment: differentiable augmentation of real and fake images alike (Zhao et al. 2020, section 3).

Every function maps float images [N, C, H, W] to the same shape, drawing anew for each image. Of four
channels the last is alpha, from -1 (transparent) to 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rggan import ranks


def random(x: Tensor) -> Tensor:
    """Uniform in [0, 1), one value an image, [N, 1, 1, 1]."""
    return ranks.own(torch.rand(ranks.whole(len(x)), 1, 1, 1, device=x.device, dtype=x.dtype))


def random_whole(x: Tensor, end: int) -> Tensor:
    """Whole numbers below `end`, one an image, int64 [N, 1]."""
    return ranks.own(torch.randint(0, end, (ranks.whole(len(x)), 1), device=x.device))


def color(x: Tensor) -> Tensor:
    """Brightness +-0.5, saturation x 0..2, contrast x 0.5..1.5, in this order; alpha stays as it is."""
    if x.shape[1] == 4:
        return torch.cat([color(x[:, :3]), x[:, 3:]], dim=1)
    x = x + (random(x) - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (random(x) * 2)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (random(x) + 0.5)


def padded(x: Tensor, down: int, right: int) -> Tensor:
    """With `down` rows above and below and `right` columns on both sides: zero (grey), transparent with alpha."""
    if x.shape[1] == 4:
        alpha = F.pad(x[:, 3:], (right, right, down, down), value=-1.0)
        return torch.cat([padded(x[:, :3], down, right), alpha], dim=1)
    return F.pad(x, (right, right, down, down))


def translation(x: Tensor, ratio: float = 0.125) -> Tensor:
    """Shift by up to `ratio` of the size in both directions; what comes in is zero (grey), transparent with alpha."""
    n, c, height, width = x.shape
    down, right = round(height * ratio), round(width * ratio)
    x = padded(x, down, right)
    rows = random_whole(x, 2 * down + 1) + torch.arange(height, device=x.device)
    columns = random_whole(x, 2 * right + 1) + torch.arange(width, device=x.device)
    x = x.gather(2, rows[:, None, :, None].expand(n, c, height, x.shape[3]))
    return x.gather(3, columns[:, None, None, :].expand(n, c, height, width))


def cutout(x: Tensor, ratio: float = 0.5) -> Tensor:
    """Zero a rectangle of `ratio` of the size (make it transparent too, with alpha).

    Its centre is anywhere, so it may hang over the edge.
    """
    height, width = x.shape[2:]

    def hole(size: int) -> Tensor:
        length = round(size * ratio)
        start = random_whole(x, size + 1 - length % 2) - length // 2
        place = torch.arange(size, device=x.device)
        return (place >= start) & (place < start + length)

    kept = ~(hole(height)[:, None, :, None] & hole(width)[:, None, None, :])
    out = x * kept.to(x.dtype)
    if x.shape[1] == 4:
        out = torch.cat([out[:, :3], out[:, 3:] - (~kept).to(x.dtype)], dim=1)
    return out


POLICIES = {"color": color, "translation": translation, "cutout": cutout}


def diff_augment(x: Tensor, policy: str = "color,translation,cutout") -> Tensor:
    """Apply the named augmentations in turn.

    >>> diff_augment(torch.zeros(2, 3, 8, 8), "translation,cutout").shape
    torch.Size([2, 3, 8, 8])
    >>> diff_augment(torch.ones(1, 4, 8, 8), "cutout").unique()  # a grey, transparent hole in white
    tensor([-1.,  0.,  1.])
    """
    for name in policy.split(","):
        x = POLICIES[name](x)
    return x
