"""Whether values can be read back at once, or cost a wait for a GPU (and cannot be read in a recorded step at all)."""

from __future__ import annotations

from torch import Tensor


def reads_freely(values: Tensor) -> bool:
    """Whether a look at these values may save work: on a CPU. Elsewhere the work is done, whatever they are.

    >>> import torch
    >>> reads_freely(torch.ones(2))
    True
    """
    return values.device.type == "cpu"
