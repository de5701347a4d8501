"""rggan export: a trained generator for where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from rggan.errors import UserError
from rggan.export.onnx import OPSET, write_onnx
from rggan.export.shrunk import shrunk
from rggan.export.sparse import write_sparse
from rggan.export.web import NAMES, write_web
from rggan.generation.discreet import shown
from rggan.generation.generator import Generator
from rggan.generation.hub import check_upload
from rggan.generation.packed import Kind
from rggan.registry import trust
from rggan.run.log import say
from rggan.run.places import CONFIG, WEIGHTS


@dataclass(frozen=True)
class ExportConfig:
    """Write a trained generator in another form. What is written is checked first; nothing half-written stays."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder (its best snapshot), a snapshot folder, a generator.safetensors, or USER/NAME on the Hugging Face
    Hub (`pip install "rggan[hub]"`)."""
    onnx: Path | None = None
    """An ONNX file, which any program with an ONNX runtime draws pictures with; needs `pip install "rggan[onnx]"`."""
    opset: int = OPSET
    """With --onnx: the version of ONNX's operators, from 18 on."""
    shrink: Path | None = None
    """A folder for the generator without its silent rows: fewer parameters, the same pictures. It is a generator like
    any other: `rggan generate` and `rggan evaluate` take it."""
    sparse: Path | None = None
    """A generator's folder like any other in less room: weights that are zero cost a bit. `rggan generate` and `rggan
    evaluate` take it."""
    weights: Kind = "fp32"
    """With --sparse: round weights to fp16, or to int8 with a factor a channel; says how far pictures change."""
    hub: str | None = None
    """USER/NAME on the Hugging Face Hub: weights, samples and a model card made from the run go there, and no training
    picture; needs `pip install "rggan[hub]"` and a token (`hf auth login`)."""
    private: bool = False
    """With --hub: seen by its owner alone."""
    license: str | None = None
    """With --hub: the licence, by the Hub's identifier, as apache-2.0 or cc-by-4.0; without it the card says that none
    is given."""
    web: Path | None = None
    """A folder that is a page (index.html) which draws in any browser, offline, from a server or a disk: pictures,
    grids, walks, a latent explorer. Needs `pip install "rggan[onnx]"`, and npm, which fetches onnxruntime-web once."""
    title: str | None = None
    """With --web: the heading of the page; the name of the training data unless given."""
    runtime: Path | None = None
    """With --web: onnxruntime-web, as npm packs it (.tgz) or unpacked; npm is not needed then."""
    overwrite: bool = False
    """Replace what is there; with --hub files of the same names, which stay in the history."""
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
    """Says how many parameters left."""
    folder = config.shrink
    assert folder is not None
    check_folder(folder, generator.origin, config, (WEIGHTS, CONFIG))
    small = shrunk(generator)
    small.save(folder)
    return f"{small.parameters:,} of {generator.parameters:,} parameters are left, the pictures are the same: {folder}"


def sparse_folder(config: ExportConfig, generator: Generator) -> str:
    """Says how small it is, and what rounding lost."""
    folder = config.sparse
    assert folder is not None
    check_folder(folder, generator.origin, config, (WEIGHTS, CONFIG))
    found = write_sparse(generator, folder, config.weights)
    told = (
        f"{folder}: {found.size / 1e6:.2f} MB, {found.size / found.dense:.1%} of {found.dense / 1e6:.2f} MB; "
        f"{found.density:.1%} of the weights are not 0"
    )
    if config.weights == "fp32":
        return f"{told}; read back, every value is the same"
    return (
        f"{told}; in {config.weights} the pictures of seeds 0 to 63 differ by {found.mean:.2g} grey levels (0 to 255) "
        f"on average, by {found.largest} at most"
    )


def web_folder(config: ExportConfig, generator: Generator) -> str:
    """Says how large the page is, and how to look at it."""
    folder = config.web
    assert folder is not None
    check_folder(folder, generator.origin, config, NAMES)
    data = (generator.config.get("trained") or {}).get("data")
    title = config.title or (shown(data) if isinstance(data, str) else "")
    page = write_web(generator, folder, config.runtime, title)
    size = f"{page.size / 1e6:.0f} MB, of which a visitor loads one of two runtimes"
    return (
        f"{folder / 'index.html'}: open it in a browser, or put the folder on any server ({size}); values in -1..1 "
        f"differ from PyTorch's by {page.difference:.1g} at most"
    )


def check_folder(folder: Path, origin: Path | None, config: ExportConfig, own: Collection[str]) -> None:
    """
    Args:
        origin: the weights of the generator. own: the names of what is written there.

    Raises:
        UserError: there is something else in it, or without `overwrite` anything; it is the generator's own.
    """
    assert origin is not None  # it was read
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give a folder.")
    if folder.resolve() == origin.parent.resolve():
        raise UserError(f"{folder} is the folder of the generator itself: give another.")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if others := sorted(there - set(own)):
        raise UserError(f"There are other things in {folder}, as {others[0]}: give an empty folder.")
    if there and not config.overwrite:
        raise UserError(f"{folder} is not empty: give another folder, or `overwrite` to replace what is there.")


def on_hub(config: ExportConfig, generator: Generator) -> str:
    """Says where it is, and what is missing there."""
    assert config.hub is not None
    how: dict[str, Any] = {"license": config.license, "overwrite": config.overwrite, "private": config.private or None}
    address = generator.push_to_hub(config.hub, **how)
    told = f"{config.hub} is on the Hugging Face Hub{', for its owner alone' if config.private else ''}: {address}"
    return told if config.license else f"{told}\nIt has no licence: `license` gives it one."


# The options that say what is written, one at a time: each answers with a line for the console.
FORMS: dict[str, Callable[[ExportConfig, Generator], str]] = {
    "onnx": onnx_file,
    "shrink": small_folder,
    "sparse": sparse_folder,
    "web": web_folder,
    "hub": on_hub,
}


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
    if config.weights != "fp32" and config.sparse is None:
        raise UserError("`weights` belongs to `sparse`.")
    for name in ("private", "license"):
        if getattr(config, name) and config.hub is None:
            raise UserError(f"`{name}` belongs to `hub`.")
    if config.hub is not None:
        check_upload(config.hub)
    for name in ("title", "runtime"):
        if getattr(config, name) is not None and config.web is None:
            raise UserError(f"`{name}` belongs to `web`.")
    trust(*config.trust)
    say(console, FORMS[asked[0]](config, Generator.from_pretrained(config.run)))
