"""The module inside its wrappers."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn


def unwrapped(model: nn.Module, *wrappers: type[nn.Module]) -> nn.Module:
    """Returns what `torch.compile` and `wrappers`, which keep it as their `module`, were given.

    >>> inner = nn.Linear(2, 2)
    >>> unwrapped(nn.DataParallel(inner), nn.DataParallel) is inner
    True
    """
    # torch.compile loads this module, which takes longer than the rest of torch: without it nothing is compiled.
    dynamo: Any = sys.modules.get("torch._dynamo.eval_frame")
    while True:
        if dynamo is not None and isinstance(model, dynamo.OptimizedModule):
            model = model._orig_mod
        elif isinstance(model, wrappers):
            model = model.module  # type: ignore[assignment]
        else:
            return model
