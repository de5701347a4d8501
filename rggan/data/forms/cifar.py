"""CIFAR-10 and CIFAR-100 as published: binary or Python version; folder, .tar.gz or one batch of it."""

from __future__ import annotations

import os
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rggan.bounded import read_regular
from rggan.data.form import Form
from rggan.data.picture import Picture
from rggan.data.tar import PIECE, members, unpacked
from rggan.errors import UserError

PIXELS = 3 * 32 * 32
TAR = (".tar", ".tar.gz", ".tgz")
MAX_BYTES = 256 * 2**20  # of an unpacked .tar: the largest CIFAR has 186 million
MAX_FILE = 156_000_000  # bytes of one of its files: the largest has 155,249,918
MAX_MEMBERS = 1000  # of a .tar: CIFAR has 9
MAX_OPCODES = 2_000_000  # of a pickle: CIFAR-100 has about 300,000
TEXTS = ("SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "SHORT_BINUNICODE", "BINUNICODE")
INTEGERS = ("BININT1", "BININT2", "BININT", "LONG1")


@dataclass(frozen=True)
class Variant:
    """One published version.

    train, test, meta: its files. classes: how many. before: label bytes before the pixels of a binary record,
    of which the last is used. labels, names: their keys in the Python version.
    """

    train: tuple[str, ...]
    test: str
    meta: str
    classes: int
    before: int
    labels: str = ""
    names: str = ""


BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
VARIANTS = (
    Variant(tuple(f"{batch}.bin" for batch in BATCHES), "test_batch.bin", "batches.meta.txt", 10, 1),
    Variant(BATCHES, "test_batch", "batches.meta", 10, 0, "labels", "label_names"),
    Variant(("train.bin",), "test.bin", "fine_label_names.txt", 100, 2),
    Variant(("train",), "test", "meta", 100, 0, "fine_labels", "fine_label_names"),
)
NAMES = {name for variant in VARIANTS for name in (*variant.train, variant.test, variant.meta)}


def opens(data: str) -> bool:
    """Whether this is a folder with a CIFAR training batch; or a .tar, .tar.gz or single batch, by name."""
    path = Path(data)
    if os.path.isdir(path):
        return any(os.path.isfile(path / name) for variant in VARIANTS for name in variant.train)
    return os.path.isfile(path) and named_so(path.name)


def named_so(name: str) -> bool:
    """
    >>> named_so("cifar-10-python.tar.gz"), named_so("test_batch"), named_so("test_batch.png")
    (True, True, False)
    """
    return name.lower().endswith(TAR) or any(name in (*v.train, v.test) for v in VARIANTS)


def pictures(data: str, pattern: str) -> list[Picture]:
    """Lists the training part of a folder or archive, or one batch: named data_batch_1/0000, with the class as label.

    Nothing is extracted, and the Python version is not unpickled. CIFAR-100 has its 100 fine classes. Without the file
    of class names, classes are numbers.

    Raises:
        UserError: a missing, damaged or unknown file.
    """
    path = Path(data)
    packed = path.is_file() and path.name.lower().endswith(TAR)
    single = path.is_file() and not packed
    files = list_tar(path) if packed else list_files(path.parent if single else path)
    wanted = [v for v in VARIANTS if (path.name in (*v.train, v.test) if single else files.keys() & set(v.train))]
    if not wanted:
        raise UserError(f"{path} holds no CIFAR-10 or CIFAR-100; unpack it and give its folder of pictures.")
    variant = wanted[0]

    found = []
    name = variant.meta
    try:
        names = read_names(files[name](), variant) if name in files else [str(i) for i in range(variant.classes)]
        for name in (path.name,) if single else variant.train:
            pixels, labels = read_batch(files[name](), variant)
            batch, digits = name.removesuffix(".bin"), max(4, len(str(len(labels) - 1)))
            found += [
                Picture(f"{batch}/{i:0{digits}d}", partial(read_pixels, row), names[label], (32, 32, 3))
                for i, (row, label) in enumerate(zip(pixels, labels, strict=True))
            ]
    except KeyError as error:
        raise UserError(f"{name} is missing in {path}; download CIFAR again, or give one batch of it.") from error
    except Exception as error:  # pickletools and tarfile raise arbitrary exceptions
        raise UserError(f"{name} of {path} is damaged: {error}; download CIFAR again.") from error
    return found


def list_files(folder: Path) -> dict[str, Callable[[], bytes]]:
    return {name: partial(read_regular, folder / name, MAX_FILE) for name in NAMES if (folder / name).is_file()}


def list_tar(path: Path) -> dict[str, Callable[[], bytes]]:
    """Returns the files of CIFAR in a .tar or .tar.gz, by name without folders; they are read into memory."""
    found = dict[str, Callable[[], bytes]]()
    try:
        with path.open("rb") as stream:
            tar = unpacked(stream)
            for number, member in enumerate(members(tar, MAX_FILE, MAX_BYTES)):
                if number == MAX_MEMBERS:
                    raise ValueError(f"it has over {MAX_MEMBERS:,} files, which no CIFAR has")
                name = PurePosixPath(member.name).name
                if member.regular and name in NAMES:
                    found[name] = partial(bytes, member.read())
            for _ in range(MAX_BYTES // PIECE):  # a gzip has its checksum at its end
                if not tar.read(PIECE):
                    break
    except Exception as error:  # zlib.error, EOFError, tarfile.ReadError, ...
        raise UserError(f"Cannot read {path}: {error}; download it again, or unpack it and give its folder.") from error
    return found


def read_batch(content: bytes, variant: Variant) -> tuple[NDArray[np.uint8], list[int]]:
    """(planes of red, green and blue [N, 3072], labels 0..classes-1)."""
    if variant.before:
        record = variant.before + PIXELS
        if not content or len(content) % record:
            raise ValueError(f"its {len(content):,} bytes are no multiple of {record:,}")
        rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
        pixels, labels = rows[:, variant.before :], rows[:, variant.before - 1].tolist()
    else:
        pixels, labels = pick_batch(content, variant.labels)
    if max(labels) >= variant.classes or min(labels) < 0:
        raise ValueError(f"it has labels outside 0 to {variant.classes - 1}")
    return pixels, labels


def read_names(content: bytes, variant: Variant) -> list[str]:
    lines = content.decode().splitlines() if variant.before else pick_names(content, variant.names)
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != variant.classes:
        raise ValueError(f"it names {len(names)} classes, not {variant.classes}")
    return names


def pick_batch(content: bytes, key: str) -> tuple[NDArray[np.uint8], list[int]]:
    """Extracts the values of `data` and `key` from the pickled dict of a batch.

    NumPy pickles an array as (..., Fortran order flag, bytes).
    """
    data, under, flag, by_column, labels = "", "", False, False, list[int]()
    for name, argument in opcodes(content):
        if name in TEXTS:
            if argument in ("data", key):
                under = argument
            elif under != "data":
                under = ""  # the next key: end of the list of labels
            elif len(argument) >= PIXELS:
                data, by_column, under = argument, flag, ""
        elif name in ("NEWTRUE", "NEWFALSE"):
            flag = name == "NEWTRUE"
        elif name in INTEGERS and under == key:
            labels.append(argument)
    if not labels or len(data) != len(labels) * PIXELS:
        raise ValueError(f"it holds {len(data):,} bytes of pixels for {len(labels)} labels")
    pixels = np.frombuffer(data.encode("latin-1"), dtype=np.uint8)
    return (pixels.reshape(PIXELS, -1).T if by_column else pixels.reshape(-1, PIXELS)), labels


def pick_names(content: bytes, key: str) -> list[str]:
    """Extracts the list of strings under `key` from a pickled dict."""
    names, inside = list[str](), False
    for name, argument in opcodes(content):
        if name in TEXTS:
            if inside and argument != "latin1":  # the encoding argument of Python 2 bytes
                names.append(argument)
            inside = inside or argument == key
        elif name == "APPENDS":
            inside = False
    return names


def opcodes(content: bytes) -> Iterator[tuple[str, Any]]:
    """Yields (name, argument) of each opcode of a pickle without executing it; byte strings as latin-1."""
    for number, (code, argument, _) in enumerate(pickletools.genops(content)):
        if number == MAX_OPCODES:
            raise ValueError(f"its pickle has over {MAX_OPCODES:,} parts, which no CIFAR has")
        yield code.name, argument.decode("latin-1") if isinstance(argument, bytes) else argument


def read_pixels(planes: NDArray[np.uint8]) -> bytes:
    return planes.reshape(3, 32, 32).transpose(1, 2, 0).tobytes()


FORM = Form("CIFAR", opens, pictures)
