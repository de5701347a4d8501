"""rggan generate: pictures and films from a trained generator."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console

from rggan.data.pictures import grid, to_pil, write_picture
from rggan.errors import UserError, make_folder
from rggan.evaluation.progress import counting
from rggan.files import write_file
from rggan.generation.generator import Generator
from rggan.generation.video import Gif, Mp4, video_library
from rggan.generation.walks import mixing, walk
from rggan.registry import trust

FASTEST = 60  # frames a second; GIFs cannot tell much faster ones apart


@dataclass(frozen=True)
class GenerateConfig:
    """Make pictures from a trained generator. The same seed gives the same picture."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder (its best snapshot), a snapshot folder, or a generator.safetensors."""
    outdir: Path
    """Where the pictures go: seed0000.png and so on."""
    seeds: str = "0-63"
    """Which seeds: 0-63, or 1,5,8-11."""
    trunc: float = 1.0
    """Truncation: below 1 pictures vary less and are often better, 1 means none. StyleGAN2: how far styles stay from
    their average, 0 to 1; others: latents beyond 2 * TRUNC on either side are drawn again, above 0 to 1."""
    grid: bool = False
    """One picture, grid.png, of all seeds, instead of one file a seed."""
    per_class: bool = False
    """With --grid: a row for each class, a column for each seed, in which the latents are the same."""
    walk: int | None = None
    """A film instead, walk.gif and walk.mp4: so many frames between each seed and the next, and back to the first.
    MP4 needs `pip install "rggan[video]"`; the class is --class, or the one that the first seed draws."""
    fps: int = 24
    """With --walk: frames a second, 1 to 60."""
    mix: str | None = None
    """StyleGAN2: these seeds' coarse styles (rows) with the fine ones of --seeds (columns), in one picture,
    mixing.png."""
    mix_from: int | None = None
    """With --mix: the layer from which styles are the fine ones; half of them unless given."""
    label: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Class name or number, for a class-conditional generator."""
    trust: tuple[str, ...] = ()
    """package.module:FAMILY of a network of your own: its code runs. Without it no generator makes code run."""
    class_mix: Literal["data", "even"] | None = None
    """How often each class is drawn: as in the data that it was trained on (without this option where the generator
    tells it), or all equally often."""
    device: str = "cpu"
    """Where to compute."""


def parse_seeds(text: str, option: str = "--seeds") -> list[int]:
    """'1,5,8-11' -> [1, 5, 8, 9, 10, 11].

    >>> parse_seeds("1,5,8-11")
    [1, 5, 8, 9, 10, 11]
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None or not int(match[1]) <= int(match[2] or match[1]) < 2**63:
            raise UserError(f"{option} takes numbers and ranges like 0-63 or 1,5,8-11, not {text}.")
        seeds.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return seeds


def check_options(config: GenerateConfig) -> None:
    """Refuse options that exclude each other or have nothing to act on (UserError)."""
    asked = {
        "--walk": config.walk is not None,
        "--mix": config.mix is not None,
        "--grid": config.grid,
        "--per-class": config.per_class,
    }
    given = [option for option, is_given in asked.items() if is_given]
    if len(given) > 1 and given != ["--grid", "--per-class"]:
        raise UserError(f"{' and '.join(given)} make different pictures: give one of them.")
    if config.per_class and not config.grid:
        raise UserError("--per-class is a way to lay out --grid: give both.")
    if config.per_class and config.label is not None:
        raise UserError("--per-class shows every class, --class one: give one of them.")
    drawn = not (config.per_class or config.walk is not None or config.mix is not None or config.label is not None)
    if config.class_mix is not None and not drawn:
        raise UserError("--class-mix says how classes are drawn, and here none are: leave it out.")
    if config.mix_from is not None and config.mix is None:
        raise UserError("--mix-from belongs to --mix.")
    if config.walk is None and config.fps != GenerateConfig.fps:
        raise UserError("--fps belongs to --walk.")
    if not 1 <= config.fps <= FASTEST:
        raise UserError(f"--fps {config.fps}: choose 1 to {FASTEST} frames a second.")


def generate(config: GenerateConfig, console: Console) -> None:
    """What the options ask for, as files in the folder; nothing is written before all that they say is checked.

    Raises:
        UserError: options that do not fit each other or the generator, no generator, a folder or file that cannot be
            written.
    """
    trust(*config.trust)
    check_options(config)
    seeds = parse_seeds(config.seeds)
    others = None if config.mix is None else parse_seeds(config.mix, "--mix")
    generator = Generator.from_pretrained(config.run, config.device)
    if config.walk is not None:
        told = write_walk(config, generator, seeds, config.walk, console)
    elif others is not None:
        sheet = mixing(generator, others, seeds, config.mix_from, config.label, config.trunc)
        make_folder(config.outdir)
        write_picture(grid(sheet, columns=1 + len(seeds)), config.outdir / "mixing.png")
        told = f"{len(others)} x {len(seeds)} mixed pictures in {config.outdir / 'mixing.png'}"
    elif config.grid:
        if config.per_class:
            images, columns = per_class(generator, seeds, config.trunc), len(seeds)
        else:
            images, columns = generator.images(seeds, config.label, config.trunc, config.class_mix), None
        make_folder(config.outdir)
        write_picture(grid(images, columns), config.outdir / "grid.png")
        told = f"{len(images)} pictures in {config.outdir / 'grid.png'}"
    else:
        images = generator.images(seeds, config.label, config.trunc, config.class_mix)
        make_folder(config.outdir)
        for seed, image in zip(seeds, images, strict=True):
            write_picture(to_pil(image), config.outdir / f"seed{seed:04d}.png")
        told = f"{len(seeds)} pictures in {config.outdir}"
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def per_class(generator: Generator, seeds: list[int], truncation: float) -> torch.Tensor:
    """uint8 [classes * len(seeds), C, H, W]: the pictures of the seeds in each class.

    Raises:
        UserError: a generator without classes.
    """
    if not generator.config["network"]["classes"]:
        raise UserError("This generator was trained without classes (--cond): leave --per-class out.")
    return torch.cat([generator.images(seeds, name, truncation) for name in generator.classes])


def write_walk(config: GenerateConfig, generator: Generator, seeds: list[int], between: int, console: Console) -> str:
    """walk.gif, and walk.mp4 if there is a library for it; says what was written."""
    frames = walk(generator, seeds, between, config.label, config.trunc)
    make_folder(config.outdir)  # a long walk shall not find out at its end
    films: dict[Path, Gif | Mp4] = {config.outdir / "walk.gif": Gif(config.fps)}
    if video_library() is not None:
        height, width = generator.config["network"]["resolution"]
        films[config.outdir / "walk.mp4"] = Mp4(config.fps, (height, width))
    count = len(seeds) * (between + 1)
    with counting("walking", count, console) as progress:
        for frame in frames:
            for film in films.values():
                film.add(frame)
            if progress is not None:
                progress(1)
    for path, film in films.items():
        write_file(film.content(), path)
    told = f"{count} frames in {' and '.join(map(str, films))}"
    return told if len(films) > 1 else f'{told}; for an MP4 too: pip install "rggan[video]".'
