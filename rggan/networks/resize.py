"""Layers of other sizes: a network whose parameters have the shapes that are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


@torch.no_grad()
def resize(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replace parameters and buffers, by name, and let the layers say their new sizes. One that has several names is
    replaced under each that is given.

    >>> layer = nn.Linear(4, 3)
    >>> resize(layer, {"weight": layer.weight[:2], "bias": layer.bias[:2]})
    >>> layer
    Linear(in_features=4, out_features=2, bias=True)
    """
    owners = set()
    made: dict[int, nn.Parameter] = {}
    for name, tensor in tensors.items():
        path, _, own = name.rpartition(".")
        owner = model.get_submodule(path)
        owners.add(owner)
        if own in owner._buffers:
            owner._buffers[own] = tensor
            continue
        old = owner._parameters[own]
        assert old is not None
        if id(tensor) not in made:
            made[id(tensor)] = nn.Parameter(tensor.detach(), old.requires_grad)
        owner._parameters[own] = made[id(tensor)]
    for owner in owners:
        tell_sizes(owner)


def tell_sizes(layer: nn.Module) -> None:
    """Write the sizes of a layer's tensors to where its type has them."""
    weight = getattr(layer, "weight", None)
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, _ConvNd):
        rows, columns = layer.weight.shape[:2]
        if layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels:  # each channel for itself
            layer.groups = rows
        if isinstance(layer, _ConvTransposeNd):
            layer.in_channels, layer.out_channels = rows, columns * layer.groups
        else:
            layer.out_channels, layer.in_channels = rows, columns * layer.groups
    elif isinstance(layer, _NormBase):
        vector = weight if isinstance(weight, Tensor) else layer.running_mean
        layer.num_features = layer.num_features if vector is None else len(vector)
    elif isinstance(layer, nn.Embedding):
        layer.num_embeddings, layer.embedding_dim = layer.weight.shape
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = layer.weight.numel()


def narrowed(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> nn.Module:
    """A network whose tensors have these shapes, none larger than it was: the first rows and columns of each.

    Raises:
        ValueError: a name that it has not, or a shape that is none of such a part.
    """
    own = model.state_dict()
    parts = {}
    for name, shape in shapes.items():
        if name not in own:
            raise ValueError(f"it has no {name}, whose shape is told")
        old = own[name].shape
        if len(shape) != len(old) or any(not 1 <= n <= most for n, most in zip(shape, old, strict=True)):
            raise ValueError(f"{name} of {list(old)} does not become {list(shape)} by rows that leave")
        parts[name] = own[name][tuple(slice(n) for n in shape)].clone()
    resize(model, parts)
    return model
