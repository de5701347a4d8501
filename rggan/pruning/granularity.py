"""WHAT is pruned together: single weights, or whole rows (output neurons), behind one interface.

A granularity has a size for each weight, in units of its layer's scale, which thresholds are compared with; and it
knows the straight-through derivative of `W * step(size - t)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rggan.pruning.mask import Layer


class Weights:
    """Each weight by itself: its size is `|W|`."""

    def sizes(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> list[Tensor]:
        """A fresh tensor for each layer, weight-shaped."""
        return [layer.seen().abs().div_(scale) for layer, scale in zip(layers, scales, strict=True)]

    def pooled(self, layers: Sequence[Layer], values: Sequence[Tensor]) -> list[Tensor]:
        """Weight-shaped values, averaged over what is pruned together: here, as they are."""
        return list(values)

    def descend(
        self, layers: Sequence[Layer], scales: Sequence[Tensor], sizes: Sequence[Tensor], slopes: Sequence[Tensor]
    ) -> list[Tensor]:
        """Turn each layer's dense gradient g into dW, in place; returns each dt, [out].

        `dW = g * (mask + |W|/scale * slope)` and `dt = -sum(g * W * slope)`. `sizes` and `slopes` are used up.
        """
        pulls = []
        for layer, size, slope in zip(layers, sizes, slopes, strict=True):
            gradient = layer.weight.grad
            if gradient is None:
                pulls.append(torch.zeros_like(layer.mask.threshold))
                continue
            pulls.append(-layer.neuron_sum((gradient * layer.weight).mul_(slope)))
            gradient.mul_(slope.mul_(size).add_(layer.mask.mask))
        return pulls


class Rows:
    """Whole output neurons: the size of each of their weights is the root mean square of the row.

    coupled: groups of layers whose outputs are summed (a residual block's last convolution and its shortcut), by the
    names of their weights. Row i of all layers of a group has one size (the root mean square of theirs) and one
    threshold, so that it leaves all of them or none, and the channel can go for good.

    Raises:
        ValueError: at `sizes`, for a group with an unknown name, or with layers of different numbers of rows.

    >>> Rows(coupled=[("conv2.weight", "shortcut.weight")]).coupled
    [('conv2.weight', 'shortcut.weight')]
    """

    def __init__(self, coupled: Sequence[Sequence[str]] = ()) -> None:
        self.coupled = [tuple(names) for names in coupled]

    def groups(self, layers: Sequence[Layer]) -> list[list[int]]:
        """The positions of layers that share their rows; a layer that is not coupled is a group of its own."""
        places = {layer.name: i for i, layer in enumerate(layers)}
        named = [name for names in self.coupled for name in names]
        if (twice := next((name for name in named if named.count(name) > 1), None)) is not None:
            raise ValueError(f"coupled rows: {twice} comes twice; couple all layers of one sum in one group")
        found = []
        for names in self.coupled:
            unknown = [name for name in names if name not in places]
            if unknown:
                raise ValueError(f"coupled rows: {unknown[0]} is no pruned weight (there are {', '.join(places)})")
            group = [places.pop(name) for name in names]
            rows = {layers[i].name: len(layers[i].mask.threshold) for i in group}
            if len(set(rows.values())) > 1:
                raise ValueError(f"coupled layers have different numbers of rows: {rows}")
            found.append(group)
        return found + [[i] for i in places.values()]

    def row_sizes(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> list[Tensor]:
        """[out] for each layer, the same throughout a group."""
        squares = []
        for layer, scale in zip(layers, scales, strict=True):
            weight = layer.seen()
            per_row = weight.numel() // len(layer.mask.threshold)
            squares.append(layer.neuron_sum((weight / scale).square()).div_(per_row))
        for group in self.groups(layers):
            mean = torch.stack([squares[i] for i in group]).mean(dim=0)
            for i in group:
                squares[i] = mean
        return [square.sqrt() for square in squares]

    def sizes(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> list[Tensor]:
        rows = self.row_sizes(layers, scales)
        return [layer.per_neuron(row).expand_as(layer.weight) for layer, row in zip(layers, rows, strict=True)]

    def pooled(self, layers: Sequence[Layer], values: Sequence[Tensor]) -> list[Tensor]:
        """Weight-shaped values, averaged over each row, and over the rows that are coupled with it."""
        means = [
            layer.neuron_sum(value) / (value.numel() // len(layer.mask.threshold))
            for layer, value in zip(layers, values, strict=True)
        ]
        for group in self.groups(layers):
            mean = torch.stack([means[i] for i in group]).mean(dim=0)
            for i in group:
                means[i] = mean
        return [layer.per_neuron(mean).expand_as(layer.weight) for layer, mean in zip(layers, means, strict=True)]

    def descend(
        self, layers: Sequence[Layer], scales: Sequence[Tensor], sizes: Sequence[Tensor], slopes: Sequence[Tensor]
    ) -> list[Tensor]:
        """With s_i = sum over row i (of all coupled layers) of g * W: `dt_i = -s_i * slope_i`, and
        `dW = g * mask + s_i * slope_i * d(size_i)/dW`.
        """
        pulls: list[Tensor] = [torch.empty(0)] * len(layers)
        for group in self.groups(layers):
            sums = []
            for i in group:
                gradient = layers[i].weight.grad
                zero = torch.zeros_like(layers[i].mask.threshold)
                sums.append(zero if gradient is None else layers[i].neuron_sum(gradient * layers[i].weight))
            together = torch.stack(sums).sum(dim=0)
            for i in group:
                layer = layers[i]
                # The values of a row are all the same: its first stands for them.
                size, slope = (v.movedim(layer.mask.dim, 0).flatten(1)[:, 0] for v in (sizes[i], slopes[i]))
                pull = together * slope
                pulls[i] = -pull
                if layer.weight.grad is not None:
                    per_row = layer.weight.numel() // len(pull)
                    # d(size)/dW = W / (size * scale^2 * weights in the row * coupled layers); 0 where the row is 0
                    share = torch.where(size > 0, pull / (size * scales[i]), 0) / (per_row * len(group))
                    toward = (layer.weight.detach() / scales[i]) * layer.per_neuron(share)
                    layer.weight.grad.mul_(layer.mask.mask).add_(toward)
        return pulls
