"""Which metrics are taken, which numbers they give, and whose code that is."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rggan.errors import UserError
from rggan.metrics.features import View
from rggan.metrics.metric import METRICS, Metric
from rggan.metrics.uncertainty import Range
from rggan.run.naming import FD, FID, PATCHES, is_distance

PREFIX: dict[View, str] = {"whole": "", "patches": PATCHES}
# What else stands beside the numbers in a line of JSON; no number may have such a name.
BESIDE = ("subject", "notes", "memorisation", "seed", "snapshot", "kimg", "weights")


@dataclass(frozen=True, eq=False)
class Chosen:
    """A metric, and for one that is not built in where it was found and the SHA-256 of its module's source."""

    metric: Metric
    code: str = ""
    hash: str = ""


def chosen(names: Sequence[str] = ()) -> list[Chosen]:
    """Built-in metrics in their own order, then others in the given one. The code of those runs.

    Args:
        names: of built-in metrics, of those of installed packages, or package.module:METRIC; none: all built-in ones.
            The Fréchet distance goes by `fd`, by `fid` and by the names that it has with an extractor (`fd-small`).

    Raises:
        UserError: there is no such metric; or two give a number of the same name.

    >>> [one.metric.name for one in chosen(["prdc", "fid"])], len(chosen())
    (['fd', 'prdc'], 3)
    """
    names = [FD if is_distance(name) else name for name in names]
    builtin = [name for name in METRICS.builtin if name in names or not names]
    found = [Chosen(METRICS.get(name)) for name in builtin]
    owners = dict.fromkeys(BESIDE, "what stands beside the numbers")
    for name in METRICS.builtin:
        owners |= dict.fromkeys((name, *METRICS.get(name).values), f"the built-in metric {name}")
    owners[FID] = f"the built-in metric {FD}"
    for name in names:
        metric = METRICS.get(name)
        if any(metric is one.metric for one in found):  # asked for twice, maybe by an installed name and by its place
            continue
        for word in dict.fromkeys((metric.name, *metric.values)):
            if word in owners:
                raise UserError(f"`metrics` {name}: the name {word} belongs to {owners[word]}; it needs another.")
        owners |= dict.fromkeys((metric.name, *metric.values), f"the metric {name}")
        found.append(Chosen(metric, *code(name)))
    return found


def code(name: str) -> tuple[str, str]:
    """Where a metric that is not built in was found, and the hash of what stands there: what it computes cannot be
    hashed, its source can."""
    place = METRICS.place(name)
    try:
        source = inspect.getsource(sys.modules[place.partition(":")[0]])
    except (OSError, TypeError):  # a compiled module
        source = ""
    return place, hashlib.sha256(f"{place}\0{source}".encode()).hexdigest()


def builtin_ranges() -> dict[str, Range]:
    """{name of a number of the built-in metrics: its range}, for those that have one.

    >>> builtin_ranges()["patch_recall"]
    'share'
    """
    found = {name: kind for one in METRICS.builtin for name, kind in METRICS.get(one).ranges.items()}
    return {prefix + name: kind for prefix in PREFIX.values() for name, kind in found.items()}


def builtin_numbers() -> dict[str, bool]:
    """{name of a number of the built-in metrics: whether lower is better}, those of patches last.

    >>> numbers = builtin_numbers()
    >>> numbers["patch_kid"], numbers["recall"]
    (True, False)
    """
    values = {name: better for one in METRICS.builtin for name, better in METRICS.get(one).values.items()}
    return {prefix + name: better == "lower" for prefix in PREFIX.values() for name, better in values.items()}
