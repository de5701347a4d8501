"""Training states on disk: written beside, flushed, hashed, renamed; the last few kept, a damaged one passed over."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from rggan.errors import UserError, first_line, one_line
from rggan.files import flush, flush_folder, open_part, part_of
from rggan.memory import is_used_up
from rggan.pruning.merge import split_state
from rggan.training.screen import MOST_BYTES, Directory, refuse_foreign, refuse_large, refuse_odd

FORMAT = 8
KEPT = 2
NAME = re.compile(r"state-([0-9]+\.[0-9]+)(?:-([0-9a-f]{16}))?\.pt")  # format 1 had no hash
LONGEST = 200  # letters of why a state is passed over


def save_checkpoint(folder: Path, kimg: float, state: dict[str, Any], keep: int = KEPT) -> Path:
    """Write `state` to folder/state-<kimg>-<start of its SHA-256>.pt, whole or not at all; keep the newest `keep`.

    Raises:
        OSError: the disk is full or read-only. Those that were there stay, and nothing half-written.
    """
    beside = part_of(folder / "state")
    folder.mkdir(exist_ok=True)
    opened = open_part(beside)
    try:
        with opened as file:
            try:
                torch.save({"format": FORMAT, **state}, file)
            except RuntimeError as error:  # torch's own words for a write that failed
                raise error.__context__ if isinstance(error.__context__, OSError) else OSError(5, str(error)) from error
            flush(file)
        path = folder / f"state-{kimg:010.3f}-{content_hash(beside)}.pt"
        os.replace(beside, path)
        flush_folder(folder)
    except BaseException:  # a second Ctrl-C too
        remove(beside)
        raise
    older = [other for other in checkpoints(folder) if kimg_of(other) < kimg_of(path)]
    kept = {path, *older[max(0, len(older) - (keep - 1)) :]}  # a later one belongs to a course that was given up
    for other in checkpoints(folder):
        if other not in kept:
            remove(other)
    return path


def kimg_of(path: Path) -> float:
    """
    >>> kimg_of(Path("state-1000000.500-0123456789abcdef.pt"))
    1000000.5
    """
    return float(path.name.split("-")[1].removesuffix(".pt"))


def content_hash(path: Path) -> str:
    """The first 16 hexadecimal digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def remove(path: Path) -> None:
    """Unlink what may be gone, or may lie on a disk that has become read-only."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    found = [path for path in folder.glob("state-*.pt") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (kimg_of(path), path.name))


def readable(folder: Path, say: Callable[[str], None], most: int = MOST_BYTES) -> Iterator[dict[str, Any]]:
    """The states that can be read, on the CPU, newest first. Says which ones are damaged.

    most: bytes that one may take.

    Raises:
        UserError: one of a newer format, which must not be passed over for an older one.
    """
    for path in reversed(checkpoints(folder)):
        try:
            state = migrate(load(path, most), path)
        except UserError:
            raise
        except Exception as error:  # whatever foreign bytes raise in zipfile and torch
            if is_used_up(error):
                raise
            say(f"{path} is damaged ({why(error)}); looking for the one before.")
        else:
            yield state


def why(error: Exception) -> str:
    """The first line of what reading a state raised.

    >>> why(ValueError("its content is not what was written.")), why(KeyError())
    ('its content is not what was written', 'KeyError')
    """
    if isinstance(error, pickle.UnpicklingError):  # torch's text tells people to load it all the same
        return "it holds more than numbers"
    return one_line(first_line(error))[:LONGEST]


def load(path: Path, most: int = MOST_BYTES) -> dict[str, Any]:
    """One state, verified by its hash, or by the zip's own checksums where its name holds none.

    Its tensors are mapped from the file: what is not copied takes no memory. most: bytes that it may take.

    Raises:
        Many kinds of exception for a file that is no whole state.
    """
    refuse_large(path, most)
    name = NAME.fullmatch(path.name)
    expected = name[2] if name else None
    if expected is not None and content_hash(path) != expected:
        raise ValueError("its content is not what was written")
    with Directory(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        refuse_foreign(archive, path.stat().st_size)
        if expected is None and (damaged := archive.testzip()) is not None:
            raise ValueError(f"bad checksum of {damaged}")
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(state, dict):
        raise ValueError("it holds no training state")
    refuse_odd(state)
    return state


def migrate(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """A state of any older format in the present one.

    Raises:
        UserError: a newer format.
    """
    version = state.get("format", 1)
    if type(version) is not int or version < 1:
        raise ValueError("its format is none")
    if version > FORMAT:
        raise UserError(f"{path} was written by a newer rggan (format {version}): upgrade to continue this run.")
    if version == 1:
        timed = [{k: v for k, v in row.items() if k != "sec_per_kimg"} for row in state["rows"]]
        state = {**state, "rows": [{"diversity": 1.0, **row} for row in timed], "rollbacks": 0}
    if version < 3 and "training" in state:  # rules had no steps, schedules counted no flips, nobody kept a ledger
        training = {"ledgers": None, "balance": None, "logit_sums": torch.zeros(3), **state["training"]}
        training["pruners"] = [
            {"fading": None, **pruner, "rule": {"steps": 0, **pruner["rule"]}} for pruner in training["pruners"]
        ]
        if training["schedule"] is not None:
            training["schedule"] = {"flips": 0, **training["schedule"]}
        state = {**state, "training": training}
    # Before 4, a rule did not say its target: `checked_pruner` takes that of the options.
    if version < 5 and "training" in state:
        state = {**state, "training": swapped(state["training"])}
    if version < 6 and "training" in state:
        state = {**state, "training": apart(state["training"])}
    if version < 8:  # states did not tell where they were made
        state = {**state, "origin": None}
    return {**state, "format": FORMAT}


def swapped(training: dict[str, Any]) -> dict[str, Any]:
    """Before 5 the networks' states held dense weights and masks; now they hold sparse ones, and pruners the rest."""
    training, pruners = dict(training), []
    states = list(training["pruners"])
    for name in ("g", "d"):
        training[name], layers = split_state(training[name])
        if layers:
            pruner = states.pop(0)
            rule = dict(pruner["rule"])
            if isinstance(ramp := rule.get("target"), list):
                rule["target"] = [*ramp, 0] if "density" in rule else {"*": [*ramp, 0]}
            pruners.append({**pruner, "rule": rule, "layers": layers})
    return {**training, "pruners": pruners}


def apart(training: dict[str, Any]) -> dict[str, Any]:
    """Before 6 there was one schedule for both networks, or none."""
    schedule = training["schedule"]
    rest = {name: part for name, part in training.items() if name != "schedule"}
    return {**rest, "schedules": [] if schedule is None else [schedule]}
