"""Networks without their silent rows: fewer parameters and operations, the same results.

A row is silent where its weights are zero and nothing of what reads it changes with it. What is left behind by a
bias, a normalisation or noise is a constant: it is added to the bias of the layer that reads it, or, where that is not
the same everywhere (at the edges of a padded convolution), one channel carries the constants of all.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from rggan.errors import UserError, reason
from rggan.export.silence import Listening, Reading
from rggan.networks.layers import Equalised
from rggan.networks.resize import resize
from rggan.pruning.labels import FIXED
from rggan.pruning.tracing import tensors_of, without_norms

WITHIN = 1e-5  # of what comes out, in units of its largest value if that is above 1
TRIALS = 4  # batches that the result is compared on
ALIKE = 1e-6  # how far a channel may be from a multiple of another that carries it, in units of its largest value
Heard = tuple[Reading, list[int]]  # where a channel is read, and at which places


class NothingSilent(UserError):
    """All of it is needed."""


class InBias(NamedTuple):
    """What a constant channel adds to the bias of its reader, [out]."""

    bias: str
    vector: Tensor

    def apply(self, tensors: dict[str, Tensor]) -> None:
        tensors[self.bias].add_(self.vector)


class InColumn(NamedTuple):
    """A column that another takes in: the channel that it reads is so many times the other one."""

    weight: str
    dim: int
    column: int
    other: int
    factor: Tensor

    def apply(self, tensors: dict[str, Tensor]) -> None:
        weight = tensors[self.weight]
        weight.select(self.dim, self.other).add_(weight.select(self.dim, self.column) * self.factor)


Fold = InBias | InColumn


@dataclass
class Leaving:
    """Channels that leave, and what is added where they were read.

    members: {label: {(parameter, dimension): places}} of all channels. gone: labels that leave, each with its folds.
    """

    members: dict[int, dict[tuple[str, int], list[int]]]
    gone: dict[int, list[Fold]] = field(default_factory=dict)

    def row(self, label: int) -> str:
        """The channel as people find it: the first row of a matrix that it is."""
        places = self.members[label]
        name, dim = next(((n, d) for n, d in places if d == 0 and not n.endswith("bias")), next(iter(places)))
        return f"row {places[name, dim][0]} of {name}"


def shrink(module: nn.Module, *inputs: Any) -> nn.Module:
    """Returns a copy of a network without its silent rows and the columns that read them.

    The copy is a plain module of the same class, in evaluation mode; spectral and weight norms are folded into its
    weights. It computes the same: this is tried on random inputs, and within 1e-5 (in units of the largest value that
    comes out, if that is above 1), or nothing is returned.

    module: with zeros where it was pruned, as `Pruner.pruned_copy` gives it. inputs: such as it takes, for example a
    batch of latents: what comes out must depend on them alone.

    Raises:
        UserError: there is nothing silent to remove; the network does not run on these inputs, or not without a row,
            which is named.

    >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> _ = nn.init.zeros_(network[0].weight[:6])
    >>> shrink(network, torch.randn(16, 4))[0]
    Linear(in_features=4, out_features=2, bias=True)
    """
    whole = without_norms(module)
    name = type(module).__name__
    runs = [run(whole, given, name) for given in trials(inputs)]
    failed = UserError("")
    for rigid in (False, True):
        leaving = found(whole, inputs, rigid, name)
        if not leaving.gone:
            break
        small = without(whole, leaving, leaving.gone)
        tell_untold(small, inputs)
        if same(small, inputs, runs):
            return small
        culprit = first_wrong(whole, leaving, inputs, runs)
        failed = UserError(f"{name} cannot be shrunk: without {leaving.row(culprit)} it does not compute the same.")
    if str(failed):
        raise failed
    raise NothingSilent(f"{name} has nothing silent to remove: no whole row is zero that nothing else needs.")


def trials(inputs: Sequence[Any]) -> Iterable[list[Any]]:
    """Inputs like these, the same at every call: themselves first, then normal numbers and shuffled whole numbers."""
    random = torch.Generator().manual_seed(0)
    for trial in range(TRIALS):
        made = []
        for value in inputs:
            if trial and isinstance(value, Tensor) and value.is_floating_point():
                value = torch.randn(value.shape, generator=random).to(value)
            elif trial and isinstance(value, Tensor):
                order = torch.randperm(value.numel(), generator=random).to(value.device)
                value = value.flatten()[order].view(value.shape)
            made.append(value)
        yield made


@torch.no_grad()
def run(module: nn.Module, inputs: Sequence[Any], name: str) -> list[Tensor]:
    """What comes out, as tensors.

    Raises:
        UserError: it does not run, or gives no tensors.
    """
    try:
        out = module(*inputs)
    except Exception as error:
        raise UserError(f"{name} does not run on these inputs: {reason(error)}.") from error
    return outputs(out, name)


def outputs(out: Any, name: str) -> list[Tensor]:
    several = list(out) if isinstance(out, list | tuple) else [out]
    if not several or not all(isinstance(each, Tensor) for each in several):
        raise UserError(f"{name} cannot be traced: it gives a {type(out).__name__}, not one or several tensors.")
    return several


@torch.no_grad()
def found(whole: nn.Module, inputs: Sequence[Any], rigid: bool, name: str) -> Leaving:
    """The channels that can leave.

    Raises:
        UserError: the network cannot be traced.
    """
    listening = Listening(whole, rigid)
    hidden = [listening.hidden(value) for value in inputs]
    try:
        with listening:
            out = whole(*hidden)
    except Exception as error:
        raise UserError(f"{name} cannot be traced: {reason(error)}.") from error
    channels = listening.channels
    for tensor in outputs(out, name):
        channels.pin(*listening.of(tensor))
    members: dict[int, dict[tuple[str, int], list[int]]] = defaultdict(lambda: defaultdict(list))
    for parameter, dims in listening.parameters.items():
        for d, labels in enumerate(dims):
            for place, label in enumerate(labels or ()):
                members[channels.root(label)][parameter, d].append(place)
    members.pop(FIXED, None)
    read: dict[int, list[Heard]] = defaultdict(list)
    for reading in listening.readings:
        at = defaultdict(list)
        for place, label in enumerate(reading.labels):
            at[channels.root(label)].append(place)
        for label, own in at.items():
            read[label].append((reading, own))
    leaving = Leaving(dict(members))
    left = {(n, d): len(labels) for n, dims in listening.parameters.items() for d, labels in enumerate(dims) if labels}
    once = [reading.columns for reading in listening.readings]
    carriers: list[int] = []
    for label, places in members.items():
        if label not in read or any(left[key] <= len(own) for key, own in places.items()):
            continue  # never read, or the last of its layer
        heard = [(reading, own) for reading, own in read[label] if not all(reading.quiet[i] for i in own)]
        if any(reading.columns is None or once.count(reading.columns) > 1 for reading, _ in heard):
            continue  # what it adds is not known, or the weights are used twice
        folds = in_biases(heard)
        if folds is None:
            folds = next((f for other in carriers if (f := carried(heard, read[other])) is not None), None)
        if folds is None:
            if all(not reading.data[i].isnan().any() for reading, own in heard for i in own):
                carriers.append(label)  # it stays, and may carry others
            continue
        leaving.gone[label] = folds
        for key, own in places.items():
            left[key] -= len(own)
    return leaving


def in_biases(heard: Iterable[Heard]) -> list[Fold] | None:
    """What a channel of one constant adds to the biases of its readers; None: it adds more than a constant."""
    folds: list[Fold] = []
    for reading, own in heard:
        for place in own:
            value = reading.constant(place)
            if value is None or reading.bias is None or reading.weight is None:
                return None
            column = reading.weight[place]
            folds.append(InBias(reading.bias, column.reshape(len(column), -1).sum(dim=1) * value))
    return folds


def carried(heard: Iterable[Heard], other: Iterable[Heard]) -> list[Fold] | None:
    """How another channel stands for this one, too; None: it cannot."""
    at = {id(reading): own for reading, own in other}
    folds: list[Fold] = []
    for reading, own in heard:
        others = at.get(id(reading), [])
        if len(others) != len(own) or reading.columns is None:
            return None
        for place, there in zip(own, others, strict=True):
            mine, its = reading.data[place], reading.data[there]
            factor = (mine * its).sum() / its.square().sum()  # NaN where either is unknown, or the other is zero
            if not (mine - factor * its).abs().max() <= ALIKE * mine.abs().max():
                return None
            folds.append(InColumn(*reading.columns, place, there, factor))
    return folds


@torch.no_grad()
def without(whole: nn.Module, leaving: Leaving, gone: Iterable[int]) -> nn.Module:
    """A copy without these channels."""
    small = copy.deepcopy(whole)
    own = tensors_of(small)
    cut: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for label in gone:
        for fold in leaving.gone[label]:
            fold.apply(own)
        for (name, dim), places in leaving.members[label].items():
            cut[name][dim].update(places)
    made: dict[int, Tensor] = {}  # one tensor under several names stays one
    parts, inputs = {}, {}
    for name, dims in cut.items():
        old = own[name]
        if id(old) not in made:
            part = old
            for dim, out in dims.items():
                stays = torch.tensor([i for i in range(old.shape[dim]) if i not in out], device=old.device)
                part = part.index_select(dim, stays)
            made[id(old)] = part
        parts[name] = made[id(old)]
        if old.dim() > 1:
            inputs[name] = old[0].numel()
    resize(small, parts)
    for name, before in inputs.items():
        owner = small.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, Equalised) and name.endswith("weight"):
            owner.narrowed(before)
    return small


@torch.no_grad()
def tell_untold(small: nn.Module, inputs: Sequence[Any]) -> None:
    """Let layers without tensors of their own say how many channels they get: some normalisations, and Unflatten."""

    def told(layer: nn.Module, arguments: Any) -> None:
        shape = arguments[0].shape
        if isinstance(layer, _NormBase):
            layer.num_features = shape[1] if len(shape) > 2 else layer.num_features
        elif isinstance(layer, nn.Unflatten):
            size, rest = shape[layer.dim], math.prod(sizes := tuple(layer.unflattened_size)[1:])
            if rest > 0 and size % rest == 0 and rest * layer.unflattened_size[0] > size:
                layer.unflattened_size = (size // rest, *sizes)

    untold = [m for m in small.modules() if isinstance(m, _NormBase | nn.Unflatten) and not m.state_dict()]
    hooks = [layer.register_forward_pre_hook(told) for layer in untold]
    with contextlib.suppress(Exception):  # told where it is compared
        small(*inputs) if hooks else None
    for hook in hooks:
        hook.remove()


def same(small: nn.Module, inputs: Sequence[Any], runs: Sequence[Sequence[Tensor]]) -> bool:
    """Whether a network computes what the whole one did on the trials."""
    for given, whole in zip(trials(inputs), runs, strict=True):
        try:
            with torch.no_grad():
                out = small(*given)
        except Exception:
            return False  # it has its sizes written down somewhere
        made = list(out) if isinstance(out, list | tuple) else [out]
        for one, other in zip(made, whole, strict=True):
            most = max(1.0, float(other.abs().max())) if other.numel() else 1.0
            if one.shape != other.shape or not bool(((one - other).abs() <= WITHIN * most).all()):
                return False
    return True


def first_wrong(whole: nn.Module, leaving: Leaving, inputs: Sequence[Any], runs: Sequence[Sequence[Tensor]]) -> int:
    """The channel without which the network is another: the last of the fewest that are wrong together."""
    gone = list(leaving.gone)
    right, wrong = 0, len(gone)
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if same(without(whole, leaving, gone[:middle]), inputs, runs):
            right = middle
        else:
            wrong = middle
    return gone[wrong - 1]
