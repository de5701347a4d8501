"""A structural distance of images at 32x32, minimised over flips, shifts and slight crops."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rggan.metrics.features import Parts

RESOLUTION = 32  # images are resized to this
WINDOW = 28  # side of the compared windows: 5x5 positions in 32, i.e. shifts by up to 2 each way
PLACES = RESOLUTION - WINDOW + 1
SIDES = (32, 30, 28)  # samples are compared at these sizes: they may be training images cropped to 94 % or 88 %
FLAT = 1.0  # of 255: standard deviation below which a window counts as constant


def read(images: Tensor | Parts, device: str) -> Tensor:
    """uint8 [N, 1, 3 or 4, H, W] -> uint8 [N, 3, 32, 32]: RGB, composited on white, antialiased bicubic."""
    parts = images.split(100) if isinstance(images, Tensor) else images.parts(100)
    small = []
    for part in parts:
        if part.dtype != torch.uint8 or part.dim() != 4 or part.shape[1] not in (1, 3, 4):
            raise ValueError(f"Images are uint8 [N, 1, 3 or 4, H, W], not {part.dtype} {list(part.shape)}.")
        x = part.to(device).float()
        if x.shape[1] == 4:
            x = x[:, :3] * (x[:, 3:] / 255) + 255 - x[:, 3:]
        if x.shape[2:] != (RESOLUTION, RESOLUTION):
            x = F.interpolate(x, (RESOLUTION, RESOLUTION), mode="bicubic", antialias=True)
        small.append(x.clamp(0, 255).round().to(torch.uint8).expand(-1, 3, -1, -1))
    if sum(map(len, small)) == 0:
        raise ValueError("There is no image to compare.")
    return torch.cat(small)


def both_ways(images: Tensor) -> tuple[Tensor, Tensor]:
    """The images and their mirror images."""
    return images, images.flip(3)


def at_place(images: Tensor, place: tuple[int, int]) -> Tensor:
    """Returns the 28x28 windows [..., 28, 28] at (row, column)."""
    row, column = place
    return images[..., row : row + WINDOW, column : column + WINDOW]


def shrunk(images: Tensor, side: int) -> Tensor:
    """Returns the central windows of images [B, 3, 32, 32] resized to side x side: float [B, 3, 28, 28] in 0..255."""
    x = images.float()
    if side != RESOLUTION:
        x = F.interpolate(x, (side, side), mode="bicubic", antialias=True)
    margin = (side - WINDOW) // 2
    return at_place(x, (margin, margin))


def normalised(x: Tensor) -> Tensor:
    """Normalises [B, D] to mean 0 and norm 1 along D; constant rows become zeros."""
    x = x - x.mean(dim=1, keepdim=True)
    norm = x.norm(dim=1, keepdim=True)
    return torch.where(norm < FLAT * math.sqrt(x.shape[1]), 0, x / norm.clamp_min(1e-6))


def thumbnails(windows: Tensor) -> Tensor:
    """[B, 3, 28, 28] -> normalised [B, 147]: 7x7 RGB."""
    return normalised(F.avg_pool2d(windows.float(), 4).flatten(1))


def is_grey(images: Tensor) -> bool:
    """Whether the three channels of images [..., 3, H, W] are equal.

    >>> is_grey(torch.ones(1, 3, 2, 2)), is_grey(torch.arange(12).reshape(1, 3, 2, 2))
    (True, False)
    """
    return torch.equal(images[..., :1, :, :].expand_as(images), images)


def distances(images: Tensor, candidates: Tensor) -> Tensor:
    """Returns the minimum distance of each image to its candidates over flips, shifts and crops, float32 [B, K].

    The distance of windows with mean 0 and norm 1, sqrt(2 - 2 correlation), 0..sqrt 2. Constant windows have
    correlation 0 with all others.
    images: uint8 [B, 3, 32, 32]; candidates: uint8 [B, K, 3, 32, 32].

    >>> ramp = torch.arange(32, dtype=torch.uint8).expand(1, 3, 32, 32)
    >>> distances(ramp + 9, torch.stack([ramp.flip(3), ramp * 2, ramp * 0], dim=1)).mul(100).round().tolist()
    [[0.0, 0.0, 141.0]]
    """
    if is_grey(images) and is_grey(candidates):  # their correlations are those of one channel, and sooner there
        images, candidates = images[:, :1], candidates[:, :, :1]
    channels = images.shape[1]
    size = channels * WINDOW * WINDOW
    looks = [normalised(shrunk(view, side).transpose(1, 2).flatten(1)) for view in both_ways(images) for side in SIDES]
    filters = torch.stack(looks, dim=2)  # [B, 28 * C * 28, 6]: rows first, see below
    x = candidates.float()
    x = x - x.mean(dim=(2, 3, 4), keepdim=True)  # avoids cancellation in the variance
    mean = F.avg_pool2d(x.mean(dim=2), WINDOW, 1)
    variance = F.avg_pool2d(x.square().mean(dim=2), WINDOW, 1) - mean.square()
    norm = (variance.clamp_min(FLAT**2) * size).sqrt()  # [B, K, 5, 5]
    # With rows outermost, a window 28 rows high is contiguous: only column shifts need copies.
    rows = x.transpose(2, 3)
    shifted = torch.stack([rows[..., i : i + WINDOW] for i in range(PLACES)], dim=2).flatten(3).flatten(1, 2)
    best = []
    for top in range(PLACES):
        stretch = shifted[:, :, top * channels * WINDOW :][:, :, :size]
        best.append(torch.bmm(stretch, filters).amax(dim=2).unflatten(1, (-1, PLACES)))
    correlation = (torch.stack(best, dim=2) / norm).masked_fill(variance < FLAT**2, 0).amax(dim=(2, 3))
    return (2 - 2 * correlation).clamp(0, 2).sqrt()
