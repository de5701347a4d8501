"""Sheets of generated pictures with a name beside each row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from rggan.data.pictures import grid

LONGEST = 24  # letters of a name
SMALLEST, LARGEST = 13, 28  # pixels of a letter's height


def labelled_rows(images: Tensor, names: Sequence[str]) -> Image.Image:
    """uint8 [len(names) * columns, C, H, W] -> their `grid`, with the name of each row in a white margin on its left.

    Names in letters that the font (DejaVu Sans) does not have are given by their number, "#3".

    >>> import torch
    >>> labelled_rows(torch.zeros(6, 3, 32, 32, dtype=torch.uint8), ["cat", "dog"]).height
    70
    """
    sheet = grid(images, len(images) // len(names))
    height = sheet.height / len(names)
    font = lettering(max(SMALLEST, min(LARGEST, height / 4)))
    told = [written(name, number, font) for number, name in enumerate(names)]
    space = round(font.getlength("n"))
    margin = 2 * space + round(max(map(font.getlength, told)))
    whole = Image.new(sheet.mode, (margin + sheet.width, sheet.height), "white")
    whole.paste(sheet, (margin, 0))
    pen = ImageDraw.Draw(whole)
    for row, name in enumerate(told):
        pen.text((margin - space, (row + 0.5) * height), name, "black", font, anchor="rm")
    return whole


def lettering(size: float) -> ImageFont.FreeTypeFont:
    """The font that comes with Matplotlib: Pillow's own has no accents."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def written(name: str, number: int, font: ImageFont.FreeTypeFont) -> str:
    """The name as the font can write it, shortened; a number where it cannot.

    >>> written("Käuze", 3, lettering(16)), written("\u732b", 3, lettering(16)), written("a" * 99, 3, lettering(16))
    ('Käuze', '#3', 'aaaaaaaaaaaaaaaaaaaaaaa…')
    """
    unknown = bytes(font.getmask("\uffff"))
    if not name.strip() or any(bytes(font.getmask(letter)) == unknown for letter in set(name)):
        return f"#{number}"
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
