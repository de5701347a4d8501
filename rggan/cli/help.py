"""What `--help` shows of a command, and docs/options.md: made of the options' declarations and what stands below them.

python -m rggan.cli.help > docs/options.md
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import tyro

from rggan.cli.spelling import flags, marks, positional

NARROW, WIDE = 80, 120  # columns that are filled
COLUMN = 26  # in which the texts begin
KINDS = {int: "N", float: "X", Path: "PATH", str: "NAME"}
VALUE = re.compile(r"^- ([\w-]+): (.+)$")
FIXED = """# Options of `rggan train`

`rggan train --help` shows a line for each of them. In Python they have the same names, with `_` for `-`, in
`rggan.train("pictures", kimg=100)` and `TrainConfig`. The defaults are those of `TrainConfig()`; a network, a preset
and the choice by the pictures bring their own ([networks.md](networks.md)). This page is made of the same declarations
as the command line: `python -m rggan.cli.help > docs/options.md`.
"""


class Option(NamedTuple):
    """An option as help shows it. value: its placeholder; '' for a switch. values: what each of its values means."""

    flag: str
    value: str
    line: str
    rest: str
    values: list[tuple[str, str]]
    default: str


def options_of(kind: type) -> Iterator[Option]:
    """The options of a dataclass, in the order of their declaration.

    >>> from rggan.declared import Training
    >>> next(options_of(Training))[:3]
    ('--kimg', 'X', 'Length: thousands of real images that D sees')
    """
    texts, spelled, hints = written(kind), flags(kind), get_type_hints(kind)
    marked = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if tyro.conf.Positional in getattr(marked[field.name], "__metadata__", ()):
            continue
        told = texts.get(field.name) or "".join(marks(marked[field.name], "help"))  # of tyro.conf.arg(help=...)
        line, *rest = told.split("\n\n")
        values = [found for part in rest for each in part.splitlines() if (found := VALUE.match(each.strip()))]
        switch, flag = hints[field.name] is bool, f"--{spelled[field.name]}"
        if switch and field.default is True:
            flag, line = f"--no-{spelled[field.name]}", f"Do not {line[:1].lower()}{line[1:]}"
        flag = ", ".join([*marks(marked[field.name], "aliases"), flag])
        default = field.default
        line = " ".join(line.split())
        known = "without it" in line or switch or default is dataclasses.MISSING or default in (None, "", ())
        yield Option(
            flag,
            "" if switch else "".join(marks(marked[field.name], "metavar")) or placeholder(hints[field.name]),
            line,
            " ".join(" ".join(part.split()) for part in rest if not VALUE.match(part.strip().splitlines()[0].strip())),
            [(found[1], found[2]) for found in values],
            "" if known else shown(default),
        )


def written(kind: type) -> dict[str, str]:
    """{field: the text below it} of a dataclass and of those that it is made of."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[field.target.id] = inspect.cleandoc(str(text.value.value))
    return found


def placeholder(hint: Any) -> str:
    """
    >>> placeholder(float | None), placeholder(Literal["a", "b"]), placeholder(tuple[str, ...])
    ('X', 'WORD', 'NAME...')
    """
    if get_origin(hint) is tuple:
        return f"{placeholder(get_args(hint)[0]).rstrip('.')}..."
    if get_origin(hint) is Literal:
        return "WORD"
    kinds = [each for each in (get_args(hint) or (hint,)) if each is not type(None)]
    return "WORD" if get_origin(kinds[0]) is Literal else KINDS[kinds[0]]


def shown(value: Any) -> str:
    """
    >>> shown(2e-4), shown(1000.0), shown("auto"), shown((1, 2))
    ('0.0002', '1000', 'auto', '1 2')
    """
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def help_of(command: str, kind: type, groups: dict[str, type] | None = None, columns: int | None = None) -> str:
    """What `rggan COMMAND --help` prints.

    kind: the dataclass of the command's options. groups: title -> those of a group; without it all are in one.
    """
    width = columns or min(WIDE, max(NARROW, shutil.get_terminal_size().columns)) - 1
    lines = textwrap.wrap(f"usage: rggan {command} {positional(kind)} [OPTION ...]", width)
    lines += ["", *textwrap.wrap(" ".join((kind.__doc__ or "").split()), width)]
    for title, options in grouped(kind, groups or {"options": kind}).items():
        lines += ["", f"{title}:"]
        for option in options:
            lines += entry(option, width)
    return "\n".join([*lines, ""])


def grouped(kind: type, groups: dict[str, type]) -> dict[str, list[Option]]:
    """{title: its options}; those of the command that no group has stand with the options of the run."""
    found = {title: list(options_of(group)) for title, group in groups.items()}
    known = {option.flag for options in found.values() for option in options}
    if rest := [option for option in options_of(kind) if option.flag not in known]:
        found["run"] += rest
    return found


def entry(option: Option, width: int) -> list[str]:
    """An option in as few lines as there can be."""
    head = f"  {option.flag} {option.value}".rstrip()
    text = f"{option.line} ({option.default})" if option.default else option.line
    wrapped = textwrap.wrap(text, width - COLUMN, break_on_hyphens=False, break_long_words=False) or [""]
    if len(head) >= COLUMN:
        lines = [head, *(" " * COLUMN + each for each in wrapped)]
    else:
        lines = [f"{head:<{COLUMN}}{wrapped[0]}", *(" " * COLUMN + each for each in wrapped[1:])]
    return [*lines, *(f"      {value:<14} {meaning}" for value, meaning in option.values)]


def page(kind: type, groups: dict[str, type]) -> str:
    """docs/options.md."""
    line, *rest = written(kind)["data"].split("\n\n")
    parts = [FIXED, f"`PICTURES`: {line}. {' '.join(' '.join(rest).split())}\n"]
    for title, options in grouped(kind, groups).items():
        parts.append(f"## {title.capitalize()}\n\n{' '.join((groups[title].__doc__ or '').split())}\n")
        parts.append("| option | default | |\n|---|---|---|\n" + "\n".join(map(row, options)) + "\n")
    return "\n".join(parts)


def row(option: Option) -> str:
    """An option in a table of the page."""
    values = "".join(f"<br>`{value}`: {meaning}" for value, meaning in option.values)
    rest = f" {option.rest}" if option.rest else ""
    end = "" if option.line.endswith(".") else "."
    text = f"{option.line}{end}{rest}{values}".replace("|", "\\|")
    return f"| `{option.flag}{f' {option.value}' if option.value else ''}` | {option.default} | {text} |"


if __name__ == "__main__":
    from rggan.cli.train import TrainOptions
    from rggan.declared import GROUPS

    print(page(TrainOptions, GROUPS), end="")
