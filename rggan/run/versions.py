"""Which versions a run is trained with."""

from __future__ import annotations

import importlib.metadata
import platform

import torch


def versions() -> dict[str, str]:
    """Of this package ("" where it is not installed), Python and PyTorch.

    >>> list(versions())
    ['rggan', 'Python', 'PyTorch']
    """
    try:
        own = importlib.metadata.version("rggan")
    except importlib.metadata.PackageNotFoundError:
        own = ""
    return {"rggan": own, "Python": platform.python_version(), "PyTorch": str(torch.__version__)}
