"""rggan generate: pictures and films from a trained generator."""

from __future__ import annotations

import contextlib
import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from PIL import Image
from rich.console import Console

from rggan.data.pictures import grid, to_pil
from rggan.device import what_mps_lacks
from rggan.errors import UserError, make_folder
from rggan.evaluation.progress import counting
from rggan.files import write_file
from rggan.generation.generator import Generator
from rggan.generation.outputs import class_part, fingerprint, mark, missing, stem, write_png
from rggan.generation.sheets import labelled_rows
from rggan.generation.video import Gif, Mp4, Webp, video_library
from rggan.generation.walks import check_layer, mixing, walk
from rggan.memory import refuse
from rggan.registry import trust
from rggan.run.folder import Run
from rggan.run.log import say
from rggan.training.reading import refuse_inside

MOST = 1_000_000  # seeds of one command


@dataclass(frozen=True)
class GenerateConfig:
    """Make pictures from a trained generator. The same seed gives the same picture.

    Nothing that is there is lost: the same command again goes on where it was stopped, and a file of another picture is
    replaced with --overwrite only.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder (its best snapshot), a snapshot folder, a generator.safetensors, or USER/NAME on the Hugging Face
    Hub (`pip install "rggan[hub]"`)."""
    outdir: Path
    """Where the pictures go: seed0000.png and so on; seed0000-cats-trunc0.7.png with --class cats --trunc 0.7."""
    seeds: str = "0-63"
    """Which seeds: 0-63, or 1,5,8-11."""
    trunc: float = 1.0
    """Truncation: below 1 pictures vary less and are often better, 1 means none. StyleGAN2: how far styles stay from
    their average, 0 to 1; others: latents beyond 2 * TRUNC on either side are drawn again, above 0 to 1."""
    grid: bool = False
    """One picture, grid.png, of all seeds, instead of one file a seed."""
    per_class: bool = False
    """With --grid: a row for each class, its name beside it, and a column for each seed, whose latents are the same."""
    walk: int | None = None
    """A film instead: so many frames between each seed and the next, and back to the first; walk.gif, or walk.webp of
    transparent pictures, and walk.mp4 (on white, as MP4 has no transparency) with `pip install "rggan[video]"`. The
    class is --class, or the one that the first seed draws."""
    fps: int = 24
    """With --walk: frames a second, 1 to 60."""
    mix: str | None = None
    """StyleGAN2: these seeds' coarse styles (rows) with the fine ones of --seeds (columns), in one picture,
    mixing.png."""
    mix_from: int | None = None
    """With --mix: the layer from which styles are the fine ones; half of them unless given."""
    label: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Class name or number, for a class-conditional generator."""
    overwrite: bool = False
    """Replace files that are there, whatever they are."""
    trust: tuple[str, ...] = ()
    """package.module:FAMILY of a network of your own: its code runs. Without it no generator makes code run."""
    class_mix: Literal["data", "even"] | None = None
    """How often each class is drawn: as in the data that it was trained on (without this option where the generator
    tells it), or all equally often."""
    device: str = "auto"
    """Where to compute: 'cpu', 'cuda', 'cuda:1', 'mps'; 'auto' takes a CUDA GPU if there is one, else Apple's (MPS)."""


def parse_seeds(text: str, option: str = "--seeds") -> list[int]:
    """'1,5,8-11' -> [1, 5, 8, 9, 10, 11].

    >>> parse_seeds("1,5,8-11")
    [1, 5, 8, 9, 10, 11]
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,19})(?:-(\d{1,19}))?", part.strip())
        if match is None or not int(match[1]) <= int(match[2] or match[1]) < 2**63:
            raise UserError(f"{option} takes numbers and ranges like 0-63 or 1,5,8-11, not {text}.")
        if len(seeds) + int(match[2] or match[1]) - int(match[1]) >= MOST:
            raise UserError(f"{option} {text} are more than {MOST:,} at once: give fewer.")
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


@what_mps_lacks()
def generate(config: GenerateConfig, console: Console) -> None:
    """What the options ask for, as files in the folder; nothing is written before all that they say is checked.

    Raises:
        UserError: options that do not fit each other or the generator, no generator, a folder or file that cannot be
            written or is not to be written.
    """
    trust(*config.trust)
    check_options(config)
    seeds = parse_seeds(config.seeds)
    others = None if config.mix is None else parse_seeds(config.mix, "--mix")
    generator = Generator.from_pretrained(config.run, config.device)
    refuse_places(config, generator)
    files = Files(config, generator)
    if config.walk is not None:
        told = write_walk(config, generator, seeds, config.walk, files, console)
    elif others is not None:
        told = write_mixing(config, generator, others, seeds, files)
    elif config.grid:
        told = write_grid(config, generator, seeds, files)
    else:
        told = write_pictures(config, generator, seeds, files, console)
    say(console, told)


def refuse_places(config: GenerateConfig, generator: Generator) -> None:
    """Raises UserError where files would lie among the training pictures, or in a folder that the run itself writes."""
    run = Run.around(config.run)
    told = [generator.config.get("trained"), None if run is None else run.options()]
    for data in {each["data"] for each in told if isinstance(each, dict) and isinstance(each.get("data"), str)}:
        with contextlib.suppress(OSError):  # a name that no file can have
            refuse_inside("`outdir`", config.outdir, data)
    for folder in () if run is None else (run.best, run.last, run.checkpoints):
        if config.outdir.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"`outdir` {config.outdir} is written by the run {run}; give a folder of its own.")


class Files:
    """Names and marks of what a command makes.

    Raises:
        UserError: an unknown class, or a truncation or class mix that the generator does not take.
    """

    def __init__(self, config: GenerateConfig, generator: Generator) -> None:
        assert generator.origin is not None  # it was read
        self.config, self.generator = config, fingerprint(generator.origin)
        generator.check_truncation(config.trunc)
        self.number = generator.class_number(config.label)
        self.label = None if self.number is None else class_part(generator.classes, self.number)
        _, self.mix = generator.sampler(config.class_mix)

    def path(self, begin: str, ending: str) -> Path:
        config = self.config
        return config.outdir / (stem(begin, self.label, config.trunc, config.class_mix) + ending)

    def mark(self, **what: Any) -> str:
        return mark(self.generator, label=self.number, truncation=self.config.trunc, mix=self.mix, **what)

    def missing(self, files: Mapping[Path, str]) -> set[Path]:
        """As in `outputs`; with the folder for them."""
        found = missing(files, self.config.overwrite)
        make_folder(self.config.outdir)
        return found

    def write(self, make: Callable[[], Image.Image], path: Path, **what: Any) -> None:
        """One picture, unless it is there."""
        note = self.mark(**what)
        if self.missing({path: note}):
            write_png(make(), path, note)


def write_pictures(
    config: GenerateConfig, generator: Generator, seeds: list[int], files: Files, console: Console
) -> str:
    """A file for each seed as soon as it is made; says how many there are, and how they become a film."""
    paths = {seed: files.path(f"seed{seed:04d}", ".png") for seed in seeds}
    notes = {path: files.mark(seed=seed) for seed, path in paths.items()}
    wanted = files.missing(notes)
    left = [seed for seed, path in paths.items() if path in wanted]
    with counting("generating", len(left), console) as progress:
        made = generator.stream(left, config.label, config.trunc, config.class_mix)
        for seed, image in zip(left, made, strict=True):
            write_png(to_pil(image), paths[seed], notes[paths[seed]])
            if progress is not None:
                progress(1)
    there = len(paths) - len(left)
    told = f"{counted(len(paths), 'picture')} in {config.outdir}" + (f" ({there} there before)" if there else "")
    if len(paths) == 1:
        return told
    asked = [f"--class={config.label}"] if config.label is not None else []
    asked += [f"--trunc={config.trunc:g}"] if config.trunc != 1 else []
    asked += [f"--trust={place}" for place in config.trust]
    some = ",".join(map(str, list(paths)[:6]))
    words = ["rggan", "generate", str(config.run), *asked, "--seeds", some, "--walk", "24", "--outdir"]
    return f"{told}\nA film from one to the next: {shlex.join([*words, str(config.outdir)])}"


def write_grid(config: GenerateConfig, generator: Generator, seeds: list[int], files: Files) -> str:
    """All seeds in one picture; says which."""
    rows = len(generator.classes) if config.per_class else 1
    refuse("`seeds`", len(seeds), 2 * rows * pixels(generator))  # one by one, and as one
    if not config.per_class:
        path = files.path("grid", ".png")
        files.write(
            lambda: grid(generator.images(seeds, config.label, config.trunc, config.class_mix)), path, grid=seeds
        )
        return f"{counted(len(seeds), 'picture')} in {path}"
    if not generator.config["network"]["classes"]:
        raise UserError("This generator was trained without classes (--cond): leave --per-class out.")
    names, path = generator.classes, files.path("grid-per_class", ".png")

    def make() -> Image.Image:
        rows = torch.cat([generator.images(seeds, number, config.trunc) for number in range(len(names))])
        return labelled_rows(rows, names)

    files.write(make, path, per_class=seeds)
    return f"{len(names)} x {len(seeds)} pictures in {path}"


def write_mixing(config: GenerateConfig, generator: Generator, coarse: list[int], fine: list[int], files: Files) -> str:
    """A table of mixed styles; says what is in it."""
    path = files.path("mixing", ".png")
    check_layer(generator, config.mix_from)
    refuse("`mix`", len(coarse), 2 * (1 + len(fine)) * pixels(generator))

    def make() -> Image.Image:
        table = mixing(generator, coarse, fine, config.mix_from, config.label, config.trunc)
        return grid(table, columns=1 + len(fine))

    files.write(make, path, mixing=[coarse, fine, config.mix_from])
    return f"{len(coarse)} x {len(fine)} mixed pictures in {path}"


def write_walk(
    config: GenerateConfig, generator: Generator, seeds: list[int], between: int, files: Files, console: Console
) -> str:
    """walk.gif, or walk.webp of transparent pictures, and walk.mp4 if there is a library for it; says what is there."""
    refuse("`walk`", between, len(seeds) * pixels(generator) // generator.config["network"]["channels"])
    frames = walk(generator, seeds, between, config.label, config.trunc)
    network = generator.config["network"]
    note = files.mark(walk=[seeds, between, config.fps])
    transparent, with_mp4 = network["channels"] == 4, video_library() is not None
    looping = files.path("walk", ".webp" if transparent else ".gif")
    paths = [looping, *([files.path("walk", ".mp4")] if with_mp4 else [])]
    wanted = files.missing(dict.fromkeys(paths, note))  # a long walk shall not find out at its end
    films: dict[Path, Gif | Webp | Mp4] = {}
    for path in paths:
        if path in wanted and path.suffix == ".mp4":
            films[path] = Mp4(config.fps, tuple(network["resolution"]), note)
        elif path in wanted:
            films[path] = (Webp if transparent else Gif)(config.fps, note)
    count = len(seeds) * (between + 1)
    with counting("walking", count, console) as progress:
        for frame in frames if films else ():
            for film in films.values():
                film.add(frame)
            if progress is not None:
                progress(1)
    for path, film in films.items():
        write_file(film.content(), path)
    told = f"{count} frames in {' and '.join(map(str, paths))}"
    if not with_mp4:
        return f'{told}; for an MP4 too: pip install "rggan[video]".'
    return f"{told} (on white: MP4 has no transparency)" if transparent else told


def pixels(generator: Generator) -> int:
    """Bytes of one of its pictures."""
    network = generator.config["network"]
    return int(network["channels"] * math.prod(network["resolution"]))


def counted(number: int, what: str) -> str:
    """
    >>> counted(1, "picture"), counted(2, "picture")
    ('1 picture', '2 pictures')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"
