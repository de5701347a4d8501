"""Pictures of more than 8 bits: the value that becomes white, and whether they use their range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rggan.data.parallel import in_order
from rggan.data.picture import Listing, Picture, scaled
from rggan.data.workers import Told
from rggan.errors import UserError

FULL = 65535  # the largest value of 16 bits
LITTLE = 0.25  # share of the range below which pictures look dark


def parse_white(level: float | str | None) -> float | str | None:
    """A number above 0, 'auto' or None, also as text.

    Raises:
        UserError: anything else.

    >>> parse_white("4095"), parse_white("auto")
    (4095.0, 'auto')
    """
    if level is None or level == "auto":
        return level
    try:
        number = float(level)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise UserError(f"`white_level` is a value above 0 like 4095, or auto, not {level}.")
    return number


def with_limits(pictures: Listing, white_level: float | str | None, max_pixels: int) -> tuple[Listing, float | None]:
    """Returns (pictures that are read with these limits, the white level).

    white_level: a value; 'auto': the largest of all these pictures; None: 65535. max_pixels: of one picture.
    """
    level = parse_white(white_level)
    limited = (replace(p, max_pixels=max_pixels) for p in pictures)
    pictures = Listing(limited, pictures.notes, pictures.fault, pictures.about)
    white = largest_value(pictures) if level == "auto" else level
    assert not isinstance(white, str)
    notes = [f"`white_level` auto is {white:,.10g}"] if level == "auto" and white else []
    found = (replace(p, white_level=white) for p in pictures)
    made = [
        replace(p, read=partial(scaled_bytes, p.levels, white)) if white and p.levels is not None else p for p in found
    ]
    return Listing(made, (*pictures.notes, *notes), pictures.fault, pictures.about), white


def scaled_bytes(levels: Callable[[], NDArray[Any]], white: float) -> bytes:
    return scaled(levels(), white).tobytes()


def largest_value(pictures: Sequence[Picture]) -> float | None:
    """Returns the largest value in pictures of more than 8 bits that can be read; None if there is none."""

    def largest(picture: Picture, content: bytes | None, found: Told | str) -> float:
        return 0.0 if isinstance(found, str) else float(found[0]["largest"])  # decoding tells why

    files = [picture for picture in pictures if picture.shape is None]
    values = [*in_order(files, "largest", largest), *map(of_levels, pictures)]
    return max(filter(np.isfinite, values), default=0.0) or None


def of_levels(picture: Picture) -> float:
    try:
        return 0.0 if picture.levels is None else float(np.nanmax(picture.levels()))
    except Exception:  # the reason is told when it is decoded
        return 0.0


def told_range(peak: float, white: float | None = None, coarse: bool = False) -> str | None:
    """Returns a sentence on the range that pictures of more than 8 bits use; None if they use it.

    peak: their largest value. white: the white level; None: 65535. coarse: they have colours.

    >>> print(told_range(4000))
    16-bit pictures use 6 % of their range (up to 4,000) and would be dark: `white_level` 4095, or auto, scales them
    >>> told_range(65000), told_range(4000, white=4095)
    (None, None)
    """
    if white is not None:
        above = f"values above `white_level` {white:,.10g} become white (the largest is {peak:,.10g})"
        return above if peak > white else None
    if not 0 < peak < LITTLE * FULL:
        return None
    used = f"16-bit pictures use {100 * peak / FULL:.0f} % of their range (up to {peak:,.10g}) and would be dark"
    if coarse:
        return f"{used}; they have colours, which are read as 8 bits: scale them with another program"
    level = (1 << int(peak).bit_length()) - 1
    return f"{used}: `white_level` {level}, or auto, scales them"
