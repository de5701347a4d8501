"""Many layers as one flat tensor: on a GPU a launch costs more than the numbers of a layer do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from rggan.pruning import host
from rggan.pruning.layer import Layer

LARGE = 1 << 20  # weights of a layer that is worth launches of its own


class Together:
    """Layers whose rows are their output neurons, one after the other; layers of one shape are neighbours.

    Args:
        layers: those that `fits` takes, on one device.

    Attributes:
        layers: sorted. rows: the row of each weight, int32 [weights], counted over all layers. place: the layer of each
            row, int64 [rows].

    >>> two = Together([Layer(name, name, torch.nn.Parameter(torch.ones(2, 3))) for name in "ab"])
    >>> two.row_sums(two.cat([layer.weight for layer in two.layers]).detach())
    tensor([3., 3., 3., 3.])
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = sorted(layers, key=form)
        device = layers[0].weight.device
        self.sizes = [layer.weight.numel() for layer in self.layers]
        self.neurons = [len(layer.threshold) for layer in self.layers]
        # [layers, rows, channels, inner], or channels last: its parts of the flat tensor, and where channels are.
        self.groups: list[tuple[int, int, tuple[int, ...], int]] = []
        start = 0
        for (_, last, shape), members in groupby(self.layers, form):
            count, out, inputs = len(list(members)), shape[0], shape[1] if len(shape) > 1 else 1
            inner = torch.Size(shape[2:]).numel()
            view = (count, out, inner, inputs) if last else (count, out, inputs, inner)
            self.groups.append((start, start + torch.Size(view).numel(), view, 3 if last else 2))
            start = self.groups[-1][1]
        neurons = torch.tensor(self.neurons)
        fans = torch.tensor([size // rows for size, rows in zip(self.sizes, self.neurons, strict=True)])
        self.place = torch.arange(len(self.layers)).repeat_interleave(neurons).to(device)
        self.rows = torch.arange(int(neurons.sum()), dtype=torch.int32).repeat_interleave(
            fans.repeat_interleave(neurons)
        )
        self.rows = self.rows.to(device)
        self.needs: dict[tuple[int, ...], Tensor] = {}

    # ---- to and fro ----

    def cat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Weight-shaped tensors, one a layer -> a new one [weights]."""
        return torch.cat([line(t, layer.weight) for t, layer in zip(tensors, self.layers, strict=True)])

    def put(self, tensors: Sequence[Tensor], flat: Tensor) -> None:
        """Write [weights] into weight-shaped tensors."""
        places = [line(t, layer.weight) for t, layer in zip(tensors, self.layers, strict=True)]
        torch._foreach_copy_(places, list(flat.split(self.sizes)))

    def weights(self) -> Tensor:
        return self.cat([layer.weight.detach() for layer in self.layers])

    def masks(self) -> Tensor:
        return self.cat([layer.mask for layer in self.layers])

    def each(self, values: Tensor) -> Tensor:
        """[rows] -> [weights]."""
        return values.index_select(0, self.rows)

    def of_layers(self, values: Tensor) -> Tensor:
        """[layers] -> [rows]."""
        return values.index_select(0, self.place)

    def need(self, counts: Sequence[int]) -> Tensor:
        """Numbers as a tensor [layers], made once: making it in a recorded step would copy it from the host."""
        if tuple(counts) not in self.needs:
            self.needs[tuple(counts)] = torch.tensor(counts, device=self.rows.device)
        return self.needs[tuple(counts)]

    # ---- sums and maxima ----

    def over_rows(self, flat: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """[weights] -> [rows]; reduce: [layers, rows, a row's weights] -> [layers, rows]."""
        parts = [reduce(flat[a:b].view(*view[:2], -1)).flatten() for a, b, view, _ in self.groups]
        return torch.cat(parts)

    def row_sums(self, flat: Tensor) -> Tensor:
        return self.over_rows(flat, lambda part: part.sum(dim=2))

    def row_maxima(self, flat: Tensor) -> Tensor:
        return self.over_rows(flat, lambda part: part.amax(dim=2))

    def layer_sums(self, per_row: Tensor) -> Tensor:
        """[rows] of whole numbers -> [layers]."""
        return per_row.new_zeros(len(self.layers)).index_add_(0, self.place, per_row)

    def layer_maxima(self, flat: Tensor) -> Tensor:
        """[weights] -> [layers]."""
        return torch.cat([flat[a:b].view(view[0], -1).amax(dim=1) for a, b, view, _ in self.groups])

    def nth_largest(self, flat: Tensor, places: Sequence[int]) -> Tensor:
        """[weights] -> [layers]: in each layer the number of this place, 0 for its largest."""
        values, order = flat.sort(descending=True)
        by_layer = self.each(self.place.int()).index_select(0, order).sort(stable=True).indices
        starts = itertools.accumulate(self.sizes[:-1], initial=0)
        at = self.need([start + place for start, place in zip(starts, places, strict=True)])
        return values.index_select(0, by_layer.index_select(0, at))

    def channel_maxima(self, flat: Tensor) -> Tensor:
        """[weights] -> [input channels of all layers]."""
        parts = [flat[a:b].view(view).amax(dim=[1, 5 - channels]) for a, b, view, channels in self.groups]
        return torch.cat([part.flatten() for part in parts])

    def row_places(self, flat: Tensor) -> Tensor:
        """Where in [weights] the largest of each row is: int64 [rows]."""
        parts = []
        for a, _, view, _ in self.groups:
            count, out, fan = view[0], view[1], view[2] * view[3]
            first = torch.arange(a, a + count * out * fan, fan, device=flat.device)
            parts.append(first + flat[a : a + count * out * fan].view(count * out, fan).argmax(dim=1))
        return torch.cat(parts)

    def channel_places(self, flat: Tensor) -> Tensor:
        """Where in [weights] the largest of each layer's input channels is: int64 [input channels of all layers]."""
        parts = []
        for a, b, view, channels in self.groups:
            count, out, inputs, inner = view[0], view[1], view[channels], view[5 - channels]
            best = flat[a:b].view(view).movedim(channels, 1).flatten(2).argmax(dim=2)  # of [rows, inner]
            row, within = best // inner, best % inner
            layer = torch.arange(count, device=flat.device)[:, None] * (out * inputs * inner)
            channel = torch.arange(inputs, device=flat.device)
            place = within * inputs + channel if channels == 3 else channel * inner + within
            parts.append((a + layer + row * (inputs * inner) + place).flatten())
        return torch.cat(parts)


def channels_last(weight: Tensor) -> bool:
    return weight.dim() == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)


def form(layer: Layer) -> tuple[int, bool, tuple[int, ...]]:
    """What neighbours have in common."""
    return layer.weight.numel(), channels_last(layer.weight), tuple(layer.weight.shape)


def line(values: Tensor, weight: Tensor) -> Tensor:
    """Weight-shaped values in the order in which the weight lies in memory, 1-D: a view, if they lie alike."""
    if channels_last(weight):
        return values.permute(0, 2, 3, 1).reshape(-1)
    return values.reshape(-1)


def fits(layer: Layer) -> bool:
    """Whether a layer can be part of one."""
    weight = layer.weight
    lies = weight.is_contiguous() or channels_last(weight)
    alike = layer.mask.stride() == weight.stride() and type(layer) is Layer
    plain = layer.dim == 0 and layer.groups == 1 and layer.alive is None and weight.dtype == torch.float32
    return lies and alike and plain and weight.dim() > 1 and weight.numel() <= LARGE


def parted(layers: Sequence[Layer]) -> tuple[Together | None, list[Layer]]:
    """Layers as one where that is faster, on a GPU, and those that stay alone."""
    if not layers or host.reads_freely(layers[0].mask):
        return None, list(layers)
    key = tuple((id(layer), layer.weight.data_ptr()) for layer in layers)
    known = layers[0].together
    if key not in known:
        some = [layer for layer in layers if fits(layer) and layer.weight.device == layers[0].weight.device]
        known[key] = Together(some) if len(some) > 1 else None
    found: Together | None = known[key]
    inside = set() if found is None else set(map(id, found.layers))
    return found, [layer for layer in layers if id(layer) not in inside]
