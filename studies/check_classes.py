"""Does a class-conditional generator make what its labels ask for? Evaluates a run on CIFAR-10.

    python -m studies.check_classes RUN CIFAR10_FOLDER

Fits scikit-learn's LogisticRegression on the reporting extractor's features of 4,000 test images, and tells how many of
1,000 others, and of 100 generated pictures of each class, it puts into their class.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rggan import Generator
from rggan.data import load_images
from rggan.metrics.features import extract, feature_network


def main(run: str, cifar: Path) -> None:
    network = feature_network("reporting")
    real = load_images(cifar / "test", 32, max_images=5000)
    assert real.labels is not None
    features = extract(network, real.images).numpy()
    fit, held_out = train_test_split(np.arange(len(real)), test_size=0.2, random_state=0, stratify=real.labels)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features[fit], real.labels[fit])
    print(f"held-out real images: {classifier.score(features[held_out], real.labels[held_out]):.1%}")
    generator = Generator.from_pretrained(run)
    found = []
    for label, name in enumerate(real.classes):
        asked = extract(network, generator.images(range(100), label=name)).numpy()
        found.append((classifier.predict(asked) == label).mean())
        print(f"{name:<10} {found[-1]:.0%}")
    print(f"generated pictures: {np.mean(found):.1%} (chance: {1 / len(found):.0%})")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
