"""What is pruned together: single weights, or whole rows (output neurons), behind one interface.

A granularity defines the size of each weight, in units of its layer's scale, that is compared with the threshold, and
the straight-through derivative of `W * step(size - t)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rggan.pruning import host
from rggan.pruning.layer import Layer, kept_number
from rggan.pruning.together import Together, parted


def step_slope(x: Tensor) -> Tensor:
    """Returns the surrogate derivative of the unit step at `x` (Liu et al. 2020, eq. 5).

    2 - 4|x| up to |x| = 0.4, then 0.4 up to 1, then 0.

    >>> step_slope(torch.tensor([0.0, 0.25, -0.8, 1.5]))
    tensor([2.0000, 1.0000, 0.4000, 0.0000])
    """
    x = x.abs()
    slope = torch.rsub(x, 2, alpha=4).clamp_(min=0.4)
    return slope.mul_(x.le_(1))  # in numbers: with booleans a CPU takes twice as long for all of this


class Weights:
    """Unstructured pruning: the size of a weight is `|W|`."""

    def begin(self, layers: Sequence[Layer]) -> None:
        pass

    def share(self, layer: Layer, floor: float) -> float:
        """Returns the minimum density of a layer under the rule's floor."""
        return floor

    def sizes(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> list[Tensor]:
        """Returns a new weight-shaped tensor for each layer."""
        return [layer.seen().abs().div_(scale) for layer, scale in zip(layers, scales, strict=True)]

    def pooled(self, layers: Sequence[Layer], values: Sequence[Tensor]) -> list[Tensor]:
        """Averages weight-shaped values over what is pruned together: here, returns them unchanged."""
        return list(values)

    def show(self, layers: Sequence[Layer], scales: Sequence[Tensor], stays: float | None = None) -> None:
        """Write the masks: 1 where a weight reaches its threshold. A layer whose new density would be below its
        `share` of the floor `stays` keeps its old mask (None: no floor)."""
        own = {layer.name: scale for layer, scale in zip(layers, scales, strict=True)}
        flat, rest = parted(layers)
        if flat is not None:
            show_together(flat, torch.stack([own[layer.name] for layer in flat.layers]), stays)
        for layer, scale in ((layer, own[layer.name]) for layer in rest):
            weight, threshold, mask = layer.seen(), layer.per_neuron(layer.threshold), layer.mask
            reaches = torch.empty_like(mask, dtype=torch.bool)
            for w, t, here in layer.blocks(weight, threshold, reaches):
                torch.ge(w.abs().div_(scale), t, out=here)
            enough = reaches.count_nonzero() >= kept_number(stays, mask.numel()) if stays else None
            write(mask, reaches, enough)

    def descend(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> dict[str, Tensor]:
        """Convert each layer's dense gradient g into dW in place, and return each dt, [out], by layer name.

        `dW = g * (mask + |W|/scale * slope)` and `dt = -sum(g * W * slope)`.
        """
        pulls: dict[str, Tensor] = {}
        own = {layer.name: scale for layer, scale in zip(layers, scales, strict=True)}
        flat, _ = parted([layer for layer in layers if alike(layer.weight.grad, layer.weight)])
        if flat is not None:
            pulls |= descend_together(flat, torch.stack([own[layer.name] for layer in flat.layers]))
        for layer, scale in ((layer, own[layer.name]) for layer in layers if layer.name not in pulls):
            gradient = layer.weight.grad
            if gradient is None:
                pulls[layer.name] = torch.zeros_like(layer.threshold)
                continue
            weight, threshold, parts = layer.seen(), layer.per_neuron(layer.threshold), []
            products = weight if layer.dim == 0 else torch.empty_like(weight)  # its blocks hold parts of all neurons
            for g, w, t, mask, product in layer.blocks(gradient, weight, threshold, layer.mask, products):
                size = w.abs().div_(scale)
                slope = step_slope(size - t)
                if layer.dim == 0:
                    parts.append(layer.neuron_sum((g * w).mul_(slope)))
                else:
                    torch.mul(g, w, out=product).mul_(slope)
                g.mul_(slope.mul_(size).add_(mask))
            if layer.dim != 0:
                parts.append(layer.neuron_sum(products))
            pulls[layer.name] = -(parts[0] if len(parts) == 1 else torch.cat(parts))
        return pulls


def alike(gradient: Tensor | None, weight: Tensor) -> bool:
    """Whether there is a gradient that lies in memory as the weight does."""
    return gradient is not None and gradient.stride() == weight.stride()


def descend_together(flat: Together, scales: Tensor) -> dict[str, Tensor]:
    """`Weights.descend` of layers whose weights all have a gradient. scales: [layers]."""
    gradients = [layer.weight.grad for layer in flat.layers if layer.weight.grad is not None]
    gradient, weight = flat.cat(gradients), flat.weights()
    threshold = flat.each(torch.cat([layer.threshold for layer in flat.layers]))
    size = weight.abs().div_(flat.each(flat.of_layers(scales)))
    slope = step_slope(size - threshold)
    pulls = flat.row_sums(weight.mul_(gradient).mul_(slope)).neg_().split(flat.neurons)
    flat.put(gradients, gradient.mul_(slope.mul_(size).add_(flat.masks())))
    return {layer.name: pull for layer, pull in zip(flat.layers, pulls, strict=True)}


def show_together(flat: Together, scales: Tensor, stays: float | None) -> None:
    """`Weights.show`. scales: [layers]."""
    threshold = flat.each(torch.cat([layer.threshold for layer in flat.layers]))
    reaches = flat.weights().abs_().div_(flat.each(flat.of_layers(scales))) >= threshold
    masks = reaches.float()
    if stays:
        enough = flat.layer_sums(flat.row_sums(masks)) >= flat.need([kept_number(stays, n) for n in flat.sizes])
        masks = torch.where(flat.each(flat.of_layers(enough)), masks, flat.masks())
    flat.put([layer.mask for layer in flat.layers], masks)


def write(mask: Tensor, reaches: Tensor, enough: Tensor | None) -> None:
    """Write the new mask if `enough` is kept (a boolean on the device; None: always)."""
    if enough is None:
        mask.copy_(reaches)
    elif host.reads_freely(enough):
        if enough:
            mask.copy_(reaches)
    else:
        torch.where(enough, reaches.to(mask.dtype), mask, out=mask)


class Rows:
    """Structured pruning of whole output neurons: the size of each weight is the root mean square of its row.

    coupled: groups of layers whose outputs are summed (a residual block's last convolution and its shortcut), by the
    names of their weights. Row i of all layers of a group shares one size (their joint root mean square) and one
    threshold, so it is pruned in all of them or in none, and the channel can be removed. least: the minimum number of
    rows of each layer; a layer with no more than that (the colour channels of an image, the single output of a
    discriminator) keeps them all.

    Raises:
        ValueError: `least` below 1; at `begin`, for a group with an unknown name, with layers of different numbers of
            rows, or of different optimizers.

    >>> Rows(coupled=[("conv2.weight", "shortcut.weight")]).coupled
    [('conv2.weight', 'shortcut.weight')]
    """

    def __init__(self, coupled: Sequence[Sequence[str]] = (), least: int = 4) -> None:
        if least < 1:
            raise ValueError(f"each layer keeps at least 1 row, not {least}")
        self.coupled, self.least = [tuple(names) for names in coupled], least

    def share(self, layer: Layer, floor: float) -> float:
        return max(floor, min(1.0, self.least / len(layer.threshold)))

    def begin(self, layers: Sequence[Layer]) -> None:
        known = {layer.name: layer for layer in layers}
        named = [name for names in self.coupled for name in names]
        if (twice := next((name for name in named if named.count(name) > 1), None)) is not None:
            raise ValueError(f"coupled rows: {twice} comes twice; couple all layers of one sum in one group")
        for names in self.coupled:
            if (unknown := next((name for name in names if name not in known), None)) is not None:
                raise ValueError(f"coupled rows: {unknown} is no pruned weight (there are {', '.join(known)})")
            rows = {name: len(known[name].threshold) for name in names}
            if len(set(rows.values())) > 1:
                raise ValueError(f"coupled layers have different numbers of rows: {rows}")
            if any(known[name].optimizers != known[names[0]].optimizers for name in names):
                raise ValueError(f"coupled rows: {', '.join(names)} are trained by different optimizers")

    def groups(self, layers: Sequence[Layer]) -> list[list[int]]:
        """Returns the indices of coupled layers; a layer that is not coupled is a group of its own."""
        places = {layer.name: i for i, layer in enumerate(layers)}
        found = [[places.pop(name) for name in names] for names in self.coupled if names[0] in places]
        return found + [[i] for i in places.values()]

    def means(self, layers: Sequence[Layer], values: Sequence[Tensor]) -> list[Tensor]:
        """Returns [out] for each layer: the mean over a row and the rows coupled with it."""
        means = [
            layer.neuron_sum(value).div_(value.numel() // len(layer.threshold))
            for layer, value in zip(layers, values, strict=True)
        ]
        for group in self.groups(layers):
            if len(group) > 1:
                mean = torch.stack([means[i] for i in group]).mean(dim=0)
                for i in group:
                    means[i] = mean
        return means

    def row_sizes(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> list[Tensor]:
        """Returns [out] for each layer, equal within a group."""
        squares = [(layer.seen() / scale).square() for layer, scale in zip(layers, scales, strict=True)]
        return [mean.sqrt() for mean in self.means(layers, squares)]

    def sizes(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> list[Tensor]:
        return self.spread(layers, self.row_sizes(layers, scales))

    def pooled(self, layers: Sequence[Layer], values: Sequence[Tensor]) -> list[Tensor]:
        """Averages weight-shaped values over each row and the rows coupled with it."""
        return self.spread(layers, self.means(layers, values))

    def spread(self, layers: Sequence[Layer], rows: Sequence[Tensor]) -> list[Tensor]:
        return [layer.per_neuron(row).expand_as(layer.weight) for layer, row in zip(layers, rows, strict=True)]

    def show(self, layers: Sequence[Layer], scales: Sequence[Tensor], stays: float | None = None) -> None:
        sizes = self.row_sizes(layers, scales)
        for group in self.groups(layers):
            # The rows needed for the minimum density of each coupled layer: all of them keep their masks, or none.
            rows = len(sizes[group[0]])
            shares = [self.share(layers[i], stays or 0.0) for i in group]
            numbers = [layers[i].mask.numel() for i in group]
            need = max(-(-kept_number(s, n) * rows // n) for s, n in zip(shares, numbers, strict=True))
            for i in group:
                layer, reaches = layers[i], sizes[i] >= layers[i].threshold
                enough = None if stays is None else reaches.count_nonzero() >= need
                reaches = reaches | self.lasting(layer, reaches, sizes[i])
                write(layer.mask, layer.per_neuron(reaches).expand_as(layer.mask), enough)

    def lasting(self, layer: Layer, reaches: Tensor, size: Tensor) -> Tensor:
        """Returns the largest previously kept row, [out] boolean, if no previously kept row would remain; else none.

        The power iteration of a spectral norm has only seen those rows: it would divide by zero.
        """
        before = layer.neuron_sum(layer.mask) > 0
        largest = before & (size == size.masked_fill(~before, -1).amax())
        return largest & ~(reaches & before).any()

    def descend(self, layers: Sequence[Layer], scales: Sequence[Tensor]) -> dict[str, Tensor]:
        """With s_i = sum over row i (of all coupled layers) of g * W: `dt_i = -s_i * slope_i`, and
        `dW = g * mask + s_i * slope_i * d(size_i)/dW`.
        """
        pulls = {}
        sizes = self.row_sizes(layers, scales)
        for group in self.groups(layers):
            sums = []
            for i in group:
                gradient = layers[i].weight.grad
                zero = torch.zeros_like(layers[i].threshold)
                sums.append(zero if gradient is None else layers[i].neuron_sum(gradient * layers[i].seen()))
            together = torch.stack(sums).sum(dim=0)
            for i in group:
                layer, size = layers[i], sizes[i]
                pull = together * step_slope(size - layer.threshold)
                pulls[layer.name] = -pull
                if layer.weight.grad is not None:
                    per_row = layer.weight.numel() // len(pull)
                    # d(size)/dW = W / (size * scale^2 * weights in the row * coupled layers); 0 where the row is 0
                    share = torch.where(size > 0, pull / (size * scales[i]), 0) / (per_row * len(group))
                    toward = (layer.seen() / scales[i]) * layer.per_neuron(share)
                    layer.weight.grad.mul_(layer.mask).add_(toward)
        return pulls
