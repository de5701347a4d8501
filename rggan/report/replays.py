"""A contact sheet of the samples closest to training images, with their nearest neighbours."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from rggan.data import ImageSet
from rggan.data.picture import Picture
from rggan.metrics.memorisation import Memorisation
from rggan.report.health import CAPTION, CELL, GAP, cell

COLUMNS, ROWS = 2, 8  # of triples
HEAD = "sample | nearest training image | second nearest, the closest samples first"


def replay_sheet(samples: Tensor, training: ImageSet, found: Memorisation) -> Image.Image:
    """Draws triples sample | nearest | second nearest for the lowest distance ratios, with the ratio as caption.

    Args:
        samples: uint8 [S, C, H, W]. training: the training images to which the indices in `found` refer.
    """
    closest = found.ratios.argsort()[: COLUMNS * ROWS].tolist()
    rows = -(-len(closest) // COLUMNS)
    width, height = 3 * CELL + 3 * GAP, CELL + CAPTION + GAP
    sheet = Image.new("RGB", (GAP + COLUMNS * width + (COLUMNS - 1) * GAP, GAP + CAPTION + rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    draw.text((GAP, GAP // 2), HEAD, fill="black", font=font)
    for place, index in enumerate(closest):
        left, top = GAP + place % COLUMNS * (width + GAP), GAP + CAPTION + place // COLUMNS * height
        ratio = found.ratios[index].item()
        copied = ratio < found.threshold
        caption = f"ratio {ratio:.2f}{': nearer than real images come' if copied else ''}"
        draw.text((left, top), caption, fill="#b00000" if copied else "black", font=font)
        nearest, second = (training.at(which[index : index + 1])[0] for which in (found.nearest, found.second))
        for column, image in enumerate((samples[index], nearest, second)):
            sheet.paste(cell(as_picture(image)), (left + column * (CELL + GAP // 2), top + CAPTION))
    return sheet


def as_picture(image: Tensor) -> Picture:
    """uint8 [C, H, W] -> an undecoded picture."""
    channels, height, width = image.shape
    pixels = image.permute(1, 2, 0).contiguous().numpy().tobytes()
    return Picture("", lambda: pixels, shape=(height, width, channels))
