"""What others may learn of places on this machine: the last part of a path, and nothing of an address but that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rggan.generation.hub import NAME
from rggan.registry import COMMAND

ON_HUB = ("hf:", "hf-stream:")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^?#]*", re.I)


def shown(place: str) -> str:
    """The last part of a path or address, or a name on the Hub; of a command that it is one. Other texts as they are.

    >>> shown("/home/ada/faces"), shown("C:\\\\faces.zip"), shown("hf:ada/faces:train"), shown("hf:/ada/faces")
    ('faces', 'faces.zip', 'hf:ada/faces:train', 'faces')
    >>> shown("https://ada:secret@a.org/1.tar?key=2"), shown("pipe:ssh ada@host cat 1.tar"), shown("digits")
    ('1.tar', 'pipe', 'digits')
    """
    for prefix in ON_HUB:
        if place.startswith(prefix) and NAME.fullmatch(place.removeprefix(prefix).partition(":")[0]):
            return place
    if place.startswith(COMMAND):
        return COMMAND.removesuffix(":")
    address = ADDRESS.match(place)
    parts = re.split(r"[/\\]+", (address[0] if address else place).rstrip("/\\"))
    return parts[-1] or place


def told(value: Any) -> Any:
    """The same with `shown` instead of each text, in mappings and lists too.

    >>> told({"data": "/home/ada/faces", "kimg": 3, "of": ["a/b"]})
    {'data': 'faces', 'kimg': 3, 'of': ['b']}
    """
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {name: told(each) for name, each in value.items()}
    return [told(each) for each in value] if isinstance(value, list | tuple) else value


def without(places: Iterable[str], text: str) -> str:
    """A sentence with `shown` instead of each of these places.

    >>> without(["/home/ada/a", "/home/ada"], "/home/ada/a/config.json is none, and /home/ada neither")
    'a/config.json is none, and ada neither'
    """
    for place in sorted(set(places), key=len, reverse=True):
        text = text.replace(place, shown(place)) if place else text
    return text


def discreet(config: Mapping[str, Any]) -> dict[str, Any]:
    """A generator's config with no more of the place that it was trained on than is `shown`.

    >>> discreet({"classes": ["a/b"], "trained": {"data": "/home/ada/faces", "kimg": 3}})
    {'classes': ['a/b'], 'trained': {'data': 'faces', 'kimg': 3}}
    """
    return {name: told(value) if name == "trained" else value for name, value in config.items()}
