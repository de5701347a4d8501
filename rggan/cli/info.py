"""rggan info: what a file of a generator holds, and what of it others would see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from rggan.files import json_text
from rggan.registry import trust
from rggan.report.info import info
from rggan.run.log import say


@dataclass(frozen=True)
class InfoConfig:
    """Show what a generator, a run or an exported file holds: network, size, training, and what others would see of it.

    Reads no pictures and asks no network.
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A run folder, a snapshot folder, a generator.safetensors, an .onnx, or the folder of an exported page."""
    trust: tuple[str, ...] = ()
    """package.module:FAMILY of a network of your own: its code runs. Without it no generator makes code run."""
    json: bool = False
    """Print one JSON object instead."""


def show_info(config: InfoConfig, console: Console) -> None:
    """Raises UserError where there is nothing of the kind, or it is damaged."""
    trust(*config.trust)
    found = info(config.path)
    if config.json:
        print(json_text(found.to_json()))
    else:
        say(console, *found.lines())
