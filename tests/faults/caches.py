"""Caches that are not what was written into them: each fault by its description, applied to a whole cache."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from rggan.evaluation.features import HASH, hashes

Fault = Callable[[Path, Path], object]  # is given the pixels (KEY.u8) and what is told of them (KEY.json)


def rewritten(change: Callable[[dict[str, Any]], object]) -> Fault:
    """What is told is changed, and is JSON as before."""

    def fault(pixels: Path, about: Path) -> None:
        told = json.loads(about.read_text())
        change(told)
        about.write_text(json.dumps(told))

    return fault


def instead(make: Callable[[Path], object], of_pixels: bool) -> Fault:
    """Something else stands in the place of one of both files."""

    def fault(pixels: Path, about: Path) -> None:
        path = pixels if of_pixels else about
        path.unlink()
        make(path)

    return fault


def one_byte(pixels: Path, about: Path) -> None:
    content = bytearray(pixels.read_bytes())
    content[len(content) // 2] ^= 1
    pixels.write_bytes(content)


def zeros(path: Path) -> None:
    """As long as it was, and black."""
    path.write_bytes(bytes(path.stat().st_size))


def to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


# Made anew, with a line. 'sha256' is what `rggan.data.store` calls the hash: earlier versions told none.
DECODED: dict[str, Fault] = {
    "one byte of the pixels": one_byte,
    "pixels all zero": lambda pixels, about: zeros(pixels),
    "pixels cut": lambda pixels, about: os.truncate(pixels, pixels.stat().st_size - 1),
    "pixels longer": lambda pixels, about: os.truncate(pixels, pixels.stat().st_size + 1),
    "pixels cut, and told so": lambda pixels, about: (
        os.truncate(pixels, pixels.stat().st_size - 16 * 16 * 3),
        rewritten(lambda told: told.update(bytes=told["bytes"] - 16 * 16 * 3))(pixels, about),
    ),
    "told to be grey": rewritten(lambda told: told.update(grey=True)),
    "told to have a bad picture": rewritten(lambda told: told.update(bad={"3": "it is damaged"})),
    "told another peak": rewritten(lambda told: told.update(peak=4095.0)),
    "told more than it is": rewritten(lambda told: told.update(more=1)),
    "of an earlier version": rewritten(lambda told: told.pop("sha256", None)),
    "another hash": rewritten(lambda told: told.update(sha256="0" * 64)),
    "a hash that is a number": rewritten(lambda told: told.update(sha256=0)),
    "no JSON": lambda pixels, about: about.write_text("{"),
    "JSON of a list": lambda pixels, about: about.write_text("[1]"),
    "JSON of many brackets": lambda pixels, about: about.write_text("[" * 100_000),
    "what is told is a pipe": instead(os.mkfifo, of_pixels=False),
    "what is told is a device": instead(to_device, of_pixels=False),
    "the pixels are a pipe": instead(os.mkfifo, of_pixels=True),
    "the pixels are a device": instead(to_device, of_pixels=True),
}
# One sentence: what stands there is somebody's.
REFUSED: dict[str, Fault] = {
    "what is told is a folder": instead(os.mkdir, of_pixels=False),
    "the pixels are a folder": instead(os.mkdir, of_pixels=True),
    "the lock is a folder": lambda pixels, about: (
        pixels.unlink(),
        pixels.with_suffix(".lock").unlink(missing_ok=True),
        pixels.with_suffix(".lock").mkdir(),
    ),
}


def resaved(change: Callable[[dict[str, Any]], object], with_hash: bool = True) -> Callable[[Path], object]:
    """Features with a hash that fits them, as only somebody with time makes them."""

    def fault(path: Path) -> None:
        tensors = load_file(path)
        change(tensors)
        made = {HASH: hashes(save(tensors))[1]} if with_hash else None
        path.write_bytes(save(tensors, made))

    return fault


def headed(header: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(len(header).to_bytes(8, "little") + header)


def of(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({f"whole.{name}": change(tensors[f"whole.{name}"].clone()).contiguous()})


def header_of(length: int) -> Callable[[Path], object]:
    """As long a header as it says, of spaces where it goes so far."""
    return lambda path: path.write_bytes(length.to_bytes(8, "little") + b"{}" + b" " * min(length, 2**20))


def byte_of_features(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 64
    path.write_bytes(content)


def put(value: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x.view(-1).index_fill(0, torch.tensor([1]), value).view_as(x)


FEATURES: dict[str, Callable[[Path], object]] = {  # each is given KEY.safetensors
    "one byte": byte_of_features,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 8),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: os.truncate(path, path.stat().st_size + 8),
    "far too long": lambda path: os.truncate(path, 2**40),
    "no hash": resaved(lambda tensors: None, with_hash=False),
    "NaN": resaved(of("rows", put(math.nan))),
    "infinite": resaved(of("mean", put(math.inf))),
    "float32": resaved(of("covariance", lambda x: x.float())),
    "integers": resaved(of("rows", lambda x: x.long())),
    "no rows": resaved(of("rows", lambda x: x[:0])),
    "rows of another dimension": resaved(of("rows", lambda x: x[:, 1:])),
    "a mean of another dimension": resaved(of("mean", lambda x: x[1:])),
    "a mean of no dimension": resaved(of("mean", lambda x: x[0])),
    "nothing in it": resaved(lambda tensors: tensors.clear()),
    "a count of 0": resaved(of("count", lambda x: x * 0)),
    "a count below 0": resaved(of("count", lambda x: -x)),
    "a count of two numbers": resaved(of("count", lambda x: x.repeat(2))),
    "a header of 2^63 bytes": header_of(2**63),
    "a header of a million bytes": header_of(10**6),
    "a header that is a list": headed(b"[]"),
    "metadata that are a number": headed(b'{"__metadata__": 5}'),
    "a header of brackets": headed(b"[" * 60_000),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a device": lambda path: (path.unlink(), to_device(path)),
}


def spectrum(*values: float) -> NDArray[np.float64]:
    """A symmetric matrix with these eigenvalues."""
    turned, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(len(values), len(values))))
    made = turned @ np.diag(values) @ turned.T
    return (made + made.T) / 2


def statistics(sigma: NDArray[Any], mu: float = 0.0) -> dict[str, NDArray[Any]]:
    return {"mu": np.full(len(sigma), mu, dtype=sigma.dtype), "sigma": sigma}


# No covariance, or one of which no distance can be taken; each with what its sentence says.
STATISTICS: dict[str, tuple[dict[str, NDArray[Any]], str]] = {
    "minus the identity": (statistics(-np.eye(4)), "negative eigenvalues"),
    "one negative eigenvalue": (statistics(spectrum(1, 1, 1, -0.01)), "negative eigenvalues"),
    "a correlation of 2": (statistics(np.array([[1.0, 2.0], [2.0, 1.0]])), "negative eigenvalues"),
    "covariances without variances": (statistics(np.array([[0.0, 1.0], [1.0, 0.0]])), "negative eigenvalues"),
    "1e308 times the identity": (statistics(1e308 * np.eye(4)), "above 1e+60"),
    "a mean of 1e308": (statistics(np.eye(4), 1e308), "above 1e+60"),
    "an infinite variance": (statistics(np.diag([1, 1, np.inf])), "NaN or infinite"),
    "NaN": (statistics(np.full((3, 3), np.nan)), "NaN or infinite"),
    "lopsided": (statistics(np.triu(np.ones((3, 3)))), "not symmetric"),
    "as many features as nobody has": ({"mu": np.zeros(5000), "sigma": np.eye(3)}, "4,096 features"),
    "a book beside": (statistics(np.eye(3)) | {"rggan": np.array("x" * 300_000)}, "is larger"),
    "brackets beside": (statistics(np.eye(3)) | {"rggan": np.array("[" * 90_000)}, "levels"),
}


def rounded(kind: type[np.floating[Any]], images: int, features: int) -> dict[str, NDArray[Any]]:
    """Of fewer images than there are features, as others compute them in few digits."""
    random = np.random.default_rng(0)
    x = np.maximum(random.normal(size=(images, 8)) @ random.normal(size=(8, features)), 0).astype(np.float32)
    mean = x.mean(axis=0)
    sigma = (x.T @ x - images * np.outer(mean, mean)) / (images - 1)  # cancels, as it is done in haste
    return {"mu": mean, "sigma": ((sigma + sigma.T) / 2).astype(kind)}


COVARIANCES = {
    "float32": rounded(np.float32, 50, 300),
    "float16": rounded(np.float16, 50, 300),
    "float64 of rank 1": statistics(np.ones((300, 300))),
    "of one picture": statistics(np.zeros((4, 4))),
    "barely below 0": statistics(spectrum(1, 1, 1, -1e-5)),
    "large": statistics(1e59 * np.eye(4)),
    "small": statistics(1e-300 * np.eye(4)),
}
