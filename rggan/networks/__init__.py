"""Generators and discriminators: plain modules, one file a family; `FAMILIES` finds them by name."""

from pkgutil import iter_modules

from rggan.networks.family import Argument, Family, Styled, family
from rggan.networks.sizes import Sizes, check_resolution
from rggan.registry import Registry

SHARED = {"blocks", "family", "layers", "sizes"}  # the files in here that define no family
FAMILIES: Registry[Family] = Registry(
    "--network",
    {m.name: f"{__name__}.{m.name}:FAMILY" for m in iter_modules(__path__) if m.name not in SHARED},
    "rggan.families",
    family,
)

__all__ = ["FAMILIES", "Argument", "Family", "Sizes", "Styled", "check_resolution"]
