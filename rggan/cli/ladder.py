"""rggan ladder: generators of several sizes from one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from rggan.cli.evaluate import EvaluateConfig, evaluate
from rggan.errors import UserError, make_folder
from rggan.export.ladder import TARGETS, climb, curve, table, verdict
from rggan.files import json_text, write_whole
from rggan.generation.discreet import told
from rggan.registry import trust
from rggan.report.plot import save_figure
from rggan.run.log import say


@dataclass(frozen=True)
class LadderConfig:
    """Make smaller generators from a run: G's rows are pruned to each target and taken out, then it trains on."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run, whose pictures are still where they were."""
    outdir: Path = Path("ladder")
    """Where generators, the table and the picture go; the same command goes on where it was stopped."""
    targets: tuple[float, ...] = TARGETS
    """Shares of G's parameters, falling."""
    recover: float = 20.0
    """How long each rung trains, in thousands of images."""
    reference: str | None = None
    """What all are scored against; without it, the images that the run was trained on."""
    metric: str = "kid"
    """Which score of `rggan evaluate`."""
    samples: int = 5000
    """Images that are generated for one score."""
    replicates: int = 10
    """Sets of so many images, from which the interval comes."""
    trust_data: bool = False
    """Read the data that a run of somebody else names, wherever they are; asked once for each."""
    trust: tuple[str, ...] = ()
    """package.module:OBJECT of your own that the run names: its code runs."""


def ladder(config: LadderConfig, console: Console) -> None:
    """Trains the rungs, scores them and the whole generator, and writes table, JSON and picture.

    Raises:
        UserError: bad input of any kind, with one sentence.
    """
    if config.replicates < 2:
        raise UserError(f"--replicates must be at least 2, or there is no interval, not {config.replicates}.")
    trust(*config.trust)
    rungs = climb(config.run, config.outdir, config.targets, config.recover, console, config.trust_data)
    make_folder(config.outdir)
    scored = evaluate(
        EvaluateConfig(
            subjects=tuple(str(one.snapshot) for one in rungs),
            reference=config.reference,
            metrics=(config.metric,),
            samples=config.samples,
            replicates=config.replicates,
            memorisation="off",
            trust=config.trust,
        ),
        console,
    )
    name = next(iter(scored[0].numbers))
    numbers = [one.numbers[name].to_json() for one in scored]
    lines = [*table(rungs, numbers, name), "", verdict(rungs, numbers)]
    content = [
        {"target": one.target, "folder": one.place, "parameters": one.parameters, name: told(number)}
        for one, number in zip(rungs, numbers, strict=True)
    ]
    write_whole(config.outdir / "ladder.json", (json_text(content, indent=2) + "\n").encode())
    save_figure(curve(rungs, numbers, name), config.outdir / "ladder.png")
    say(console, "", *lines, "", f"picture    {config.outdir / 'ladder.png'}")
