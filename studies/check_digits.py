"""Does a classifier of real digits recognise generated ones? Evaluates a run on scikit-learn's digits.

    python -m studies.check_digits RUN

Fits a small neural network (scikit-learn's MLPClassifier) on four fifths of the real digits as the generator saw them
(16x16, averaged down to 8x8), and counts how many of 1,000 generated ones it recognises at a confidence above 0.8, and
how often each digit appears. Exits with 1 below 80 % or a digit below 3 %.
"""

from __future__ import annotations

import sys

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from rggan import Generator
from rggan.data import load_images


def shrunk(images: Tensor) -> NDArray[np.float32]:
    """uint8 [N, 1, 16, 16] -> the 64 pixels of the original size, 0..1."""
    return F.adaptive_avg_pool2d(images.float() / 255, 8).flatten(1).numpy()


def main(run: str) -> int:
    real = load_images("digits", 16)
    assert real.labels is not None
    fit, held_out = train_test_split(np.arange(len(real)), test_size=0.2, random_state=0, stratify=real.labels)
    pixels = shrunk(real.images)
    classifier = MLPClassifier(max_iter=500, random_state=0).fit(pixels[fit], real.labels[fit])
    on_real = (classifier.predict_proba(pixels[held_out]).max(axis=1) > 0.8).mean()

    confidence = classifier.predict_proba(shrunk(Generator.from_pretrained(run).images(range(1000))))
    recognised = (confidence.max(axis=1) > 0.8).mean()
    shares = np.bincount(confidence.argmax(axis=1), minlength=10) / len(confidence)
    print(f"A classifier of real digits recognises {recognised:.1%} of 1,000 generated ones at confidence > 0.8")
    print(f"  (of held-out real ones: {on_real:.1%}); share of each digit 0-9: {' '.join(f'{s:.1%}' for s in shares)}")
    return 0 if recognised >= 0.8 and shares.min() >= 0.03 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
