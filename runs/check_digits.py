"""Does a classifier of real digits recognise generated ones? Judges a run on scikit-learn's digits.

    python runs/check_digits.py RUN

Fits logistic regression on the real 8x8 digits, and counts how many of 1,000 generated ones (averaged down to 8x8)
it recognises at a confidence above 0.8, and how often each class appears. Exits with 1 below 80 % or a class below 3 %.
"""

from __future__ import annotations

import sys

import numpy as np
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from rggan import Generator


def main(run: str) -> int:
    real, labels = load_digits(return_X_y=True)
    fit, held_out, fit_labels, _ = train_test_split(real / 16, labels, test_size=0.2, random_state=0, stratify=labels)
    classifier = LogisticRegression(max_iter=2000).fit(fit, fit_labels)

    images = Generator.from_pretrained(run).images(range(1000)).float() / 255
    generated = F.adaptive_avg_pool2d(images, 8).flatten(1).numpy()
    confidence = classifier.predict_proba(generated)
    recognised = (confidence.max(axis=1) > 0.8).mean()
    on_real = (classifier.predict_proba(held_out).max(axis=1) > 0.8).mean()
    shares = np.bincount(confidence.argmax(axis=1), minlength=10) / len(generated)
    print(f"A classifier of real digits recognises {recognised:.1%} of 1,000 generated ones at confidence > 0.8")
    print(f"  (of held-out real ones: {on_real:.1%}); share of each digit 0-9: {' '.join(f'{s:.1%}' for s in shares)}")
    return 0 if recognised >= 0.8 and shares.min() >= 0.03 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
