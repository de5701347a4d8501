"""Values out of any range for every option of every command, by description: numbers, paths and texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from rggan.cli.main import kind
from rggan.cli.spelling import flags

LONG = 5_000  # letters or digits; Python reads no whole number of more than 4,300, and no file has such a name
INTEGERS = ("9" * 400, "-" + "9" * LONG)
FLOATS = ("nan", "1e300", "-" + "9" * LONG)
TEXTS = ("x" * LONG, "a\0b")
PATHS = (*TEXTS, "x/" * (LONG // 2))
# What a command is given besides: nothing is there, so that none goes on where a value is taken.
BESIDES: dict[str, tuple[str, ...]] = {
    "train": ("--network", "sngan"),  # not chosen by the pictures, which are looked for then
    "generate": ("--outdir", "out"),
    "export": ("--shrink", "small"),
}
FIRST = {"receipt": ("nowhere", "nowhere"), "compare": ("nowhere", "--", "elsewhere")}


class Try(NamedTuple):
    """The words of a command line. absurd: whether the option can have no such value, so that it must be named."""

    option: str
    words: list[str]
    absurd: bool


def tries(command: str) -> Iterator[Try]:
    """Each option of a command with each value out of any range."""
    hints = get_type_hints(kind(command))
    for name, flag in flags(kind(command)).items():
        for value, absurd in values(hints[name]):
            besides = BESIDES.get(command, ())
            rest = [] if f"--{flag}" in besides else besides
            first = [] if (command, name) == ("train", "data") else FIRST.get(command, ("nowhere",))
            yield Try(f"--{flag}", [command, *first, *rest, f"--{flag}={value}"], absurd)


def values(hint: Any) -> Iterator[tuple[str, bool]]:
    """(value, whether an option of this kind can have no such value)."""
    found = types(hint)
    if float in found:
        yield from ((value, True) for value in FLOATS)
    elif int in found:
        yield from ((value, True) for value in INTEGERS)
    if Path in found:
        yield from ((value, True) for value in PATHS)
    elif str in found:
        yield from ((value, "\0" in value) for value in TEXTS)


def types(hint: Any) -> set[Any]:
    """What a value of an option may be, or one of several of them; of some words only: nothing."""
    if get_origin(hint) is Literal:
        return set()
    return {one for each in get_args(hint) for one in types(each)} or {hint}


# Options that no memory is large enough for, on a machine that has 20 GB free -> what the sentence begins with.
TOO_MUCH = {
    "train digits -n --batch 1000000000": "--batch 1,000,000,000 needs about 2,560 GB of memory, and 20.0 GB are ",
    "train digits -n --score-samples 1000000000": "--score-samples 1,000,000,000 needs about 768 GB of memory, and ",
    "train digits -n --width-g 20000": "--width-g 20,000 needs about 305 GB of memory, and 20.0 GB are free: take at ",
    "train digits -n --width-g 20000 --width-d 20000": "--width-g 20,000 and --width-d 20,000 need about 593 GB of ",
    "train digits -n --z-dim 65536 --width-g 8000": "--width-g 8,000 needs about ",
    "generate GENERATOR --outdir out --seeds 0-99999999999": "--seeds 0-99999999999 are more than 1,000,000 at once",
    "generate GENERATOR --outdir out --seeds 0-999999 --walk 900": "--walk 900 needs about 230 GB of memory, and ",
    "receipt GENERATOR GENERATOR --batch 1000000000": "--batch 1,000,000,000 needs about 1,032 GB of memory, and ",
    "evaluate GENERATOR --reference digits --samples 1000000000": "--samples must be at most 100,000,000, not ",
    "train digits -n --seeds 0-99999999999": "-n is about one run, and --seeds about several",
    "train digits --seeds 0-99999999999": "--seeds 0-99999999999 are more than 1,000,000 at once",
    "train digits -n --rollback-lr 1e300": "--rollback-lr must be above 0 and at most 1, not 1e+300",
    "train digits -n --device cuda:99999999999999999999": "--device cuda:99999999999999999999: choose auto, cpu, cuda",
}
