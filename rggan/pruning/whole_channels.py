"""Pruning of whole channels: what is read of one is masked in all layers that read it, so that all of it can leave.

A channel is a row of one or several layers, the parts of normalisations and biases behind them, and the columns of the
layers that read it (`coupled` finds them). The mask covers the columns: nothing of the channel is seen any more,
whatever a bias, a normalisation, noise or a style leaves in it. The rows stay as they are in training, so that the
columns have gradients by which the channel can come back; they count as pruned, and `export.shrink` removes both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rggan.pruning.fan import channels
from rggan.pruning.granularity import step_slope
from rggan.pruning.layer import Layer
from rggan.pruning.tracing import Tracing, outputs_of, without_norms

Coupling = Mapping[str, Mapping[int, Sequence[int]]]
ABOVE = 1e-4  # a threshold this far above a channel masks it


def coupled(model: nn.Module, *inputs: Any) -> Coupling:
    """Returns {name of a parameter: {dimension: the channel of each place}}, with -1 for what has to stay.

    The model is run once, on these inputs, in a copy. What comes out stays, and so does what an operation needs whole.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> found = coupled(model, torch.randn(1, 4))
    >>> found["0.weight"][0] == found["2.weight"][1], found["2.weight"][0]
    (True, [-1, -1])
    """
    traced = without_norms(model)
    tracing = Tracing(traced)
    with torch.no_grad(), tracing:
        out = traced(*inputs)
    for tensor in outputs_of(out):
        tracing.channels.pin(*tracing.of(tensor))
    root = tracing.channels.root
    return {
        name: {d: [root(label) or -1 for label in labels] for d, labels in enumerate(dims) if labels}
        for name, dims in tracing.parameters.items()
    }


class Channels:
    """Structured pruning of whole channels, which a network can be shrunk by.

    The size of a channel is the root mean square of all its rows and columns, each in units of its layer's weights. It
    has one threshold, that of its rows.

    coupling: of the network (`coupled`). least: the minimum number of channels of each layer that stay.

    Raises:
        ValueError: `least` below 1; at `begin`, where no channel of the network can leave.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> Channels(coupled(model, torch.randn(1, 4))).least
    4
    """

    def __init__(self, coupling: Coupling, least: int = 4) -> None:
        if least < 1:
            raise ValueError(f"each layer keeps at least 1 channel, not {least}")
        self.coupling, self.least = coupling, least
        self.count = 0

    def begin(self, layers: Sequence[Layer]) -> None:
        """Find the channels that have rows and columns in these layers."""
        rows = {layer.name: self.places(layer, layer.dim) for layer in layers}
        columns = {layer.name: self.places(layer, channels(layer)) for layer in layers}
        made = {label for own in rows.values() for label in own} & {label for own in columns.values() for label in own}
        numbers = {label: number for number, label in enumerate(sorted(made - {-1}))}
        self.count = len(numbers)
        if not numbers:
            raise ValueError("whole channels: there is none that can leave this network")
        device = layers[0].weight.device
        # Places of what stays have the number behind the last channel.
        self.rows, self.columns = (
            {n: torch.tensor([numbers.get(i, self.count) for i in own], device=device) for n, own in found.items()}
            for found in (rows, columns)
        )
        self.members = torch.zeros(self.count + 1, device=device)
        self.counts = {  # of rows and of columns of each layer, by channel: they never change
            layer.name: [
                own.bincount(minlength=self.count + 1).float()
                for own in (self.rows[layer.name], self.columns[layer.name])
            ]
            for layer in layers
        }
        kinds: dict[tuple[int, ...], list[int]] = {}
        belongs: list[list[int]] = [[] for _ in range(self.count)]
        for place, own in enumerate([*self.rows.values(), *self.columns.values()]):
            self.members += own.bincount(minlength=self.count + 1)
            for number in own.unique().tolist():
                if number < self.count:
                    belongs[number].append(place)
        for number, kind in enumerate(belongs):
            kinds.setdefault(tuple(kind), []).append(number)
        self.kinds = [torch.tensor(own, device=device) for own in kinds.values()]  # of the same layers
        for layer in layers:
            layer.rows_kept = partial(self.rows_kept, layer, layers)

    def places(self, layer: Layer, dim: int) -> list[int]:
        known = self.coupling.get(layer.name, {}).get(dim)
        size = len(layer.threshold) if dim == layer.dim else layer.weight.shape[dim]
        return list(known) if known is not None and len(known) == size and layer.groups == 1 else [-1] * size

    def share(self, layer: Layer, floor: float) -> float:
        """Layers are kept alive channel by channel."""
        return 0.0

    # ---- weights and channels ----

    def of_rows(self, layer: Layer, values: Tensor) -> Tensor:
        """[channels + 1] -> a view that broadcasts against the weight."""
        return layer.per_neuron(values[self.rows[layer.name]])

    def of_columns(self, layer: Layer, values: Tensor) -> Tensor:
        shape = [1] * layer.weight.dim()
        shape[channels(layer)] = -1
        return values[self.columns[layer.name]].view(shape)

    def column_sum(self, layer: Layer, values: Tensor) -> Tensor:
        """Weight-shaped -> [in]."""
        return values.movedim(channels(layer), 0).flatten(1).sum(dim=1)

    def summed(self, layers: Sequence[Layer], places: Mapping[str, Tensor], parts: Sequence[Tensor]) -> Tensor:
        """[places] of each layer -> [channels + 1]."""
        total = parts[0].new_zeros(self.count + 1)
        for layer, part in zip(layers, parts, strict=True):
            total.index_add_(0, places[layer.name], part)
        return total

    def channel_sizes(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> Tensor:
        """[channels + 1]; what stays is infinite."""
        squares = [(layer.seen() / scale).square() for layer, scale in zip(layers, scales, strict=True)]
        rows, columns = self.fans(layers)
        own = [layer.neuron_sum(s) / fan for layer, s, fan in zip(layers, squares, rows, strict=True)]
        read = [self.column_sum(layer, s) / fan for layer, s, fan in zip(layers, squares, columns, strict=True)]
        total = self.summed(layers, self.rows, own) + self.summed(layers, self.columns, read)
        return self.staying(total.div_(self.members).sqrt_())

    def fans(self, layers: Sequence[Layer]) -> tuple[list[int], list[int]]:
        """The weights of a row and of a column of each layer."""
        rows = [layer.weight.numel() // len(layer.threshold) for layer in layers]
        return rows, [layer.weight.numel() // len(self.columns[layer.name]) for layer in layers]

    def staying(self, values: Tensor) -> Tensor:
        values[self.count :].fill_(torch.inf)
        return values

    def thresholds(self, layers: Sequence[Layer]) -> Tensor:
        """[channels + 1]: those of their rows, which are the same."""
        ones = [torch.ones_like(layer.threshold) for layer in layers]
        total = self.summed(layers, self.rows, [layer.threshold for layer in layers])
        return total / self.summed(layers, self.rows, ones).clamp_min(1)

    def rows_kept(self, layer: Layer, layers: Sequence[Layer]) -> Tensor:
        """Which rows of a layer something reads, [out] boolean."""
        kept = torch.ones(self.count + 1, dtype=torch.bool, device=layer.mask.device)
        for other in layers:
            first = other.mask.movedim(channels(other), 0).flatten(1)[:, 0] != 0
            kept[self.columns[other.name]] &= first
        kept[self.count :].fill_(True)
        return kept[self.rows[layer.name]]

    # ---- what rules ask ----

    def sizes(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> list[Tensor]:
        """Weight-shaped: of each weight the size of the channel that it reads, infinite where that stays."""
        sizes = self.channel_sizes(layers, scales)
        return [self.of_columns(layer, sizes).expand_as(layer.weight) for layer in layers]

    def pooled(self, layers: Sequence[Layer], values: Sequence[Tensor]) -> list[Tensor]:
        """Averages weight-shaped values over all that reads a channel; 0 where it stays."""
        means = self.column_means(layers, values)
        means[self.count :].fill_(0)
        return [self.of_columns(layer, means).expand_as(layer.weight) for layer in layers]

    def column_means(self, layers: Sequence[Layer], values: Sequence[Tensor]) -> Tensor:
        """[channels + 1]."""
        sums = [self.column_sum(layer, value) for layer, value in zip(layers, values, strict=True)]
        fans = [torch.full_like(s, fan) for s, fan in zip(sums, self.fans(layers)[1], strict=True)]
        return self.summed(layers, self.columns, sums) / self.summed(layers, self.columns, fans).clamp_min(1)

    def secured(self, margins: Tensor, floor: float) -> Tensor:
        """Margins [channels + 1], infinite for the largest of each kind: at least `least`, and this share."""
        margins = margins.clone()
        for own in self.kinds:
            margins.index_fill_(0, own[margins[own].topk(self.need(own, floor)).indices], torch.inf)
        return margins

    def need(self, kind: Tensor, floor: float) -> int:
        """How many channels of the same layers stay."""
        return min(len(kind), max(self.least, math.ceil(floor * len(kind))))

    def density_by_count(self, layers: Sequence[Layer], order: Tensor) -> Tensor:
        """The share of all weights that is kept with so many channels in this order, [channels + 1]."""
        total = torch.zeros(self.count + 1, device=order.device)
        for layer in layers:
            places = (self.rows[layer.name], self.columns[layer.name])
            rows, columns = (
                torch.cat([numbers[-1:], numbers[order]]).cumsum(0) / len(own)
                for numbers, own in zip(self.counts[layer.name], places, strict=True)
            )
            total += rows * columns * layer.weight.numel()
        return total / sum(layer.weight.numel() for layer in layers)

    def ranked(self, layers: Sequence[Layer], margins: Tensor, density: float, floor: float) -> tuple[Tensor, Tensor]:
        """The channels from the largest margin on, [channels], and how many of them keep at most this share of all
        weights, int64 [1]; what the floor secures comes first and counts all the same. Nothing is read back from a
        device."""
        order = self.secured(margins, floor)[: self.count].argsort(descending=True, stable=True)
        least = sum(self.need(own, floor) for own in self.kinds)
        within = (self.density_by_count(layers, order) <= density + 1e-6).sum() - 1
        return order, within.clamp(least, self.count)[None]

    def cut(self, layers: Sequence[Layer], margins: Tensor, density: float, floor: float) -> Tensor:
        """The margin that channels must reach so that at most this share of all weights is kept: a scalar."""
        order, number = self.ranked(layers, margins, density, floor)
        falling = torch.cat([self.secured(margins, floor)[order], margins.new_full((1,), -torch.inf)])
        last, following = falling.index_select(0, number - 1)[0], falling.index_select(0, number)[0]
        above = torch.where(following.isinf(), 0.0, following + ABOVE)  # only what is secured is kept
        return torch.where(last.isinf(), above, last)

    def show(self, layers: Sequence[Layer], scales: Sequence[Tensor], stays: float | None = None) -> None:
        """Write the masks: 1 where a channel reaches its threshold, and for the largest of each layer."""
        margins = self.channel_sizes(layers, scales) - self.thresholds(layers)
        kept = self.secured(margins, stays or 0.0) >= 0
        for layer in layers:
            layer.mask.copy_(self.of_columns(layer, kept.to(layer.mask)).expand_as(layer.mask))

    def largest(
        self, layers: Sequence[Layer], values: Sequence[Tensor], density: float, even: bool, floor: float = 0.0
    ) -> list[Tensor]:
        """Boolean masks that keep this share of all weights, of the channels with the largest mean values.

        values: weight-shaped. even: the same share of each layer's channels.
        """
        means = self.staying(self.column_means(layers, values))
        if even:
            ranked = means.clone()
            for own in self.kinds:
                ranks = means[own].argsort(descending=True, stable=True).argsort()
                ranked[own] = -(ranks.to(means) + 0.5) / len(own)
            means = ranked
        order, number = self.ranked(layers, means, density, floor)
        kept = torch.ones_like(means, dtype=torch.bool)  # by rank, as many of them may be zero
        kept[order] = torch.arange(self.count, device=order.device) < number
        return [self.of_columns(layer, kept).expand_as(layer.mask) for layer in layers]

    def descend(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> dict[str, Tensor]:
        """With s_i = the sum over all that reads channel i of g * W: `dt_i = -s_i * slope_i`, and
        `dW = g * mask + s_i * slope_i * d(size_i)/dW` for its rows and columns.
        """
        products = []
        for layer in layers:
            gradient = layer.weight.grad
            zero = layer.threshold.new_zeros(len(self.columns[layer.name]))
            products.append(zero if gradient is None else self.column_sum(layer, gradient * layer.seen()))
        sizes, thresholds = self.channel_sizes(layers, scales), self.thresholds(layers)
        pull = self.summed(layers, self.columns, products) * step_slope(sizes - thresholds)
        pull[self.count :].fill_(0)
        share = torch.where((sizes > 0) & sizes.isfinite(), pull / (sizes * self.members), 0)
        for layer, scale, row, column in zip(layers, scales, *self.fans(layers), strict=True):
            if layer.weight.grad is not None:
                both = self.of_rows(layer, share) / row + self.of_columns(layer, share) / column
                layer.weight.grad.mul_(layer.mask).add_(layer.seen() / scale.square() * both)
        return {layer.name: -pull[self.rows[layer.name]] for layer in layers}
