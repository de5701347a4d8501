"""Generators and discriminators: plain modules, one file a family; `FAMILIES` finds them by name."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from rggan.networks.family import Argument, Family, Styled, family
from rggan.networks.sizes import Sizes, check_resolution
from rggan.registry import Registry

SHARED = {"blocks", "family", "layers", "resize", "sizes", "synced"}  # files of this package that define no family
FAMILIES: Registry[Family] = Registry(
    "`network`",
    {m.name.replace("_", "-"): f"{__name__}.{m.name}:FAMILY" for m in iter_modules(__path__) if m.name not in SHARED},
    "rggan.families",
    family,
)

__all__ = ["FAMILIES", "Argument", "Family", "Sizes", "Styled", "check_resolution"]


def __getattr__(name: str) -> Any:
    """Finds a class of a built-in family in its own file."""
    for place in FAMILIES.builtin.values() if name.endswith(("Generator", "Discriminator")) else ():
        if hasattr(module := import_module(place.partition(":")[0]), name):
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
