"""Options as the command line names them, in sentences of the code below, which names them as Python does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

import tyro
from rich.console import Console

BROKEN_PIPE = 141  # 128 + SIGPIPE, as programs end that write to a reader that went away

NAMED = re.compile(r"`(\w+)(=True|=False)?`")


def flags(kind: type) -> dict[str, str]:
    """{field: option} of the dataclass of a command; what stands by its place has none, but if it has a name
    besides (train's `data`).

    >>> from rggan.cli.generate import GenerateConfig
    >>> found = flags(GenerateConfig)
    >>> found["mix_from"], found["label"], "run" in found
    ('mix-from', 'class', False)
    """
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        own = [mark.name for mark in marks if getattr(mark, "name", None)]  # of tyro.conf.arg(name=...)
        if tyro.conf.Positional not in marks or own:
            found[name] = (own or [name])[0].replace("_", "-")
    return found


def positional(kind: type) -> str:
    """
    >>> from rggan.declared import Options
    >>> positional(Options)
    'PICTURES'
    """
    found = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if tyro.conf.Positional in getattr(hint, "__metadata__", ()):
            many = "..." if get_origin(get_args(hint)[0]) is tuple else ""
            found.append(
                ("".join(marks(hint, "metavar")) or (name.upper().removesuffix("S") if many else name.upper())) + many
            )
    return " ".join(found)


def marks(hint: Any, name: str) -> list[str]:
    """What a tyro.conf.arg of an option says of `name`."""
    found = [value for mark in getattr(hint, "__metadata__", ()) if (value := getattr(mark, name, None))]
    return [word for value in found for word in ([value] if isinstance(value, str) else value)]


def spelled(text: str, options: Mapping[str, str]) -> str:
    """A sentence with these options (`flags`) as the command line takes them; other words in backticks stay.

    >>> options = {"kimg": "kimg", "finale_dense": "finale-dense", "label": "class"}
    >>> spelled("`kimg` must be above 0, not -1; see `Pruner`.", options)
    '--kimg must be above 0, not -1; see `Pruner`.'
    >>> spelled("`finale_dense=False` and `label` exclude each other.", options)
    '--no-finale-dense and --class exclude each other.'
    """

    def flag(found: re.Match[str]) -> str:
        if found[1] not in options:
            return found[0]
        return f"--{'no-' if found[2] == '=False' else ''}{options[found[1]]}"

    return NAMED.sub(flag, text)


def command(name: str, *words: object) -> str:
    """A command to type; words: in their order, {option: value} for options ('data' by its place), '' for none.

    >>> command("train", {"data": "my pictures", "max_images": 5}, "--skip-bad")
    "rggan train 'my pictures' --max-images 5 --skip-bad"
    >>> command("generate", "runs/00000-digits", "")
    'rggan generate runs/00000-digits'
    """
    typed = ["rggan", name]
    for word in words:
        for option, value in word.items() if isinstance(word, Mapping) else [("data", word)]:
            flag = [] if option == "data" else [f"--{option.replace('_', '-')}"]
            typed += [*flag, str(value)] if str(value) else []
    return shlex.join(typed)


class SpellingConsole(Console):
    """Prints whatever text it is given as `spelled` has it."""

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__()
        self.flags = options

    def print(self, *objects: Any, **how: Any) -> None:
        super().print(*(spelled(each, self.flags) if isinstance(each, str) else each for each in objects), **how)

    def on_broken_pipe(self) -> None:
        """Ends quietly where nobody reads on, with the code of SIGPIPE; rich's own is 1."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(BROKEN_PIPE) from None
