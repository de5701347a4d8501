"""rggan compare: are these runs better than those?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from rggan.errors import UserError
from rggan.evaluation.compare import Comparison, lines
from rggan.evaluation.compare import compare as compare_runs
from rggan.registry import trust


@dataclass(frozen=True)
class CompareConfig:
    """Compare two kinds of runs over paired seeds: rggan compare RUN... -- RUN... (after `rggan evaluate` of each)."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The runs in question."""
    against: tuple[Path, ...] = ()
    """Those that they are compared with: what stands behind --."""
    metric: str = "fd"
    """Which number of `rggan evaluate`: fd, kid, precision, recall, density, coverage, or patch_fd and so on; or that
    of another metric by which the runs were evaluated."""
    trust: tuple[str, ...] = ()
    """package.module:OBJECT of your own network, rule, schedule or input form that a run names: its code runs."""
    json: bool = False
    """Print JSON instead."""


def compare(config: CompareConfig, console: Console) -> Comparison:
    """Compare and print.

    Raises:
        UserError: a side without runs; or see `rggan.evaluation.compare.compare`.
    """
    if not config.runs or not config.against:
        raise UserError("Say which runs to compare with which runs: rggan compare RUN... -- RUN...")
    trust(*config.trust)
    found = compare_runs(config.runs, config.against, config.metric)
    if config.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        console.print("\n".join(lines(found)), markup=False, highlight=False, soft_wrap=True)
    return found
