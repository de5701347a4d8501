"""The options of a run for people: what differs from the defaults first, and the command that repeats it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rggan.config import TrainConfig
from rggan.generation.discreet import told
from rggan.run.differ import base, given


@dataclass(frozen=True)
class Option:
    """One option: as JSON has its value and its default. changed: whether they differ."""

    name: str
    value: str
    default: str
    changed: bool


def command(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(option with underscores, its value quoted for a shell) for `rggan train`; ("", PICTURES) first, (flag, "").

    A page goes to others, so that of places it has the last part alone (`discreet`).

    >>> command(TrainConfig.of("sngan", data="my pictures", mirror=True).to_json())
    [('', "'my pictures'"), ('cfg', 'sngan'), ('mirror', '')]
    """
    options = told(options)
    network = options.get("network", TrainConfig.network)
    words = [("", shlex.quote(str(options.get("data", TrainConfig.data)))), ("cfg", shlex.quote(str(network)))]
    for name, value in given(options).items():
        if isinstance(value, bool):
            words.append((name if value else f"no_{name}", ""))
        elif isinstance(value, list):
            words.append((name, shlex.join(map(str, value))))
        else:
            words.append((name, shlex.quote(str(value))))
    return words


def described(options: Mapping[str, Any]) -> list[Option]:
    """All options, those that differ from the defaults of the run's network first; of places the last part."""
    options = told(options)
    defaults = base(options, given(options))
    rows = [
        Option(name, shown(value), shown(defaults[name]) if name in defaults else "", value != defaults.get(name))
        for name, value in options.items()
        if name not in ("outdir", "network")
    ]
    return sorted(rows, key=lambda row: not row.changed)


def shown(value: Any) -> str:
    """
    >>> shown(True), shown(None), shown("a"), shown(["b"]), shown(1e-4)
    ('yes', '-', 'a', 'b', '0.0001')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
