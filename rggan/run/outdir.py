"""Numbered run folders in an output directory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
from pathlib import Path
from typing import Any

from rggan.config import TrainConfig
from rggan.declared.pruning import Pruning
from rggan.declared.training import Augmentation, Training
from rggan.errors import UserError, make_folder
from rggan.files import part_of
from rggan.presets import PRESETS
from rggan.run.differ import given, matters
from rggan.run.folder import Run
from rggan.run.places import OPTIONS

NUMBERED = re.compile(r"\d{5}-")  # how a run's name begins
NEW = re.compile(r"\.new-[0-9a-f]{16}\.rggan")  # a run's folder before it has its number: a name that is ours
LONGEST = 60  # characters of a name that tell what is special about a run
# The options in which studies vary; the rule ends each name, and which networks are pruned follows from others.
TOLD = {field.name for group in (Training, Augmentation, Pruning) for field in dataclasses.fields(group)}
TOLD -= {"rule", "networks", "mirror", "kimg", "snap", "batch"}
LATEST = "latest"  # in an output directory: a link to the run that was trained last
OF_DATA = 80  # bytes of the data's name in that of a run
ENDING = re.compile(r"(\.tar)?\.[A-Za-z0-9]{1,5}$")


def describe(config: TrainConfig, size: tuple[int, int]) -> str:
    """Returns the name of a run's folder after its number: data, size (height, width), network, the seed and other
    options of the training that are not the network's own, and the rule.

    The name of the data stays as it is, but for what a file system or a shell takes for something else.

    >>> describe(TrainConfig(data="my-pictures"), (64, 96))
    'my-pictures-64x96-sngan-threshold'
    >>> describe(TrainConfig(data="data/Bilder (neu) für mich.tar.gz"), (16, 16))
    'Bilder_neu_für_mich-16-sngan-threshold'
    >>> describe(TrainConfig(seed=3, target_g=0.5, aug="none"), (16, 16))
    'digits-16-sngan-seed3-aug_none-target_g0.5-threshold'
    """
    path = Path(os.path.abspath(config.data))
    name = path.name if os.path.isdir(path) else ENDING.sub("", path.name)
    data = plain(name).strip("_").encode()[:OF_DATA].decode(errors="ignore") or "images"
    side = str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
    return f"{data}-{side}-{plain(f'{config.network}{apart(config)}-{config.rule}')}"


def apart(config: TrainConfig) -> str:
    """Returns what tells a run from others of its network, at most `LONGEST` characters: '-seed3-target_g0.5'."""
    options, preset = config.to_json(), PRESETS.get(config.cfg or "", {})
    found: dict[str, Any] = {"seed": config.seed or None}
    found |= {name: value for name, value in given(options).items() if name in TOLD and matters(name, options)}
    text = ""
    for name, value in found.items():
        if value is None or value in ("auto", preset.get(name)):  # what the network takes anyway, or nothing
            continue
        word = f"-{name}{value}"
        if isinstance(value, bool):
            word = f"-{name}" if value else f"-no_{name}"
        elif isinstance(value, str | list):
            word = f"-{name}_{value if isinstance(value, str) else '_'.join(value)}"
        if len(text) + len(word) > LONGEST:
            return f"{text}-etc"
        text += word
    return text


def plain(name: str) -> str:
    """
    >>> plain("my_networks:FAMILY"), plain("it's 50 % off")
    ('my_networks_FAMILY', 'it_s_50_off')
    """
    return re.sub(r"[^\w.-]+", "_", name)


def runs(outdir: Path) -> list[Run]:
    """Returns the numbered runs in `outdir`, oldest first.

    >>> runs(Path("nowhere"))
    []
    """
    found = sorted(path for path in outdir.glob("*/") if NUMBERED.match(path.name))
    return [run for path in found if (run := Run.at(path)) is not None]


def find_run(config: TrainConfig) -> Run | None:
    """Returns the newest run with the same options."""
    for run in reversed(runs(config.outdir)):
        options = run.options()
        if options is not None and config.same_run(options):
            return run
    return None


def new_run(config: TrainConfig, size: tuple[int, int]) -> Run:
    """Creates the next numbered folder atomically, with its config.json in it.

    Raises:
        UserError: the folder cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [new_run(TrainConfig(outdir=folder), (16, 16)).name for _ in range(2)]
    ['00000-digits-16-sngan-threshold', '00001-digits-16-sngan-threshold']
    """
    make_folder(config.outdir)
    for left in config.outdir.glob(".new-*.rggan"):  # by a killed start; the caller holds the lock
        remove_new(left)
    beside = config.outdir / f".new-{secrets.token_hex(8)}.rggan"
    try:
        beside.mkdir()
        Run(beside).write_options(config)
        numbers = [int(path.name[:5]) for path in config.outdir.glob("[0-9][0-9][0-9][0-9][0-9]-*")]
        path = config.outdir / f"{max(numbers, default=-1) + 1:05d}-{describe(config, size)}"
        return Run(beside.rename(path))
    except OSError as error:
        raise UserError(f"Cannot write to the folder {config.outdir}: {error.strerror}.") from error
    finally:
        remove_new(beside)


def remove_new(folder: Path) -> None:
    """Remove a run's folder that got no number, if it is ours: by its name, and by what is in it."""
    options = folder / OPTIONS
    ours = {options, part_of(options)}
    with contextlib.suppress(OSError):
        if folder.is_symlink() or not NEW.fullmatch(folder.name) or not ours.issuperset(folder.iterdir()):
            return
        for path in ours:
            path.unlink(missing_ok=True)
        folder.rmdir()


def point_to(run: Run) -> None:
    """Makes `latest` beside a numbered run a link to it, so that a command can name the newest run without its number.

    Where the system makes no links, or something else of that name is there, there is none: no link is worth a run.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = new_run(TrainConfig(outdir=folder), (16, 16))
    ...     point_to(run)
    ...     (run.path.with_name(LATEST) / "config.json").resolve().parent.name
    '00000-digits-16-sngan-threshold'
    """
    path = run.path.resolve()
    if not NUMBERED.match(path.name):  # moved somewhere else, where no link is expected
        return
    latest = path.with_name(LATEST)
    beside = part_of(latest)
    with contextlib.suppress(OSError, NotImplementedError):
        for link in (latest, beside):
            if os.path.lexists(link) and not is_own_link(link):  # somebody's
                return
        beside.unlink(missing_ok=True)
        beside.symlink_to(path.name, target_is_directory=True)
        os.replace(beside, latest)


def is_own_link(path: Path) -> bool:
    """Whether it is a link to a numbered run beside it."""
    return path.is_symlink() and re.fullmatch(r"\d{5}-[^/\\]+", os.readlink(path)) is not None
