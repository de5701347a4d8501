"""Features, distances and the score."""

from rggan.metrics.coverage import PRDC, Balls, prdc
from rggan.metrics.distances import (
    Frechet,
    Kernel,
    KernelDistance,
    Moments,
    Statistics,
    frechet_distance,
    kernel_distance,
    statistics,
)
from rggan.metrics.features import extract, feature_network
from rggan.metrics.memorisation import Memorisation, Memoriser
from rggan.metrics.score import Score

__all__ = [
    "PRDC",
    "Balls",
    "Frechet",
    "Kernel",
    "KernelDistance",
    "Memorisation",
    "Memoriser",
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
