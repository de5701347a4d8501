"""The device that a name means, and in which precision networks compute there."""

from __future__ import annotations

import re

import torch

from rggan.errors import UserError


def check_device(name: str) -> torch.device:
    """'cpu', 'cuda' or 'cuda:1'; 'auto' takes a CUDA GPU if there is one.

    Raises:
        UserError: another name, or no such GPU here.

    >>> check_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f"`device` {name}: choose auto, cpu, cuda or cuda:N.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"`device` {name}: this machine or this build of PyTorch has no such CUDA GPU.")
    return device


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether networks compute in bf16: where the processor has matrix units for it (docs/performance.md).

    Raises:
        UserError: it is asked for on a GPU that does not have it.
    """
    supported = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and device.type == "cuda" and not supported:
        raise UserError("`precision` bf16: this GPU does not multiply in bf16; take fp32, or auto.")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(supported)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return amx is not None and bool(amx())
