"""RG-GAN: train a good image generator from few images, pruning and regenerating while it trains.

The method drops into any PyTorch GAN: `Pruner`, `ScoreSchedule`, `merged_state_dict`. A generator trained by
`rggan train` is used through `Generator`.
"""

from rggan.config import TrainConfig
from rggan.errors import UserError
from rggan.generator import Generator
from rggan.pruning import Pruner, PublishedThreshold, Rule, ScoreSchedule, Threshold, merged_state_dict
from rggan.training.loop import train

__version__ = "0.1.0"

__all__ = [
    "Generator",
    "Pruner",
    "PublishedThreshold",
    "Rule",
    "ScoreSchedule",
    "Threshold",
    "TrainConfig",
    "UserError",
    "merged_state_dict",
    "train",
]
