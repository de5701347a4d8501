"""Near-duplicates: pictures that differ only in compression, size or a little brightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16  # of a thumbnail: small enough to average out compression, large enough to distinguish faces
COLOR_SIDE = 4  # of its colours: a green and a red heart are the same in grey
# Measured on 20,000 photographs of 32x32 and 1,333 emoji: recompressed at quality 60 or halved, at least 97 % of
# the small ones stay within these limits, and all of the large ones. Inspected pairs of photographs with equal colours
# were true duplicates down to 0.974; in emoji, different icons of the same colours begin at 0.984.
CORRELATION = 0.985
COLOR = 16.0  # of 255: maximum difference of any of the 4x4 colours; JPEG at quality 60 changes them by up to 11
LEVEL = 10.0  # of 255: maximum difference of means and deviations (brightness and contrast)
FLAT = 1.0  # standard deviation below which a thumbnail counts as constant
BLOCK = 2000  # rows and columns of one matrix product: 16 MB


def thumbnail(image: Image.Image) -> tuple[bytes, bytes]:
    """L or RGB -> (grey 16x16, RGB 4x4), one byte per value.

    >>> grey, colors = thumbnail(Image.new("RGB", (64, 48), (9, 9, 9)))
    >>> len(grey), len(colors), set(grey + colors)
    (256, 48, {9})
    """
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    colors = image.resize((COLOR_SIDE, COLOR_SIDE), Image.Resampling.BOX).convert("RGB")
    return grey.tobytes(), colors.tobytes()


def near_duplicates(thumbnails: NDArray[np.float32], colors: NDArray[np.float32] | None = None) -> list[list[int]]:
    """Returns groups of near-duplicates: indices in rising order, the groups sorted by their first.

    Two pictures are linked if their thumbnails correlate by at least `CORRELATION`, means and standard deviations
    differ by at most `LEVEL`, and each colour by at most `COLOR`; groups are the connected components. Exact: all
    pairs are compared.

    Args:
        thumbnails: [N, 256], grey 16x16 in 0..255. Constant ones (deviation below `FLAT`) are in no group.
        colors: [N, 48], RGB 4x4 in 0..255; None: colours are ignored.

    >>> ramp = np.linspace(0, 250, 256, dtype=np.float32)
    >>> near_duplicates(np.stack([ramp, ramp[::-1], ramp + 3, ramp * 0 + 9, ramp * 0 + 9]))
    [[0, 2]]
    """
    mean, deviation = thumbnails.mean(axis=1), thumbnails.std(axis=1)
    order = np.argsort(mean, kind="stable")
    order = order[deviation[order] >= FLAT]
    mean, deviation = mean[order], deviation[order]
    unit = (thumbnails[order] - mean[:, None]) / (deviation[:, None] * np.float32(np.sqrt(thumbnails.shape[1])))
    colors = None if colors is None else colors[order]
    group = np.arange(len(order))  # component labels
    for top in range(0, len(order), BLOCK):
        rows = slice(top, top + BLOCK)
        # Sorted by mean: none after `end` is close enough to any of these rows.
        end = int(np.searchsorted(mean, mean[rows][-1] + LEVEL, side="right"))
        for left in range(top, end, BLOCK):
            columns = slice(left, min(left + BLOCK, end))
            close = unit[rows] @ unit[columns].T >= CORRELATION
            close &= np.abs(mean[rows, None] - mean[None, columns]) <= LEVEL
            close &= np.abs(deviation[rows, None] - deviation[None, columns]) <= LEVEL
            close &= group[rows, None] != group[None, columns]
            for row in np.flatnonzero(close.any(axis=1)):
                found = left + np.flatnonzero(close[row])
                found = found[group[found] != group[top + row]]  # some have been linked since
                if colors is not None:
                    found = found[np.abs(colors[found] - colors[top + row]).max(axis=1) <= COLOR]
                linked = np.unique(np.append(group[found], group[top + row]))
                if len(linked) > 1:  # at most N times in total
                    group[np.isin(group, linked)] = linked[0]
    by_first = np.argsort(group, kind="stable")
    parts = np.split(order[by_first], np.flatnonzero(np.diff(group[by_first])) + 1)
    return sorted(sorted(part.tolist()) for part in parts if len(part) > 1)
