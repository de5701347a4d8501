"""Weights in less room: zeros as bits, values in half precision or in 8 bits. What is not rounded is restored exactly.

A tensor NAME of a network is stored as NAME, or as NAME:kept and NAME:values, a bit for each weight (1: not zero; see
`rggan.pruning.packing`) and the values of those that are not zero. Values of 8 bits have NAME:scale beside them, one
factor for each entry of the first dimension.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rggan.pruning.packing import from_bits, to_bits

Kind = Literal["fp32", "fp16", "int8"]
KEPT, VALUES, SCALE = ":kept", ":values", ":scale"
LEVELS = 127  # of 8 bits, on either side of zero
FLOATS = ("F32", "F16", "I8")  # what values are stored as, in the header's words


def pack(state: dict[str, Tensor], weights: Collection[str], kind: Kind = "fp32") -> dict[str, Tensor]:
    """Returns the tensors of a packed file.

    Args:
        weights: the names of those that may be rounded: weights of layers. All others stay as they are.
        kind: what values are rounded to.

    >>> state = {"weight": torch.tensor([[0.0] * 15 + [3.0]]), "bias": torch.ones(1)}
    >>> {name: value.tolist() for name, value in pack(state, ["weight"]).items()}
    {'weight:kept': [0, 128], 'weight:values': [3.0], 'bias': [1.0]}
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        value = value.detach().cpu().contiguous()
        if not value.is_floating_point():
            found[name] = value
            continue
        stored, scale = rounded(value, kind if name in weights else "fp32")
        kept = value != 0
        count, size = int(kept.sum()), stored.element_size()
        if -(-value.numel() // 8) + count * size < value.numel() * size:
            found[name + KEPT], found[name + VALUES] = to_bits(kept), stored[kept]
        else:
            found[name] = stored
        if scale is not None:
            found[name + SCALE] = scale
    return found


def rounded(value: Tensor, kind: Kind) -> tuple[Tensor, Tensor | None]:
    """Returns float32 [rows, ...] as it is stored, and the factor of each row, if there is one.

    >>> rounded(torch.tensor([[1.0, -0.5], [0.0, 0.0]]), "int8")
    (tensor([[127, -64],
            [  0,   0]], dtype=torch.int8), tensor([0.0079, 0.0000]))
    """
    if kind == "int8":
        scale = value.flatten(1).abs().amax(dim=1) / LEVELS
        along = scale.view(-1, *[1] * (value.dim() - 1))
        # 0 / 0 where a row is zero: NaN, which stands for 0.
        return (value / along).nan_to_num(0.0).round().clamp(-LEVELS, LEVELS).to(torch.int8), scale
    if kind == "fp16" and bool((half := value.half()).isfinite().all()):  # larger values stay as they are
        return half, None
    return value, None


def weights(network: nn.Module) -> set[str]:
    """The names of what may be rounded: parameters of more than one dimension."""
    return {name for name, value in network.named_parameters() if value.dim() > 1}


def names(keys: Iterable[str]) -> set[str]:
    """The tensors of the network that these stored ones are parts of.

    >>> sorted(names(["a:kept", "a:values", "b"]))
    ['a', 'b']
    """
    return {key.removesuffix(KEPT).removesuffix(VALUES).removesuffix(SCALE) for key in keys}


def check(file: Any, name: str, like: Tensor) -> None:
    """Raises ValueError if what an opened file stores as this is not a tensor `like` this one, by its header."""
    keys = {name, name + KEPT, name + VALUES, name + SCALE} & set(file.keys())
    sparse, scaled = name + KEPT in keys, name + SCALE in keys
    expected = {name + KEPT, name + VALUES} if sparse else {name}
    if keys - {name + SCALE} != expected:
        raise ValueError(f"{name} is stored in parts that do not belong together")
    values = file.get_slice(name + VALUES if sparse else name)
    kind, shape = values.get_dtype(), values.get_shape()
    possible = FLOATS if like.is_floating_point() else ("I64",)
    if kind not in possible or scaled != (kind == "I8") or (kind == "I64" and sparse):
        raise ValueError(f"{name} is stored as {kind}, which it cannot be")
    if sparse:
        bits = file.get_slice(name + KEPT)
        fits = (bits.get_dtype(), bits.get_shape()) == ("U8", [-(-like.numel() // 8)])
        fits = fits and len(shape) == 1 and shape[0] <= like.numel()
    else:
        fits = shape == list(like.shape)
    if scaled:
        scale = file.get_slice(name + SCALE)
        fits = fits and (scale.get_dtype(), scale.get_shape()) == ("F32", list(like.shape[:1]))
    if not fits:
        raise ValueError(f"{name} is not stored as a tensor of {list(like.shape)}")


def unpack(file: Any, name: str, like: Tensor) -> Tensor:
    """Returns a checked tensor of an opened file, of the type of `like`.

    Raises:
        ValueError: it has more or fewer values than bits.
    """
    keys = set(file.keys())
    if name + KEPT in keys:
        kept, values = from_bits(file.get_tensor(name + KEPT), like.shape), file.get_tensor(name + VALUES)
        if int(kept.sum()) != len(values):
            raise ValueError(f"{name} has {len(values)} values for {int(kept.sum())} places")
        found = torch.zeros(like.shape, dtype=like.dtype)
        found[kept] = values.to(like.dtype)
    else:
        found = file.get_tensor(name).to(like.dtype, copy=True)
    if name + SCALE in keys:
        found *= file.get_tensor(name + SCALE).view(-1, *[1] * (like.dim() - 1))
    return found
