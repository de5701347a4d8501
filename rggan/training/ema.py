"""The exponential moving average of a generator: a plain network fed with merged weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rggan.pruning import Pruner, merged_state_dict


class EMA:
    """Averages the effective weights of `source` (masked or not) into a plain network.

    network: the average; a module of the same kind as `source` without masks.
    beta: how much of the average stays at each update; lower in the first updates, so that the
        initial weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, source: nn.Module, beta: float = 0.999) -> None:
        self.network = network.requires_grad_(False).eval()
        self.beta = beta
        self.updates = 0
        self.network.load_state_dict(merged_state_dict(source))

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Move the average towards `source`; buffers are copied."""
        beta = min(self.beta, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        state = merged_state_dict(source)
        average = dict(self.network.named_parameters())
        torch._foreach_lerp_(list(average.values()), [state[name] for name in average], 1 - beta)
        for name, buffer in self.network.named_buffers():
            buffer.copy_(state[name])

    @torch.no_grad()
    def snapshot(self, pruner: Pruner | None, batches: Iterable[Callable[[nn.Module], Any]]) -> nn.Module:
        """The evaluation snapshot: a copy times the live masks, with fresh batch statistics.

        The average of a weight that was masked only lately is not yet zero: multiplied by the live mask, the
        snapshot has the density that it reports. `batches` run the network forward in train mode,
        from which its batch normalisations take their statistics anew.
        """
        network = copy.deepcopy(self.network) if pruner is None else pruner.pruned_copy(self.network)
        refresh_batch_statistics(network, batches)
        return network

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.updates = state["updates"]


@torch.no_grad()
def refresh_batch_statistics(network: nn.Module, batches: Iterable[Callable[[nn.Module], Any]]) -> None:
    """Recompute the running statistics of every batch normalisation as the mean over these batches."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    network.train()
    for run in batches:
        run(network)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
