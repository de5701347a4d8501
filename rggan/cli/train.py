"""rggan train: from its options to a run, and what --config, --resume, --cfg and --network bring along."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from rggan.cli.spelling import SpellingConsole, flags
from rggan.config import TrainConfig
from rggan.data.decode import parse_size
from rggan.data.images import class_names, natural_resolution, short_sides
from rggan.data.source import list_pictures, named_form
from rggan.declared import GROUPS
from rggan.device import check_device
from rggan.errors import UserError
from rggan.networks import FAMILIES
from rggan.presets import Found, choose, pruning
from rggan.registry import PLACE, trust
from rggan.run.folder import Run
from rggan.run.places import OPTIONS
from rggan.training.describe import summary
from rggan.training.reading import read_data, read_fresh
from rggan.training.train import resumed, train

# The options of train as tyro shows them, in boxes. `TrainConfig` checks them when all are there, and outside of tyro,
# which would put its own words around a ValueError.
Grouped: Any = dataclasses.make_dataclass(
    "Grouped", [(name, kind, dataclasses.field(default_factory=kind)) for name, kind in GROUPS.items()], frozen=True
)
Grouped.__doc__ = TrainConfig.__doc__
BOXES = tyro.conf.OmitArgPrefixes[Grouped]
FIRST = ("--config", "--resume", "--cfg", "--network")  # options that bring others along


def grouped(config: TrainConfig) -> Any:
    """The options in their groups.

    >>> grouped(TrainConfig(kimg=5)).length
    Length(kimg=5, snap=20.0, batch=64, seed=0)
    """
    values = vars(config)
    return Grouped(**{name: kind(**{each: values[each] for each in vars(kind())}) for name, kind in GROUPS.items()})


def flat(found: Any) -> TrainConfig:
    """What `grouped` took apart; raises UserError for values that a run cannot have.

    >>> flat(grouped(TrainConfig(kimg=5))).kimg
    5
    """
    return TrainConfig(**{name: value for group in vars(found).values() for name, value in vars(group).items()})


def run_train(config: TrainConfig, console: Console) -> None:
    if config.dry_run:
        if config.resume:
            resumed(config)
        data = read_data(config, console) if config.resume else read_fresh(config, console)
        lines = [json.dumps(config.to_json(), indent=2), *summary(config, data)]
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
        return
    train(config, console)


def trust_named(words: Sequence[str]) -> None:
    """Code that the command line names runs, where a file that it names asks for it too."""
    for word in words:
        value = word.partition("=")[2] if word.startswith("--") else word
        named = named_form(value)
        if named is not None or PLACE.fullmatch(value):
            trust(value if named is None else named[0])


def brought_along(arguments: Sequence[str]) -> TrainConfig:
    """What `--config FILE`, `--resume RUN`, `--cfg NAME` or `--network NAME` of train bring along, for the other
    options to override.

    Raises:
        UserError: two of them that exclude each other; no such file, run, preset or family.
    """
    trust_named(arguments)
    default = TrainConfig()
    words: list[str] = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        words += [option, value] if equals and option in FIRST else [argument]
    if "--config" in words and "--resume" in words:
        raise UserError("--config starts a run like another, --resume continues one: give one of them.")
    if "--cfg" in words and ("--config" in words or "--resume" in words):
        raise UserError("--cfg starts a run by its own settings: leave it out beside --config and --resume.")
    for option, what in (("--config", "a file: the config.json of a run"), ("--resume", "a run folder")):
        if option in words:
            place = words.index(option) + 1
            if place == len(words):
                raise UserError(f"{option} needs {what}.")
            path = Path(words[place])
            if option == "--config":
                default = dataclasses.replace(TrainConfig.from_json(path), config=path)
                if (default.networks, default.target_d) == ("d", "auto"):  # that run left it open, too
                    default = dataclasses.replace(default, **pruning(options_in(words)))
                return default
            options = TrainConfig.from_json(Run.named(path).path / OPTIONS)
            return dataclasses.replace(options, resume=path, outdir=path.parent)
    return family(words)


def family(words: Sequence[str]) -> TrainConfig:
    """What `--cfg NAME`, or else `--network NAME`, brings along, and what is pruned where the options do not say it;
    'auto' looks at the data that the others name."""
    given, name = options_in(words), TrainConfig.network
    for option in ("--cfg", "--network"):
        if option in words[:-1]:
            name = words[words.index(option) + 1]
            if name == "auto" and option == "--cfg":
                rest = [word for i, word in enumerate(words) if word != "--cfg" and words[i - 1] != "--cfg"]
                default = grouped(brought_along(rest))
                parsed = flat(tyro.cli(BOXES, prog="rggan train", default=default, args=rest[1:]))
                network = parsed.network if "--network" in words else None
                console = SpellingConsole(flags(TrainConfig))
                return dataclasses.replace(chosen(parsed, network, given, console), cfg="auto")
            if option == "--cfg" and "--network" in words:
                raise UserError("--cfg names a network already: leave --network out, or give --cfg auto.")
            if option == "--network" and name != TrainConfig.network:
                FAMILIES.get(name)
            break
    return TrainConfig.of(name, **pruning(given))


def options_in(words: Sequence[str]) -> dict[str, str]:
    """The options of a command line and their values as they stand there; '' for one without.

    >>> options_in(["train", "--target-g", "0.5", "--lr=0.1", "-n", "--mirror"])
    {'target_g': '0.5', 'lr': '0.1', 'mirror': ''}
    """
    found = {}
    for word, after in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            option, equals, value = word.removeprefix("--").partition("=")
            found[option.removeprefix("no-").replace("-", "_")] = value if equals or after.startswith("--") else after
    return found


def chosen(config: TrainConfig, network: str | None, given: Mapping[str, object], console: Console) -> TrainConfig:
    """The options of `--cfg auto` for these pictures and this device; says why, a line for each."""
    pictures = list_pictures(config.data, config.pattern)
    count = min(max(1, round(len(pictures) * config.fraction)), config.max_images or len(pictures))
    side = (
        natural_resolution(short_sides(pictures)) if config.resolution is None else min(parse_size(config.resolution))
    )
    cuda = check_device(config.device).type == "cuda"
    found = Found(count, side, len(class_names(pictures)), cuda)
    options, why = choose(found, config.cond, network)
    console.print("\n".join(why), markup=False, highlight=False, soft_wrap=True)
    return TrainConfig(**options, **pruning(given))
