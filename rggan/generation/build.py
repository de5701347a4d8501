"""Builds a generator network from its config."""

from __future__ import annotations

from typing import Any

from torch import nn

from rggan.networks import FAMILIES
from rggan.networks.resize import narrowed
from rggan.pruning.tracing import without_norms
from rggan.registry import called


def build(network: dict[str, Any]) -> nn.Module:
    """Returns a newly initialised network for `Generator`; network: that part of its config.

    With "shapes" ({name of a tensor: its shape}) it is a shrunk network: without spectral norms, and narrower there.

    Raises:
        UserError: an unknown name, or a resolution that the network cannot have.
        ValueError: shapes that it cannot have.

    >>> import torch
    >>> network = {"name": "sngan", "resolution": [32, 48], "channels": 4, "width": 8, "z_dim": 16, "classes": 0}
    >>> build(network)(torch.zeros(1, 16)).shape
    torch.Size([1, 4, 32, 48])
    """
    arguments = dict(network)
    name, shapes = arguments.pop("name"), arguments.pop("shapes", None)
    built: nn.Module = called(f"`network` {name}", FAMILIES.get(name).generator, **arguments)
    return built if shapes is None else narrowed(without_norms(built), shapes).train(built.training)
