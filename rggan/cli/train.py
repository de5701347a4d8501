"""rggan train: from its words to a run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console

from rggan import ranks
from rggan.cli.seeds import seeds_in, train_each
from rggan.cli.spelling import command
from rggan.cli.words import check_words, parsed
from rggan.config import TrainConfig
from rggan.data.source import named_form
from rggan.data.streams.tars import runs_command
from rggan.declared import Options
from rggan.errors import UserError
from rggan.registry import PLACE, trust
from rggan.run.log import say
from rggan.training.asked import asked
from rggan.training.describe import summary
from rggan.training.ended import NOT_BEGUN
from rggan.training.estimate import estimate, sample_of
from rggan.training.interrupt import stop_told
from rggan.training.reading import read_data, read_fresh
from rggan.training.together import agreed, joined
from rggan.training.train import resumed, train

SHORT = {"-n": "--dry-run"}
MEASURED = 1.0  # seconds of steps for the time that a training will take


@dataclass(frozen=True)
class TrainOptions(Options):
    __doc__ = Options.__doc__

    seeds: str | None = None
    """Train by each of these seeds: 0-5 or 1,3,8

    One after another. The same command again goes on where it was."""


def run_train(words: Sequence[str], console: Console) -> None:
    """Train as the words after `rggan train` say."""
    with joined():
        run_ranks(words, console if ranks.first() else Console(quiet=True))


def run_ranks(words: Sequence[str], console: Console) -> None:
    """As `run_train`, of one rank."""
    seeds, words = seeds_in(words)
    with stop_told(partial(say, console), lambda: NOT_BEGUN), agreed():
        config, why = wanted(words)
        if config.dry_run and ranks.count() > 1:
            raise UserError("`dry_run` measures one process: start it without torchrun.")
    say(console, *why)
    if seeds:
        train_each(config, seeds, console)
        return
    if not config.dry_run:
        run = train(config, console)
        say(
            console,
            f"next       {command('generate', run, '--outdir', 'out')}",
            f"           {command('evaluate', run)}",
        )
        return
    if config.resume:
        resumed(config)
    data = read_data(config, console) if config.resume else read_fresh(config, console)
    say(console, json.dumps(config.to_json(), indent=2), *summary(config, data))
    say(console, *estimate(*sample_of(config, data), images=data.in_memory, seconds=MEASURED).lines()[1:])


def wanted(words: Sequence[str]) -> tuple[TrainConfig, list[str]]:
    """What the words after `rggan train` ask for, and why `--cfg auto` chose what it did.

    Raises:
        UserError: words that the command cannot have; and see `asked`.

    >>> config, why = wanted(["digits", "--device", "cpu", "--batch=8"])
    >>> config.network, config.batch, why[1]
    ('sngan', 8, 'width      32, batch 8 (as asked): what a CPU trains in reasonable time at 16 pixels')
    """
    words = [SHORT.get(word, word) for word in words]
    check_words("train", TrainOptions, words)
    trust_named(words)
    unnamed = dataclasses.replace(TrainOptions(), data="")
    found = parsed("train", TrainOptions, data_first(words), default=unnamed)
    given: dict[str, Any] = {name: getattr(found, name) for name in named(words) if hasattr(found, name)}
    given.pop("data", None)
    if found.data:
        given["data"] = found.data
    return asked(given)


def data_first(words: Sequence[str]) -> list[str]:
    """With PICTURES for `--data PICTURES`.

    >>> data_first(["--kimg", "5", "--data", "pictures"]), data_first(["--data=pictures", "-n"])
    (['pictures', '--kimg', '5'], ['pictures', '-n'])
    """
    rest = list(words)
    for place, word in enumerate(rest):
        if word == "--data" and place + 1 < len(rest):
            return [rest[place + 1], *rest[:place], *rest[place + 2 :]]
        if word.startswith("--data="):
            return [word.removeprefix("--data="), *rest[:place], *rest[place + 1 :]]
    return rest


def trust_named(words: Sequence[str]) -> None:
    """Code and commands that the command line names run, where a file that it names asks for them too."""
    for word in words:
        value = word.partition("=")[2] if word.startswith("--") else word
        form = named_form(value)
        if runs_command(value):
            trust(value)
        if form is not None or PLACE.fullmatch(value):
            trust(value if form is None else form[0])


def named(words: Sequence[str]) -> list[str]:
    """The options that are named, as Python calls them.

    >>> named(["pictures", "--target-g", "0.5", "--lr=0.1", "--no-mirror"])
    ['target_g', 'lr', 'mirror']
    """
    options = [word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--")]
    return [option.removeprefix("no-").replace("-", "_") for option in options]
