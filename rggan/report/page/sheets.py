"""Sample sheets as pictures within a page: which of them, how large, and where each sample lies."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from rggan.run.places import fakes

MOST = 60  # sheets of a film
BUDGET = 6_500_000  # bytes of a film's pictures, a third more within the page
WIDEST = 1100  # pixels of a sheet
CRISP = 32  # side in pixels of samples up to which sheets are stored without loss
QUALITY = 85  # of WebP, for larger ones
Item = TypeVar("Item")
NAME = re.compile(r"fakes(\d{6,})\.png")


@dataclass(frozen=True)
class Sheet:
    """A sample sheet as it is embedded; size: (width, height)."""

    kimg: float
    source: str
    size: tuple[int, int]

    @property
    def bytes(self) -> int:
        """Of the picture itself: base64 takes a third more."""
        return len(self.source) * 3 // 4


@dataclass(frozen=True)
class Layout:
    """Where samples lie on a sheet, as shares of its width and height: the page cuts them out.

    >>> Layout.of((200, 100), (47, 64))
    Layout(columns=3, rows=2, left=0.01, top=0.02, width=0.32, height=0.47)
    >>> Layout.of((201, 100), (47, 64)) is None
    True
    """

    columns: int
    rows: int
    left: float
    top: float
    width: float
    height: float

    @classmethod
    def of(cls, size: tuple[int, int], sample: tuple[int, int]) -> Layout | None:
        """Of a sheet of `rggan.data.pictures.grid`; None for a picture that is none.

        size: (width, height) of the sheet. sample: (height, width) of a sample before `grid` enlarged it.
        """
        zoom = max(1, 32 // min(sample))
        height, width = zoom * sample[0], zoom * sample[1]
        gap = max(1, height // 16)
        columns, over = divmod(size[0] - gap, width + gap)
        rows, below = divmod(size[1] - gap, height + gap)
        if over or below or columns < 1 or rows < 1:
            return None
        return cls(columns, rows, gap / size[0], gap / size[1], width / size[0], height / size[1])


def sheet_files(run: Path) -> list[tuple[int, Path]]:
    """(kimg, file) of each sample sheet of a run, oldest first."""
    found = [(int(name[1]), path) for path in run.glob("fakes*.png") if (name := NAME.fullmatch(path.name))]
    return sorted(each for each in found if each[1].name == fakes(each[0]))


def film(files: Sequence[tuple[float, Path]], crisp: bool, budget: int = BUDGET) -> list[Sheet]:
    """The sheets within the budget: all of them, or evenly spaced ones with the first and the last.

    Files that cannot be read are left out.

    Args:
        crisp: store them without loss.
    """
    files = thinned(files, MOST)
    ends = [sheet for kimg, path in (files[:1] + files[-1:]) if (sheet := read_sheet(kimg, path, crisp)) is not None]
    if not ends:
        return []
    most = budget * len(ends) // sum(each.bytes for each in ends)
    files = thinned(files, max(2, most))
    sheets = [sheet for kimg, path in files if (sheet := read_sheet(kimg, path, crisp)) is not None]
    while len(sheets) > 2 and sum(each.bytes for each in sheets) > budget:  # those between compress worse than the ends
        sheets = thinned(sheets, len(sheets) - 1)
    return sheets


def thinned(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of them, evenly spaced, with the first and the last.

    >>> thinned(range(9), 3), thinned("ab", 3)
    ([0, 4, 8], ['a', 'b'])
    """
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def read_sheet(kimg: float, path: Path, crisp: bool) -> Sheet | None:
    """None where it is no picture any more."""
    if (image := read_picture(path)) is None:
        return None
    return Sheet(kimg, embedded(image, crisp), image.size)


def read_picture(path: Path) -> Image.Image | None:
    """A PNG, at most `WIDEST` pixels wide; None where it is none."""
    try:
        with Image.open(path, formats=["PNG"]) as file:
            image = file.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    return image


def embedded(image: Image.Image, crisp: bool = True) -> str:
    """The picture as a data URI, WebP.

    >>> embedded(Image.new("RGB", (2, 2))).partition(",")[0]
    'data:image/webp;base64'
    """
    stream = io.BytesIO()
    mode = "RGBA" if image.mode in ("LA", "RGBA", "P") else "RGB"
    image.convert(mode).save(stream, "webp", lossless=crisp, quality=50 if crisp else QUALITY, method=3)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
