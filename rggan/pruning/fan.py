"""No neuron without inputs, no channel without outputs: the fewest weights that each keeps, however sparse a layer is.

A network whose density is a hundredth would else lose whole paths, and with them its gradients: layers of which one
weight is left divide by their spectral norm, and what no longer reaches the output never returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rggan.pruning.layer import Layer


def slices(layer: Layer) -> Iterator[Tensor]:
    """Views of the weight's places, int64 [slices, members]: its output neurons, then its input channels.

    A vector has neither. Of a grouped convolution, the channels at the same place of all groups count as one.
    """
    weight = layer.weight
    if weight.dim() < 2:
        return
    places = torch.arange(weight.numel(), device=weight.device).view(weight.shape)
    if layer.groups > 1:
        per_group = weight.shape[0] // layer.groups
        yield places.view(layer.groups, per_group, *weight.shape[1:]).transpose(1, 2).flatten(2).flatten(0, 1)
        yield places.flatten(1)
        return
    yield places.movedim(layer.dim, 0).flatten(1)
    yield places.movedim(channels(layer), 0).flatten(1)


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
    chosen, flat = values.new_zeros(values.numel()), values.flatten()
    for (count, of), places in zip(both, slices(layer), strict=True):
        best = places.gather(1, flat[places].topk(min(fewest, of), dim=1).indices)
        short = (count < min(fewest, of))[:, None].expand_as(best)
        chosen.scatter_reduce_(0, best.flatten(), short.flatten().to(chosen), "amax")
    return chosen.view(values.shape) > 0


def hold(layers: Sequence[Layer], fewest: int) -> None:
    """While the dense weights show: unmask the largest weights of every neuron and channel that keeps too few."""
    for layer in layers:
        if (more := lacking(layer, layer.mask != 0, layer.seen().abs(), fewest)) is not None:
            layer.mask.masked_fill_(more, 1)
