"""Image tensors -> pictures on disk."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from rggan.errors import UserError
from rggan.files import write_whole


def to_uint8(images: Tensor) -> Tensor:
    """float in -1..1 -> uint8, rounded.

    >>> to_uint8(torch.tensor([-1.0, 0.0, 1.2]))
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return images.float().mul(127.5).add(128).clamp(0, 255).to(torch.uint8)


def to_pil(image: Tensor) -> Image.Image:
    """uint8 [C, H, W] with 1, 3 or 4 channels -> a picture, grey, RGB or RGBA.

    >>> to_pil(torch.zeros(4, 16, 24, dtype=torch.uint8))  # doctest: +ELLIPSIS
    <PIL.Image.Image image mode=RGBA size=24x16 at ...>
    """
    pixels = image.cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def grid(images: Tensor, columns: int | None = None) -> Image.Image:
    """uint8 [N, C, H, W] -> one picture, row by row; nearly square unless `columns` is given.

    The gaps are a sixteenth of the height, white, or transparent white with alpha; images whose shorter side is below
    32 pixels are enlarged.

    >>> grid(torch.zeros(6, 3, 32, 32, dtype=torch.uint8)).size
    (104, 70)
    """
    zoom = max(1, 32 // min(images.shape[2:]))
    images = images.cpu().repeat_interleave(zoom, dim=2).repeat_interleave(zoom, dim=3)
    n, channels, height, width = images.shape
    gap = max(1, height // 16)
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = torch.full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 255, dtype=torch.uint8)
    sheet[3:] = 0
    for i, image in enumerate(images):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return to_pil(sheet)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG atomically (see `write_whole`)."""
    stream = io.BytesIO()
    picture.save(stream, "png")
    write_whole(path, stream.getvalue())


def write_picture(picture: Image.Image, path: Path) -> None:
    """Raises UserError where it cannot be written."""
    try:
        save_picture(picture, path)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error
