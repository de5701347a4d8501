"""scikit-learn's handwritten digits, which need no download."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rggan.data.form import Form
from rggan.data.picture import Picture

NAME = "digits"


def opens(data: str) -> bool:
    return data == NAME


def pictures(data: str, pattern: str) -> list[Picture]:
    """Lists the 1,797 digits (8x8, 17 grey levels) with one folder per class; the pattern is ignored.

    >>> [picture.name for picture in pictures("digits", "*")][:3]
    ['0/0000.png', '1/0001.png', '2/0002.png']
    """
    from sklearn.datasets import load_digits  # slow import, only needed here

    bunch = load_digits()

    def png(pixels: NDArray[np.float64]) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(stream, "png")
        return stream.getvalue()

    return [
        Picture(f"{label}/{index:04d}.png", lambda pixels=pixels: png(pixels), own=True)  # type: ignore[misc]
        for index, (pixels, label) in enumerate(zip(bunch.images, bunch.target, strict=True))
    ]


FORM = Form(NAME, opens, pictures, as_given=True)  # keeps scikit-learn's order
