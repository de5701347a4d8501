"""Features, distances and the score."""

from rggan.metrics.distances import frechet_distance, kernel_distance, statistics
from rggan.metrics.features import extract, feature_network
from rggan.metrics.score import Score

__all__ = ["Score", "extract", "feature_network", "frechet_distance", "kernel_distance", "statistics"]
