"""rggan demo: a page on this machine to try a trained generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Annotated

import tyro
from rich.console import Console

from rggan.export.demo import Studio, library, page, start
from rggan.generation.generator import Generator
from rggan.registry import trust
from rggan.run.log import say


@dataclass(frozen=True)
class DemoConfig:
    """Open a page that draws with a trained generator: seed, truncation, class, a grid, a walk. Ctrl-C ends it.

    It is seen from this machine alone, and needs `pip install "rggan[demo]"`.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder (its best snapshot), a snapshot folder, a generator.safetensors, or USER/NAME on the Hugging Face
    Hub (`pip install "rggan[hub]"`)."""
    port: int | None = None
    """Of its address; without it the first free one from 7860 on."""
    open: bool = True
    """Open it in the browser."""
    device: str = "auto"
    """Where to compute: 'cpu', 'cuda', 'cuda:1', 'mps'; 'auto' takes a CUDA GPU if there is one, else Apple's (MPS)."""
    trust: tuple[str, ...] = ()
    """package.module:FAMILY of a network of your own: its code runs. Without it no generator makes code run."""


def demo(config: DemoConfig, console: Console) -> None:
    """Returns when it is interrupted.

    Raises:
        UserError: no generator, no Gradio, a port that is none or taken.
    """
    library()  # before anything is read
    trust(*config.trust)
    made = page(Studio(Generator.from_pretrained(config.run, config.device)))
    try:
        say(console, f"{start(made, config.port, config.open)} draws with {config.run}; Ctrl-C ends it.")
        Event().wait()
    finally:
        made.close(verbose=False)
