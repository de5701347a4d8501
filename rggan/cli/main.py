"""The way in: which command it is, and how it ends. A command is imported when it is asked for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from rggan.cli.spelling import SpellingConsole, flags, spelled
from rggan.cli.words import parsed
from rggan.errors import Failed, UserError, nearest
from rggan.memory import is_used_up


class Command(NamedTuple):
    """Where a command is: its module, its options (a dataclass), what answers; and a line about it."""

    module: str
    options: str
    answer: str
    about: str


COMMANDS = {
    "check": Command("rggan.cli.check", "CheckConfig", "check", "look over pictures before training"),
    "train": Command("rggan.cli.train", "TrainOptions", "run_train", "train a generator on a folder of pictures"),
    "generate": Command("rggan.cli.generate", "GenerateConfig", "generate", "make pictures from a trained generator"),
    "demo": Command("rggan.cli.demo", "DemoConfig", "demo", "open a page that draws with a trained generator"),
    "export": Command("rggan.cli.export", "ExportConfig", "export", "write a generator in another form"),
    "ladder": Command("rggan.cli.ladder", "LadderConfig", "ladder", "make generators of several sizes from one run"),
    "receipt": Command("rggan.cli.receipt", "ReceiptConfig", "write_receipt", "measure what a smaller generator saves"),
    "evaluate": Command("rggan.cli.evaluate", "EvaluateConfig", "evaluate", "score generators against real pictures"),
    "compare": Command("rggan.cli.compare", "CompareConfig", "compare", "compare kinds of runs over paired seeds"),
    "show": Command("rggan.cli.show", "ShowConfig", "show", "make one page of a run, or of several"),
    "info": Command("rggan.cli.info", "InfoConfig", "show_info", "say what a generator, run or export holds"),
    "plot": Command("rggan.cli.plot", "PlotConfig", "plot", "draw one run, or several in one plot"),
}

SMALLER = {  # what takes less memory
    "check": "take a smaller `resolution`, or leave the measurement out (`measure=False`)",
    "train": "take a smaller `batch`, `width_g` or `width_d`",
    "generate": "give fewer `seeds`, or `device` cpu",
    "demo": "take `device` cpu",
    "export": "end other programs, or take a machine that has more",
    "ladder": "take fewer `samples`, or end other programs",
    "receipt": "take a smaller `batch`, or fewer `samples`",
    "evaluate": "take a smaller `subset`, or fewer `samples`",
    "compare": "compare fewer runs at once",
    "show": "show fewer runs at once",
    "info": "end other programs",
    "plot": "draw fewer runs at once",
}
FLAGS = ("--help", "--version")  # without a command


def kind(name: str) -> type:
    """The dataclass of a command's options."""
    found: type = getattr(import_module(COMMANDS[name].module), COMMANDS[name].options)
    return found


def parse(arguments: Sequence[str]) -> Any:
    """A command's options.

    Raises:
        UserError: an option or a value that the command cannot have.

    >>> parse(["generate", "runs/00000-digits", "--outdir", "out"]).seeds
    '0-63'
    """
    name, *words = arguments
    if name == "train":
        from rggan.cli.train import wanted

        return wanted(words)[0]
    if name == "compare":  # compare RUN... -- RUN...
        words = words[:-1] if words[-1:] == ["--"] else words  # with nothing: said where arms are read
        words = ["--against" if word == "--" else word for word in words]
    return parsed(name, kind(name), words)


class Flags(Mapping[str, str]):
    """The options that sentences name (see `spelled`): those of a command, or else of another, which made the run that
    this one reads, say. Other commands are imported when a sentence names what only they can have.

    >>> found = Flags("generate")
    >>> found["label"], found["kimg"], "runs" in found
    ('class', 'kimg', False)
    """

    def __init__(self, command: str) -> None:
        self.order = [*([command] if command in COMMANDS else []), "train", *COMMANDS]

    def __getitem__(self, name: str) -> str:
        for command in self.order:
            if name in (known := flags(kind(command))):
                return known[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter({name: None for command in self.order for name in flags(kind(command))})

    def __len__(self) -> int:
        return len(list(iter(self)))


def usage() -> str:
    """What `rggan --help` says."""
    lines = ["usage: rggan COMMAND ...", "", "Train GANs on few images."]
    lines += ["", *(f"  {name:<10} {command.about}" for name, command in COMMANDS.items())]
    lines += ["", "`rggan COMMAND --help` has the options of a command; `rggan --version` says which version this is."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0; 2 for bad input; 1 for a run that diverged or could not write; 130 after Ctrl-C, 143 after SIGTERM, 129 after
    SIGHUP.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    name = words[0] if words else ""
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"rggan {import_module('rggan').__version__}")
        return 0
    if name not in COMMANDS:
        print(unknown(name), file=sys.stderr)
        return 2
    return answered(name, words[1:])


def unknown(name: str) -> str:
    """
    >>> unknown("trian")
    'rggan: There is no command trian; did you mean train? `rggan --help` lists them.'
    >>> unknown("--verison")
    'rggan: There is no option --verison; did you mean --version? `rggan --help` lists them.'
    """
    if not name:
        return usage()
    what, known = ("option", FLAGS) if name.startswith("-") else ("command", (*COMMANDS, "help"))
    return f"rggan: There is no {what} {name}{nearest(name, known) or '.'} `rggan --help` lists them."


def answered(name: str, words: Sequence[str]) -> int:
    """Runs one command with the words after its name; returns its exit code."""
    if "-h" in words or "--help" in words:
        from rggan.cli.help import help_of
        from rggan.declared import GROUPS

        print(help_of(name, kind(name), GROUPS if name == "train" else None), end="")
        return 0
    options = Flags(name)
    from rggan.training.together import launched

    if name != "train" and launched() > 1 and "TORCHELASTIC_RUN_ID" in os.environ:
        if os.environ["RANK"] == "0":
            print(f"rggan: `rggan {name}` is one process: start it without torchrun.", file=sys.stderr)
        return 2
    console = SpellingConsole(options)
    try:
        command = COMMANDS[name]
        answer: Callable[..., None] = getattr(import_module(command.module), command.answer)
        answer(words if name == "train" else parse([name, *words]), console)
    except (UserError, Failed) as error:
        if not getattr(error, "quiet", False):  # of several ranks one tells it
            print(f"rggan: {spelled(str(error), options)}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except (MemoryError, RuntimeError) as error:  # PyTorch's are of the second kind
        if not is_used_up(error):
            raise
        if not getattr(error, "quiet", False):
            whose = "device" if type(error).__name__ == "OutOfMemoryError" else "machine"
            told = f"The memory of the {whose} is used up; {SMALLER[name]}."
            print(f"rggan: {spelled(told, options)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        number: int | None = getattr(error, "number", None)  # of a training, which says itself what it leaves
        if number is None:
            print("rggan: stopped.", file=sys.stderr)
        return 128 + (number or signal.SIGINT)
    return 0
