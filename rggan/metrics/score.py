"""The validation score: the distance of generated images to the reference, lower is better."""

from __future__ import annotations

from torch import Tensor

from rggan.metrics.distances import Frechet, Kernel
from rggan.metrics.extractors import load_extractor
from rggan.metrics.features import Parts, extract, feature_parts
from rggan.metrics.moments import Moments, Statistics, statistics

FRECHET_FROM = 2000  # reference images from which Fréchet's distance is used


class Score:
    """Distance of images to a fixed reference, as a feature network sees them.

    From 2,000 reference images on the Fréchet distance, below that the unbiased kernel distance (KID).

    Args:
        reference: uint8 [N, C, H, W], at least two images, or a larger set in parts. With four channels
            images are composited on white and on black, so that the score depends on alpha too.
        network: name of an extractor, see `load_extractor`.

    Raises:
        UserError: as `load_extractor`.

    >>> from rggan.data import load_images
    >>> digits = load_images("digits", 16, max_images=200).images
    >>> score = Score(digits[:100])
    >>> score.kind, score(digits[100:]) < score(255 - digits[100:])
    ('kernel', True)
    """

    def __init__(self, reference: Tensor | Parts, network: str = "steering", device: str = "cpu") -> None:
        self.network = load_extractor(network, device)
        self.kind = "frechet" if len(reference) >= FRECHET_FROM else "kernel"
        self.distance: Frechet | Kernel
        if self.kind == "frechet":
            self.distance = Frechet(self.statistics(reference))
        else:
            self.distance = Kernel(extract(self.network, reference))

    def statistics(self, images: Tensor | Parts) -> Statistics:
        moments = Moments()
        for part in feature_parts(self.network, images):
            moments.add(part)
        return moments.statistics()

    def __call__(self, images: Tensor | Parts) -> float:
        """Returns the score of uint8 images [N, C, H, W], with as many channels as the reference."""
        if isinstance(self.distance, Kernel):
            return self.distance(extract(self.network, images)).value
        return self.distance(self.statistics(images))

    def of_features(self, features: Tensor) -> float:
        """Returns the score of images by their features [N, D] (`extract`)."""
        if isinstance(self.distance, Kernel):
            return self.distance(features).value
        return self.distance(statistics(features))
