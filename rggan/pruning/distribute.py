"""How a network's density is distributed over its layers: globally, evenly, or by Erdos-Renyi-kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from rggan.pruning.layer import Layer

Distribution = Literal["global", "even", "erk"]


def checked(distribution: str) -> Distribution:
    """Raises ValueError for an unknown distribution."""
    if distribution not in get_args(Distribution):
        raise ValueError(f"distribution is one of {', '.join(get_args(Distribution))}, not {distribution!r}")
    return distribution  # type: ignore[return-value]


def pools(layers: Sequence[Layer], density: float, distribution: Distribution) -> list[tuple[list[Layer], float]]:
    """Groups of layers whose weights are ranked together, each with its density.

    'global': all layers in one group. 'even': one group per layer, with the same density. 'erk': one group per layer,
    with the densities of `erdos_renyi_kernel`.
    """
    if distribution == "global":
        return [(list(layers), density)]
    if distribution == "even":
        return [([layer], density) for layer in layers]
    return [([layer], share) for layer, share in zip(layers, erdos_renyi_kernel(layers, density), strict=True)]


def erdos_renyi_kernel(layers: Sequence[Layer], density: float) -> list[float]:
    """The density of each layer, in proportion to the sum of its weight's dimensions over their product.

    Evci et al. 2020 ("Rigging the Lottery", section 3): narrow layers keep more. Densities are capped at 1, and the
    excess is redistributed to the other layers, so that together they keep the share `density`.

    >>> from torch import nn
    >>> layers = [Layer("a", "a", nn.Linear(100, 100).weight), Layer("b", "b", nn.Linear(100, 10).weight)]
    >>> [round(share, 3) for share in erdos_renyi_kernel(layers, 0.1)]
    [0.071, 0.39]
    """
    sizes = [layer.weight.numel() for layer in layers]
    raw = [sum(layer.weight.shape) / math.prod(layer.weight.shape) for layer in layers]
    dense: set[int] = set()
    while True:
        left = density * sum(sizes) - sum(sizes[i] for i in dense)
        scale = left / max(1e-12, sum(raw[i] * sizes[i] for i in range(len(sizes)) if i not in dense))
        over = {i for i in range(len(sizes)) if i not in dense and scale * raw[i] > 1}
        if not over:
            break
        dense |= over
    return [1.0 if i in dense else scale * raw[i] for i in range(len(sizes))]
