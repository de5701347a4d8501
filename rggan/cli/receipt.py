"""rggan receipt: what a smaller generator saves, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from rggan.cli.evaluate import EvaluateConfig, evaluate
from rggan.device import check_device
from rggan.errors import UserError
from rggan.export.receipt import receipt
from rggan.files import json_text
from rggan.registry import trust
from rggan.run.log import say


@dataclass(frozen=True)
class ReceiptConfig:
    """Measure a smaller generator against the whole one: weights, bytes, multiplications, time, and its score."""

    whole: Annotated[Path, tyro.conf.Positional]
    """A run folder (its best snapshot), a snapshot folder, or a generator.safetensors."""
    small: Annotated[Path, tyro.conf.Positional]
    """The smaller one."""
    batch: tuple[int, ...] = (1, 64)
    """Pictures that are made at once."""
    seconds: float = 4.0
    """Time for each batch, in which the two take turns."""
    onnx: bool = False
    """Time both in onnxruntime too, on the CPU; needs `pip install "rggan[onnx]"`."""
    reference: str | None = None
    """Score both against these pictures, as `rggan evaluate` does; without it they are not scored."""
    metrics: tuple[str, ...] = ("kid",)
    """Which scores."""
    samples: int = 5000
    """Images that are generated for one score."""
    replicates: int = 10
    """Sets of so many images, from which the interval comes."""
    out: Path | None = None
    """Write it as JSON: receipt.json, say."""
    trust: tuple[str, ...] = ()
    """package.module:FAMILY of a network of your own: its code runs. Without it no generator makes code run."""
    device: str = "auto"
    """Where to compute: 'cpu', 'cuda', 'cuda:1', 'mps'; 'auto' takes a CUDA GPU if there is one, else Apple's (MPS)."""
    json: bool = False
    """Print the JSON instead of the table."""


def write_receipt(config: ReceiptConfig, console: Console) -> None:
    """Measures, prints, and writes.

    Raises:
        UserError: bad input of any kind, with one sentence.
    """
    if config.out is not None and config.out.is_dir():
        raise UserError(f"--out {config.out} is a folder: name a file.")
    if config.replicates < 2:
        raise UserError(f"--replicates must be at least 2, or there is no interval, not {config.replicates}.")
    trust(*config.trust)
    device = str(check_device(config.device))
    found = receipt(config.whole, config.small, config.batch, config.seconds, device, config.onnx)
    if config.reference is not None:
        scored = evaluate(
            EvaluateConfig(
                subjects=(str(config.whole), str(config.small)),
                reference=config.reference,
                metrics=config.metrics,
                samples=config.samples,
                replicates=config.replicates,
                memorisation="off",
                device=config.device,
                trust=config.trust,
            ),
            Console(stderr=True),
        )
        before, after = (one.to_json() for one in scored)
        names = [name for name in scored[0].numbers if name in scored[1].numbers]
        found = replace(found, scores={name: (before[name], after[name]) for name in names})
    if config.out is not None:
        found.save(config.out)
    if config.json:
        print(json_text(found.to_json()))
    else:
        say(console, *found.lines())
