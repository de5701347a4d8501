"""Baselines that limit D's capacity: random rows of its convolutions at each step (DynamicD), and dropout."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rggan import ranks
from rggan.pruning.select import Select, prunable


class DynamicRows:
    """Trains a discriminator with a random share of the outputs of each convolution, the same for a whole step.

    After Yang, Shen, Xu and Zhou 2022, "Improving GANs with A Dynamic Discriminator" (few images: the decreasing
    scheme).

    What stays is scaled up by the share that is left out, so that the mean of each output stays. In evaluation, and
    where all rows stay, the network is as it was. Outputs that stand alone, as D's last one does, always stay.

    Args:
        select: which layers, as for `Pruner`.

    >>> d = nn.Sequential(nn.Conv2d(3, 8, 1))
    >>> rows = DynamicRows(d)
    >>> rows.draw(0.5)
    >>> (d(torch.randn(2, 3, 4, 4)) != 0).any(dim=3).any(dim=2).sum(dim=1).tolist()
    [4, 4]
    """

    def __init__(self, d: nn.Module, select: Select = prunable) -> None:
        self.layers = [
            module
            for name, module in d.named_modules()
            if isinstance(module, nn.Conv2d) and module.out_channels > 1 and select(name, module) is not None
        ]
        # At fixed places, where a recorded step finds them.
        self.scales = {layer: next(layer.parameters()).new_ones(layer.out_channels, 1, 1) for layer in self.layers}
        self.limited: set[nn.Module] = set()  # those where rows are left out
        for layer in self.layers:
            layer.register_forward_hook(self.scaled)

    def draw(self, share: float) -> None:
        """Choose rows for the next step: this share of each layer's, rounded, at least one."""
        for layer in self.layers:
            count = layer.out_channels
            kept = max(1, round(share * count))
            if kept >= count:
                self.limited.discard(layer)
                continue
            self.limited.add(layer)
            rows = torch.randperm(count, device=self.scales[layer].device)[:kept]
            self.scales[layer].zero_().index_fill_(0, rows, count / kept)

    def scaled(self, layer: Any, arguments: Any, outputs: Tensor) -> Tensor:
        if layer not in self.limited or not layer.training:
            return outputs
        return outputs * self.scales[layer].to(outputs.dtype)


def drop_out(d: nn.Module, share: float) -> None:
    """Drop this share of the outputs of each of D's blocks in training, and scale up the others."""

    def dropped(block: nn.Module, arguments: Any, outputs: Tensor) -> Tensor:
        if not block.training:
            return outputs
        if ranks.shared.count == 1:
            return F.dropout(outputs, share)
        return outputs * ranks.drawn_like(outputs, lambda batch: F.dropout(torch.ones_like(batch), share))

    blocks: Any = d.blocks
    for block in blocks if share else ():
        block.register_forward_hook(dropped)
