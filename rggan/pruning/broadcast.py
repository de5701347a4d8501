"""Collectives that keep the processes of a distributed run in agreement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

alike = False  # whether all processes hold the same gradients, outputs and scores, as those of `rggan train` do


def is_distributed() -> bool:
    """Whether other processes may hold something else."""
    return dist.is_available() and dist.is_initialized() and not alike


def broadcast_first(value: float) -> float:
    """Broadcasts a number from rank 0; outside a distributed run, returns it unchanged.

    >>> broadcast_first(0.5)
    0.5
    """
    if not is_distributed():
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    sent = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(sent, src=0)
    return float(sent.item())


def broadcast_tensors(tensors: Sequence[Tensor | None]) -> None:
    """Broadcasts tensors in place from rank 0; does nothing outside a distributed run."""
    if is_distributed():
        for tensor in tensors:
            if tensor is not None:
                dist.broadcast(tensor, src=0)


def summed(values: Tensor | None) -> Tensor | None:
    """All-reduces values by their sum; outside a distributed run, returns them unchanged."""
    if values is not None and is_distributed():
        dist.all_reduce(values)
    return values
