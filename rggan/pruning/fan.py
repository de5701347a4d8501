"""No neuron without inputs, no channel without outputs: the fewest weights that each keeps, however sparse a layer is.

A network whose density is a hundredth would else lose whole paths, and with them its gradients: layers of which one
weight is left divide by their spectral norm, and what no longer reaches the output never returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from rggan.pruning.layer import Layer

Back = Callable[[Tensor], Tensor]


def slices(layer: Layer, values: Tensor) -> Iterator[tuple[Tensor, Back]]:
    """Weight-shaped values as [slices, members], and how such a tensor becomes weight-shaped again: by output neurons,
    then by input channels.

    A vector has neither. Of a grouped convolution, the channels at the same place of all groups count as one.
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
    """[slices, members] of a weight whose dimension `dim` was moved to the front."""
    return rows.view(shape).movedim(0, dim)


def channels(layer: Layer) -> int:
    """The dimension of the input channels: of a modulated weight [1, out, in, k, k] the third."""
    shape = layer.weight.shape
    if layer.dim == 1 and len(shape) == 5 and shape[0] == 1:
        return 2
    return 1 if layer.dim == 0 else 0


def counts(layer: Layer, kept: Tensor) -> Iterator[tuple[Tensor, int]]:
    """How many weights each output neuron keeps, and how many it has; then each input channel. kept: 0 or 1."""
    if kept.dim() < 2:
        return
    values = kept.to(layer.threshold.dtype)
    yield layer.neuron_sum(values), kept.numel() // len(layer.threshold)
    place = 0 if layer.groups > 1 else channels(layer)
    yield values.sum(dim=[d for d in range(kept.dim()) if d != place]), kept.numel() // kept.shape[place]


def lacking(layer: Layer, kept: Tensor, values: Tensor, fewest: int) -> Tensor | None:
    """What neurons and channels that keep fewer weights than `fewest` need besides: boolean, the largest `values` of
    each. None: nothing lacks, where asking is free (on a CPU).

    Args:
        kept: boolean, weight-shaped. values: weight-shaped.
    """
    both = list(counts(layer, kept))
    if not both or (kept.device.type == "cpu" and not any(bool((n < min(fewest, of)).any()) for n, of in both)):
        return None
    found = torch.zeros_like(kept)
    for (count, of), (rows, back) in zip(both, slices(layer, values), strict=True):
        best = rows.topk(min(fewest, of), dim=1).indices
        short = (count < min(fewest, of))[:, None].expand_as(best)
        found |= back(torch.zeros_like(rows, dtype=torch.bool).scatter_(1, best, short))
    return found


def hold(layers: Sequence[Layer], fewest: int) -> None:
    """While the dense weights show: unmask the largest weights of every neuron and channel that keeps too few."""
    for layer in layers:
        if (more := lacking(layer, layer.mask != 0, layer.seen().abs(), fewest)) is not None:
            layer.mask.masked_fill_(more, 1)
