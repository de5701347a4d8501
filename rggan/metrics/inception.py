"""The file of the published Inception network: where it lies, whether it is the one, and how it comes there."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rggan.data.store import cache_folder
from rggan.errors import UserError, make_folder
from rggan.files import write_whole
from rggan.run import naming

FILE = "inception-2015-12-05.pt"
URL = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{FILE}"
PLACE = "RGGAN_FEATURES"  # environment variable: the file, or the folder that it lies in
SECONDS = 60  # without an answer


def inception_place() -> Path:
    """Where it is looked for: $RGGAN_FEATURES, or else among what is cached."""
    own = os.environ.get(PLACE)
    if not own:
        return cache_folder() / FILE
    return Path(own) / FILE if Path(own).is_dir() else Path(own)


def inception_file() -> Path:
    """
    Raises:
        UserError: it is not there, or is another file.
    """
    path = inception_place()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"`features` inception looks for {FILE}, the network of published FIDs, and finds no {path}: name the file "
            f"with ${PLACE}, or let `download` fetch it from {URL}."
        ) from error
    refuse_others(content, str(path))
    return path


def fetch_inception(say: Callable[[str], None]) -> None:
    """Download it to its place, where nothing lies there yet. `say` is told from where to where before.

    Raises:
        UserError: no answer, another file, or it cannot be written; nothing stays then.
    """
    path = inception_place()
    if path.exists():
        return
    say(f"download   {URL} (96 MB) to {path}")
    try:
        with urllib.request.urlopen(URL, timeout=SECONDS) as answer:
            content: bytes = answer.read()
    except (OSError, ValueError) as error:  # URLError is an OSError
        raise UserError(f"{URL} cannot be fetched: {getattr(error, 'reason', None) or error}.") from error
    refuse_others(content, URL)
    make_folder(path.parent)
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error


def refuse_others(content: bytes, where: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != naming.INCEPTION:
        raise UserError(
            f"{where} is not the published Inception network (SHA-256 {digest[:8]}.., not {naming.INCEPTION[:8]}..)."
        )
