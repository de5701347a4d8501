"""What is done to all layers of a network at once: dense for the optimizer's step, sparse after it, none dead."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rggan.pruning import host
from rggan.pruning.layer import Layer
from rggan.pruning.together import parted


def open_all(layers: Sequence[Layer]) -> None:
    """`Layer.open` of each."""
    for layer in layers:
        if layer.hides:
            layer.match()
    flat, _ = parted([layer for layer in layers if layer.hides and not layer.fades])
    if flat is not None:
        shown, asides = flat.weights(), [layer.aside for layer in flat.layers if layer.aside is not None]
        dense = torch.where(shown == 0, flat.cat(asides), shown)
        flat.put(asides, dense)
        flat.put([layer.weight for layer in flat.layers], dense)
        for layer in flat.layers:
            layer.hides = False
    for layer in layers:
        layer.open()


def close_all(layers: Sequence[Layer]) -> None:
    """`Layer.close` of each."""
    for layer in layers:
        if not layer.hides:
            layer.match()
    flat, _ = parted([layer for layer in layers if not layer.hides and layer.keeps and not layer.fades])
    if flat is not None:
        dense, asides = flat.weights(), []
        shown = dense * flat.masks()
        for layer in flat.layers:
            if layer.aside is None:
                layer.aside = torch.empty_like(layer.weight.detach())
            asides.append(layer.aside)
            layer.hides = True
        flat.put(asides, dense - shown)
        flat.put([layer.weight for layer in flat.layers], shown)
    for layer in layers:
        layer.close()


def keep_alive(layers: Sequence[Layer]) -> None:
    """Calls `Layer.keep_alive` on all layers that may need it; on a CPU, checks whole layers in one batch first."""
    flat, rest = parted(layers)
    if flat is not None:
        sizes, masks = flat.weights().abs_(), flat.masks()
        dead = flat.layer_maxima(sizes * masks) == 0
        largest = flat.layer_maxima(sizes)
        largest = sizes == flat.each(flat.of_layers(torch.where(dead, largest, -1)))
        flat.put([layer.mask for layer in flat.layers], masks.masked_fill_(largest & (sizes > 0), 1))
    whole = [layer for layer in rest if layer.alive is None]
    if whole and host.reads_freely(whole[0].mask):
        largest = torch.stack([layer.mask.amax() for layer in whole])  # far faster than a norm of all at once
        whole = [layer for layer, most in zip(whole, largest.tolist(), strict=True) if most == 0]
    for layer in [*whole, *(layer for layer in rest if layer.alive is not None)]:
        layer.keep_alive()
