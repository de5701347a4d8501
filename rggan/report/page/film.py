"""The samples over the training as an animated picture."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rggan.errors import UserError
from rggan.files import write_whole
from rggan.report.page.sheets import read_picture, sheet_files, thinned
from rggan.run.folder import Run

MOST = 200  # sheets
SECONDS = 12.0  # that a film takes at most
SLOWEST, LAST = 300, 2000  # milliseconds of a sheet, and of the last one
CAPTION = 22  # height in pixels of the line with the kimg


def write_film(run: Run, path: Path) -> int:
    """Write the sample sheets of a run as an animated WebP that loops; returns how many there are in it.

    Raises:
        UserError: there are none. OSError: it cannot be written.
    """
    found = [(kimg, read_picture(file)) for kimg, file in thinned(sheet_files(run.path), MOST)]
    frames = [captioned(image, f"{kimg} kimg") for kimg, image in found if image is not None]
    if not frames:
        raise UserError(f"{run} has no sample sheets to make a film of.")
    each = min(SLOWEST, round(1000 * SECONDS / len(frames)))
    stream = io.BytesIO()
    times = [*([each] * (len(frames) - 1)), LAST]
    frames[0].save(
        stream, "webp", save_all=True, append_images=frames[1:], duration=times, loop=0, quality=85, method=3
    )
    write_whole(path, stream.getvalue())
    return len(frames)


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
