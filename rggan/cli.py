"""The command line: rggan train, rggan generate."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from rggan.config import TrainConfig
from rggan.data.pictures import grid, save_picture, to_pil
from rggan.errors import UserError, make_folder
from rggan.generator import Generator
from rggan.report.plot import plot_run
from rggan.training.loop import Diverged, read_data, summary, train
from rggan.training.runlog import find_run, read_rows


@dataclass(frozen=True)
class GenerateConfig:
    """Make pictures from a trained generator. The same seed gives the same picture."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder (its best snapshot), a snapshot folder, or a generator.safetensors."""
    outdir: Path
    """Where the pictures go: seed0000.png and so on."""
    seeds: str = "0-63"
    """Which seeds: 0-63, or 1,5,8-11."""
    grid: bool = False
    """One picture, grid.png, of all seeds, instead of one file a seed."""
    label: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Class name or number, for a class-conditional generator."""
    device: str = "cpu"
    """Where to compute."""


def parse_seeds(text: str) -> list[int]:
    """'1,5,8-11' -> [1, 5, 8, 9, 10, 11].

    >>> parse_seeds("1,5,8-11")
    [1, 5, 8, 9, 10, 11]
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None or not int(match[1]) <= int(match[2] or match[1]) < 2**63:
            raise UserError(f"--seeds takes numbers and ranges like 0-63 or 1,5,8-11, not {text}.")
        seeds.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return seeds


def generate(config: GenerateConfig, console: Console) -> None:
    generator = Generator.from_pretrained(config.run, config.device)
    seeds = parse_seeds(config.seeds)
    images = generator.images(seeds, config.label)
    make_folder(config.outdir)
    if config.grid:
        save_picture(grid(images), config.outdir / "grid.png")
        told = f"{len(seeds)} pictures in {config.outdir / 'grid.png'}"
    else:
        for seed, image in zip(seeds, images, strict=True):
            save_picture(to_pil(image), config.outdir / f"seed{seed:04d}.png")
        told = f"{len(seeds)} pictures in {config.outdir}"
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def run_train(config: TrainConfig, console: Console) -> None:
    if config.dry_run:
        lines = [json.dumps(config.to_json(), indent=2), *summary(config, read_data(config))]
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
        return
    try:
        train(config, console)
    finally:  # after Ctrl-C or divergence too
        run = find_run(config)
        if run is not None and (rows := read_rows(run)):
            plot_run(rows, run / "progress.png", run.name)


def parse(arguments: Sequence[str]) -> TrainConfig | GenerateConfig:
    """The command and its options. `--config FILE` of train is read first, so that other options override it."""
    default = TrainConfig()
    words = [word for argument in arguments for word in re.split(r"(?<=^--config)=", argument, maxsplit=1)]
    if "--config" in words:
        place = words.index("--config") + 1
        if place == len(words):
            raise UserError("--config needs a file: the config.json of a run.")
        path = Path(words[place])
        default = dataclasses.replace(TrainConfig.from_json(path), config=path)
    commands: Any = (
        Annotated[TrainConfig, tyro.conf.subcommand("train", default=default)]
        | Annotated[GenerateConfig, tyro.conf.subcommand("generate")]
    )
    parsed: TrainConfig | GenerateConfig = tyro.cli(commands, prog="rggan", args=list(arguments))
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for bad input, 1 for a diverged run, 130 after Ctrl-C."""
    console = Console()
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        if isinstance(command, TrainConfig):
            run_train(command, console)
        else:
            generate(command, console)
    except UserError as error:
        print(f"rggan: {error}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"rggan: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
