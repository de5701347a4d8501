"""rggan export: a trained generator for where it is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from rggan.errors import UserError
from rggan.export.onnx import OPSET, write_onnx
from rggan.export.shrunk import write_shrunk
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
    opset: int = OPSET
    """With --onnx: the version of ONNX's operators, from 18 on."""
    shrink: Path | None = None
    """A folder for the generator without its silent rows: fewer parameters, the same pictures. It is a generator like
    any other: `rggan generate` and `rggan evaluate` take it."""
    overwrite: bool = False
    """Replace what is there."""
    trust: tuple[str, ...] = ()
    """package.module:FAMILY of a network of your own: its code runs. Without it no generator makes code run."""


def onnx_file(config: ExportConfig, generator: Generator) -> str:
    """Says what the file is, and how far its pictures are from PyTorch's."""
    path = config.onnx
    assert path is not None
    if path.suffix.lower() != ".onnx":
        raise UserError(f"`onnx` is a file whose name ends in .onnx, not {path}.")
    if path.is_dir() or (path.exists() and not config.overwrite):
        raise UserError(f"{path} is there already: give another name, or `overwrite` to replace it.")
    content, difference = write_onnx(generator, path, config.opset)
    size = len(content) / 1e6
    return (
        f"{path}: {size:.2f} MB, opset {config.opset}; onnxruntime's values in -1..1 differ from PyTorch's by "
        f"{difference:.1g} at most"
    )


def small_folder(config: ExportConfig, generator: Generator) -> str:
    assert config.shrink is not None
    return write_shrunk(generator, config.shrink, config.overwrite)


# The options that say what is written, one at a time: each answers with a line for the console.
FORMS: dict[str, Callable[[ExportConfig, Generator], str]] = {"onnx": onnx_file, "shrink": small_folder}


def export(config: ExportConfig, console: Console) -> None:
    """Writes what is asked for, and says what it is.

    Raises:
        UserError: nothing is asked for, or several things; no generator; what the form itself refuses.
    """
    asked = [form for form in FORMS if getattr(config, form) is not None]
    if len(asked) != 1:
        raise UserError(f"Say what to write, one at a time: {', '.join(f'`{form}`' for form in FORMS)}.")
    if config.opset != OPSET and config.onnx is None:
        raise UserError("`opset` belongs to `onnx`.")
    trust(*config.trust)
    say(console, FORMS[asked[0]](config, Generator.from_pretrained(config.run)))
