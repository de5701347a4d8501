"""Adversarial losses and what regularises them: functions of logits, [N] or [N, M] for patches -> a scalar."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rggan import ranks


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's hinge loss (Lim and Ye 2017): mean(relu(1 - real)) + mean(relu(1 + fake)).

    >>> import torch
    >>> hinge_d(torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 0.5]))
    tensor(1.2500)
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_g(fake: Tensor) -> Tensor:
    """The generator's side: -mean(fake).

    >>> import torch
    >>> hinge_g(torch.tensor([2.0, 0.0]))
    tensor(-1.)
    """
    return -fake.mean()


def nonsaturating_d(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's logistic loss (Goodfellow et al. 2014): mean softplus(-real) + mean softplus(fake).

    >>> import torch
    >>> nonsaturating_d(torch.zeros(2), torch.zeros(2))
    tensor(1.3863)
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def nonsaturating_g(fake: Tensor) -> Tensor:
    """The generator's side, non-saturating: mean softplus(-fake).

    >>> import torch
    >>> nonsaturating_g(torch.zeros(2))
    tensor(0.6931)
    """
    return F.softplus(-fake).mean()


def r1_penalty(logits: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared norm of D's gradient at real pictures (Mescheder et al. 2018, eq. 9), without the factor gamma / 2.

    logits [N], or [N, M] for patches, of which each picture's mean is taken; pictures [N, C, H, W] require a gradient.

    >>> import torch
    >>> x = torch.zeros(2, 1, 2, 2, requires_grad=True)
    >>> r1_penalty(3 * x.sum(dim=(1, 2, 3)), x).item()
    36.0
    """
    (gradient,) = torch.autograd.grad(logits.reshape(len(logits), -1).mean(dim=1).sum(), pictures, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def lecam(real: Tensor, fake: Tensor, average_real: Tensor, average_fake: Tensor) -> Tensor:
    """How far D's outputs lie from its average on the other kind (Tseng et al. 2021, eq. 4).

    mean relu(real - average_fake)^2 + mean relu(average_real - fake)^2, as in the authors' code: only distances
    in the direction that D pushes to count. The averages are moving means of D's outputs, scalars.

    >>> import torch
    >>> lecam(torch.tensor([2.0, -5.0]), torch.tensor([1.0]), torch.tensor(0.0), torch.tensor(1.0))
    tensor(0.5000)
    """
    return F.relu(real - average_fake).square().mean() + F.relu(average_real - fake).square().mean()


def path_length(images: Tensor, styles: Tensor, average: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """How unevenly a small change of styles changes pictures (Karras et al. 2020, section 3.2): (penalty, average).

    images [N, C, H, W], made from styles [N, L, w_dim]; average: the moving mean of the lengths, a scalar. noise: the
    direction in pictures, drawn if not given.

    >>> import torch
    >>> w = torch.ones(4, 1, 3, requires_grad=True)
    >>> images = w.sum(dim=2)[:, :, None, None].expand(4, 1, 2, 2)
    >>> penalty, average = path_length(images, w, torch.tensor(0.0), torch.ones(4, 1, 2, 2))
    >>> round(average.item(), 4)  # 1 % of the length sqrt(3) * 4 / 2
    0.0346
    """
    if noise is None:
        noise = ranks.drawn_like(images, torch.randn_like)
    scaled = noise / (images.shape[2] * images.shape[3]) ** 0.5
    (gradient,) = torch.autograd.grad((images * scaled).sum(), styles, create_graph=True)
    lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    average = average.lerp(ranks.mean(lengths.mean().detach()), 0.01)
    return (lengths - average).square().mean(), average
