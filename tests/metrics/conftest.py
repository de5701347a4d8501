"""Real images and their features, for all tests of the metrics."""

import pytest

from rggan.data import load_images
from rggan.metrics import extract, feature_network


@pytest.fixture(scope="session")
def digits():
    return load_images("digits", 16)


@pytest.fixture(scope="session")
def features(digits):
    return extract(feature_network("steering"), digits.images)
