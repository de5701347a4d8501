"""The method: masks, rules, schedules. It imports torch and nothing else."""

from rggan.pruning.mask import Layer, WeightMask, masked
from rggan.pruning.merge import merged_state_dict
from rggan.pruning.pruner import Pruner, prunable
from rggan.pruning.rules import PublishedThreshold, Rule, Threshold
from rggan.pruning.schedule import ScoreSchedule

__all__ = [
    "Layer",
    "Pruner",
    "PublishedThreshold",
    "Rule",
    "ScoreSchedule",
    "Threshold",
    "WeightMask",
    "masked",
    "merged_state_dict",
    "prunable",
]
