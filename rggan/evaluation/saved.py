"""Mean and covariance of features in a file, as the field keeps them: an .npz of `mu` and `sigma`."""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rggan.bounded import parse_json
from rggan.data.forms.archive import open_zip
from rggan.data.forms.arrays import load_member, read_header
from rggan.errors import UserError, first_line, make_folder
from rggan.files import write_whole
from rggan.metrics import Statistics

KEY = "rggan"  # of the array that holds what we know of them, as JSON
MOST_FEATURES, MOST_KNOWN = 4096, 1 << 20  # rows of sigma; bytes of what is known
LARGEST = 1e60  # in mu and sigma: products of larger ones may have no number
NEGATIVE = 1e-3  # of the largest variance: rounding to 16 bits makes eigenvalues so far below 0


@dataclass(frozen=True)
class SavedStatistics:
    """Statistics of features, and what is known of them ({} in files of others).

    known: extractor, extractor_hash, resize, view, size, channels, images, source, content_hash, split.
    """

    path: Path
    statistics: Statistics
    known: dict[str, Any]


def is_statistics(path: Path) -> bool:
    """Whether it is an .npz with `mu` and `sigma` in it."""
    if path.suffix.lower() != ".npz" or not os.path.isfile(path):
        return False
    try:
        with open_zip(path) as archive:
            return {"mu.npy", "sigma.npy"} <= set(archive.namelist())
    except UserError:
        return False


def read_statistics(path: Path) -> SavedStatistics:
    """Raises UserError for what is damaged, has other shapes, is not finite, or is no mean and covariance."""
    try:
        with warnings.catch_warnings(), open_zip(path) as archive:
            warnings.simplefilter("ignore")
            mu, sigma = (read_member(archive, name, path) for name in ("mu", "sigma"))
            known = {}
            if f"{KEY}.npy" in archive.namelist():
                known = parse_json(str(read_member(archive, KEY, path)))
                check_known(known)
        mean, covariance = (torch.from_numpy(part.astype(np.float64)) for part in (mu, sigma))
    except UserError:
        raise
    except Exception as error:  # NumPy and zipfile raise whatever they stumble over
        raise UserError(f"Cannot read the statistics in {path}: {first_line(error)}.") from error
    if mean.dim() != 1 or covariance.shape != (len(mean), len(mean)) or not len(mean):
        raise UserError(f"{path} must hold mu [D] and sigma [D, D], not {list(mean.shape)} and {list(sigma.shape)}.")
    if not (mean.isfinite().all() and covariance.isfinite().all()):
        raise UserError(f"The statistics in {path} are NaN or infinite.")
    if max(mean.abs().max(), covariance.abs().max()) > LARGEST:
        raise UserError(f"The statistics in {path} are above {LARGEST:g}: no distance can be taken; make them anew.")
    if not torch.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-6 * covariance.abs().max().item()):
        raise UserError(f"The sigma in {path} is no covariance: it is not symmetric.")
    covariance = (covariance + covariance.T) / 2
    if not is_semi_definite(covariance):
        raise UserError(f"The sigma in {path} is no covariance, for it has negative eigenvalues; make it anew.")
    return SavedStatistics(path, Statistics(mean, covariance), known)


def is_semi_definite(matrix: Tensor) -> bool:
    """Whether no eigenvalue of a symmetric matrix [D, D] lies further below 0 than `NEGATIVE` of the largest variance.

    >>> is_semi_definite(torch.eye(2)), is_semi_definite(torch.zeros(2, 2)), is_semi_definite(-torch.eye(2))
    (True, True, False)
    """
    largest = matrix.diagonal().max()
    if largest <= 0:
        return not matrix.any()
    shifted = matrix / largest + NEGATIVE * torch.eye(len(matrix), dtype=matrix.dtype)
    return not torch.linalg.cholesky_ex(shifted).info  # fails where one lies below 0, in a tenth of the time they take


def check_known(known: Any) -> None:
    """Raises ValueError for what `write_statistics` never wrote."""
    if not isinstance(known, dict):
        raise ValueError(f"its {KEY} is no JSON object")
    for name, value in known.items():
        numbers = name in ("channels", "images")
        if not (type(value) is int and value > 0 if numbers else isinstance(value, str)):
            raise ValueError(f"its {KEY} has the {name} {str(value)[:50]}")


def read_member(archive: zipfile.ZipFile, name: str, path: Path) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as stream:
        header = read_header(stream)
    if header.dtype.kind not in ("U" if name == KEY else "f"):
        raise ValueError(f"{name} holds {header.dtype}")
    if max(header.shape, default=0) > MOST_FEATURES or (name == KEY and header.size > MOST_KNOWN):
        raise ValueError(f"{name} is larger than this reads ({MOST_FEATURES:,} features)")
    return load_member(archive, name, header, path)


def write_statistics(path: Path, statistics: Statistics, known: dict[str, Any]) -> None:
    """Write an .npz of mu, sigma (float64) and what is known of them; other programs read the first two.

    Raises:
        UserError: it cannot be written, or holds more features than are read.
    """
    if len(statistics.mean) > MOST_FEATURES:
        raise UserError(f"Statistics of {len(statistics.mean):,} features are more than are read ({MOST_FEATURES:,}).")
    stream = io.BytesIO()
    mean, covariance = statistics.mean.cpu().numpy(), statistics.covariance.cpu().numpy()
    np.savez(stream, mu=mean, sigma=covariance, **{KEY: np.array(json.dumps(known))})  # type: ignore[arg-type]
    make_folder(path.parent)
    try:
        write_whole(path, stream.getvalue())
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error
