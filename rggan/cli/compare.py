"""rggan compare: which kinds of runs are better?"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from rggan.errors import UserError
from rggan.evaluation import layout
from rggan.evaluation.arms import owner
from rggan.evaluation.compare import Comparison
from rggan.evaluation.compare import compare as compare_arms
from rggan.registry import trust
from rggan.run.log import say

WRITERS = {
    "markdown": layout.markdown,
    "latex": layout.latex,
    "csv": layout.comma_separated,
    "json": layout.as_json,
}


@dataclass(frozen=True)
class CompareConfig:
    """Compare kinds of runs (arms) by their numbers of `rggan evaluate`: rggan compare RUN... -- RUN... [-- RUN...]

    An arm is the runs between two --, or a folder that holds them; the first is compared with each other one. Runs
    without a -- are one arm for each set of options.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The runs of the first arm."""
    against: tyro.conf.UseAppendAction[tuple[tuple[Path, ...], ...]] = ()
    """Those of another arm: what stands behind --."""
    metric: tuple[str, ...] = ()
    """Which numbers of `rggan evaluate`: fd, kid, precision, recall, density, coverage, patch_fd and so on, that of a
    metric of your own, or copies. Without it fd (fd-small, fid, ...), or else the first that all runs have."""
    names: tuple[str, ...] = ()
    """What the arms are called, in their order. Without it they are named by the options in which they differ."""
    all_pairs: bool = False
    """Compare each arm with each other one. The correction after Holm is over all pairs that are compared."""
    allow_relatives: bool = False
    """Compare, with a note, by an extractor that flatters some of the runs: a relative of the pretrained network that
    their discriminator looked through, or the one that selected their snapshots."""
    unpaired: bool = False
    """Do not pair runs by their seed. Without it arms are paired that share at least two seeds."""
    format: Literal["text", "markdown", "latex", "csv", "json"] = "text"
    """How the tables are printed: for the terminal, or as a file takes them: `--format latex > table.tex`."""
    trust: tuple[str, ...] = ()
    """package.module:OBJECT of your own network, rule, schedule or input form that a run names: its code runs."""
    json: bool = False
    """The same as `--format json`."""


def compare(config: CompareConfig, console: Console) -> Comparison:
    """Compare and print.

    Raises:
        UserError: no arms; or see `rggan.evaluation.compare.compare`.
    """
    if not config.runs:
        raise UserError("Say which runs to compare with which: rggan compare RUN... -- RUN... [-- RUN...]")
    trust(*config.trust)
    arms = [config.runs, *config.against]
    found = compare_arms(arms, config.metric, config.unpaired, config.all_pairs, config.allow_relatives, config.names)
    chosen = "json" if config.json else config.format
    if chosen == "text":
        every = dict.fromkeys(str(owner(run)[0]) for arm in found.arms for run in arm.runs)
        told = [*layout.text(found), "", f"Side by side: {shlex.join(['rggan', 'show', *every])}"]
        told.append("The same as a table: add --format latex, markdown or csv.")
        say(console, *told)
    else:
        print(WRITERS[chosen](found), end="")
    return found
