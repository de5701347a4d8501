"""One decision in every process of a distributed run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def broadcast_first(value: float) -> float:
    """The first process's number, in every process; outside a distributed run, the number itself.

    >>> broadcast_first(0.5)
    0.5
    """
    if not is_distributed():
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    told = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(told, src=0)
    return float(told.item())


def broadcast_tensors(tensors: Sequence[Tensor | None]) -> None:
    """Write the first process's tensors into all others'; nothing outside a distributed run."""
    if is_distributed():
        for tensor in tensors:
            if tensor is not None:
                dist.broadcast(tensor, src=0)


def summed(values: Tensor | None) -> Tensor | None:
    """The sum over all processes, in every process; outside a distributed run, the values themselves."""
    if values is not None and is_distributed():
        dist.all_reduce(values)
    return values
