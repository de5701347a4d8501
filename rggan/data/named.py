"""Data that this user named: what only the files of others name is not read unasked.

A run's folder may come from anybody, and its config.json names data: a folder of this machine, an address, a data set
on the Hub. Whether a run is one's own cannot be told by anything in its folder, as all of it may be made up; and who
moves, renames or copies a run of his own would have to explain it. So it is not the run that is trusted, but what it
names: data are read if they were trained on by name on this account before, or if they are trusted now (`trust_data`),
which is asked once. A stranger's run then opens nothing that its reader has not had opened before. What was named is
kept outside of runs, as an empty file with its hash in the cache folder ($RGGAN_CACHE, or ~/.cache/rggan).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from rggan.data.source import FORMS
from rggan.data.store import cache_folder
from rggan.errors import UserError

BUILT_IN = "digits"
KNOWN: set[str] = set()  # hashes of what was named in this process


def remember(data: str) -> None:
    """From now on these data are read where a run names them; where nothing can be kept, in this process only."""
    if named(data):
        return
    KNOWN.add(key := digest(data))
    with contextlib.suppress(OSError, RuntimeError, UserError):
        folder().mkdir(parents=True, exist_ok=True)
        (folder() / key).touch()


def named(data: str) -> bool:
    """Whether they were named, or nothing would be opened: built in, or a path to nothing. Opens nothing itself.

    >>> named("digits"), named("no such folder"), named("https://example.org/never-named-{0..9}.tar")
    (True, True, False)
    """
    if data == BUILT_IN or (is_path(data) and not os.path.lexists(data) and not FORMS.installed()):
        return True
    key = digest(data)
    with contextlib.suppress(OSError, RuntimeError, UserError):
        return key in KNOWN or (folder() / key).is_file()
    return False


def is_path(data: str) -> bool:
    """Whether it is no more than a path: no address, name on the Hub, command, form, or several paths in one."""
    return os.path.lexists(data) or not re.search(r"[:{]", data)


def digest(data: str) -> str:
    """Of a path where it leads to, of anything else as it is written."""
    place = os.path.realpath(data) if is_path(data) else data
    return hashlib.sha256(place.encode(errors="surrogatepass")).hexdigest()[:32]


def folder() -> Path:
    return cache_folder() / "named"


def check_named(run: object, data: str, how: str) -> None:
    """
    Args:
        run: what names the data. how: how they are read all the same, as the end of a sentence.

    Raises:
        UserError: the data were never named on this account.
    """
    if not named(data):
        raise UserError(
            f"{run} names its data as {data}, and nothing on this account tells that you trained on them (earlier "
            f"versions noted nothing): {how}."
        )
