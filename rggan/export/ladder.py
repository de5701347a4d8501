"""The size ladder: from one training run, generators of several sizes, each recovered from the one above it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from rich.console import Console

from rggan.config import TrainConfig
from rggan.data.named import check_named, remember
from rggan.declared.pruning import Pruning
from rggan.errors import UserError
from rggan.export.receipt import compared, told
from rggan.export.shrink import NothingSilent
from rggan.export.shrunk import shrunk
from rggan.generation.generator import Generator
from rggan.ranges import check_ranges
from rggan.run.folder import Run
from rggan.run.log import say
from rggan.training.train import train

TARGETS = (0.75, 0.5, 0.35, 0.25)
LEAVING = 0.25  # of a rung's recovery, in which rows leave
TICKS = 5  # evaluations of the rest
WHOLE = "whole"


class Rung(NamedTuple):
    """A generator of the ladder.

    target: of the whole one's weights. folder: what every command takes. snapshot: the same in its run.
    """

    target: float
    folder: Path
    snapshot: Path
    parameters: int

    @property
    def name(self) -> str:
        return WHOLE if self.target == 1 else f"{self.target:g}"

    @property
    def place(self) -> str:
        """The folder's name in the ladder's; of the whole one the run's."""
        return self.folder.parent.name if self.target == 1 else self.folder.name


def climb(
    run: Path, outdir: Path, targets: Sequence[float], recover: float, console: Console, trust_data: bool = False
) -> list[Rung]:
    """Prune G's rows to each target in turn, take them out, and train on: `recover` kimg each. First is the whole one.

    Each rung begins with the networks of the one above it, D included, on the run's pictures with its options; D is not
    pruned. While rows leave, in the first quarter, masks follow the thresholds; then the small G trains by itself, as
    channels that come and go would cost it more than they bring. Training states stay in outdir/runs, generators are
    in outdir/TARGET. What is finished is not done again.

    Raises:
        UserError: no run; targets out of 0..1 or not falling; a length of 0; what training or shrinking refuses.
    """
    if not targets or any(not 0 < target < 1 for target in targets) or sorted(set(targets), reverse=True) != [*targets]:
        raise UserError(f"Targets fall from below 1 to above 0, not {', '.join(f'{target:g}' for target in targets)}.")
    check_ranges({"recover": recover})
    base = Run.named(run)
    config = base.checked_config()
    if trust_data:
        remember(config.data)
    check_named(base, config.data, "pass `trust_data` to let it be read")
    rungs = [rung(1.0, base.best, base.best)]
    above = base.path
    for target in targets:
        share = target * rungs[0].parameters / rungs[-1].parameters
        if share >= 1:
            say(console, f"rung       {target:g}: the one above is no larger ({rungs[-1].parameters:,} parameters)")
            continue
        say(console, f"rung       {target:g} of G's weights, in whole rows: {recover:g} kimg")
        pruned = Run(train(pruning(config, above, outdir / "runs", share, recover), console))
        small = outdir / "runs" / f"start-{target:g}"
        try:
            shrunk(Generator.from_pretrained(pruned.last)).save(small)  # the best one may be from before the rows left
        except NothingSilent:
            why = (
                f"no row left on the way to {target:g}: the first quarter of `recover` {recover:g} is too short, or "
                "each layer is down to the four channels that stay"
            )
            if len(rungs) == 1:
                raise UserError(f"There is no rung: {why}.") from None
            say(console, f"rung       {target:g}: {why}; the ladder ends here")
            break
        above = train(recovery(config, small, pruned.path, outdir / "runs", recover), console)
        Generator.from_pretrained(Run(above).last).save(outdir / f"{target:g}")
        rungs.append(rung(target, outdir / f"{target:g}", Run(above).last))
    return rungs


def pruning(config: TrainConfig, above: Path, outdir: Path, share: float, recover: float) -> TrainConfig:
    """The options in which rows leave: the run's, G's rows pruned to this share of what the one above has.

    >>> found = pruning(TrainConfig(seed=3), Path("runs/00000"), Path("ladder/runs"), 0.5, 8)
    >>> found.target_g, found.networks, found.granularity_g, found.ramp, found.kimg, found.seed
    (0.5, 'g', 'row', 1.0, 2.0, 3)
    """
    own = {"rule": "threshold", "networks": "g", "target_g": share, "granularity_g": "row"}
    kimg = LEAVING * recover
    return replaced(config, {**own, "schedule": "always", "ramp": kimg / 2}, above, None, outdir, kimg, kimg / 2)


def recovery(config: TrainConfig, small: Path, pruned: Path, outdir: Path, recover: float) -> TrainConfig:
    """The options in which a shrunk G trains on, with the D of the run that its rows left in.

    >>> found = recovery(TrainConfig(), Path("small"), Path("runs/00001"), Path("ladder/runs"), 8)
    >>> found.rule, found.init_d, found.kimg, found.snap
    ('none', PosixPath('runs/00001'), 6.0, 1.2)
    """
    kimg = (1 - LEAVING) * recover
    return replaced(config, {"rule": "none"}, small, pruned, outdir, kimg, kimg / TICKS)


def replaced(
    config: TrainConfig,
    own: Mapping[str, Any],
    init: Path,
    init_d: Path | None,
    outdir: Path,
    kimg: float,
    snap: float,
) -> TrainConfig:
    """The run's options, but for all of pruning, which are these, and where it begins."""
    values = {**asdict(Pruning()), **own, "kimg": kimg, "snap": snap, "resume": None, "patience": None}
    return dataclasses.replace(config, **values, init=init, init_d=init_d, outdir=outdir)


def rung(target: float, folder: Path, snapshot: Path) -> Rung:
    return Rung(target, folder, snapshot, Generator.from_pretrained(folder).parameters)


def verdict(rungs: Sequence[Rung], numbers: Sequence[Mapping[str, Any]]) -> str:
    """Which is the smallest rung that is not worse than the whole one, in a sentence.

    numbers: as `rggan evaluate --json` has them, one for each rung.

    >>> rungs = [Rung(target, Path(), Path(), size) for target, size in ((1.0, 100), (0.5, 40), (0.25, 20))]
    >>> numbers = [{"value": x, "interval": [x - 0.1, x + 0.1]} for x in (1.0, 1.1, 2.0)]
    >>> verdict(rungs, numbers)
    "Rung 0.5 (40 of 100 parameters, 2.5 times fewer) is the smallest whose interval is not above the whole one's."
    """
    whole = rungs[0]
    same = [one for one, number in zip(rungs[1:], numbers[1:], strict=True) if compared(numbers[0], number) != "worse"]
    if not same:
        return "Every rung is worse than the whole generator at this length of recovery."
    one = min(same, key=lambda rung: rung.parameters)
    side = "above" if numbers[0].get("lower_is_better", True) else "below"
    return (
        f"Rung {one.name} ({one.parameters:,} of {whole.parameters:,} parameters, "
        f"{whole.parameters / one.parameters:.1f} times fewer) is the smallest whose interval is not {side} the "
        "whole one's."
    )


def table(rungs: Sequence[Rung], numbers: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    """The rungs in Markdown."""
    lines = [f"| rung | parameters | times fewer | {metric} (95 % interval) | folder |", "|---|---:|---:|---|---|"]
    for one, number in zip(rungs, numbers, strict=True):
        fewer = rungs[0].parameters / one.parameters
        lines.append(f"| {one.name} | {one.parameters:,} | {fewer:.2f} | {told(number)} | {one.folder} |")
    return lines


def curve(rungs: Sequence[Rung], numbers: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Quality over size: a point for each rung, with its interval."""
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    sizes = [one.parameters for one in rungs]
    values = [number["value"] for number in numbers]
    ends = [number["interval"] or [number["value"]] * 2 for number in numbers]
    errors = [
        [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)],
        [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)],
    ]
    axes.axhspan(*ends[0], color="0.9", zorder=0, label="interval of the whole one")
    axes.errorbar(sizes, values, errors, fmt="o-", color="tab:blue", capsize=3)
    for one, value in zip(rungs, values, strict=True):
        axes.annotate(one.name, (one.parameters, value), xytext=(5, 6), textcoords="offset points")
    axes.set(xscale="log", xlabel="parameters of the generator", ylabel=metric)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure
