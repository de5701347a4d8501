"""Batch normalisation over a batch that several ranks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rggan import ranks


class Synced(nn.modules.batchnorm._BatchNorm):
    """Normalises by the statistics of the whole batch, in float32; it can be differentiated twice.

    PyTorch's `SyncBatchNorm` runs on GPUs only, and a gradient penalty cannot be taken through it.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or ranks.shared.count == 1:
            return super().forward(input)
        dims = [d for d in range(input.dim()) if d != 1]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        with torch.autocast(input.device.type, enabled=False):
            x = input.float()
            variance, mean = torch.var_mean(x, dim=dims, correction=0)
            # One message, as each takes longer than what is in it: the statistics of every rank.
            means, variances = ranks.gathered(torch.cat([mean, variance])[None]).chunk(2, dim=1)
            mean = means.mean(dim=0)
            variance = variances.mean(dim=0) + (means - mean).square().mean(dim=0)
            self.follow(mean.detach(), variance.detach(), ranks.whole(input.numel() // input.shape[1]))
            scale = (variance + self.eps).rsqrt()
            if self.affine:
                scale = scale * self.weight
            shift = -mean * scale + (self.bias if self.affine else 0)
            x = torch.addcmul(shift.view(shape), x, scale.view(shape))
        return x.to(input.dtype)

    @torch.no_grad()
    def follow(self, mean: Tensor, variance: Tensor, values: int) -> None:
        """Move the running statistics, as those of one process move; of so many values a channel."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        moved = self.momentum
        if moved is None:  # the plain mean over all batches
            moved = 1.0 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean, moved)
        self.running_var.lerp_(variance * (values / max(1, values - 1)), moved)


class Synced1d(Synced, nn.BatchNorm1d):
    pass


class Synced2d(Synced, nn.BatchNorm2d):
    pass


class Synced3d(Synced, nn.BatchNorm3d):
    pass


SYNCED: dict[type, type] = {nn.BatchNorm1d: Synced1d, nn.BatchNorm2d: Synced2d, nn.BatchNorm3d: Synced3d}


def synchronise(network: nn.Module) -> None:
    """Let the batch normalisations of a network see the whole batch; parameters and state stay as they are.

    >>> network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    >>> synchronise(network)
    >>> type(network[1]).__name__, network(torch.randn(4, 2)).shape
    ('Synced1d', torch.Size([4, 3]))
    """
    for module in network.modules():
        if type(module) in SYNCED:
            module.__class__ = SYNCED[type(module)]
