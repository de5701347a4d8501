"""Serialisation of a layer's mask, thresholds and masked weights: masks as bits, dense values only where masked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PARTS = {"kept", "rest", "threshold", "hidden"}


def to_bits(flags: Tensor) -> Tensor:
    """Packs booleans of any shape into uint8, eight per byte, the first in the lowest bit.

    >>> to_bits(torch.tensor([True, False, True]))
    tensor([5], dtype=torch.uint8)
    """
    flat = torch.nn.functional.pad(flags.flatten().to(torch.uint8), (0, -flags.numel() % 8)).view(-1, 8)
    weights = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device=flags.device)
    return (flat * weights).sum(dim=1, dtype=torch.uint8)


def from_bits(bits: Tensor, shape: torch.Size) -> Tensor:
    """Inverse of `to_bits`.

    >>> from_bits(torch.tensor([5], dtype=torch.uint8), torch.Size([3]))
    tensor([ True, False,  True])
    """
    weights = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device=bits.device)
    return (bits[:, None] & weights).bool().flatten()[: shape.numel()].view(shape)


@torch.no_grad()
def pack(mask: Tensor, threshold: Tensor, dense: Tensor | None) -> dict[str, Any]:
    """Returns the serialised state of a layer.

    kept: where the mask is 1, in bits. rest: the mask elsewhere, a single number if all are equal (0, or the share of
    a fade). hidden: the dense weights there; None if masked weights are lost or nothing is masked.

    >>> pack(torch.tensor([[1.0, 0.0]]), torch.zeros(1), torch.tensor([[3.0, 4.0]]))["hidden"]
    tensor([4.])
    """
    kept = mask == 1
    rest = mask[~kept]
    if not len(rest) or bool((rest == rest[0]).all()):
        rest = rest[0] if len(rest) else mask.new_zeros(())
    hidden = None if dense is None else dense[~kept]
    return {"kept": to_bits(kept), "rest": rest.clone(), "threshold": threshold.clone(), "hidden": hidden}


def read(state: Any, mask: Tensor, threshold: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """(mask, threshold, hidden weights) of a packed layer, if they fit a layer with these.

    Raises:
        ValueError: something is missing, or of another form.
    """
    if not isinstance(state, dict) or state.keys() != PARTS:
        raise ValueError(f"the state of {name} has other parts than a pruned weight's")
    for part in PARTS - {"hidden"} if state["hidden"] is None else PARTS:
        if type(state[part]) is not Tensor or state[part].layout != torch.strided:
            raise ValueError(f"{part} of {name} is no tensor")
    kept, rest, hidden = state["kept"], state["rest"], state["hidden"]
    if kept.dtype != torch.uint8 or kept.shape != (-(-mask.numel() // 8),):
        raise ValueError(f"the mask of {name} is of another size")
    found = from_bits(kept, mask.shape)
    others = mask.numel() - int(found.sum())
    if rest.dtype != mask.dtype or (rest.dim() and rest.shape != (others,)):
        raise ValueError(f"the mask of {name} has other values than its places")
    if not bool(((rest >= 0) & (rest <= 1)).all()):
        raise ValueError(f"the mask of {name} leaves 0 to 1")
    if state["threshold"].shape != threshold.shape or state["threshold"].dtype != threshold.dtype:
        raise ValueError(f"the thresholds of {name} are of another form")
    if hidden is not None and (hidden.dtype != mask.dtype or hidden.shape != (others,)):
        raise ValueError(f"the hidden weights of {name} are of another form")
    whole = torch.ones(mask.shape, dtype=mask.dtype, device=kept.device)
    whole[~found] = rest.to(kept.device)
    return whole, state["threshold"], hidden
