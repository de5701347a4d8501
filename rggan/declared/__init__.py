"""Every option of a training run, declared once: this makes the command line, its help, docs/options.md, the JSON and
the Python API.

In the groups of the help. The first line of what stands below an option is its line there; the rest is on the page of
options. Lines that begin with '- VALUE:' say what a value means, in both.
"""

from __future__ import annotations

from dataclasses import dataclass

from rggan.declared.pruning import Pruning
from rggan.declared.training import Augmentation, Data, Network, Run, Training

GROUPS: dict[str, type] = {
    "data": Data,
    "run": Run,
    "network": Network,
    "training": Training,
    "augmentation": Augmentation,
    "pruning": Pruning,
}


@dataclass(frozen=True)
class Options(Pruning, Augmentation, Training, Network, Run, Data):  # fields of the last base come first
    """Train a generator on a folder of pictures. The same command again continues an unfinished run. Network, width,
    batch, length and augmentation are chosen for the pictures, but for what options name; values in parentheses are
    those of `--network sngan`."""
