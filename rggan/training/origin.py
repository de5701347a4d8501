"""What a training state tells of where it was made: the run, its options, and what decides the last bits of numbers."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import torch

from rggan import ranks
from rggan.config import TrainConfig
from rggan.errors import UserError
from rggan.gan import Gan
from rggan.options import CHANGEABLE, HERE
from rggan.run.folder import Run

ID = re.compile(r"[0-9a-f]{32}")
MOST = 1 << 16  # letters of an origin in JSON
MADE = {"precision": str, "threads": int, "torch": str, "device": str, "ranks": int}  # and their kinds


def new_id() -> str:
    """What tells a run from all others.

    >>> ID.fullmatch(new_id()) is not None
    True
    """
    return uuid.uuid4().hex


def id_of(run: Run) -> str | None:
    """That of a run, from the header of data.jsonl; None: it has none, like those of earlier versions."""
    found = run.data_head().get("run")
    return found if isinstance(found, str) and ID.fullmatch(found) else None


def made(gan: Gan) -> dict[str, Any]:
    """What decides the last bits of all numbers, beside the options."""
    return {
        "precision": "bf16" if gan.bf16 else "fp32",
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),  # of a class of its own
        "device": gan.device.type,
        "ranks": ranks.count(),
    }


def origin_of(config: TrainConfig, gan: Gan, run_id: str | None) -> dict[str, Any]:
    """What a state tells: the run, the options but for those of where and how it works, what decides the last bits."""
    options = {name: value for name, value in config.to_json().items() if name not in HERE}
    return {"run": run_id, "options": options, "made": made(gan)}


def compared(found: Any, config: TrainConfig, gan: Gan, run: Run, run_id: str | None) -> list[str]:
    """Lines about what is not as it was when a state was made.

    Raises:
        UserError: it is of another run, or options differ that a run cannot change. ValueError: it is no origin.
    """
    if found is None:  # of before format 8
        return []
    refuse_malformed(found)
    instead = f"`init` {run} begins another run from these weights"
    if None not in (run_id, found["run"]) and run_id != found["run"]:
        raise UserError(
            f"The newest state in {run.checkpoints} is of another run: put this run's own back, or {instead}."
        )
    differences = config.differences(found["options"])
    fixed = [text for name, text in differences.items() if name not in CHANGEABLE]
    if fixed:
        raise UserError(
            f"The newest state of {run} was trained with another {', '.join(fixed)}, which a run cannot change: put it "
            f"back in config.json, or {instead}."
        )
    lines = [f"changed    {', '.join(differences.values())}"] if differences else []
    here = made(gan)
    if gan.device.type != "cpu" and found["made"]["device"] != "cpu":
        here["threads"] = found["made"]["threads"]
    told = [f"{name} {there} there, {here[name]} here" for name, there in found["made"].items() if there != here[name]]
    if told:
        lines.append(f"note       {'; '.join(told)}: the numbers will not be the same bit for bit")
    return lines


def refuse_malformed(found: Any) -> None:
    """Raises ValueError, KeyError or TypeError for what `origin_of` never tells."""
    if not isinstance(found, dict) or len(json.dumps(found)) > MOST:  # no tensors in there
        raise ValueError("it does not tell where it was made")
    options, how = found["options"], found["made"]
    if not isinstance(options, dict) or not isinstance(how, dict):
        raise ValueError("it does not tell its options, or how it was made")
    if {name: type(value) for name, value in how.items()} != MADE:
        raise ValueError("it does not tell how it was made")
    if found["run"] is not None and not ID.fullmatch(found["run"]):
        raise ValueError("it does not tell its run")
