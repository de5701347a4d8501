"""The text of `print(pruner)`: which weights are pruned, and which are not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from torch import nn

from rggan.pruning.layer import Layer
from rggan.pruning.select import Selection


class Pruner(Protocol):
    """The attributes of `rggan.pruning.Pruner` that the table needs."""

    model: nn.Module
    layers: list[Layer]
    selection: Selection
    phase: Any

    @property
    def total(self) -> int: ...

    @property
    def skipped(self) -> Mapping[str, str]: ...

    @property
    def unselected(self) -> Mapping[str, str]: ...

    def density(self, of: Literal["prunable", "model"] = "prunable") -> float: ...

    def densities(self) -> dict[str, float]: ...


def table(pruner: Pruner) -> str:
    """Returns a table of the pruned weights with density and share of the parameters, and of those left dense, and why.

    >>> from torch import nn, optim
    >>> from rggan.pruning import Pruner
    >>> model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 3))
    >>> print(Pruner(model, optim.SGD(model.parameters())))
    Sequential, prune: 100.0 % of 6 prunable weights kept, 100.0 % of all 19 parameters
    pruned    shape  share  density
    1.weight  3 x 2    32%   100.0%
    left dense  shape  share  why
    0.weight    5 x 2    53%  an embedding
    """
    model = pruner.model
    everything = sum(parameter.numel() for parameter in model.parameters())
    head = (
        f"{type(model).__name__}, {pruner.phase}: {pruner.density():.1%} of {pruner.total:,} prunable weights kept, "
        f"{pruner.density(of='model'):.1%} of all {everything:,} parameters"
    ).replace("%", " %")
    rows = [["pruned", "shape", "share", "density"]]
    for layer, density in zip(pruner.layers, pruner.densities().values(), strict=True):
        share = layer.weight.numel() / everything
        rows.append([layer.name, size(tuple(layer.weight.shape)), f"{share:.0%}", f"{density:.1%}"])
    left = [["left dense", "shape", "share", "why"]]
    for name, why in {**pruner.skipped, **pruner.unselected}.items():
        shape = pruner.selection.shapes.get(name, ())
        left.append([name, size(shape), f"{math.prod(shape) / everything if shape else 0:.0%}", why])
    return "\n".join([head, *aligned(rows, "<>>>"), *(aligned(left, "<>><") if len(left) > 1 else [])])


def size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "-"


def aligned(rows: list[list[str]], sides: str) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(sides))]
    cells = [[f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in cells]


def left_out(pruner: Pruner) -> str:
    """Names the largest weights that are left dense, for a message."""
    shapes = pruner.selection.shapes
    names = sorted({**pruner.skipped, **pruner.unselected}, key=lambda name: -math.prod(shapes.get(name, (0,))))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
