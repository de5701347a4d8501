"""The way in: which command it is, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import torch
import tyro

from rggan.cli.check import CheckConfig, check
from rggan.cli.compare import CompareConfig, compare
from rggan.cli.evaluate import EvaluateConfig, evaluate
from rggan.cli.generate import GenerateConfig, generate
from rggan.cli.plot import PlotConfig, plot
from rggan.cli.spelling import SpellingConsole, flags, spelled
from rggan.cli.train import BOXES, Grouped, brought_along, flat, grouped, run_train
from rggan.config import TrainConfig
from rggan.errors import UserError
from rggan.training.interrupt import Interrupted
from rggan.training.keeper import WriteFailed
from rggan.training.loop import Diverged

KINDS: dict[str, type] = {
    "train": TrainConfig,
    "generate": GenerateConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "plot": PlotConfig,
    "check": CheckConfig,
}
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
        Annotated[BOXES, tyro.conf.subcommand("train", default=grouped(default))]
        | Annotated[GenerateConfig, tyro.conf.subcommand("generate")]
        | Annotated[EvaluateConfig, tyro.conf.subcommand("evaluate")]
        | Annotated[CompareConfig, tyro.conf.subcommand("compare")]
        | Annotated[PlotConfig, tyro.conf.subcommand("plot")]
        | Annotated[CheckConfig, tyro.conf.subcommand("check")]
    )
    parsed: Any = tyro.cli(commands, prog="rggan", args=list(arguments))
    command: Command = flat(parsed) if isinstance(parsed, Grouped) else parsed
    return command


def options_of(command: str) -> dict[str, str]:
    """The options that sentences name (see `spelled`): those of the command, or else of another, which made the run
    that this one reads, say."""
    own_last = sorted(KINDS, key=lambda name: name == command)
    return {option: flag for name in own_last for option, flag in flags(KINDS[name]).items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0; 2 for bad input; 1 for a run that diverged or could not write; 130 after Ctrl-C, 143 after SIGTERM.
    """
    words = sys.argv[1:] if arguments is None else arguments
    options = options_of(next(iter(words), ""))
    console = SpellingConsole(options)
    try:
        command = parse(words)
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
        print(f"rggan: {spelled(str(error), options)}", file=sys.stderr)
        return 2
    except (Diverged, WriteFailed) as error:
        print(f"rggan: {spelled(str(error), options)}", file=sys.stderr)
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
