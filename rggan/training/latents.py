"""The generator's arguments: drawn for each step, or fixed for all evaluations."""

from __future__ import annotations

import torch
from torch import Tensor


class Latents:
    """Batches of z float [N, z_dim], and of labels int64 [N] as frequent as in the data, on the labels' device.

    labels: those of the training images; None for a generator without classes.
    """

    def __init__(self, z_dim: int, batch: int, labels: Tensor | None, device: torch.device) -> None:
        self.z_dim, self.batch, self.labels, self.device = z_dim, batch, labels, device

    def fixed(self, count: int, seed: int) -> list[tuple[Tensor, ...]]:
        """The arguments of each batch of an evaluation, always the same."""
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.z_dim, generator=random).to(self.device)
        if self.labels is None:
            return [(part,) for part in z.split(self.batch)]
        rows = torch.randint(len(self.labels), (count,), generator=random)
        labels = self.labels[rows.to(self.device)]
        return list(zip(z.split(self.batch), labels.split(self.batch), strict=True))

    def draw(self) -> tuple[Tensor, ...]:
        """The arguments of a training step, from the global random stream."""
        z = torch.randn(self.batch, self.z_dim, device=self.device)
        if self.labels is None:
            return (z,)
        rows = torch.randint(len(self.labels), (self.batch,), device=self.device)
        return z, self.labels[rows]
