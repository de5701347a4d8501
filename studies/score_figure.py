"""Do the Fréchet distance and KID rise with damage? Both shipped extractors on CIFAR-10: docs/images/score.png.

    python -m studies.score_figure CIFAR10_FOLDER [OUT.png]

Reference: training images with an even number (the extractors were trained on odd ones), 5,000 for the first and 500 of
them for the KID. Compared: 2,000 test images, damaged at five strengths.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageFilter
from torch import Tensor

from rggan.data import ImageSet, load_images
from rggan.data.pictures import to_pil
from rggan.metrics import Score
from studies.places import IMAGES

JPEG_QUALITY = (60, 40, 25, 12, 4)
DROPPED = (1, 3, 5, 7, 9)  # classes out of ten that are missing, by strength


def blur(image: Image.Image, strength: int, random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(0.3 * strength))


def noise(image: Image.Image, strength: int, random: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image)
    return Image.fromarray((pixels + random.normal(0, 6 * strength, pixels.shape)).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, strength: int, random: np.random.Generator) -> Image.Image:
    """Compressed with its 8x8 blocks moved by 3 pixels.

    CIFAR-10 comes here as JPEG of quality 75. Compressing again on the same grid makes the two quantisers beat: then
    quality 50 lies farther off on these features than 30, a special case that no generated image meets.
    """
    shift = 3
    sides = ((shift, 8 - shift), (shift, 8 - shift)) + ((0, 0),) * (len(image.getbands()) > 1)
    stream = io.BytesIO()
    Image.fromarray(np.pad(np.asarray(image), sides, mode="reflect")).save(
        stream, "jpeg", quality=JPEG_QUALITY[strength - 1]
    )
    return Image.open(stream).crop((shift, shift, shift + image.width, shift + image.height))


DAMAGES: dict[str, Callable[[Image.Image, int, np.random.Generator], Image.Image]]
DAMAGES = {"blur": blur, "noise": noise, "JPEG": jpeg}


def damaged(images: Tensor, name: str, strength: int) -> Tensor:
    """uint8 [N, C, H, W], each picture damaged."""
    random = np.random.default_rng(0)
    pixels = [np.asarray(DAMAGES[name](to_pil(image), strength, random)) for image in images]
    return torch.from_numpy(np.stack(pixels)).reshape(len(images), *images.shape[2:], -1).permute(0, 3, 1, 2)


def series(score: Score, images: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """{damage: the score at strength 0 (none) to 5}."""
    clean = score(images)
    rows = {name: [clean, *(score(damaged(images, name, s)) for s in range(1, 6))] for name in DAMAGES}
    return {**rows, "dropped modes": [clean, *(score(images[labels >= dropped]) for dropped in DROPPED)]}


def main(folder: Path, out: Path) -> None:
    reference = load_images(folder / "train", 32, pattern="*[02468].jpg", max_images=5000)
    test: ImageSet = load_images(folder / "test", 32, max_images=2000)
    assert test.labels is not None
    figure = Figure(figsize=(10, 6), layout="constrained")
    for column, network in enumerate(("steering", "reporting")):
        for row, count in enumerate((5000, 500)):
            score = Score(reference.images[:: 5000 // count], network)
            axes = figure.add_subplot(2, 2, 1 + 2 * row + column)
            for name, values in series(score, test.images, test.labels).items():
                rising = all(a < b for a, b in pairwise(values))
                print(f"{network} {score.kind} {name}: {'rises' if rising else 'DOES NOT RISE'}", *np.round(values, 4))
                axes.plot(range(6), values, marker="o", label=name)
            axes.set(title=f"{network} network, {score.kind} distance", xlabel="strength of damage", yscale="symlog")
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else IMAGES / "score.png")
