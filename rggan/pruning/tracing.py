"""Which rows, columns and vectors of a network leave it together, found by running it once.

Every index of every dimension of its parameters has a label, each operation passes the labels on, and those that it
needs in equal number become one: those of a sum, of a normalisation and what it normalises, of a row and the columns
that read it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from rggan.pruning.labels import Dim, Labels
from rggan.pruning.operations import Operations
from rggan.pruning.select import chains


class Tracing(Operations, TorchDispatchMode):
    """Passes labels on while a network runs.

    rigid: see `Operations`.

    Attributes:
        parameters: {name: labels of each dimension} of parameters and buffers.
    """

    def __init__(self, model: nn.Module, rigid: bool = False) -> None:
        super().__init__()
        self.channels, self.rigid = Labels(), rigid
        self.dims: dict[int, list[Dim]] = {}
        self.kept: list[Any] = []  # alive, so that no other tensor gets the id of one
        self.names: dict[int, str] = {}
        self.parameters: dict[str, list[Dim]] = {}
        self.picked: dict[int, Dim] = {}
        for name, tensor in tensors_of(model).items():
            if id(tensor) not in self.dims:
                own: list[Dim] = [self.channels.fresh(n) if n > 1 else None for n in tensor.shape]
                self.give(tensor, own)
                self.names[id(tensor)] = name
            self.parameters[name] = self.dims[id(tensor)]

    def give(self, tensor: Tensor, dims: list[Dim]) -> None:
        self.kept.append(tensor)
        self.dims[id(tensor)] = dims

    def of(self, tensor: Tensor) -> list[Dim]:
        return self.dims.get(id(tensor)) or [None] * tensor.dim()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        name = name if name.startswith("__") else name.rstrip("_")
        for tensor in tree_flatten((args, kwargs))[0] if self.picked else ():
            self.channels.pin(self.picked.get(id(tensor)))
        out = self.compute(name, func, args, kwargs)
        found = self.passed(name, args, out)
        if name == "select":  # the one that is picked must stay, if somebody computes with it
            self.picked[id(out)] = self.of(args[0])[args[1]]
        if found is None:  # nothing is known of it
            for tensor in tree_flatten((args, kwargs))[0]:
                if isinstance(tensor, Tensor):
                    self.channels.pin(*self.of(tensor))
        outputs = [t for t in tree_flatten(out)[0] if isinstance(t, Tensor)]
        for place, tensor in enumerate(outputs):
            known = found is not None and place < len(found)
            self.give(tensor, found[place] if found is not None and known else [None] * tensor.dim())
        return out

    def compute(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return func(*args, **kwargs)


def outputs_of(out: Any) -> list[Tensor]:
    """All tensors of what a network gives."""
    return [t for t in tree_flatten(out)[0] if isinstance(t, Tensor)]


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name; one that has several names, under each of them."""
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}


@torch.no_grad()
def without_norms(model: nn.Module) -> nn.Module:
    """A deep copy for evaluation whose weights are plain parameters: what spectral and weight norms compute then.

    >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))
    >>> list(without_norms(layer).state_dict())
    ['bias', 'weight']
    """
    # A hook-style norm leaves its computed weight, with its autograd history, which torch refuses to copy.
    made = {id(v): v.detach().clone() for m in model.modules() for v in vars(m).values() if computed(v)}
    copied = copy.deepcopy(model, made).eval()
    for module in list(copied.modules()):
        for tensor in list(chains(module)):
            fold(module, tensor)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
            elif isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
    return copied


def fold(module: nn.Module, tensor: str) -> None:
    """Replace a parametrized tensor by a plain parameter with the computed value; classes, which copies share, stay."""
    lists: Any = module.parametrizations
    trains = any(p.requires_grad for p in lists[tensor].parameters())
    value = nn.Parameter(lists[tensor]().detach().clone(), trains)
    del lists[tensor]
    if len(lists) == 0:
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    module.register_parameter(tensor, value)


def computed(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_leaf
