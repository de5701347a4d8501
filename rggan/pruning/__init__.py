"""The pruning method: masks, rules, schedules. Depends on torch only."""

from rggan.pruning.adaptive import Adaptive
from rggan.pruning.balance import Balance
from rggan.pruning.evolving import SET, RigL
from rggan.pruning.granularity import Rows, Weights
from rggan.pruning.layer import Layer
from rggan.pruning.ledger import Ledger
from rggan.pruning.merge import merged_state_dict, split_state
from rggan.pruning.optimizers import PruningWarning
from rggan.pruning.overfit_schedule import OverfitSchedule
from rggan.pruning.pruner import Pruner
from rggan.pruning.published import PublishedThreshold
from rggan.pruning.ranking import Magnitude, OneShot, Ranking, Static
from rggan.pruning.regrowth import Regrowth
from rggan.pruning.rule import Rule
from rggan.pruning.schedule import Always, Never, PeriodicSchedule, Schedule, ScoreSchedule
from rggan.pruning.select import prunable
from rggan.pruning.target import DensityPath, Ramp
from rggan.pruning.threshold import Threshold
from rggan.pruning.whole_channels import Channels, coupled

__all__ = [
    "SET",
    "Adaptive",
    "Always",
    "Balance",
    "Channels",
    "DensityPath",
    "Layer",
    "Ledger",
    "Magnitude",
    "Never",
    "OneShot",
    "OverfitSchedule",
    "PeriodicSchedule",
    "Pruner",
    "PruningWarning",
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
    "Weights",
    "coupled",
    "merged_state_dict",
    "prunable",
    "split_state",
]
