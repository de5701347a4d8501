"""Samples the generator's inputs, latents and classes: for training steps, for evaluations, or for given seeds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rggan import ranks
from rggan.errors import UserError

MIXES = ("data", "even")


def mixed(classes: int, counts: Sequence[int] | None, mix: str | None = None) -> tuple[list[int], str]:
    """Returns the class frequencies to sample from, and the name of the mix.

    Args:
        counts: images of each class in the training data; None: unknown.
        mix: 'data', with the frequencies of the training data; 'even', uniformly; None: 'data' if known, else 'even'.

    Raises:
        UserError: another mix, or 'data' if the frequencies are unknown.

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
    """Draws z, float32 [N, z_dim], and for class-conditional generators labels, int64 [N].

    Args:
        labels: of the training images, from which classes are drawn in training and for the validation score. counts:
            class frequencies for pictures of given seeds (`mixed`). None for a generator without classes.
    """

    def __init__(
        self, z_dim: int, device: torch.device, labels: Tensor | None = None, counts: Sequence[int] | None = None
    ) -> None:
        self.z_dim, self.device = z_dim, device
        self.labels = None if labels is None else labels.to(device)
        self.bounds = None if counts is None else torch.tensor(counts).cumsum(0)

    def draw(self, count: int) -> tuple[Tensor, ...]:
        """Returns the inputs of a training step, drawn from the global random state: this rank's share of `count`."""
        z = ranks.own(torch.randn(count, self.z_dim, device=self.device))
        if self.labels is None:
            return (z,)
        rows = torch.randint(len(self.labels), (count,), device=self.device)
        return z, self.labels[ranks.own(rows)]

    def fixed(self, count: int, seed: int, batch: int) -> list[tuple[Tensor, ...]]:
        """Returns the fixed inputs of an evaluation, in batches."""
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
        """Returns the inputs of given seeds, each drawn independently of the others and of the device.

        Args:
            label: the class of all of them; None: random.
            limit: latents beyond it are resampled (`truncated`); None: no truncation.
        """
        zs, drawn = [], []
        total = 1 if self.bounds is None else int(self.bounds[-1])
        for seed in seeds:
            random = torch.Generator().manual_seed(int(seed))  # of NumPy too
            z = torch.randn(self.z_dim, generator=random)
            drawn.append(torch.randint(total, (), generator=random))
            # Last, so that the class and the latents within the limit equal those without truncation.
            zs.append(z if limit is None else truncated(z, limit, random))
        z = torch.stack(zs).to(self.device)
        if self.bounds is None:
            return z, None
        if label is not None:
            return z, torch.full((len(zs),), label, device=self.device)
        return z, torch.searchsorted(self.bounds, torch.stack(drawn), right=True).to(self.device)


def truncated(z: Tensor, limit: float, random: torch.Generator) -> Tensor:
    """Resamples the values of z, float32 [D], beyond +-limit from the truncated normal distribution (limit > 0).

    Uses its quantile function, which is equivalent to rejection sampling in bounded time. One number is drawn for each
    element of z, so that each replacement is independent of the other elements.

    >>> z = torch.tensor([0.5, 3.0, -0.25, -2.0])
    >>> truncated(z, 1.0, torch.Generator().manual_seed(0))
    tensor([ 0.5000,  0.3635, -0.2500,  0.7969])
    """
    share = 2 * torch.rand(z.shape, generator=random, dtype=torch.float64) - 1
    inside = torch.tensor(limit / 2**0.5, dtype=torch.float64).erf()
    again = torch.erfinv(share * inside) * 2**0.5
    return torch.where(z.abs() > limit, again.to(z.dtype).clamp(-limit, limit), z)
