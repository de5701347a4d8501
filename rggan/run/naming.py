"""The name of a Fréchet distance tells whose features it compares; it is FID on the published Inception only."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

FD = "fd"  # the metric, whatever the extractor
FID = "fid"
PATCHES = "patch_"  # prefix of the names of values computed on patches
# SHA-256 of inception-2015-12-05.pt, the TorchScript network of NVIDIA's StyleGAN repositories.
INCEPTION = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
# The first two are small networks trained on CIFAR-10, of which `reporting` is the one to report.
BUILTIN = {"reporting": "fd-small", "steering": "fd-small-steering", "imagenet": "fd-imagenet"}


def distance_name(extractor: str, extractor_hash: str = "") -> str:
    """The name of the Fréchet distance between features of this extractor, given by its name and SHA-256.

    >>> distance_name("reporting"), distance_name("inception-2015-12-05.pt", INCEPTION)
    ('fd-small', 'fid')
    >>> distance_name("dino v2.pt2"), distance_name("mine:thumbnail"), distance_name("small.pt", "12345678abc")
    ('fd-dino-v2', 'fd-thumbnail', 'fd-small-12345678')
    """
    if extractor_hash == INCEPTION:
        return FID
    if extractor in BUILTIN:
        return BUILTIN[extractor]
    own = extractor.rpartition(":")[2]  # of package.module:OBJECT
    own = str(PurePath(own).with_suffix("")) if PurePath(own).suffix in (".pt", ".pt2") else own
    name = f"{FD}-{re.sub(r'[^A-Za-z0-9_.]+', '-', own).strip('-')}"
    return f"{name}-{extractor_hash[:8]}" if name in BUILTIN.values() else name


def is_distance(name: str) -> bool:
    """Whether somebody who says this name means the Fréchet distance.

    >>> is_distance("fid"), is_distance("fd"), is_distance("fd-small"), is_distance("kid")
    (True, True, True, False)
    """
    return name in (FD, FID) or name.startswith(f"{FD}-")


def general(name: str) -> str:
    """The name of a number without the extractor in it.

    >>> general("patch_fd-small"), general("fid"), general("kid")
    ('patch_fd', 'fd', 'kid')
    """
    prefix = PATCHES if name.startswith(PATCHES) else ""
    return prefix + FD if is_distance(name.removeprefix(prefix)) else name


def find(row: dict[str, Any], name: str) -> str:
    """The name in a row of the number that somebody means: `fd` and `fid` mean the distance, whatever the extractor.

    >>> row = {"fd-small": 97.1, "patch_fd-small": 60.2}
    >>> find(row, "fid"), find(row, "patch_fd"), find(row, "fd-dino"), find(row, "kid")
    ('fd-small', 'patch_fd-small', 'fd-dino', 'kid')
    """
    if name in row or name.removeprefix(PATCHES) not in (FD, FID):
        return name
    return next((each for each in row if general(each) == general(name)), name)


def of_today(row: dict[str, Any]) -> dict[str, Any]:
    """An evaluation (a line of metrics.jsonl) with the distance under its name: earlier versions called any `fid`.

    >>> number = {"value": 97.1, "provenance": {"metric": "fid", "extractor": "reporting", "extractor_hash": "bf0d"}}
    >>> of_today({"patch_fid": number, "kid": {}})
    {'patch_fd-small': {'value': 97.1, 'provenance': {'metric': 'fd', 'extractor': 'reporting', \
'extractor_hash': 'bf0d'}}, 'kid': {}}
    """
    found = {}
    for name, number in row.items():
        provenance = number.get("provenance") if isinstance(number, dict) else None
        if name.removeprefix(PATCHES) == FID and isinstance(provenance, dict) and provenance.get("metric") == FID:
            told = distance_name(str(provenance.get("extractor")), str(provenance.get("extractor_hash")))
            name = (PATCHES if name != FID else "") + told
            number = {**number, "provenance": {**provenance, "metric": FD}}
        found[name] = number
    return found
