"""Things by name: built-in ones, those of installed packages, and code of the user's own.

A registry names where each thing is defined ("rggan.networks.sngan:FAMILY"), so that listing names loads nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from rggan.errors import UserError, nearest, reason
from rggan.memory import is_used_up

T = TypeVar("T")
R = TypeVar("R")
PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")  # package.module:OBJECT
COMMAND = "pipe:"  # before a command whose output is read
TRUSTED: set[str] = set()  # places whose code, and commands, that the user named in this process


def trust(*places: str) -> None:
    """Let the code at `package.module:OBJECT` run where a saved run or generator names it.

    A file alone never makes code run that is not installed as a part of a package (`Registry.knows`), nor a command:
    data like 'pipe:COMMAND' are named here too.

    Raises:
        UserError: one of them reads like no such place.

    >>> trust("math:pi")
    >>> "math:pi" in TRUSTED
    True
    """
    for place in places:
        if not PLACE.fullmatch(place) and not place.startswith(COMMAND):
            raise UserError(f"`trust` takes package.module:OBJECT, not {place}.")
    TRUSTED.update(places)


def called(asked: str, function: Callable[..., R], *arguments: Any, **options: Any) -> R:
    """What somebody's function gives.

    Raises:
        UserError: whatever it raises (but that the memory is used up), in one sentence that begins with `asked`.

    >>> called("`rule` x:Y", len, [1, 2])
    2
    """
    try:
        return function(*arguments, **options)
    except UserError:
        raise
    except Exception as error:
        if is_used_up(error):
            raise
        raise UserError(f"{asked} fails: {reason(error)}.") from error


def load_object(place: str, option: str, own: bool = True) -> Any:
    """What `package.module:OBJECT` names. Its code runs.

    option: as messages name it ("`rule` x:Y"). own: modules in the current folder are found too, behind all others.

    Raises:
        UserError: it cannot be imported, or has no such object.

    >>> load_object("math:pi", "`rule` math:pi")
    3.141592653589793
    """
    name, _, attribute = place.partition(":")
    if own and "" not in sys.path:
        sys.path.append("")
    try:
        return getattr(import_module(name), attribute)
    except (Exception, SystemExit) as error:  # an import runs somebody else's code
        raise UserError(f"{option}: {reason(error)}.") from error


class Registry(Generic[T]):
    """What an option of this name can be.

    Args:
        option: as messages name it ("`rule`").
        builtin: name -> "package.module:OBJECT".
        group: of entry points, by which an installed package adds names of its own ("rggan.rules").
        accept: makes the thing of the object that was found (often the object itself).
            Raises TypeError, with what it should be, for another kind.
        besides: other values that the option takes, for messages.

    >>> from fractions import Fraction
    >>> registry = Registry("`number`", {"half": "rggan.registry:HALF_OF_DOCTEST"}, "rggan.doctest", Fraction)
    >>> registry.names()
    ['half']
    >>> registry.get("math:pi").denominator
    281474976710656
    >>> registry.get("third")
    Traceback (most recent call last):
    rggan.errors.UserError: `number` third: there are half, or package.module:OBJECT.
    """

    def __init__(
        self,
        option: str,
        builtin: Mapping[str, str],
        group: str,
        accept: Callable[[Any], T],
        besides: Sequence[str] = (),
    ) -> None:
        self.besides = tuple(besides)
        self.option, self.builtin, self.group, self.accept = option, dict(builtin), group, accept
        self.found: dict[str, T] = {}

    def names(self) -> list[str]:
        """Built-in ones first, then those of installed packages.

        Raises:
            UserError: a package gives a built-in name to something else, or two packages the same name.
        """
        return [*self.builtin, *self.installed()]

    def installed(self) -> dict[str, EntryPoint]:
        """The entry points by name."""
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            if point.name in self.builtin or (point.name in found and found[point.name].value != point.value):
                whose = "a built-in one" if point.name in self.builtin else found[point.name].value
                raise UserError(
                    f"The entry point {point.name} of {self.group} ({point.value}) has the name of {whose}: rename it, "
                    "or uninstall its package."
                )
            found[point.name] = point
        return found

    def place(self, name: str) -> str:
        """Where the thing of this name is defined, as package.module:OBJECT; the name itself where it is no other.

        >>> Registry("`number`", {"pi": "math:pi"}, "rggan.doctest", float).place("pi")
        'math:pi'
        """
        if name in self.builtin:
            return self.builtin[name]
        point = self.installed().get(name)
        return name if point is None else point.value.split()[0]

    def knows(self, name: str) -> bool:
        """Whether a file may name it: built in, of an installed package, or named by the user in this process."""
        return name in self.found or name in TRUSTED or name in self.builtin or name in self.installed()

    def get(self, name: str) -> T:
        """The thing; its code runs.

        Raises:
            UserError: there is none of this name, or it cannot be imported, or is of another kind.
        """
        if name in self.found:
            return self.found[name]
        asked, place = f"{self.option} {name}", self.place(name)
        if not PLACE.fullmatch(place):
            known = [*self.names(), *self.besides]
            what = f"there are {', '.join(known)}, or package.module:OBJECT" if known else "give package.module:OBJECT"
            raise UserError(f"{asked}: {what}{nearest(name, known) or '.'}")
        try:
            self.found[name] = self.accept(load_object(place, asked, own=place == name))
        except TypeError as error:
            raise UserError(f"{asked}: it is no {error}.") from error
        return self.found[name]
