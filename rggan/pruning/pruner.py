"""Attach a pruning rule to any model: masks on its weights, hooks on its optimizer, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from rggan.pruning.mask import Layer, WeightMask, chains
from rggan.pruning.rules import Rule, Threshold

WHOLE = "no mask fits a part of a weight; use DistributedDataParallel, which keeps weights whole"
Select = Callable[[str, nn.Module], int | None]


def prunable(name: str, module: nn.Module) -> int | None:
    """The default selection: the output dimension of a (transposed) convolution's or linear weight.

    None leaves a module out. Embeddings and normalisations are left out.

    >>> prunable("", nn.Linear(3, 2)), prunable("", nn.ConvTranspose2d(3, 2, 4)), prunable("", nn.Embedding(3, 2))
    (0, 1, None)
    """
    if isinstance(module, _ConvTransposeNd):
        return 1
    return 0 if isinstance(module, _ConvNd | nn.Linear) else None


class Pruner:
    """Prunes, regenerates and integrates the weights of one network while its optimizer trains them.

    Make it after the optimizer (and after loading weights and moving the model to its device), before
    an EMA copy, DistributedDataParallel or `torch.compile`. It begins in the phase 'prune'; the training
    loop does not change. With a `ScoreSchedule` the phase follows the score.

    Args:
        model: any module. Its prunable weights get a `WeightMask` before a spectral norm, hook-style
            (`weight_orig`) or parametrization; `Rule.after_norm` puts it behind one.
        optimizer: the one that trains these weights; hooks before and after its step drive the rule.
        rule: `Threshold()` unless given.
        select: (name, module) -> the output dimension of `module.weight`, or None to leave it out.

    Attributes:
        layers: the pruned weights. skipped: {name: why a selected weight is left dense}.
        phase: 'prune' or 'dense'.

    Raises:
        ValueError: nothing to prune; the model already has a pruner, is sharded or wrapped by
            DistributedDataParallel; the rule belongs to another pruner.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    >>> pruner = Pruner(model, optimizer, Threshold(lr=0.05))
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     model(torch.randn(16, 4)).square().mean().backward()
    ...     optimizer.step()
    >>> 0 < pruner.density() < 1
    True
    >>> pruner.integrate()
    >>> pruner.density()
    1.0
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, rule: Rule | None = None, select: Select = prunable
    ) -> None:
        if isinstance(model, DistributedDataParallel):
            raise ValueError("make the Pruner from the module before DistributedDataParallel wraps it")
        self.rule = Threshold() if rule is None else rule
        if self.rule.taken:
            raise ValueError(
                f"this {type(self.rule).__name__} belongs to another Pruner: a rule has state, make a new one"
            )
        self.owners, self.skipped = _find(model, optimizer, self.rule, select)
        if not self.owners:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.skipped.items()) or "no layer is selected"
            raise ValueError(f"nothing to prune in {type(model).__name__} ({reasons})")
        self.layers = [_attach(name, owners, dim, self.rule, optimizer) for name, (dim, owners) in self.owners.items()]
        self.phase = "prune"
        self.fading: tuple[int, int] | None = None  # steps done of how many, while integrated weights come back
        self._hooks: list[Any] = []
        try:
            self.rule.begin(self.layers)
        except ValueError:
            self.detach()  # a model that was refused is as it was
            raise
        self.rule.taken = True
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # args[0] is the optimizer itself
        if any(argument is not None for argument in (*args[1:], kwargs.get("closure"))):
            raise ValueError("optimizer.step(closure) makes gradients that no rule sees: call backward() before step()")
        if self.phase == "prune":
            self.rule.gradient(self.layers)
        elif self.fading is not None and self.rule.dense_gradient:  # the derivative of weight * mask
            with torch.no_grad():
                for layer in self.layers:
                    if layer.weight.grad is not None:
                        layer.weight.grad.mul_(layer.mask.mask)

    def _after_step(self, *_: Any) -> None:
        if self.phase == "prune":
            self.rule.update(self.layers)
        elif self.fading is not None:
            done, steps = self.fading[0] + 1, self.fading[1]
            self.fading = (done, steps) if done < steps else None
            self._let_in(done / steps)

    def prune(self) -> None:
        """Prune from now on. Thresholds go on from where they stood; masks show at once."""
        if self.phase != "prune":
            self.phase, self.fading = "prune", None
            self.rule.refresh(self.layers)

    def integrate(self, fade: int = 0) -> None:
        """Fold the learnt sparse weights back into the dense network that they came from: all masks one.

        Weights that were masked return with the values that the rule left them. With `fade` they come in over so many
        steps of the optimizer, their masks rising from 0 to 1; the others are not touched.
        """
        if self.phase == "dense" and fade > 0:
            return  # dense already, or on the way
        self.phase = "dense"
        self.fading = (0, fade) if fade > 0 else None
        if fade <= 0:
            self._let_in(1.0)

    @torch.no_grad()
    def _let_in(self, share: float) -> None:
        for layer in self.layers:
            layer.mask.mask.clamp_(min=share)

    def density(self) -> float:
        """Kept / total over the prunable weights, 0..1 (read from the masks: waits for the device)."""
        kept = torch.stack([(layer.mask.mask != 0).sum(dtype=torch.float64) for layer in self.layers]).sum()
        return kept.item() / self.total

    def densities(self) -> dict[str, float]:
        """The density of each layer by the weight's name."""
        means = torch.stack([(layer.mask.mask != 0).float().mean() for layer in self.layers]).tolist()
        return dict(zip([layer.name for layer in self.layers], means, strict=True))

    @property
    def total(self) -> int:
        """The number of prunable weights."""
        return sum(layer.weight.numel() for layer in self.layers)

    def detach(self) -> None:
        """Take masks and hooks off again; the model keeps the effective weights under their plain names."""
        for hook in self._hooks:
            hook.remove()
        for _, owners in self.owners.values():
            for module, tensor in owners:
                _remove(module, tensor)
        self.layers, self.owners, self._hooks = [], {}, []

    def state_dict(self) -> dict[str, Any]:
        """Phase and rule state. Masks and thresholds are buffers in the model's own state_dict."""
        fading = None if self.fading is None else list(self.fading)
        return {"phase": self.phase, "fading": fading, "rule": self.rule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.phase = state["phase"]
        fading = state.get("fading")
        self.fading = None if fading is None else (fading[0], fading[1])
        self.rule.load_state_dict(state["rule"])


Owners = list[tuple[nn.Module, str]]


def _find(
    model: nn.Module, optimizer: Optimizer, rule: Rule, select: Select
) -> tuple[dict[str, tuple[int, Owners]], dict[str, str]]:
    """({weight name: (output dim, its owners)}, {weight name: why it is skipped})."""
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    found: dict[int, tuple[str, int, Owners]] = {}
    uses: dict[int, int] = {}
    skipped: dict[str, str] = {}
    for prefix, module in list(model.named_modules()):
        for _, parameter in _weights(module, prefix):
            uses[id(parameter)] = uses.get(id(parameter), 0) + 1
        refuse_sharded(prefix, module)
        dim = select(prefix, module)
        if dim is None:
            continue
        tensor = "weight_orig" if "weight_orig" in {*module._parameters, *chains(module)} else "weight"
        name = f"{prefix}.{tensor}" if prefix else tensor
        weight = dict(_weights(module)).get(tensor)
        if weight is None:
            skipped[name] = "it is computed from several tensors, or is not a parameter"
        elif isinstance(weight, nn.UninitializedParameter):
            skipped[name] = "a lazy layer: run the model once before making the Pruner"
        elif not weight.requires_grad:
            skipped[name] = "frozen (requires_grad is False)"
        elif id(weight) not in trained:
            skipped[name] = "this optimizer does not train it"
        elif tensor == "weight_orig" and rule.after_norm:
            skipped[name] = "no mask fits behind a hook-style spectral norm; use the parametrization"
        else:
            found.setdefault(id(weight), (name, dim, []))[2].append((module, tensor))
    for key, (name, _, owners) in list(found.items()):
        if uses[key] > len(owners):
            skipped[name] = "shared with a module that is not pruned"
            del found[key]
    return {name: (dim, owners) for name, dim, owners in found.values()}, skipped


def refuse_sharded(name: str, module: nn.Module) -> None:
    """Raises ValueError where a process holds only a part of a weight: a mask needs all of it."""
    if isinstance(module, FullyShardedDataParallel):
        raise ValueError(f"{name or 'the model'} is wrapped by FSDP: {WHOLE}")
    for tensor, parameter in _weights(module, name):
        if isinstance(parameter, DTensor):
            raise ValueError(f"{name}.{tensor} is sharded over processes (fully_shard): {WHOLE}")


def _weights(module: nn.Module, path: str = "") -> list[tuple[str, nn.Parameter]]:
    """The parameters that a module itself owns, by plain name, whether parametrized or not."""
    if isinstance(module, parametrize.ParametrizationList):
        return []  # counted with the module that it belongs to
    own = [(name, p) for name, p in module._parameters.items() if p is not None]
    for name, chain in chains(module).items():
        if any(isinstance(part, WeightMask) for part in chain):
            where = f"{path}.{name}" if path else name
            raise ValueError(f"{where} already has a Pruner: call its detach() first")
        if chain.is_tensor and isinstance(chain.original, nn.Parameter):
            own.append((name, chain.original))
    return own


def _attach(name: str, owners: Owners, dim: int, rule: Rule, optimizer: Optimizer) -> Layer:
    """Register one WeightMask on every owner of a weight."""
    module, tensor = owners[0]
    weight = dict(_weights(module))[tensor]
    mask = WeightMask(weight.detach(), dim, rule.dense_gradient)
    for owner, own_tensor in owners:
        if (chain := chains(owner).get(own_tensor)) is not None:
            chain.insert(len(chain) if rule.after_norm else 0, mask)
        else:
            parametrize.register_parametrization(owner, own_tensor, mask, unsafe=True)
    parts = list(chains(module)[tensor])
    behind = parts[: parts.index(mask)]

    @torch.no_grad()
    def seen() -> Tensor:
        value: Tensor = weight.detach()
        for part in behind:
            training = part.training
            value = part.eval()(value)  # in train mode a spectral norm would advance its power iteration
            part.train(training)
        return value

    def moments() -> dict[str, Tensor]:
        kept = optimizer.state.get(weight, {})
        return {key: v for key, v in kept.items() if isinstance(v, Tensor) and v.shape == weight.shape}

    return Layer(name, weight, mask, seen, moments)


def _remove(module: nn.Module, tensor: str) -> None:
    """Take the WeightMask off one weight, leaving other parametrizations as they are.

    Not `parametrize.remove_parametrizations`: it deletes a property from a class that deep copies of
    the module share, and so breaks them.
    """
    chain = chains(module)[tensor]
    index = next(i for i, part in enumerate(chain) if isinstance(part, WeightMask))
    with torch.no_grad():
        if index > 0:  # behind a norm: the mask can only be kept by baking in the norm too
            chain.original.copy_(chain.eval()())
            while len(chain):
                del chain[0]
        else:  # a tied weight is multiplied by its one mask once for each owner: the same
            chain.original.mul_(chain[0].mask)
            del chain[0]
    if len(chain) == 0:
        weight = chain.original
        del module.parametrizations[tensor]  # type: ignore[operator, union-attr]
        if not chains(module):
            del module.parametrizations
            module.__class__ = type(module).__bases__[0]
            module.register_parameter(tensor, weight)
