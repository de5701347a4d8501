"""Checks that a loaded state has the structure of the current one, before any of it is used.

A file may match its hash and still belong to another run, and fused optimizer steps do not check shapes: they would
read and write out of bounds. All functions raise ValueError and name the place that does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def fitted(expected: Any, found: Any, place: str = "state") -> Any:
    """Returns `found` if it has the types, keys, lengths, shapes and dtypes of `expected`; tensors are copied.

    The copies have the strides of `expected`: a run may be continued in another precision with another memory format,
    and fused steps iterate over weights and moments in memory order. A malicious tensor may have overlapping memory.

    >>> fitted({"x": torch.zeros(2), "n": 1}, {"x": torch.ones(2), "n": 5})
    {'x': tensor([1., 1.]), 'n': 5}
    """
    if isinstance(expected, Tensor):
        if not isinstance(found, Tensor) or found.layout != torch.strided:
            raise ValueError(f"{place} is no tensor")
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise ValueError(f"{place} is {told(found)}, not {told(expected)}")
        return torch.empty_like(expected, device=found.device).copy_(found.detach())
    if type(found) is not type(expected) and not (isinstance(expected, dict) and isinstance(found, dict)):
        raise ValueError(f"{place} is a {type(found).__name__}, not a {type(expected).__name__}")
    if isinstance(expected, dict):
        if found.keys() != expected.keys():
            raise ValueError(f"{place} has other parts than it should")
        return {key: fitted(expected[key], found[key], f"{place}.{key}") for key in expected}
    if isinstance(expected, list | tuple):
        if len(found) != len(expected):
            raise ValueError(f"{place} has {len(found)} entries, not {len(expected)}")
        return [fitted(mine, its, f"{place}[{i}]") for i, (mine, its) in enumerate(zip(expected, found, strict=True))]
    return found


def fitted_adam(parameters: Sequence[Tensor], groups: Any, found: Any, place: str) -> dict[str, Any]:
    """Returns the state of an Adam over these parameters: of all of them, or of none before its first step.

    Hyperparameters are not read from the file: `groups` are the current ones.
    """
    if not isinstance(found, dict) or not isinstance(found.get("state"), dict):
        raise ValueError(f"{place} is no optimizer state")
    step = torch.zeros(())
    expected = {i: {"step": step, "exp_avg": p, "exp_avg_sq": p} for i, p in enumerate(parameters)}
    state = fitted(expected, found["state"], place) if found["state"] else {}
    return {"state": state, "param_groups": groups}


def told(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def fitted_numbers(found: Any, longest: int, place: str, shortest: int = 0) -> list[float]:
    """Returns `found` if it is a list of `shortest` to `longest` numbers.

    >>> fitted_numbers([0.5, 0.25], 5, "scores")
    [0.5, 0.25]
    """
    if not isinstance(found, list) or not all(type(value) in (int, float) for value in found):
        raise ValueError(f"{place} is no list of numbers")
    if not shortest <= len(found) <= longest:
        raise ValueError(f"{place} has {len(found)} numbers, not {shortest} to {longest}")
    return found
