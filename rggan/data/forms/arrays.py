"""Pictures in one NumPy array: .npy (memory-mapped) or .npz, with labels beside them."""

from __future__ import annotations

import io
import math
import os
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rggan.data.form import Form
from rggan.data.forms.archive import METHODS, open_zip
from rggan.data.forms.labels import classified, left_alone
from rggan.data.mapped import MappedFile
from rggan.data.picture import MAX_BYTES, Listing, Picture, scaled
from rggan.errors import UserError

MAX_ARRAY = 8 * 2**30  # bytes of one array in an .npz, which is loaded whole
MOST_ARRAYS = 1000  # of an .npz
MAX_HEADER = 1 << 16  # bytes of what an .npy begins with
MAX_LABELS, MAX_LABEL_BYTES = 10_000_000, 1 << 26  # values of labels, which become Python's, and their bytes
MAX_PICTURES = 1_000_000  # of an array: listing each takes half a kB
MAX_RATIO, LARGE = 200, 4 * 2**20  # pictures above `LARGE` bytes never compress that well: zip bombs do
CHANNELS = (1, 3, 4)
IMAGES = ("images", "x", "data", "arr_0", "x_train", "train_images")  # the first match, case-insensitive
LABELS = ("labels", "label", "y", "targets", "y_train", "train_labels")


@dataclass(frozen=True)
class Header:
    """What an .npy header declares; size: bytes of header and data together."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int


def opens(data: str) -> bool:
    path = Path(data)
    return os.path.isfile(path) and path.suffix.lower() in (".npy", ".npz")


def pictures(data: str, pattern: str) -> Listing:
    """Lists the pictures of an .npy or .npz, named by their index (00000042).

    The array is [N, H, W], [N, H, W, C] or [N, C, H, W] with 1, 3 or 4 channels: uint8, uint16 (65535 is
    white), bool, or floats from 0 to 1. In an .npz it is the only one with 3 or 4 dimensions, or the one
    called images, x or data; an array called labels or y holds N whole numbers, names or one-hot vectors.

    Raises:
        UserError: a damaged file; an array of another shape or type.
    """
    path = Path(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns about files of Python 2, but reads them
            array, labels = load_npz(path) if path.suffix.lower() == ".npz" else (map_npy(path), None)
    except UserError:
        raise
    except Exception as error:  # NumPy and zipfile raise arbitrary exceptions
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(f"Cannot read {path}: {reason}; save it again with numpy.save.") from error
    if channels_first(array.shape):
        array = np.moveaxis(array, 1, 3)
    height, width, channels = (*array.shape[1:], 1)[:3]
    deep = array.dtype.kind == "f" or array.dtype.itemsize == 2
    shape = (height, width, channels)
    file = MappedFile(array, "its file was cut while it was read")
    found = [
        Picture(f"{i:08d}", partial(read_row, row), None, shape, row if deep else None)
        for i, row in enumerate(partial(row_of, array, i, file) for i in range(len(array)))
    ]
    if isinstance(labels, str):
        return left_alone(found, labels)
    return Listing(found) if labels is None else classified(found, labels, str(path))


def map_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as stream:
        header = read_header(stream)
    check_images(header, path)
    if header.size > path.stat().st_size:
        raise UserError(f"{path} is cut short: its header declares {header.size:,} bytes; save it again.")
    return npy.open_memmap(path, mode="r")


def load_npz(path: Path) -> tuple[NDArray[Any], list[object] | str | None]:
    """Returns (the images, a label for each, or why there are none, or None: it has no labels)."""
    with open_zip(path) as archive:
        headers = {}
        if len(archive.infolist()) > MOST_ARRAYS:
            raise UserError(f"{path} holds over {MOST_ARRAYS:,} arrays; save those of pictures and labels alone.")
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name != entry.filename and entry.compress_type in METHODS:
                with archive.open(entry) as stream:
                    headers[name] = read_header(stream)
        found = [name for name, header in headers.items() if len(header.shape) in (3, 4)]
        images = found[0] if len(found) == 1 else called(found, IMAGES)
        if images is None:
            there = ", ".join(headers) or "nothing"
            raise UserError(f"{path} must hold one array of pictures, called images; it holds {there}.")
        check_images(headers[images], path)
        labels = called(headers, LABELS)
        if labels is None:
            return load_member(archive, images, headers[images], path), None
        count, header = headers[images].shape[0], headers[labels]
        pixels = load_member(archive, images, headers[images], path)
        if len(header.shape) not in (1, 2) or header.shape[0] != count or header.dtype.kind not in "iufUb":
            shape = list(header.shape)
            return pixels, f"{labels} in {path} has the shape {shape} of {header.dtype} for {count} pictures"
        if math.prod(header.shape) > MAX_LABELS or math.prod(header.shape) * header.dtype.itemsize > MAX_LABEL_BYTES:
            return (
                pixels,
                f"{labels} in {path} has more values than this reads ({MAX_LABELS:,}): save numbers of classes",
            )
        numbers = load_member(archive, labels, header, path)
        return pixels, (numbers.astype(np.uint8) if numbers.dtype.kind == "b" else numbers).tolist()


def called(names: Sequence[str] | dict[str, Header], wanted: Sequence[str]) -> str | None:
    """
    >>> called(["x_test", "X", "Y"], IMAGES), called(["x_test"], LABELS)
    ('X', None)
    """
    return next((name for want in wanted for name in names if name.lower() == want), None)


def read_header(stream: IO[bytes]) -> Header:
    """Reads an .npy header of at most `MAX_HEADER` bytes; raises ValueError if it is invalid."""
    head = io.BytesIO(stream.read(MAX_HEADER))  # NumPy reads a longer one whole before it refuses it
    if npy.read_magic(head) == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(head)
    else:
        shape, _, dtype = npy.read_array_header_2_0(head)
    if any(length < 0 for length in shape):  # two of them have a positive product
        raise ValueError("its header declares a negative length")
    return Header(shape, dtype, head.tell() + math.prod(shape) * dtype.itemsize)


def check_images(header: Header, path: Path) -> None:
    shape, kind, itemsize = header.shape, header.dtype.kind, header.dtype.itemsize
    planes = len(shape) == 3 and shape[2] not in CHANNELS  # [H, W, 3] is one picture, not H of them
    colored = len(shape) == 4 and (shape[3] in CHANNELS or channels_first(shape))
    if not (planes or colored):
        raise UserError(
            f"{path} has the shape {list(shape)}; reshape it to [N, H, W], or [N, H, W, C] with 1, 3 or 4 channels."
        )
    if 0 in shape:
        raise UserError(f"{path} has the shape {list(shape)}: no pictures; save it with some.")
    if shape[0] > MAX_PICTURES:
        raise UserError(f"{path} has {shape[0]:,} pictures, more than this reads ({MAX_PICTURES:,}); split it.")
    if (size := math.prod(shape[1:]) * itemsize) > MAX_BYTES:
        raise UserError(
            f"{path} has pictures of {size:,} bytes, more than this reads ({MAX_BYTES:,}); scale them down."
        )
    if kind not in "ubf" or (kind == "u" and itemsize > 2):
        raise UserError(
            f"{path} holds {header.dtype} values; convert them to uint8 (0 to 255), or to floats from 0 to 1."
        )


def channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[1] in CHANNELS and shape[3] not in CHANNELS


def load_member(archive: zipfile.ZipFile, name: str, header: Header, path: Path) -> NDArray[Any]:
    entry = archive.getinfo(f"{name}.npy")
    if header.size != entry.file_size:  # NumPy would allocate what the header declares
        raise UserError(f"{name} in {path} is damaged: its header does not fit its size; save it again.")
    if header.size > LARGE and header.size > MAX_RATIO * entry.compress_size:
        raise UserError(f"{name} in {path} unpacks to over {MAX_RATIO} times its size; save it as .npy.")
    if header.size > MAX_ARRAY:
        raise UserError(f"{name} in {path} has over {MAX_ARRAY:,} bytes; save it as .npy, which is not loaded whole.")
    with archive.open(entry) as stream:
        return npy.read_array(stream, allow_pickle=False)


def row_of(array: NDArray[Any], index: int, file: MappedFile) -> NDArray[Any]:
    file.check()
    return np.asarray(array[index])


def read_row(values: Callable[[], NDArray[Any]]) -> bytes:
    """Returns one picture as uint8 bytes.

    >>> list(read_row(lambda: np.array([[0.0, 0.5, 1.0]])))
    [0, 128, 255]
    """
    row = values()
    if row.dtype.kind == "b":
        row = row * np.uint8(255)
    elif row.dtype.kind == "u" and row.dtype.itemsize == 2:
        row = scaled(row)
    elif row.dtype.kind == "f":
        if not (row.min() >= 0 and row.max() <= 1):  # also rejects NaN
            raise ValueError("its values do not lie within 0 to 1")
        row = np.rint(row.astype(np.float64) * 255)
    return row.astype(np.uint8).tobytes()


FORM = Form("array", opens, pictures)
