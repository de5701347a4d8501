"""The words of a command line, looked through and parsed: bad ones are told in one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tyro

from rggan.cli.spelling import flags, positional
from rggan.errors import UserError, nearest
from rggan.files import check_name
from rggan.ranges import check_ranges


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
            hint = nearest(option, sorted(known)) or "."
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


def parsed(command: str, kind: type, words: Sequence[str], **how: Any) -> Any:
    """The options of a command as its dataclass.

    Args:
        how: of `tyro.cli`.

    Raises:
        UserError: words that do not make one.

    >>> from rggan.declared import Options
    >>> parsed("train", Options, ["pictures", "--kimg", "abc"])
    Traceback (most recent call last):
    rggan.errors.UserError: --kimg takes a number, not abc; see `rggan train --help`.
    """
    check_words(command, kind, words)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # tyro's own box
            found = tyro.cli(kind, prog=f"rggan {command}", args=words, **how)
    except SystemExit as stop:
        if stop.code != 2:
            raise
        told = fault(command, kind, words)
        raise UserError(f"{told}{' See' if told.endswith('?') else '; see'} `rggan {command} --help`.") from None
    check_ranges(vars(found))
    for name, value in vars(found).items():
        for each in several(value):
            check_name(name, each)
    return found


def several(value: Any) -> list[Any]:
    """
    >>> several("a"), several((("a", "b"), ("c",)))
    (['a'], ['a', 'b', 'c'])
    """
    return [one for each in value for one in several(each)] if isinstance(value, tuple) else [value]


def fault(command: str, kind: type, words: Sequence[str]) -> str:
    """What is wrong with words that were refused.

    >>> from rggan.cli.generate import GenerateConfig
    >>> fault("generate", GenerateConfig, ["run", "--outdir", "out", "--class-mix", "odd"])
    '--class-mix takes data or even, not odd'
    >>> fault("generate", GenerateConfig, ["run", "--outdir", "out", "--class-mix", "evne"])
    '--class-mix takes data or even, not evne; did you mean even?'
    >>> fault("generate", GenerateConfig, ["run", "more", "--outdir", "out"])
    '`rggan generate` takes one RUN, and more stands beside run'
    >>> fault("generate", GenerateConfig, ["run"])
    '`rggan generate` needs --outdir'
    """
    hints: dict[str, Any] = get_type_hints(kind)
    fields = {f"--{flag}": name for name, flag in flags(kind).items()}
    switches, valued = options_of_kind(kind)
    left, given = list(words), set()
    rest: list[str] = []
    apart: list[str] = []  # of the rest, after an option
    ended = False
    while left:
        word = left.pop(0)
        option, equals, value = word.partition("=")
        option = option.replace("_", "-")
        ended = ended or (bool(rest) and word.startswith("--"))
        if option in switches and equals:
            return f"{option} takes no value, and {value} is given"
        if option in valued:
            many = get_origin(hints[fields[option]]) is tuple
            values = [value] if equals else [left.pop(0)]
            while many and not equals and left and not left[0].startswith("--"):
                values.append(left.pop(0))
            given.add(fields[option])
            if bad := [each for each in values if not fits(each, hints[fields[option]])]:
                hint = hints[fields[option]]
                return f"{option} takes {taken(hint)}, not {bad[0]}{nearest(bad[0], choices(hint))}"
        elif re.match(r"-[A-Za-z]", word):
            return f"There is no option {word}"
        elif not word.startswith("--"):
            (apart if ended else rest).append(word)
    place = positional(kind)
    if not place.endswith("...") and (more := [*rest[1:], *apart]):
        return f"`rggan {command}` takes one {place}, and {' '.join(more)} stands beside {rest[0]}"
    if apart:
        return f"`rggan {command}` takes {place} one after another, and {' '.join(apart)} stands apart from {rest[-1]}"
    needed = [each for each in dataclasses.fields(kind) if each.default is dataclasses.MISSING]
    missing = [f"--{flags(kind)[each.name]}" for each in needed if each.name in flags(kind) and each.name not in given]
    missing = [*([place] if not rest and needed else []), *missing]
    if missing:
        return f"`rggan {command}` needs {' and '.join(missing)}"
    return f"`rggan {command}` cannot take {' '.join(words)}"


def kinds(hint: Any) -> list[Any]:
    """What a value of an option may be, besides None."""
    if get_origin(hint) is Literal or not get_args(hint):
        return [hint]
    return [each for each in get_args(hint) if each is not type(None) and each is not Ellipsis]


def choices(hint: Any) -> list[str]:
    """The words that an option takes, if it takes some only.

    >>> choices(Literal["a", "b"] | None), choices(float)
    (['a', 'b'], [])
    """
    return [str(word) for kind in kinds(hint) if get_origin(kind) is Literal for word in get_args(kind)]


def fits(value: str, hint: Any) -> bool:
    """
    >>> fits("2.5", int | None), fits("2.5", float), fits("c", Literal["a", "b"]), fits("c", float | str)
    (False, True, False, True)
    """

    def is_one(kind: Any) -> bool:
        if get_origin(kind) is Literal:
            return value in get_args(kind)
        if kind in (int, float):
            with contextlib.suppress(ValueError):
                kind(value)
                return True
            return False
        return True

    return any(map(is_one, kinds(hint)))


def taken(hint: Any) -> str:
    """
    >>> taken(int | None), taken(float), taken(Literal["a", "b", "c"])
    ('a whole number', 'a number', 'a, b or c')
    """
    if choices(hint):
        *most, last = choices(hint)
        return f"{', '.join(most)} or {last}"
    (kind,) = kinds(hint)
    return "a whole number" if kind is int else "a number"
