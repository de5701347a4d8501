"""What a training state may hold: looked at before torch loads it, and before anything of it is used.

Whoever made a file may have made its hash as well. torch runs no code of it (`weights_only`), but would make sparse,
nested, quantised or meta tensors of any size, and tensors that repeat a single number for ever.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rggan.bounded import regular_size

KINDS = ("Bool", "Byte", "Char", "Short", "Int", "Long", "Half", "BFloat16", "Float", "Double")
NAMED = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", *(f"torch {kind}Storage" for kind in KINDS)}
MOST_BYTES = 4 << 30  # of a state, beside what its networks take
BYTES_PER_VALUE = 64  # of the networks: weights, moments, average, masked weights, masks, counts
MOST_PICKLED = 64 << 20  # bytes of what is no tensor
MOST_INSTRUCTIONS = 4_000_000  # of the pickle; evaluations are one text in it, from format 8 on
MOST_CALLS = 100_000  # of them: each makes a tensor
ENTRY = b"PK\1\2"  # what each entry of a zip's directory begins with
MOST_LEVELS = 32  # of lists and dicts within each other
MOST_BITS = 64  # of a whole number


def most_bytes(*networks: torch.nn.Module) -> int:
    """Bytes that a training state of these networks may take.

    >>> most_bytes(torch.nn.Linear(1, 1)) - MOST_BYTES
    128
    """
    return MOST_BYTES + BYTES_PER_VALUE * sum(v.numel() for network in networks for v in network.state_dict().values())


def refuse_large(path: Path, most: int) -> None:
    """Raises OSError for what is no regular file, which is not opened; ValueError for one of more than `most` bytes."""
    if (size := regular_size(path)) > most:
        raise ValueError(f"its {size:,} bytes are more than a state of these networks takes ({most:,})")


class Directory(io.BufferedReader):
    """The file of a zip; raises ValueError where its directory, which `zipfile` reads whole, has too many entries."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > 2 * MOST_PICKLED:
            raise ValueError("its directory is too long")
        content = super().read(size)
        if content.startswith(ENTRY) and content.count(ENTRY) > MOST_CALLS:
            raise ValueError("it holds too many files")
        return content


def refuse_foreign(archive: zipfile.ZipFile, size: int) -> None:
    """Raises ValueError for what torch has not saved like this, or what is too much work to load.

    size: bytes of the file.
    """
    entries = archive.infolist()
    # torch stores tensors uncompressed: what unpacks to more than the file holds is not torch's.
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("it would unpack to more than it holds")
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise ValueError("it holds two files of one name")
    pickled = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(pickled) != 1:
        raise ValueError("it holds no training state")
    if pickled[0].file_size > MOST_PICKLED:
        raise ValueError("it holds too much beside its tensors")
    calls = 0
    for count, (code, argument, _) in enumerate(pickletools.genops(archive.read(pickled[0]))):
        if code.name == "GLOBAL" and argument not in NAMED:
            raise ValueError(f"it holds more than numbers ({argument})")
        calls += code.name == "REDUCE"
        if count > MOST_INSTRUCTIONS or calls > MOST_CALLS:
            raise ValueError("it holds too much beside its tensors")


def refuse_odd(state: Any) -> None:
    """Raises ValueError for numbers, tensors or objects that no state has.

    >>> refuse_odd({"images": 3, "random": torch.zeros(2)})
    >>> refuse_odd({"images": 10**400})
    Traceback (most recent call last):
    ValueError: it holds a whole number of 1329 bits
    >>> refuse_odd([torch.zeros(1).expand(10**12)])
    Traceback (most recent call last):
    ValueError: it holds a tensor of 4,000,000,000,000 bytes in 4
    """
    left, count = [(state, 0)], 0
    while left:
        value, level = left.pop()
        count += 1
        if count > MOST_INSTRUCTIONS or level > MOST_LEVELS:  # the same list may be in there many times
            raise ValueError("it holds too many values within each other")
        if isinstance(value, Tensor):
            size, stored = value.numel() * value.element_size(), value.untyped_storage().nbytes()
            if size > stored:
                raise ValueError(f"it holds a tensor of {size:,} bytes in {stored:,}")
        elif isinstance(value, dict):
            left += [(each, level + 1) for pair in value.items() for each in pair]
        elif isinstance(value, list | tuple):
            left += [(each, level + 1) for each in value]
        elif type(value) is int:
            if value.bit_length() > MOST_BITS:
                raise ValueError(f"it holds a whole number of {value.bit_length()} bits")
        elif value is not None and type(value) not in (str, float, bool):
            raise ValueError(f"it holds a {type(value).__name__}")
