"""What a network's channels hold whatever its inputs are.

The network is run once on unknown inputs, which are NaN, and NaN is what depends on them: a zero times an unknown is
zero, all else of an unknown is unknown. What comes out as a number is that number for all inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from rggan.pruning.labels import Dim
from rggan.pruning.operations import POINTWISE
from rggan.pruning.tracing import Tracing

PRODUCTS = {"mm": (0, 1, None), "bmm": (0, 1, None), "addmm": (1, 2, 0), "baddbmm": (1, 2, 0), "convolution": (0, 1, 2)}
KEPT = ("t", "transpose", "permute", "detach", "alias", "clone", "contiguous", "_to_copy")


@dataclass
class Reading:
    """Where a layer sums over channels.

    labels: of them. quiet: whether each adds nothing. data: [channels, ...], what they hold; NaN: unknown.
    weight: [channels, ...], what they are multiplied by (None: 1). columns: (name of the parameter, its dimension) that
    this is, up to a factor; None: it is computed otherwise. bias: the name of the parameter that is added, where the
    sum over a constant channel is the same everywhere.
    """

    labels: list[int]
    quiet: list[bool]
    data: Tensor
    weight: Tensor | None
    columns: tuple[str, int] | None
    bias: str | None

    def constant(self, place: int) -> float | None:
        """What a channel holds, if it is one known number everywhere."""
        values = self.data[place]
        first = float(values.flatten()[0])
        return first if bool((values == first).all()) else None


class Listening(Tracing):
    """Passes on labels and what is known of the values; keeps what each layer reads.

    Attributes:
        readings: in the order of the network.
    """

    def __init__(self, model: nn.Module, rigid: bool = False) -> None:
        super().__init__(model, rigid)
        self.readings: list[Reading] = []
        self.unknown: set[int] = set()  # tensors of numbers that cannot be NaN
        self.origins = {key: (name, list(range(len(self.dims[key])))) for key, name in self.names.items()}

    def hidden(self, value: Any) -> Any:
        """An input, as unknown."""
        if not isinstance(value, Tensor):
            return value
        if value.is_floating_point():
            return torch.full_like(value, torch.nan)
        value = value.clone()
        self.kept.append(value)
        self.unknown.add(id(value))
        return value

    def compute(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        if any(id(t) in self.unknown for t in tensors):
            if name == "embedding":  # the same for all, where all rows hold the same
                rows = args[0]
                return torch.where((rows == rows[:1]).all(dim=0), rows[0], torch.nan).repeat(*args[1].shape, 1)
            return tree_map(self.lost, func(*args, **kwargs))
        if name in PRODUCTS:
            return product(func, list(args), *PRODUCTS[name])
        if not any(t.is_floating_point() and bool(t.isnan().any()) for t in tensors):
            return func(*args, **kwargs)
        zeros = [t == 0 for t in tensors] if name == "mul" else []
        out = func(*args, **kwargs)
        if name not in POINTWISE:  # those that are known here compute NaN from NaN
            return tree_map(lambda t: t if self.knows(name) and floating(t) else self.lost(t), out)
        if not floating(out):
            return tree_map(self.lost, out)
        for zero in zeros:
            out.masked_fill_(zero, 0)
        return out

    def lost(self, out: Any) -> Any:
        """A result of which nothing is known."""
        if floating(out):
            return torch.full_like(out, torch.nan)
        if isinstance(out, Tensor):
            self.kept.append(out)
            self.unknown.add(id(out))
        return out

    def passed(self, name: str, args: Any, out: Any) -> list[list[Dim]] | None:
        found = super().passed(name, args, out)
        if isinstance(out, Tensor) and (origin := self.origin(name, args)) is not None:
            self.origins[id(out)] = origin
        return found

    def origin(self, name: str, args: Any) -> tuple[str, list[int]] | None:
        """(name, order of its dimensions) of the parameter that the result is, up to a factor."""
        if not args or not isinstance(args[0], Tensor) or (before := self.origins.get(id(args[0]))) is None:
            return None
        parameter, order = before
        if name in ("mul", "div") and not isinstance(args[1], Tensor):
            return before
        if name not in KEPT:
            return None
        if name == "t":
            return parameter, order[::-1]
        if name == "permute":
            return parameter, [order[d] for d in args[1]]
        if name == "transpose":
            order = list(order)
            order[args[1]], order[args[2]] = order[args[2]], order[args[1]]
        return parameter, order

    def reads(self, data: Tensor, place: int, weight: Tensor | None, column: int, bias: Any, whole: bool) -> None:
        labels = self.of(data)[place] or (self.of(weight)[column] if weight is not None else None)
        if not labels:
            return
        values = data.movedim(place, 0)
        quiet = (values == 0).flatten(1).all(dim=1)
        columns = None
        if weight is not None:
            if (origin := self.origins.get(id(weight))) is not None:
                columns = origin[0], origin[1][column]
            weight = weight.movedim(column, 0)
            quiet = quiet | (weight == 0).flatten(1).all(dim=1)
        added = self.names.get(id(bias)) if whole and isinstance(bias, Tensor) and bias.dim() == 1 else None
        self.readings.append(Reading(labels, quiet.tolist(), values, weight, columns, added))


def floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def product(func: Callable[..., Any], args: list[Any], one: int, other: int, bias: int | None) -> Tensor:
    """A sum of products in which a zero times an unknown is zero."""
    gaps = [args[place].isnan() for place in (one, other)]
    plain = list(args)
    for place, gap in zip((one, other), gaps, strict=True):
        plain[place] = args[place].masked_fill(gap, 0)
    out: Tensor = func(*plain)
    if bias is not None and isinstance(args[bias], Tensor):
        plain[bias] = torch.zeros_like(args[bias]) if one else None  # of a convolution, there may be none
    for place, rest in ((0, 1), (1, 0)):
        if bool(gaps[place].any()):
            places = (one, other)
            plain[places[place]] = gaps[place].to(out)
            plain[places[rest]] = (args[places[rest]] != 0).to(out)
            out.masked_fill_(func(*plain) > 0.5, torch.nan)
    return out
