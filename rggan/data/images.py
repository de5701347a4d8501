"""Pictures -> one uint8 tensor, with labels where folders give classes, seeded subsets and a held-out part."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from rggan.data.source import Picture, list_pictures
from rggan.errors import UserError

DIGITS = "digits"
HELD_OUT_FROM = 1000  # images from which a tenth is held out for the score
GREY_MODES = ("1", "L", "LA", "La")


@dataclass(frozen=True)
class ImageSet:
    """Decoded images.

    images: uint8 [N, C, H, W], C is 1 (grey) or 3 (RGB).
    labels: int64 [N], indices into `classes`; None where folders give no classes.
    names: N file names; skipped: names of unreadable files that were left out.
    """

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    names: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: NDArray[np.int64]) -> ImageSet:
        """The images at these indices, in this order."""
        index = torch.from_numpy(indices)
        return replace(
            self,
            images=self.images[index],
            labels=None if self.labels is None else self.labels[index],
            names=tuple(self.names[i] for i in indices),
        )

    def split(self, seed: int) -> tuple[ImageSet, ImageSet | None]:
        """(training images, held-out images): a tenth is held out from 1,000 images on, by class.

        Below 1,000 images every one is needed to train: the second part is None.

        >>> digits = load_images("digits", resolution=16)
        >>> train, held_out = digits.split(seed=0)
        >>> len(train), len(held_out)
        (1617, 180)
        """
        if len(self) < HELD_OUT_FROM:
            return self, None
        order = np.random.default_rng(seed).permutation(len(self))
        if self.labels is not None:
            order = order[np.argsort(self.labels.numpy()[order], kind="stable")]
        held_out = np.zeros(len(self), dtype=bool)
        held_out[order[::10]] = True
        return self.take(np.flatnonzero(~held_out)), self.take(np.flatnonzero(held_out))


def balanced_subset(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Sorted indices of `count` items, drawn by `seed`, as equally from each class as there are.

    >>> balanced_subset(np.array([0] * 90 + [1] * 10), 20, seed=0).tolist()[-10:]
    [90, 91, 92, 93, 94, 95, 96, 97, 98, 99]
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)  # place of an item among its own class
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    # `order` is random, and the sort is stable: ties between classes fall at random.
    return np.sort(order[np.argsort(rank[order], kind="stable")][:count])


def load_images(
    data: str | Path,
    resolution: int | None = None,
    *,
    max_images: int | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    pattern: str = "*",
    skip_bad: bool = False,
) -> ImageSet:
    """Read a folder or zip of pictures ('digits': scikit-learn's handwritten digits) at one square size.

    Pictures are cropped to their centre square, resized (Lanczos) to `resolution` and kept as uint8;
    transparency is laid on white, 16-bit grey is scaled to 8, EXIF orientation is honoured. Sets that are all grey have
    one channel.
    Without `resolution`: the largest power of two that the median picture fills, from 16 to 256.

    Args:
        max_images, fraction: how many to take (the smaller of both), drawn by `seed`, class-balanced
            where folders give classes.
        pattern: a shell pattern on the file name ('*[02468].jpg').
        skip_bad: leave unreadable files out, instead of refusing the set.

    Raises:
        UserError: nothing readable there; an unreadable file (named); a bad count, fraction or size.

    >>> load_images("digits", resolution=16, max_images=100).images.shape
    torch.Size([100, 1, 16, 16])
    """
    if resolution is not None and resolution < 1:
        raise UserError(f"--resolution must be a positive number of pixels, not {resolution}.")
    if max_images is not None and max_images < 1:
        raise UserError(f"--max-images must be at least 1, not {max_images}.")
    if not 0 < fraction <= 1:
        raise UserError(f"--fraction must lie above 0 and at most 1, not {fraction}.")
    pictures = list_digits() if str(data) == DIGITS else list_pictures(Path(data), pattern)

    classes = tuple(sorted({picture.folder for picture in pictures}))
    has_classes = len(classes) > 1 and "" not in classes
    labels = np.array([classes.index(picture.folder) for picture in pictures] if has_classes else [0] * len(pictures))
    count = max(1, round(len(pictures) * fraction))
    chosen = balanced_subset(labels, min(count, max_images or count), seed)

    decoded, names, skipped = decode([pictures[i] for i in chosen], resolution, skip_bad)
    kept = {name: label for name, label in zip([pictures[i].name for i in chosen], labels[chosen], strict=True)}
    return ImageSet(
        images=decoded,
        labels=torch.tensor([kept[name] for name in names]) if has_classes else None,
        classes=classes if has_classes else (),
        names=tuple(names),
        skipped=tuple(skipped),
    )


def decode(pictures: Sequence[Picture], resolution: int | None, skip_bad: bool) -> tuple[Tensor, list[str], list[str]]:
    """(uint8 [N, C, R, R], names of these, names of the unreadable)."""
    with ThreadPoolExecutor() as pool:
        if resolution is None:  # from the headers of up to 500 of them
            resolution = natural_resolution(list(pool.map(short_side, pictures[:: max(1, len(pictures) // 500)])))
        results = list(pool.map(lambda picture: read_square(picture, resolution), pictures))
    bad = [(p.name, result) for p, result in zip(pictures, results, strict=True) if isinstance(result, str)]
    if bad and not skip_bad:
        others = f" ({len(bad) - 1} more are unreadable too)" if len(bad) > 1 else ""
        raise UserError(f"Cannot read {bad[0][0]}: {bad[0][1]}{others}; mend or remove it, or pass --skip-bad.")
    good = [(p.name, result) for p, result in zip(pictures, results, strict=True) if not isinstance(result, str)]
    if not good:
        raise UserError(f"None of the {len(pictures)} pictures can be read; the first: {bad[0][0]}: {bad[0][1]}.")
    grey = all(is_grey for _, (_, is_grey) in good)
    stack = np.stack([pixels[:, :, :1] if grey else pixels for _, (pixels, _) in good])
    images = torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()
    return images, [name for name, _ in good], [name for name, _ in bad]


def read_square(picture: Picture, resolution: int) -> tuple[NDArray[np.uint8], bool] | str:
    """(pixels [R, R, 3], whether the picture is grey), or the reason why it cannot be read."""
    try:
        with Image.open(io.BytesIO(picture.read())) as opened:
            image: Image.Image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
            grey = image.mode in GREY_MODES
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            size = (resolution, resolution)
            square = ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS)
            return np.asarray(square), grey
    except Exception as error:  # Pillow's plug-ins raise whatever their format taught them
        return f"{type(error).__name__}: {str(error).strip().rstrip('.')}"


def short_side(picture: Picture) -> int:
    """The shorter side in pixels, from the header alone; 0 where there is none."""
    try:
        with Image.open(io.BytesIO(picture.read())) as image:
            return min(image.size)
    except Exception:  # reported by read_square, which meets it again
        return 0


def natural_resolution(sides: Sequence[int]) -> int:
    """The largest power of two that the median picture fills, from 16 to 256.

    >>> natural_resolution([30, 32, 640]), natural_resolution([8]), natural_resolution([4000])
    (32, 16, 256)
    """
    readable = [side for side in sides if side > 0]
    median = int(np.median(readable)) if readable else 16
    return min(256, max(16, 1 << (median.bit_length() - 1)))


def list_digits() -> list[Picture]:
    """scikit-learn's 1,797 handwritten digits (8x8, 17 grey levels) as pictures in one folder a class."""
    from sklearn.datasets import load_digits  # heavy import, only for the default data

    bunch = load_digits()

    def png(pixels: NDArray[np.float64]) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(stream, "png")
        return stream.getvalue()

    return [
        Picture(f"{label}/{index:04d}.png", lambda pixels=pixels: png(pixels))  # type: ignore[misc]
        for index, (pixels, label) in enumerate(zip(bunch.images, bunch.target, strict=True))
    ]
