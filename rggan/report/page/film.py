"""The samples over the training as an animated picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from rggan.errors import UserError
from rggan.files import write_whole
from rggan.generation.video import Webp
from rggan.report.page.sheets import read_picture, sheet_files, thinned
from rggan.run.folder import Run

MOST = 200  # sheets
SECONDS = 12  # that they take at most
SLOWEST = 4  # sheets a second
HOLD = 2  # seconds of the last one
CAPTION = 22  # height in pixels of the line with the kimg


def write_film(run: Run, path: Path) -> int:
    """Write the sample sheets of a run as an animated WebP that loops; returns how many there are in it.

    Raises:
        UserError: there are none. OSError: it cannot be written.
    """
    film = Webp(SLOWEST)
    for kimg, file in thinned(sheet_files(run.path), MOST):
        if (image := read_picture(file)) is not None:
            frame = np.array(captioned(image, f"{kimg} kimg"))
            film.add(torch.from_numpy(frame).permute(2, 0, 1))
    if not (count := len(film.pictures)):
        raise UserError(f"{run} has no sample sheets to make a film of.")
    film.fps = max(SLOWEST, count // SECONDS)
    film.pictures += film.pictures[-1:] * (HOLD * film.fps - 1)
    write_whole(path, film.content())
    return count


def captioned(image: Image.Image, text: str) -> Image.Image:
    """The picture with a line of text above it, on white.

    >>> captioned(Image.new("L", (80, 40)), "20 kimg").size
    (80, 62)
    """
    framed = Image.new("RGB", (image.width, image.height + CAPTION), "white")
    flat = image.convert("RGBA")
    framed.paste(flat, (0, CAPTION), flat)
    ImageDraw.Draw(framed).text((6, 4), text, fill="black", font=ImageFont.load_default(14))
    return framed
