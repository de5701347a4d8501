"""Grown and pruned weights: how masks change from one look to the next."""

from __future__ import annotations

from typing import Any

import torch

from rggan.pruning.pruner import Pruner

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Ledger:
    """Counts, layer by layer, the weights pruned and grown between two calls of `look`.

    Dense phases are skipped: the first call after one compares with the last call before it.

    >>> model = torch.nn.Linear(2, 2)
    >>> pruner = Pruner(model, torch.optim.SGD(model.parameters()))
    >>> ledger = Ledger(pruner)
    >>> with pruner.dense():
    ...     _ = pruner.layers[0].mask[0].zero_()
    >>> found = ledger.look()["weight"]
    >>> found["density"], found["deaths"], found["births"]
    (0.5, 2, 0)
    """

    def __init__(self, pruner: Pruner) -> None:
        self.pruner = pruner
        self.kept = [layer.kept() for layer in pruner.layers]  # at the last call
        self.back = [torch.zeros_like(kept) for kept in self.kept]  # grown at the last call

    @torch.no_grad()
    def look(self) -> dict[str, dict[str, Any]]:
        """Returns {name of the weight: changes since the last call}.

        density: kept / all. births: grown weights. deaths: pruned weights. stayed: how many of those counted as grown
        at the last call are still kept. thresholds: their 5, 25, 50, 75 and 95 % quantiles.
        """
        found = {}
        for place, layer in enumerate(self.pruner.layers):
            mask = layer.kept()
            row: dict[str, Any] = {"density": mask.float().mean().item()}
            if self.pruner.phase == "prune":
                grown, pruned = mask & ~self.kept[place], self.kept[place] & ~mask
                stayed = self.back[place] & mask
                row |= {"births": int(grown.sum()), "deaths": int(pruned.sum()), "stayed": int(stayed.sum())}
                self.kept[place], self.back[place] = mask, grown
            at = torch.tensor(QUANTILES, device=mask.device)
            row["thresholds"] = layer.threshold.float().quantile(at).tolist()
            found[layer.name] = row
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"kept": list(self.kept), "back": list(self.back)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        devices = [layer.mask.device for layer in self.pruner.layers]
        for name in ("kept", "back"):
            values = [v.to(device, copy=True) for v, device in zip(state[name], devices, strict=True)]
            setattr(self, name, values)
