"""Selects the weights of a model to prune: by module type, by a user-defined function, or by name."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

WHOLE = "no mask fits a part of a weight; use DistributedDataParallel, which keeps weights whole"
FROZEN = "frozen (requires_grad is False)"
SEVERAL = "it is computed from several tensors, or is not a parameter"
Chosen = int | str | Sequence[str] | Mapping[str, int] | None
Select = Callable[[str, nn.Module], Chosen]
Names = str | Collection[str] | Mapping[str, int]


def prunable(name: str, module: nn.Module) -> Chosen:
    """The default selection: the weights of convolutions, linear layers, attention and recurrent layers.

    Returns the output dimension of `module.weight`, or {tensor's name or pattern: its output dimension}; None leaves a
    module out. Embeddings and normalisations are left out.

    >>> prunable("", nn.Linear(3, 2)), prunable("", nn.ConvTranspose2d(3, 2, 4)), prunable("", nn.Embedding(3, 2))
    (0, 1, None)
    >>> prunable("", nn.MultiheadAttention(4, 2))
    {'*_proj_weight': 0}
    """
    if isinstance(module, _ConvTransposeNd):
        return 1
    if isinstance(module, _ConvNd | nn.Linear | nn.Bilinear):
        return 0
    if isinstance(module, nn.MultiheadAttention):
        return {"*_proj_weight": 0}
    return {"weight_[ih]*": 0} if isinstance(module, nn.RNNBase | nn.RNNCellBase) else None


@dataclass
class Candidate:
    """One parameter that a mask could multiply.

    name, key, alive: see `Layer`. owners: (module, name of the tensor there). parametrized: whether `weight` is the
    original of a parametrization. selected: by how many of its owners. dim: its output dimension.
    """

    name: str
    key: str
    weight: nn.Parameter
    owners: list[tuple[nn.Module, str]]
    hooked: bool = False
    parametrized: bool = False
    alive: int | None = None
    selected: int = 0
    excluded: bool = False
    dim: int = 0

    @property
    def groups(self) -> int:
        module = self.owners[0][0]
        return module.groups if isinstance(module, _ConvTransposeNd) and self.dim == 1 else 1


@dataclass
class Selection:
    """The weights that are pruned, and those that are not.

    chosen: the weights to prune. skipped: {name: why a selected weight is left dense}. unselected: {name: why} for
    matrices that were not selected. shapes: {name: shape} of the last two.
    """

    chosen: list[Candidate] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    unselected: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def select_weights(
    model: nn.Module, trained: Collection[int], select: Select, include: Names, exclude: Names, behind_norm: bool
) -> Selection:
    """Returns every weight to prune, and why others are not pruned. Nothing is changed.

    trained: ids of the parameters that the optimizers train. behind_norm: masks are applied after norms, not before.

    Raises:
        ValueError: an invalid dimension, a pattern that matches nothing, a sharded or a frozen model.
    """
    result = Selection()
    found: dict[int, Candidate] = {}
    for prefix, module in model.named_modules():
        refuse_sharded(prefix, module)
        if isinstance(module, parametrize.ParametrizationList):
            continue  # belongs to the module above it
        own = candidates(module, prefix)
        dims, missing = resolve(select(prefix, module), module, own)
        for tensor in missing:
            result.skipped[f"{prefix}.{tensor}" if prefix else tensor] = SEVERAL
        for tensor, candidate in own.items():
            first = found.setdefault(id(candidate.weight), candidate)
            if first is not candidate:  # a tied weight
                first.owners.extend(candidate.owners)
            if tensor in dims:
                if first.selected == 0:
                    first.name, first.dim = candidate.name, dims[tensor]
                first.selected += 1
    take_by_name(list(found.values()), include, exclude)
    for candidate in found.values():
        why = reason(candidate, trained, behind_norm)
        lazy = isinstance(candidate.weight, nn.UninitializedParameter)
        if why is None:
            check_dim(candidate)
            result.chosen.append(candidate)
            continue
        if candidate.selected and not candidate.excluded:
            result.skipped[candidate.name] = why
        elif not lazy and candidate.weight.dim() >= 2:
            result.unselected[candidate.name] = why
        result.shapes[candidate.name] = () if lazy else tuple(candidate.weight.shape)
    if not result.chosen:
        raise ValueError(f"nothing to prune in {type(model).__name__}: {nothing(result)}")
    return result


def candidates(module: nn.Module, prefix: str) -> dict[str, Candidate]:
    """Returns {tensor: its parameter} of one module by the usual names ('weight', 'in_proj_weight').

    Hook-style norms store theirs as 'weight_orig' and 'weight_v', parametrizations in their own lists.
    """

    def path(name: str) -> str:
        return f"{prefix}.{name}" if prefix else name

    found = {}
    norms = {hook.name: hook for hook in module._forward_pre_hooks.values() if isinstance(hook, WeightNorm)}
    for own, parameter in module._parameters.items():
        stem, _, part = own.rpartition("_")
        norm = norms.get(stem)
        if parameter is None or (norm is not None and part == "g"):
            continue  # a weight norm's gains
        hooked = (norm is not None and part == "v") or (part == "orig" and stem not in module._parameters)
        owners = [(module, own)]
        found[stem if hooked else own] = Candidate(
            path(own), path(own), parameter, owners, hooked=hooked, alive=rows_of(norm)
        )
    for tensor, chain in chains(module).items():
        norm = next((part for part in chain if type(part).__name__ == "_WeightNorm"), None)
        inner = "original" if norm is None else "original1"
        parameter = getattr(chain, inner, None)
        if isinstance(parameter, nn.Parameter):
            key, owners = path(f"parametrizations.{tensor}.{inner}"), [(module, tensor)]
            found[tensor] = Candidate(path(tensor), key, parameter, owners, parametrized=True, alive=rows_of(norm))
    return found


def rows_of(weight_norm: Any) -> int | None:
    """Returns the dimension of a weight norm; None if it normalises the whole weight (its -1) or there is none."""
    return None if weight_norm is None or weight_norm.dim == -1 else int(weight_norm.dim)


def chains(module: nn.Module) -> dict[str, Any]:
    """Returns {tensor's name: its ParametrizationList} of one module; empty if nothing is parametrized."""
    return dict(module.parametrizations.items()) if parametrize.is_parametrized(module) else {}  # type: ignore[operator, union-attr]


def resolve(chosen: Chosen, module: nn.Module, own: Mapping[str, Candidate]) -> tuple[dict[str, int], list[str]]:
    """Resolves a result of `select` to ({tensor: output dimension}, names that are not parameters of the module)."""
    if chosen is None or chosen is False:
        return {}, []
    if isinstance(chosen, int):
        chosen = {"weight": 0 if chosen is True else chosen}
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    dims, missing = {}, []
    for name in names:
        matching = [t for t, c in own.items() if fnmatchcase(t, name) or fnmatchcase(c.owners[0][1], name)]
        missing += [name] if not matching and not set("*?[") & set(name) else []
        for tensor in matching:
            dims[tensor] = chosen[name] if isinstance(chosen, Mapping) else output_dim(module, own[tensor].weight)
    return dims, missing


def output_dim(module: nn.Module, weight: Tensor) -> int:
    """Returns the default: 1 for transposed convolutions and modulated weights [1, out, in, k, k], else 0."""
    transposed = isinstance(module, _ConvTransposeNd) and weight.dim() > 2
    return int(transposed or (weight.dim() == 5 and weight.shape[0] == 1))


def take_by_name(found: Sequence[Candidate], include: Names, exclude: Names) -> None:
    """Selects the matrices that a pattern of `include` matches (vectors by full name only), and drops `exclude`'s."""
    for option, patterns in (("include", include), ("exclude", exclude)):
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            matching = [c for c in found if fnmatchcase(c.name, pattern) or fnmatchcase(c.key, pattern)]
            if not matching:
                names = ", ".join([c.name for c in found[:4]] + ["..."] * (len(found) > 4))
                raise ValueError(f"{option}={pattern!r} matches no parameter of the model (there are {names})")
            for candidate in matching:
                if (
                    option == "include"
                    and candidate.weight.dim() < 2
                    and pattern not in (candidate.name, candidate.key)
                ):
                    continue
                candidate.excluded = option == "exclude"
                if option == "include":
                    candidate.selected = len(candidate.owners)
                    default = output_dim(candidate.owners[0][0], candidate.weight)
                    candidate.dim = patterns[pattern] if isinstance(patterns, Mapping) else default


def reason(candidate: Candidate, trained: Collection[int], behind_norm: bool) -> str | None:
    """Returns why a weight is not pruned; None if it is."""
    weight = candidate.weight
    if candidate.excluded:
        return "excluded"
    if isinstance(weight, nn.UninitializedParameter):
        return "a lazy layer: run the model once before making the Pruner"
    if candidate.selected == 0:
        embedding = isinstance(candidate.owners[0][0], nn.Embedding | nn.EmbeddingBag)
        return "an embedding" if embedding else "not selected"
    if not weight.requires_grad:
        return FROZEN
    if id(weight) not in trained:
        return "this optimizer does not train it"
    if candidate.hooked and behind_norm:
        return "no mask fits behind a hook-style spectral norm; use the parametrization"
    if behind_norm and candidate.key.endswith(".original1"):
        return "no mask fits behind a weight norm"
    if candidate.selected < len(candidate.owners):
        return "shared with a module that is not pruned"
    if candidate.parametrized and not all(leaves_zeros(chains(m)[t]) for m, t in candidate.owners):
        return "its parametrization makes other numbers of zeros"
    return None


@torch.no_grad()
def leaves_zeros(chain: parametrize.ParametrizationList) -> bool:
    """Returns whether zeros of the original stay zeros in the computed tensor; tried on a copy.

    >>> layer = nn.Linear(4, 4)
    >>> leaves_zeros(nn.utils.parametrizations.spectral_norm(layer).parametrizations.weight)
    True
    >>> leaves_zeros(nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)).parametrizations.weight)
    False
    """
    copied = copy.deepcopy(chain).eval()
    weight = getattr(copied, "original1", getattr(copied, "original", None))
    assert weight is not None
    off = torch.arange(weight.numel(), device=weight.device).view(weight.shape) % 3 == 1
    weight.masked_fill_(off, 0)
    found = copied()
    return found.shape == weight.shape and bool((found[off] == 0).all())


def check_dim(candidate: Candidate) -> None:
    shape, dim = tuple(candidate.weight.shape), candidate.dim
    if isinstance(dim, bool) or not isinstance(dim, int) or not 0 <= dim < len(shape):
        raise ValueError(
            f"{candidate.name} {shape} has no dimension {dim!r}: its outputs lie along one of 0 to {len(shape) - 1}"
        )


def nothing(result: Selection) -> str:
    """Returns why no weight can be pruned, and what to do."""
    if result.skipped and set(result.skipped.values()) == {FROZEN}:
        return "all its weights are frozen; call requires_grad_(True) on it first, and freeze it afterwards"
    if result.skipped:
        return some(result.skipped)
    if result.unselected:
        names = list(result.unselected)
        return f"no layer is selected; its own matrices are taken by name, include={names[:3]} or '*.weight'"
    return "it has no matrices"


def some(reasons: Mapping[str, str]) -> str:
    """Formats the first few reasons."""
    texts = [f"{name}: {why}" for name, why in list(reasons.items())[:3]]
    return "; ".join(texts) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")


def refuse_sharded(name: str, module: nn.Module) -> None:
    """Raises ValueError if a process holds only a shard of a weight: a mask needs all of it."""
    # These take a second to import, and there is none where nobody has.
    if is_a(module, "torch.distributed.fsdp", "FullyShardedDataParallel"):
        raise ValueError(f"{name or 'the model'} is wrapped by FSDP: {WHOLE}")
    for tensor, parameter in module._parameters.items():
        if is_a(parameter, "torch.distributed.tensor", "DTensor"):
            raise ValueError(f"{name}.{tensor} is sharded over processes (fully_shard): {WHOLE}")


def is_a(value: object, module: str, kind: str) -> bool:
    """Whether it is of a class of a module that may not be imported."""
    found = getattr(sys.modules.get(module), kind, None)
    return isinstance(found, type) and isinstance(value, found)
