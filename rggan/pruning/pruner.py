"""Attaches a pruning rule to any model: two hooks on its optimizer keep its weights sparse between steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from rggan.pruning.arguments import LIVE, made_rule, plain_model, refuse_pruned
from rggan.pruning.layer import Layer
from rggan.pruning.optimizers import plain_optimizers, trainers
from rggan.pruning.published import BehindNorm, bake
from rggan.pruning.rule import Rule
from rggan.pruning.select import SEVERAL, Names, Select, chains, prunable, select_weights
from rggan.pruning.swap import Swap, plainly
from rggan.pruning.table import left_out, table
from rggan.pruning.target import Course

REACH = 0.8  # prunable share of the elements of a model's matrices below which there is a warning


class Pruner(Swap):
    """Prunes, regenerates and integrates the weights of one network while its optimizer trains them.

    Between two optimizer steps the parameters hold the sparse weights, `W * mask`: forward, weight averages,
    `state_dict()`, `copy.deepcopy`, export and other code see a plain network. For the step the dense weights are
    restored, so that the optimizer updates them; in between the Pruner stores the masked ones.

    Make it after the optimizer (and after loading weights and moving the model to its device). It begins in the phase
    'prune'; the training loop does not change. With a `ScoreSchedule` the phase follows the score.

    Args:
        model: any module; `torch.compile`d ones are unwrapped.
        optimizer: the one that trains its weights, or a list of all that do. Wrappers are removed.
        rule: `Threshold()` unless given. density: short for `Threshold(target=density)`.
        select: (name, module) -> what of it is pruned: the output dimension of `module.weight`, names of its tensors,
            or {name or pattern: output dimension}; None leaves it out. See `prunable`, the default.
        include, exclude: patterns of parameter names ("*.to_q.weight") to prune as well, or to leave dense. `include`
            may be {pattern: output dimension}.

    Attributes:
        layers: the pruned weights. skipped: {name: why a selected weight is left dense}. unselected: {name: why} for
        matrices that were not selected. phase: 'prune' or 'dense'. steps: of each optimizer since construction.

    Raises:
        ValueError: nothing to prune; the model already has a pruner, is sharded or wrapped by
            DistributedDataParallel; the rule belongs to another pruner; an argument of a wrong type. The model is
            unchanged then.

    >>> model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 4))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    >>> pruner = Pruner(model, optimizer, density=0.5)
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     model(torch.randn(16, 4)).square().mean().backward()
    ...     optimizer.step()
    >>> round(pruner.density(), 1), (model[0].weight == 0).any()
    (0.5, tensor(True))
    >>> pruner.integrate()
    >>> pruner.density()
    1.0
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer],
        rule: Rule | None = None,
        select: Select = prunable,
        *,
        density: float | Course | Mapping[str, Course | float] | None = None,
        include: Names = (),
        exclude: Names = (),
    ) -> None:
        self.model = plain_model(model)
        rule = made_rule(rule, density)
        optimizers = plain_optimizers(optimizer)
        trained = trainers(optimizers)
        self.selection = select_weights(self.model, trained, select, include, exclude, rule.behind_norm)
        refuse_pruned(self.selection)
        layers: list[Layer] = []
        for found in self.selection.chosen:
            own: dict[str, Any] = {"alive": found.alive, "optimizers": trained[id(found.weight)]}
            arguments = (found.name, found.key, found.weight, found.dim, found.groups)
            behind = rule.behind_norm and found.parametrized
            layers.append(BehindNorm(*arguments, **own, owners=found.owners) if behind else Layer(*arguments, **own))
        try:
            super().__init__(type(self.model).__name__, layers, rule, optimizers)
        except ValueError:
            take_off(layers)
            raise
        rule.taken = True
        LIVE.add(self)
        if select is prunable and (reach := self.reach()) < REACH:
            self._warn(
                f"{self.name}: its Pruner reaches {reach:.0%} of the elements of its matrices; it leaves "
                f"out {left_out(self)}. include= takes weights by name, exclude= says that they shall stay dense."
            )

    @property
    def skipped(self) -> dict[str, str]:
        return self.selection.skipped

    @property
    def unselected(self) -> dict[str, str]:
        return self.selection.unselected

    # ---- statistics ----

    def density(self, of: Literal["prunable", "model"] = "prunable") -> float:
        """Returns kept / total over the prunable weights, or over all parameters of the model, 0..1. Synchronises."""
        if not self.layers:
            raise ValueError(f"{self.name}: its Pruner was detached")
        kept = int(torch.stack([layer.kept().sum() for layer in self.layers]).sum())
        if of == "prunable":
            return kept / self.total
        if of != "model":
            raise ValueError(f"density is that of='prunable' weights or that of the whole 'model', not of {of!r}")
        everything = sum(p.numel() for p in self.model.parameters())
        return (everything - self.total + kept) / everything

    def densities(self) -> dict[str, float]:
        """Returns the density of each layer by the weight's name."""
        means = torch.stack([layer.kept().float().mean() for layer in self.layers]).tolist()
        return dict(zip([layer.name for layer in self.layers], means, strict=True))

    @property
    def total(self) -> int:
        """The number of prunable weights."""
        return sum(layer.weight.numel() for layer in self.layers)

    def reach(self) -> float:
        """Returns the prunable share of the elements of the model's matrices, 0..1.

        Embeddings, excluded and frozen weights and those of another optimizer are not counted.
        """
        left = [n for n, why in {**self.skipped, **self.unselected}.items() if why in ("not selected", SEVERAL)]
        missed = sum(math.prod(self.selection.shapes.get(name, (0,))) for name in left)
        return self.total / (self.total + missed)

    def __str__(self) -> str:
        return table(self)

    def pruned_copy(self, module: nn.Module | None = None) -> nn.Module:
        """Returns a plain deep copy of the model with its sparse weights, or of another of its kind, e.g. an EMA.

        An average of recently masked weights is not zero yet: in the copy it is set to zero, so that the copy has the
        density of the model. The original is only read.
        """
        module = plain_model(self.model if module is None else module)
        # A hook-style norm leaves its computed weight, with its autograd history, which torch refuses to copy.
        made = {id(v): v.detach().clone() for m in module.modules() for v in vars(m).values() if not_a_leaf(v)}
        copied = copy.deepcopy(module, made)
        behind = {layer.name for layer in self.layers if isinstance(layer, BehindNorm)}
        for path, owner in list(copied.named_modules(remove_duplicate=False)):
            for tensor in chains(owner):
                if (f"{path}.{tensor}" if path else tensor) in behind:
                    bake(owner, tensor)
        parameters = dict(copied.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for layer in self.layers:
                weight = parameters[layer.name if layer.name in behind else layer.key]
                normed = "parametrizations" in layer.key or layer.key.endswith(
                    "_orig"
                )  # by rows that nobody reads, too
                weight.mul_((layer.mask != 0 if normed else layer.kept()).to(weight))  # a fade has been applied already
        return copied

    def rewind(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Reset the dense weights to these and fix the current masks; optimizer states are reset.

        Weight rewinding (Frankle et al. 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis"): save
        `{name: parameter.clone()}` of `model.named_parameters()` within `pruner.dense()` early in training, and pass it
        once the masks are found. `integrate()` releases the masks.

        Raises:
            ValueError: a parameter is missing, or has another shape; nothing is changed then.
        """
        parameters = dict(self.model.named_parameters())
        for name, parameter in parameters.items():
            if name not in weights or weights[name].shape != parameter.shape:
                raise ValueError(f"rewinding needs the weights of {name}, of shape {tuple(parameter.shape)}")
        with self.dense(), plainly():
            for name, parameter in parameters.items():
                parameter.copy_(weights[name])
            for optimizer in self.optimizers:
                for parameter in parameters.values():
                    optimizer.state.pop(parameter, None)
            self.fixed = self.phase == "prune"

    # ---- leaving, and on disk ----

    def detach(self) -> None:
        """Remove the hooks; the model keeps the sparse weights (during a fade, the dense ones)."""
        if self.fading is not None:
            self.integrate()
        self.hooks.remove()
        take_off(self.layers)
        self.layers = []
        LIVE.discard(self)

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Pruner belongs to one model and its optimizer: save or copy its state_dict(), and load it into a Pruner "
            "that is made for the other model"
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns phase, rule, and for each layer the mask in bits, the thresholds and the masked weights.

        The model's own state_dict has the sparse weights: save both, after all optimizers have stepped.
        """
        fading = None if self.fading is None else list(self.fading)
        layers = {layer.name: layer.state_dict() for layer in self.layers}
        told = {"phase": self.phase, "fading": fading, "fixed": self.fixed}
        return {**told, "rule": self.rule.state_dict(), "layers": layers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state, before or after the model's own state.

        Raises:
            ValueError: the state is that of another rule or of other layers; nothing is changed then.
        """
        state = self.checked(state)
        self.phase, fading = state["phase"], state["fading"]
        self.fading = None if fading is None else (fading[0], fading[1])
        self.fixed = state["fixed"]
        with plainly():
            for layer in self.layers:
                layer.load_state_dict(state["layers"][layer.name])
            self.rule.load_state_dict(state["rule"])
            self._close(self.layers)
            for layer in self.layers if self._open else ():
                layer.open()
        self._loaded, self._unsent = True, False
        self._stepped, self._stepping = set(), set()

    def checked(self, state: Any) -> dict[str, Any]:
        """Returns the state if it has the structure of this pruner's own; nothing is changed.

        Raises:
            ValueError, KeyError, TypeError: it has not.
        """
        if not isinstance(state, dict) or not {"phase", "fading", "rule", "layers"} <= state.keys():
            raise ValueError("the state is none of a Pruner")
        fading = state["fading"]
        pair = isinstance(fading, list | tuple) and len(fading) == 2 and all(type(n) is int for n in fading)
        if state["phase"] not in ("prune", "dense") or not (fading is None or (pair and 0 <= fading[0] < fading[1])):
            raise ValueError(f"the state's phase is none: {state['phase']}, {fading}")
        if state["rule"].keys() - {"adam"} != self.rule.state_dict().keys() - {"adam"}:
            raise ValueError(f"the state is that of another rule than this {type(self.rule).__name__}")
        rule = self.rule.checked(state["rule"], self.layers)
        if state["layers"].keys() != {layer.name for layer in self.layers}:
            raise ValueError("the state is that of a Pruner with other layers")
        for layer in self.layers:
            layer.checked(state["layers"][layer.name])
        told = {name: state[name] for name in ("phase", "fading", "layers")}
        return {**told, "fixed": state.get("fixed") is True, "rule": rule}


def not_a_leaf(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not value.is_leaf


def take_off(layers: Sequence[Layer]) -> None:
    """Removes masks that are part of the network; the norms before them are merged into the weights."""
    for layer in layers:
        if isinstance(layer, BehindNorm):
            layer.detach()
