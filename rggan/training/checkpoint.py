"""Training states on disk: written beside and renamed, the last two kept, a damaged one passed over."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

KEPT = 2


def save_checkpoint(folder: Path, kimg: float, state: dict[str, Any]) -> Path:
    """Write `state` to folder/state-<kimg>.pt, whole or not at all, and drop all but the newest two."""
    folder.mkdir(exist_ok=True)
    path = folder / f"state-{kimg:010.3f}.pt"
    beside = folder / ".state.part"
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob("state-*.pt"))


def load_newest(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest state that can be read, on the CPU; None if there is none. Says which ones are damaged."""
    for path in reversed(checkpoints(folder)):
        try:
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(f"bad checksum of {damaged}")
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            say(f"{path} is damaged ({reason}); using the one before.")
    return None
