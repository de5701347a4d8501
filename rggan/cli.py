"""The command line: rggan train, generate, evaluate, compare, plot, check."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from rggan.config import TrainConfig
from rggan.data.audit.doctor import advice, inspect, shown
from rggan.data.audit.mend import write_copy
from rggan.data.decode import parse_size
from rggan.data.images import Channels, class_names, natural_resolution, short_sides
from rggan.data.source import list_pictures, named_form
from rggan.device import check_device
from rggan.errors import UserError, make_folder
from rggan.evaluation.command import EvaluateConfig, evaluate
from rggan.evaluation.compare import CompareConfig, compare
from rggan.generating import GenerateConfig, generate, write_picture
from rggan.networks import FAMILIES, check_resolution
from rggan.presets import Found, choose, pruning
from rggan.registry import PLACE, trust
from rggan.report.command import PlotConfig, plot
from rggan.report.health import contact_sheet, render
from rggan.run.folder import Run
from rggan.run.places import OPTIONS
from rggan.training.describe import summary
from rggan.training.estimate import estimate
from rggan.training.interrupt import Interrupted
from rggan.training.keeper import WriteFailed
from rggan.training.loop import Diverged
from rggan.training.progress import reading
from rggan.training.reading import read_data, read_fresh, refuse_inside
from rggan.training.train import resumed, train

FIRST = ("--config", "--resume", "--cfg", "--network")  # options of train that bring others along
SAMPLE = 256  # pictures that the measurement of `check` trains on


@dataclass(frozen=True)
class CheckConfig:
    """Look over a set of pictures before training: what is in it, what would spoil it, what training would take."""

    data: Annotated[str, tyro.conf.Positional]
    """Whatever `rggan train --data` takes."""
    resolution: int | str | None = None
    """Size that you want to train at (64, or HEIGHTxWIDTH): says which pictures are smaller."""
    channels: Channels = "auto"
    """As in `rggan train`, for the measurement."""
    pattern: str = "*"
    """Take only files whose name fits this shell pattern."""
    sheet: Path = Path("contact-sheet.png")
    """Where the contact sheet goes: pictures from all over the set, and the doubtful ones."""
    fix: Path | None = None
    """Write a copy that is worth training on into this new folder: upright, sRGB, without unreadable pictures,
    doubles and those of one colour."""
    near: bool = False
    """With --fix: leave out near duplicates too."""
    measure: bool = True
    """Train for a few seconds to see what it takes."""
    device: str = "auto"
    """Where to measure."""
    json: bool = False
    """Print everything as JSON instead."""


def check(config: CheckConfig, console: Console) -> None:
    size = None if config.resolution is None else check_resolution(parse_size(config.resolution))
    training = TrainConfig(
        data=config.data,
        resolution=config.resolution,
        channels=config.channels,
        pattern=config.pattern,
        skip_bad=True,
        max_images=SAMPLE,
        device=config.device,
    )
    if config.fix is not None:
        refuse_inside("--fix", config.fix, config.data)
    refuse_inside("--sheet", config.sheet, config.data)
    make_folder(config.sheet.parent)
    pictures = list_pictures(config.data, config.pattern)
    with reading(None if config.json else console) as progress:
        health = inspect(pictures, (lambda done: progress(done, len(pictures))) if progress else None)
    advices = advice(health, size)
    write_picture(contact_sheet(pictures, health), config.sheet)
    taken = None
    if config.measure and health.readable > 1:
        taken = estimate(training, read_data(training), health.readable)
    copy = None if config.fix is None else write_copy(pictures, health, config.fix, config.near)
    if config.json:
        told: dict[str, Any] = {"health": health.to_json(), "advice": advices, "sheet": str(config.sheet)}
        told |= {"training": taken and taken.to_json(), "copy": copy}
        print(json.dumps(told, indent=2))
        return
    render(health, advices, console)
    lines = taken.lines() if taken else []
    lines.append(f"sheet      {config.sheet}")
    if copy is not None:
        lines.append(f"copy       {copy['written']} pictures in {config.fix}")
        lines += [f"left out   {shown(name)}: {shown(reason)}" for name, reason in copy["left_out"].items()]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


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


Command = TrainConfig | GenerateConfig | EvaluateConfig | CompareConfig | PlotConfig | CheckConfig


def parse(arguments: Sequence[str]) -> Command:
    """The command and its options.

    Raises:
        UserError: a value that the command cannot have. SystemExit: an option that it does not know, with code 2.

    >>> parse(["generate", "runs/00000-digits", "--outdir", "out"]).seeds
    '0-63'
    """
    default = brought_along(arguments) if arguments[:1] == ["train"] else TrainConfig()
    if arguments[:1] == ["compare"]:  # compare RUN... -- RUN...
        arguments = ["--against" if argument == "--" else argument for argument in arguments]
    commands: Any = (
        Annotated[TrainConfig, tyro.conf.subcommand("train", default=default)]
        | Annotated[GenerateConfig, tyro.conf.subcommand("generate")]
        | Annotated[EvaluateConfig, tyro.conf.subcommand("evaluate")]
        | Annotated[CompareConfig, tyro.conf.subcommand("compare")]
        | Annotated[PlotConfig, tyro.conf.subcommand("plot")]
        | Annotated[CheckConfig, tyro.conf.subcommand("check")]
    )
    parsed: Command = tyro.cli(commands, prog="rggan", args=list(arguments))
    return parsed


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
                parsed = parse(rest)
                assert isinstance(parsed, TrainConfig)
                network = parsed.network if "--network" in words else None
                return dataclasses.replace(chosen(parsed, network, given, Console()), cfg="auto")
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0; 2 for bad input; 1 for a run that diverged or could not write; 130 after Ctrl-C, 143 after SIGTERM.
    """
    console = Console()
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        if isinstance(command, TrainConfig):
            run_train(command, console)
        elif isinstance(command, GenerateConfig):
            generate(command, console)
        elif isinstance(command, EvaluateConfig):
            evaluate(command, console)
        elif isinstance(command, CompareConfig):
            compare(command, console)
        elif isinstance(command, PlotConfig):
            plot(command, console)
        else:
            check(command, console)
    except UserError as error:
        print(f"rggan: {error}", file=sys.stderr)
        return 2
    except (Diverged, WriteFailed) as error:
        print(f"rggan: {error}", file=sys.stderr)
        return 1
    except torch.OutOfMemoryError:
        print(
            "rggan: The memory of the device is used up; take a smaller --batch, --width-g or --width-d.",
            file=sys.stderr,
        )
        return 1
    except Interrupted as error:
        return 128 + error.number
    except KeyboardInterrupt:
        return 130
    return 0
