"""rggan export: a trained generator for where it is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from rggan.errors import UserError
from rggan.generation.generator import Generator
from rggan.registry import trust
from rggan.run.log import say


@dataclass(frozen=True)
class ExportConfig:
    """Write a trained generator in another form. What is written is checked first; nothing half-written stays."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder (its best snapshot), a snapshot folder, or a generator.safetensors."""
    onnx: Path | None = None
    """An ONNX file, which any program with an ONNX runtime draws pictures with; needs `pip install "rggan[onnx]"`."""
    overwrite: bool = False
    """Replace what is there."""
    trust: tuple[str, ...] = ()
    """package.module:FAMILY of a network of your own: its code runs. Without it no generator makes code run."""


def write_onnx(config: ExportConfig, generator: Generator) -> str:
    raise UserError("`onnx` is not there yet.")


# The options that say what is written, one at a time: each answers with a line for the console.
FORMS: dict[str, Callable[[ExportConfig, Generator], str]] = {"onnx": write_onnx}


def export(config: ExportConfig, console: Console) -> None:
    """Writes what is asked for, and says what it is.

    Raises:
        UserError: nothing is asked for, or several things; no generator; what the form itself refuses.
    """
    asked = [form for form in FORMS if getattr(config, form) is not None]
    if len(asked) != 1:
        raise UserError(f"Say what to write, one at a time: {', '.join(f'`{form}`' for form in FORMS)}.")
    trust(*config.trust)
    say(console, FORMS[asked[0]](config, Generator.from_pretrained(config.run)))
