"""Options that a family, a rule or a schedule of somebody's own brings: `name=value` words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rggan.errors import UserError, nearest

Value = bool | int | float | str


def as_words(given: Mapping[str, Value] | Sequence[str]) -> tuple[str, ...]:
    """A dict of Python, or words of the command line, as words.

    >>> as_words({"strength": 0.5, "hard": True}), as_words(["strength=0.5"])
    (('strength=0.5', 'hard=True'), ('strength=0.5',))
    """
    if isinstance(given, Mapping):
        return tuple(f"{name}={value}" for name, value in given.items())
    return tuple(given)


def read_pairs(words: Sequence[str], known: Mapping[str, Value], option: str) -> dict[str, Any]:
    """The values that the words give, each of the kind of its default in `known`; what is not given is left out.

    option: as messages name it ("`rule_options`").

    Raises:
        UserError: a word that is no name=value, a name that is not known or comes twice, or a value of another kind.

    >>> read_pairs(["strength=0.5", "hard=yes"], {"strength": 1.0, "hard": False, "steps": 3}, "`rule_options`")
    {'strength': 0.5, 'hard': True}
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"{option} takes words like name=value, not {word}.")
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "there are none here"
            raise UserError(f"{option} {name}: {there}{nearest(name, known) or '.'}")
        if name in found:
            raise UserError(f"{option} gives {name} twice.")
        try:
            found[name] = value_of(text, known[name])
        except ValueError as error:
            kinds = ((bool, "yes or no"), (int, "a whole number"), (float, "a number"))
            kind = next(called for kind, called in kinds if isinstance(known[name], kind))
            raise UserError(f"{option} {name} is {kind}, not {text}.") from error
    return found


def value_of(text: str, default: Value) -> Value:
    """Raises ValueError where the text is no such value.

    >>> value_of("3", 1), value_of("3", 1.0), value_of("off", True), value_of("3", "")
    (3, 3.0, False, '3')
    """
    if isinstance(default, bool):
        if text.lower() not in ("yes", "no", "true", "false", "on", "off"):
            raise ValueError(text)
        return text.lower() in ("yes", "true", "on")
    if isinstance(default, int):
        return int(text)
    if isinstance(default, float):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(text)
        return number
    return text
