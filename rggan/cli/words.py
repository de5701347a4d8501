"""The words of a command line, looked through before they are parsed: options that there are, each with its value."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, get_type_hints

from rggan.cli.spelling import flags
from rggan.errors import UserError


def check_words(command: str, kind: type, words: Sequence[str]) -> None:
    """
    Raises:
        UserError: an option that this command (of the dataclass `kind`) has not, with the nearest one that it has; an
            option without its value.

    >>> from rggan.cli.plot import PlotConfig
    >>> check_words("plot", PlotConfig, ["run", "--oot", "here"])
    Traceback (most recent call last):
    rggan.errors.UserError: There is no option --oot; did you mean --out? `rggan plot --help` lists them.
    """
    switches, valued = options_of_kind(kind)
    known = {*switches, *valued}
    for word, after in zip(words, [*words[1:], None], strict=False):
        if not word.startswith("--") or word == "--":
            continue
        option, equals, _ = word.partition("=")
        option = option.replace("_", "-")
        if option not in known:
            near = get_close_matches(option, sorted(known), 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise UserError(f"There is no option {word.partition('=')[0]}{hint} `rggan {command} --help` lists them.")
        if option in valued and not equals and (after is None or after.startswith("--")):
            raise UserError(f"{option} needs a value; `rggan {command} --help` says which.")


def options_of_kind(kind: type) -> tuple[set[str], set[str]]:
    """Returns (the flags of a command's dataclass that take no value, those that take one).

    >>> from rggan.declared import Options
    >>> switches, valued = options_of_kind(Options)
    >>> "--no-mirror" in switches, "--kimg" in valued
    (True, True)
    """
    spelled = flags(kind)
    hints: dict[str, Any] = get_type_hints(kind)
    switches, valued = {"--help"}, set()
    for field in dataclasses.fields(kind):
        if field.name not in spelled:
            continue
        flag = spelled[field.name]
        if hints[field.name] is bool:
            switches |= {f"--{flag}", f"--no-{flag}"}
        else:
            valued.add(f"--{flag}")
    return switches, valued
