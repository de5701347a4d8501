"""The generator's arguments, latents and classes: for each step, for all evaluations, or for a picture of a seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rggan.errors import UserError

MIXES = ("data", "even")


def mixed(classes: int, counts: Sequence[int] | None, mix: str | None = None) -> tuple[list[int], str]:
    """How often each class is drawn, and the mix that this makes.

    Args:
        counts: images of each class in the training data; None: not known.
        mix: 'data', each class as often as there; 'even', all equally often; None: as in the data where that is known.

    Raises:
        UserError: another mix, or that of the data where it is not known.

    >>> mixed(2, [3, 1]), mixed(2, None)
    (([3, 1], 'data'), ([1, 1], 'even'))
    """
    if mix not in (*MIXES, None):
        raise UserError(f"`class_mix` is one of {', '.join(MIXES)}, not {mix}.")
    if mix == "data" and counts is None:
        raise UserError("This generator does not tell how often its classes are in the data: take `class_mix` even.")
    if mix == "even" or counts is None:
        return [1] * classes, "even"
    return list(counts), "data"


class Sampler:
    """Draws z, float32 [N, z_dim], and for a generator with classes labels, int64 [N], beside it.

    Args:
        labels: the training images', from which a class is drawn for training and steering. counts: how often each
            class is drawn for pictures of seeds (`mixed`). None for a generator without classes.
    """

    def __init__(
        self, z_dim: int, device: torch.device, labels: Tensor | None = None, counts: Sequence[int] | None = None
    ) -> None:
        self.z_dim, self.device = z_dim, device
        self.labels = None if labels is None else labels.to(device)
        self.bounds = None if counts is None else torch.tensor(counts).cumsum(0)

    def draw(self, count: int) -> tuple[Tensor, ...]:
        """The arguments of a training step, from the global random stream."""
        z = torch.randn(count, self.z_dim, device=self.device)
        if self.labels is None:
            return (z,)
        rows = torch.randint(len(self.labels), (count,), device=self.device)
        return z, self.labels[rows]

    def fixed(self, count: int, seed: int, batch: int) -> list[tuple[Tensor, ...]]:
        """The arguments of each batch of an evaluation, always the same."""
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.z_dim, generator=random).to(self.device)
        if self.labels is None:
            return [(part,) for part in z.split(batch)]
        rows = torch.randint(len(self.labels), (count,), generator=random)
        labels = self.labels[rows.to(self.device)]
        return list(zip(z.split(batch), labels.split(batch), strict=True))

    def of_seeds(
        self, seeds: Sequence[int], label: int | None = None, limit: float | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Those of each seed by itself, whatever the device: the same seed always gives the same.

        Args:
            label: the class of all of them; None: drawn.
            limit: latents beyond it are drawn again (`truncated`); None: they stay.
        """
        zs, drawn = [], []
        total = 1 if self.bounds is None else int(self.bounds[-1])
        for seed in seeds:
            random = torch.Generator().manual_seed(seed)
            z = torch.randn(self.z_dim, generator=random)
            drawn.append(torch.randint(total, (), generator=random))
            # Last, so that the class and all that lies within the limit are those of the untruncated picture.
            zs.append(z if limit is None else truncated(z, limit, random))
        z = torch.stack(zs).to(self.device)
        if self.bounds is None:
            return z, None
        if label is not None:
            return z, torch.full((len(zs),), label, device=self.device)
        return z, torch.searchsorted(self.bounds, torch.stack(drawn), right=True).to(self.device)


def truncated(z: Tensor, limit: float, random: torch.Generator) -> Tensor:
    """Normals float32 [D] with those beyond +-limit drawn again from the normal distribution within (limit > 0).

    By its quantile function, which gives what drawing until it fits would, in bounded time at any limit. As many
    numbers are drawn as z has, so that what replaces one of them does not hang on the others.

    >>> z = torch.tensor([0.5, 3.0, -0.25, -2.0])
    >>> truncated(z, 1.0, torch.Generator().manual_seed(0))
    tensor([ 0.5000,  0.3635, -0.2500,  0.7969])
    """
    share = 2 * torch.rand(z.shape, generator=random, dtype=torch.float64) - 1
    inside = torch.tensor(limit / 2**0.5, dtype=torch.float64).erf()
    again = torch.erfinv(share * inside) * 2**0.5
    return torch.where(z.abs() > limit, again.to(z.dtype).clamp(-limit, limit), z)
