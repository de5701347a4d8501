"""What changes along a run by the clock: learning rates, D's rows, the EMA's decay, and the dense finale."""

from __future__ import annotations

from typing import Literal

from rggan.config import TrainConfig

FORGOTTEN = 0.25  # in the finale, of what the EMA forgets per step before


def in_finale(config: TrainConfig, images: int) -> bool:
    """Whether so many images that D has seen lie in the last share of the run.

    >>> config = TrainConfig(kimg=10, finale=0.2)
    >>> in_finale(config, 7_999), in_finale(config, 8_000)
    (False, True)
    """
    return config.finale > 0 and images >= (1 - config.finale) * config.kimg * 1000


def learning_rate(config: TrainConfig, network: Literal["g", "d"]) -> float:
    """Adam's, before anything multiplies it.

    >>> learning_rate(TrainConfig(lr=1e-3), "d"), learning_rate(TrainConfig(lr=1e-3, lr_d=4e-4), "d")
    (0.001, 0.0004)
    """
    return config.lr if network == "g" or config.lr_d is None else config.lr_d


def lr_factor(config: TrainConfig, network: Literal["g", "d"], images: int, dense: bool = False) -> float:
    """By what a network's learning rate is multiplied at this place of the run. dense: G is in a dense phase.

    >>> config = TrainConfig(kimg=10, lr_decay=0.5, finale=0.1, finale_lr=0.1)
    >>> [round(lr_factor(config, "g", images), 4) for images in (5_000, 7_500, 9_500)]
    [1.0, 0.5, 0.01]
    >>> round(lr_factor(config, "d", 9_500), 4)
    0.1
    """
    factor = 1.0
    if config.lr_decay is not None:
        share = images / (1000 * config.kimg)
        factor = min(1.0, max(0.0, (1 - share) / (1 - config.lr_decay)))
    if network == "d":
        return factor
    if in_finale(config, images):
        return factor * config.finale_lr
    return factor * config.lr_dense if dense else factor


def rows_of_d(config: TrainConfig, images: int) -> float:
    """The share of D's rows that a step of D or G takes at this place of the run: evenly from 1 to `dynamic_d`.

    >>> rows_of_d(TrainConfig(kimg=10, dynamic_d=0.5), 5_000)
    0.75
    """
    return 1 - (1 - config.dynamic_d) * min(1.0, images / (1000 * config.kimg))


def ema_beta(config: TrainConfig, images: int) -> float:
    """The decay of the generator's EMA at this place of the run.

    >>> round(ema_beta(TrainConfig(kimg=10, ema=0.99, finale=0.1), 9_500), 4)
    0.9975
    """
    if not in_finale(config, images):
        return config.ema
    return 1 - FORGOTTEN * (1 - config.ema) if config.finale_ema is None else config.finale_ema
