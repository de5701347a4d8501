"""Adversarial losses: functions of logits [N] -> a scalar."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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
