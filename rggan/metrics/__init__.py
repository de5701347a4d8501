"""Feature extractors, metrics between feature sets, and the validation score."""

from rggan.metrics.coverage import PRDC, Balls, prdc
from rggan.metrics.distances import (
    Frechet,
    Kernel,
    KernelDistance,
    frechet_distance,
    kernel_distance,
)
from rggan.metrics.features import extract, feature_network
from rggan.metrics.memorisation import Memorisation, Memoriser
from rggan.metrics.metric import Features, Metric
from rggan.metrics.moments import Moments, Statistics, statistics
from rggan.metrics.score import Score

__all__ = [
    "PRDC",
    "Balls",
    "Features",
    "Frechet",
    "Kernel",
    "KernelDistance",
    "Memorisation",
    "Memoriser",
    "Metric",
    "Moments",
    "Score",
    "Statistics",
    "extract",
    "feature_network",
    "frechet_distance",
    "kernel_distance",
    "prdc",
    "statistics",
]
