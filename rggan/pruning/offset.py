"""How many weights thresholds keep: one offset for all layers that share a target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rggan.pruning import host
from rggan.pruning.distribute import Distribution, pools
from rggan.pruning.fan import lacking, lacking_one
from rggan.pruning.granularity import Weights
from rggan.pruning.layer import Layer, kept_number
from rggan.pruning.neuron_thresholds import NeuronThresholds
from rggan.pruning.target import Target, cut, place_of
from rggan.pruning.together import Together, parted
from rggan.pruning.whole_channels import Channels

ROUNDS = 3  # iterations between the cut and the weights that min_fan requires
ABOVE = 1e-4  # rms units: a threshold this far above a weight masks it


class Offset(NeuronThresholds):
    """Thresholds in units of each layer's root mean square, shifted so that a target is reached.

    Attributes:
        rms: of each layer's weights at the last update, a scalar. current: whether they are those of now, unless
            somebody wrote to the weights. cuts: on a GPU, of the cut of each pool (see `cut`). prepared: the step
            that these are for.
    """

    every: int
    target: Target | None
    distribution: Distribution

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rms: dict[str, Tensor] = {}
        self.current = False
        self.cuts: list[Tensor] = []
        self.prepared = 0

    def prepare(self, layers: Sequence[Layer]) -> None:
        if self.target is not None and (self.steps + 1) % self.every == 0:
            self.place_cuts(layers, self.steps + 1)

    def place_cuts(self, layers: Sequence[Layer], step: int) -> None:
        """Write where this step cuts to the device, if it is one that is not read back from."""
        if host.reads_freely(layers[0].mask):
            return
        device = layers[0].mask.device
        if self.cuts and self.cuts[0].device != device:
            self.cuts = []  # the model moved
        for number, (pool, density) in enumerate(self.pools(layers, step)):
            if number == len(self.cuts):
                self.cuts.append(torch.zeros(1, dtype=torch.int64, device=device))
            self.cuts[number].fill_(place_of(density, sum(layer.weight.numel() for layer in pool)))
        self.prepared = step

    def offset(self, layers: Sequence[Layer]) -> None:
        """Shift the thresholds of all layers that share a target by one offset, so that its density is reached.

        With a distribution other than 'global', each layer has its own offset.
        """
        if self.prepared != self.steps:
            self.place_cuts(layers, self.steps)
        if isinstance(self.granularity, Channels):
            self.offset_channels(layers, self.granularity)
            return
        for number, (pool, density) in enumerate(self.pools(layers, self.steps)):
            place = self.cuts[number] if self.prepared == self.steps else None
            flat, rest = parted(pool)
            one = self.min_fan <= 1 and self.regrowth is None and isinstance(self.granularity, Weights)
            if flat is None or rest or place is None or not one:
                self.offset_pool(pool, density, place)
            else:
                self.offset_together(flat, place)

    def offset_channels(self, layers: Sequence[Layer], channels: Channels) -> None:
        """One offset for all channels: their layers are tied together."""
        assert self.target is not None
        ((_, course),) = self.target.groups(layers)
        sizes = channels.channel_sizes(layers, self.known_scales(layers))
        margins = sizes - channels.thresholds(layers)
        if self.regrowth is not None:
            margins = torch.where(self.regrowth.channels_back(layers, channels), torch.inf, margins)
        by = channels.cut(layers, margins, course.at(self.steps), self.floor)
        for layer in layers:
            layer.threshold.add_(by)

    def pools(self, layers: Sequence[Layer], step: int) -> Iterator[tuple[Sequence[Layer], float]]:
        """Yields the layers that share an offset, with their density at this step."""
        assert self.target is not None
        for group, course in self.target.groups(layers):
            yield from pools(group, course.at(step), self.distribution)

    def offset_together(self, flat: Together, place: Tensor) -> None:
        """`offset_pool` of layers as one."""
        weights = flat.weights().abs_()
        scales = flat.of_layers(torch.stack(self.known_scales(flat.layers)))
        thresholds = torch.cat([layer.threshold for layer in flat.layers])
        plain = weights.div(flat.each(scales)).sub_(flat.each(thresholds))
        margins = plain.clone()
        by = cut([margins], 1.0, place)
        for _ in range(ROUNDS if self.min_fan else 0):
            margins.masked_fill_(lacking_one(flat, margins >= by, weights), torch.inf)
            by = cut([margins], 1.0, place)
        others = margins.masked_fill(margins.isinf(), -torch.inf).amax()
        by = torch.where(by.isinf(), torch.where(others.isinf(), plain.amin(), others + ABOVE), by)
        if self.floor:
            by = torch.minimum(by, flat.nth_largest(plain, [kept_number(self.floor, n) - 1 for n in flat.sizes]))
        rises = flat.of_layers(by.expand(len(flat.layers)))
        torch._foreach_copy_([layer.threshold for layer in flat.layers], list((thresholds + rises).split(flat.neurons)))

    def offset_pool(self, layers: Sequence[Layer], density: float, place: Tensor | None = None) -> None:
        plain = self.margins(layers)
        margins = [margin.clone() for margin in plain] if self.min_fan else plain  # `secure` changes them
        if self.regrowth is not None:
            self.regrowth.keep(layers, margins)
        by = cut(margins, density, place)
        for _ in range(ROUNDS if self.min_fan else 0):
            if not self.secure(layers, margins, by):
                break
            by = cut(margins, density, place)  # secured weights count as kept, and others are pruned instead
        if not host.reads_freely(by) or by.isinf():  # only secured weights are kept: mask all others
            others = torch.stack([margin.masked_fill(margin.isinf(), -torch.inf).amax() for margin in margins]).amax()
            above = torch.where(others.isinf(), cut(plain, 1.0), others + ABOVE)
            by = torch.where(by.isinf(), above, by)
        for layer, margin in zip(layers, plain, strict=True):
            # The thresholds of a layer rise no further than its floor allows.
            share = self.granularity.share(layer, self.floor)
            need = kept_number(share, margin.numel())
            if share and (not host.reads_freely(margin) or int((margin >= by).sum()) < need):
                layer.threshold.add_(torch.minimum(by, cut([margin], share)))
            else:
                layer.threshold.add_(by)

    def secure(self, layers: Sequence[Layer], margins: Sequence[Tensor], by: Tensor) -> bool:
        """Set the margins of weights that `min_fan` requires at this cut to infinity; returns whether there are any."""
        found = False
        for layer, margin in zip(layers, margins, strict=True):
            if (more := lacking(layer, margin >= by, layer.seen().abs(), self.min_fan)) is not None:
                margin.masked_fill_(more, torch.inf)
                found = True
        return found

    def margins(self, layers: Sequence[Layer]) -> list[Tensor]:
        """Returns, for each layer, weight sizes minus thresholds, weight-shaped."""
        sizes = self.granularity.sizes(layers, self.known_scales(layers))
        return [size - layer.per_neuron(layer.threshold) for layer, size in zip(layers, sizes, strict=True)]

    def reaching(self, layers: Sequence[Layer]) -> list[Tensor]:
        """Returns, for each layer, which weights reach their thresholds, weight-shaped and boolean."""
        sizes = self.granularity.sizes(layers, self.known_scales(layers))
        return [size >= layer.per_neuron(layer.threshold) for layer, size in zip(layers, sizes, strict=True)]

    def learn_scales(self, layers: Sequence[Layer]) -> None:
        """Weights move only between `gradient` and `update`: what is computed there holds until the next one. The
        tensors stay, as a recorded step reads them where they lie."""
        found = self.scales(layers)
        for layer, scale in zip(layers, found, strict=True):
            if layer.name not in self.rms or self.rms[layer.name].device != scale.device:
                self.rms[layer.name] = torch.empty_like(scale)
        torch._foreach_copy_([self.rms[layer.name] for layer in layers], found)
        self.current = True

    def known_scales(self, layers: Sequence[Layer]) -> list[Tensor]:
        """As `scales`, of the last update where there was one."""
        if not self.current:
            return self.scales(layers)
        return [self.rms[layer.name] for layer in layers]

    def scales(self, layers: Sequence[Layer]) -> list[Tensor]:
        """Returns the unit of each layer's thresholds: the root mean square of its weights, a scalar."""
        weights = [layer.seen() for layer in layers]
        rms = list(torch._foreach_norm(weights))
        torch._foreach_div_(rms, [weight.numel() ** 0.5 for weight in weights])
        torch._foreach_clamp_min_(rms, torch.finfo(torch.float32).tiny)
        return rms
