"""Minimum fan-in of neurons and fan-out of input channels, at any sparsity.

At a density of 0.01 whole paths would otherwise be pruned, and with them their gradients: spectral normalisation
divides by the norm of nearly empty layers, and weights without a path to the output get no gradient to regenerate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from rggan.pruning import host
from rggan.pruning.layer import Layer
from rggan.pruning.together import Together, parted

Back = Callable[[Tensor], Tensor]


def slices(layer: Layer, values: Tensor) -> Iterator[tuple[Tensor, Back]]:
    """Yields weight-shaped values as [slices, members] with the inverse reshape: by output neuron, then by input
    channel.

    Yields nothing for a vector. In a grouped convolution, channels at the same position of all groups count as one.
    """
    if values.dim() < 2:
        return
    if layer.groups > 1:
        apart = values.reshape(layer.groups, -1, *values.shape[1:]).transpose(1, 2)
        yield apart.flatten(2).flatten(0, 1), lambda t: t.view(apart.shape).transpose(1, 2).reshape(values.shape)
        yield values.flatten(1), lambda t: t.view(values.shape)
        return
    for dim in (layer.dim, channels(layer)):
        moved = values.movedim(dim, 0)
        yield moved.flatten(1), partial(moved_back, moved.shape, dim)


def moved_back(shape: torch.Size, dim: int, rows: Tensor) -> Tensor:
    """Inverse of `movedim(dim, 0).flatten(1)` for a moved shape."""
    return rows.view(shape).movedim(0, dim)


def channels(layer: Layer) -> int:
    """Returns the dimension of the input channels; 2 for a modulated weight [1, out, in, k, k]."""
    shape = layer.weight.shape
    if layer.dim == 1 and len(shape) == 5 and shape[0] == 1:
        return 2
    return 1 if layer.dim == 0 else 0


def counts(layer: Layer, kept: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Yields (kept weights, all weights) of each output neuron, then of each input channel. kept: 0 or 1."""
    if kept.dim() < 2:
        return
    values = kept.to(layer.threshold.dtype)
    yield layer.neuron_sum(values), kept.numel() // len(layer.threshold)
    place = 0 if layer.groups > 1 else channels(layer)
    yield values.sum(dim=[d for d in range(kept.dim()) if d != place]), kept.numel() // kept.shape[place]


def lacking(layer: Layer, kept: Tensor, values: Tensor, fewest: int) -> Tensor | None:
    """Returns a boolean mask of the weights to add so that each neuron and channel keeps `fewest`: its largest
    `values`. None: no neuron or channel is short (checked on a CPU only, where it needs no synchronisation).

    Args:
        kept: boolean, weight-shaped. values: weight-shaped.
    """
    both = list(counts(layer, kept))
    if not both or (host.reads_freely(kept) and not any(bool((n < min(fewest, of)).any()) for n, of in both)):
        return None
    found = torch.zeros_like(kept)
    for (count, of), (rows, back) in zip(both, slices(layer, values), strict=True):
        best = rows.topk(min(fewest, of), dim=1).indices
        short = (count < min(fewest, of))[:, None].expand_as(best)
        found |= back(torch.zeros_like(rows, dtype=torch.bool).scatter_(1, best, short))
    return found


def hold(layers: Sequence[Layer], fewest: int) -> None:
    """While the parameters are dense: unmask the largest weights of every neuron and channel that keeps too few."""
    flat, rest = parted(layers) if fewest == 1 else (None, list(layers))
    if flat is not None:
        hold_one(flat)
    for layer in rest:
        if (more := lacking(layer, layer.mask != 0, layer.seen().abs(), fewest)) is not None:
            layer.mask.masked_fill_(more, 1)


def hold_one(flat: Together) -> None:
    """`hold` for at least one weight in each neuron and channel."""
    sizes, masks = flat.weights().abs_(), flat.masks()
    flat.put([layer.mask for layer in flat.layers], masks.masked_fill_(lacking_one(flat, masks, sizes), 1))


def lacking_one(flat: Together, kept: Tensor, sizes: Tensor) -> Tensor:
    """`lacking` for at least one: [weights], the largest `sizes` of each neuron and channel where nothing is `kept`.

    kept: 0 where not.
    """
    kept = (kept != 0).float()
    more = torch.zeros_like(kept, dtype=torch.bool)
    more.scatter_(0, flat.row_places(sizes), flat.row_maxima(kept) == 0)
    of_channels = torch.zeros_like(more).scatter_(0, flat.channel_places(sizes), flat.channel_maxima(kept) == 0)
    return more.logical_or_(of_channels)
