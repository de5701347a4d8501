"""The device that a name means, what it can do, and in which precision networks compute there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from rggan.errors import UserError

NO_TRAINING = (
    "`device` mps generates and evaluates; training counts in float64, which MPS does not have, and its bf16 and CUDA "
    "graphs are not there either: take cpu, or auto."
)


def check_device(name: str, training: bool = False) -> torch.device:
    """'cpu', 'cuda', 'cuda:1' or 'mps'; 'auto' takes a CUDA GPU if there is one, else Apple's (MPS), else the CPU.

    training: the device has to carry training steps: MPS does not, and 'auto' passes it over.

    Raises:
        UserError: another name, no such device here, or MPS for training.

    >>> check_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        apple = not training and torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if apple else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,4})?|mps", name):
        raise UserError(f"`device` {name}: choose auto, cpu, cuda, cuda:N or mps.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"`device` {name}: this machine or this build of PyTorch has no such CUDA GPU.")
    if device.type == "mps" and training:
        raise UserError(NO_TRAINING)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("`device` mps: this machine or this build of PyTorch has no Apple GPU (MPS).")
    return device


@contextmanager
def what_mps_lacks() -> Iterator[None]:
    """Says in a sentence that MPS cannot do a step, where PyTorch raises that.

    Raises:
        UserError: it cannot.

    >>> with what_mps_lacks():
    ...     raise NotImplementedError("The operator 'aten::linalg_eigh' is not implemented for the MPS device.")
    Traceback (most recent call last):
    rggan.errors.UserError: `device` mps cannot do a step of this (The operator 'aten::linalg_eigh' is not \
implemented for the MPS device): take cpu.
    """
    try:
        yield
    except (NotImplementedError, TypeError) as error:  # an operator, or a type of number
        if "MPS" not in str(error):
            raise
        told = str(error).partition(". ")[0].rstrip(".")
        raise UserError(f"`device` mps cannot do a step of this ({told}): take cpu.") from error


def with_float64(device: torch.device) -> torch.device:
    """The device, or the CPU where it has no float64 (MPS).

    >>> with_float64(torch.device("cuda")).type, with_float64(torch.device("mps")).type
    ('cuda', 'cpu')
    """
    return torch.device("cpu") if device.type == "mps" else device


@contextmanager
def full_precision() -> Iterator[None]:
    """fp32 means that on GPUs too: PyTorch lets convolutions there round to TF32 otherwise."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


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


def random_kept(device: torch.device) -> AbstractContextManager[None]:
    """What is drawn in here, on the CPU or the device, does not advance the random numbers outside.

    >>> before = torch.get_rng_state()
    >>> with random_kept(torch.device("cpu")):
    ...     _ = torch.rand(3)
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
