"""The method: masks, rules, schedules. It imports torch and nothing else."""

from rggan.pruning.balance import Balance
from rggan.pruning.granularity import Rows, Weights
from rggan.pruning.ledger import Ledger
from rggan.pruning.mask import Layer, WeightMask, masked
from rggan.pruning.merge import merged_state_dict
from rggan.pruning.pruner import Pruner, prunable
from rggan.pruning.ranking import SET, Magnitude, OneShot, Ranking, RigL, Static
from rggan.pruning.regrowth import Regrowth
from rggan.pruning.rules import PublishedThreshold, Rule, Threshold
from rggan.pruning.schedule import Always, Never, OverfitSchedule, PeriodicSchedule, Schedule, ScoreSchedule
from rggan.pruning.target import Ramp

__all__ = [
    "SET",
    "Always",
    "Balance",
    "Layer",
    "Ledger",
    "Magnitude",
    "Never",
    "OneShot",
    "OverfitSchedule",
    "PeriodicSchedule",
    "Pruner",
    "PublishedThreshold",
    "Ramp",
    "Ranking",
    "Regrowth",
    "RigL",
    "Rows",
    "Rule",
    "Schedule",
    "ScoreSchedule",
    "Static",
    "Threshold",
    "WeightMask",
    "Weights",
    "masked",
    "merged_state_dict",
    "prunable",
]
