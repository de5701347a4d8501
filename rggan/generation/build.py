"""Builds a generator network from its config."""

from __future__ import annotations

from typing import Any

from torch import nn

from rggan.networks import FAMILIES
from rggan.registry import called


def build(network: dict[str, Any]) -> nn.Module:
    """Returns a newly initialised network for `Generator`; network: that part of its config.

    Raises:
        UserError: an unknown name, or a resolution that the network cannot have.

    >>> import torch
    >>> network = {"name": "sngan", "resolution": [32, 48], "channels": 4, "width": 8, "z_dim": 16, "classes": 0}
    >>> build(network)(torch.zeros(1, 16)).shape
    torch.Size([1, 4, 32, 48])
    """
    arguments = dict(network)
    name = arguments.pop("name")
    return called(f"`network` {name}", FAMILIES.get(name).generator, **arguments)
