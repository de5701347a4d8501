"""rggan train --seeds 0-5: the same training by each of these seeds, one after another."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rggan import ranks
from rggan.cli.generate import parse_seeds
from rggan.cli.spelling import command
from rggan.config import TrainConfig
from rggan.errors import Failed, UserError
from rggan.run.differ import labels
from rggan.run.folder import Run
from rggan.run.log import say
from rggan.run.outdir import find_run, runs
from rggan.training.ended import finished
from rggan.training.loop import Diverged
from rggan.training.together import agreed
from rggan.training.train import train

OPTION = "--seeds"
ALONE = ("--seed", "--resume", "--dry-run", "-n")  # options of one run


def seeds_in(words: Sequence[str]) -> tuple[list[int], list[str]]:
    """The seeds that the words after `rggan train` ask for, [] where they are about one run; and the other words.

    Raises:
        UserError: no seeds, or options of one run beside them.

    >>> seeds_in(["pictures", "--seeds", "0-2", "--kimg=5"])
    ([0, 1, 2], ['pictures', '--kimg=5'])
    """
    rest, texts = [], []
    after = iter(words)
    for word in after:
        option, equals, value = word.partition("=")
        if option != OPTION:
            rest.append(word)
            continue
        texts.append(value if equals else next(after, ""))
    if not texts:
        return [], rest
    for word in rest:
        if (option := word.partition("=")[0]) in ALONE:
            raise UserError(f"{option} is about one run, and {OPTION} about several: give one of them.")
    return list(dict.fromkeys(seed for text in texts for seed in parse_seeds(text))), rest


def train_each(config: TrainConfig, seeds: Sequence[int], console: Console) -> None:
    """Train by each seed, or go on where that stopped; say what to do with the runs.

    A seed that is finished is left alone. One that diverges is told, and the others go on.

    Raises:
        Failed: some diverged; after all others are trained. And as `rggan.train`, which ends them all.
    """
    done: list[Path] = []
    failed: list[int] = []
    for place, seed in enumerate(seeds):
        one = dataclasses.replace(config, seed=seed)
        run: Run | None = None
        with agreed():
            if ranks.first() and (found := find_run(one)) is not None and finished(found, one):
                run = found
        if (run := ranks.of_first(run)) is not None:
            say(console, f"seed       {seed} ({place + 1} of {len(seeds)}): {run} is finished")
            done.append(run.path)
            continue
        say(console, f"seed       {seed} ({place + 1} of {len(seeds)})")
        try:
            done.append(train(one, console))
        except Diverged as error:
            failed.append(seed)
            say(console, f"seed       {seed} diverged: {error}")
    if done:
        say(console, "", *ending(done, config))
    if failed:
        raise Failed(
            f"{len(failed)} of {len(seeds)} seeds diverged ({', '.join(map(str, failed))}); the others are trained."
        )


def ending(done: Sequence[Path], config: TrainConfig) -> list[str]:
    """What to type next: a page of the set, its numbers, and how it does against other runs on the same pictures."""
    lines = [f"Look at them:    {command('show', *done)}", f"Evaluate them:   {command('evaluate', *done)}"]
    arms = others(done, config)
    if len(done) > 1 and arms:
        every = [run for arm in arms for run in arm]
        lines[-1] = f"Evaluate all:    {command('evaluate', *done, *every)}"
        against = " -- ".join(shlex.join(map(str, arm)) for arm in arms)
        lines.append(f"Compare them:    {command('compare', *done)} -- {against}")
    elif len(done) > 1:
        lines.append(f"Against others:  {command('compare', *done)} -- RUN...")
    return lines


def others(done: Sequence[Path], config: TrainConfig) -> list[list[Path]]:
    """The finished runs of other kinds that lie beside these, at least two of each by the same seeds, on the same
    pictures and as long."""
    own = config.to_json()
    seeds = {(Run(path).options() or {}).get("seed") for path in done}
    found: list[tuple[Run, dict[str, object]]] = []
    for run in runs(config.outdir):
        options = run.options() or {}
        known = run.config()
        beside = run.path not in done and all(options.get(name) == own[name] for name in ("data", "kimg"))
        beside &= options.get("seed") in seeds
        if beside and known is not None and finished(run, known):
            found.append((run, options))
    kinds: dict[str, list[Path]] = {}
    told = labels([own, *(options for _, options in found)])
    for (run, _), label in zip(found, told[1:], strict=True):
        if label != told[0]:
            kinds.setdefault(label, []).append(run.path)
    return [kind for kind in kinds.values() if len(kind) > 1]
