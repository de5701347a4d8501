"""One decision in every process of a distributed run."""

from __future__ import annotations

import torch
import torch.distributed as dist


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def told_by_first(value: float) -> float:
    """The first process's number, in every process; outside a distributed run, the number itself.

    >>> told_by_first(0.5)
    0.5
    """
    if not is_distributed():
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    told = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(told, src=0)
    return float(told.item())
