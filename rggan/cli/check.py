"""rggan check: a look over a set of pictures before training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from rggan.cli.spelling import command, flags, spelled
from rggan.data.audit.doctor import Health, advice, inspect, shown
from rggan.data.audit.mend import write_copy
from rggan.data.decode import parse_size
from rggan.data.depth import parse_white, with_limits
from rggan.data.images import Channels
from rggan.data.picture import MAX_PIXELS
from rggan.data.pictures import write_picture
from rggan.data.source import list_pictures
from rggan.data.streams.address import is_stream
from rggan.errors import UserError, make_folder
from rggan.files import json_text
from rggan.networks import check_resolution
from rggan.report.health import contact_sheet, render
from rggan.run.log import say
from rggan.training.asked import asked
from rggan.training.estimate import SAMPLE, estimate, sample_of
from rggan.training.progress import reading
from rggan.training.reading import read_data, refuse_inside

OF_FILES = ("pattern", "white_level", "max_pixels", "formats")  # options about the files as they were found


@dataclass(frozen=True)
class CheckConfig:
    """Look over a set of pictures before training: what is in it, what would spoil it, what training would take."""

    data: Annotated[str, tyro.conf.Positional]
    """Whatever `rggan train` takes."""
    resolution: int | str | None = None
    """Size that you want to train at (64, or HEIGHTxWIDTH): says which pictures are smaller."""
    channels: Channels = "auto"
    """As in `rggan train`, for the measurement."""
    pattern: str = "*"
    """Take only files whose name fits this shell pattern."""
    white_level: float | str | None = None
    """Value that becomes white in pictures of more than 8 bits, or 'auto', as in `rggan train`."""
    max_pixels: int = MAX_PIXELS
    """Pictures that have more pixels are unreadable, as in `rggan train`."""
    formats: tuple[str, ...] = ()
    """Read these formats too, by their names in Pillow, as in `rggan train`."""
    sheet: Path = Path("contact-sheet.png")
    """Where the contact sheet goes: pictures from all over the set, and the doubtful ones."""
    fix: Path | None = None
    """Write a copy that is worth training on into this new folder: upright, sRGB, without unreadable pictures,
    doubles and those of one colour."""
    near: bool = False
    """With --fix: leave out near duplicates too."""
    measure: bool = True
    """Train for a few seconds to see what it takes."""
    device: str = "auto"
    """Where to measure: 'cpu', 'cuda', 'cuda:1'; 'auto' takes a CUDA GPU if there is one, as training does."""
    json: bool = False
    """Print everything as JSON instead."""


def asked_for(config: CheckConfig) -> dict[str, Any]:
    """The options of the training that is looked at: those that were given here."""
    given: dict[str, Any] = {"data": config.data}
    for name in ("resolution", "channels", *OF_FILES, "device"):
        if (value := getattr(config, name)) != getattr(CheckConfig, name):
            given[name] = value
    return given


def next_command(config: CheckConfig, health: Health, given: dict[str, Any]) -> str:
    """How to train on these pictures, or on their copy, in which all are chosen, of 8 bits and with another name. Large
    JPEGs are in it as they are."""
    if config.fix is not None:
        large = config.max_pixels > MAX_PIXELS
        kept = {n: value for n, value in given.items() if n not in OF_FILES or (n == "max_pixels" and large)}
        return command("train", {**kept, "data": str(config.fix)})
    return command("train", given, "--skip-bad" if health.unreadable else "")


def check(config: CheckConfig, console: Console) -> None:
    size = None if config.resolution is None else check_resolution(parse_size(config.resolution))
    if config.fix is not None:
        if is_stream(config.data):
            raise UserError(
                f"--fix writes a copy of a whole set, and of a stream ({config.data}) a sample is looked at."
            )
        refuse_inside("--fix", config.fix, config.data)
    if not is_stream(config.data):
        refuse_inside("--sheet", config.sheet, config.data)
    make_folder(config.sheet.parent)
    listing = list_pictures(config.data, config.pattern, config.formats)
    pictures, white = with_limits(listing, parse_white(config.white_level), config.max_pixels)
    with reading(None if config.json else console) as progress:
        health = inspect(pictures, (lambda done: progress(done, len(pictures))) if progress else None)
    advices = advice(health, size, white)
    write_picture(contact_sheet(pictures, health), config.sheet)
    taken, given = None, asked_for(config)
    if config.measure and health.readable > 1:
        training, _ = asked(given)
        few: dict[str, Any] = {} if is_stream(config.data) else {"max_images": SAMPLE, "fraction": 1.0}
        sample = dataclasses.replace(training, skip_bad=True, cond=False, **few)
        images = read_data(sample)
        taken = estimate(*sample_of(sample, images), images.in_memory if is_stream(config.data) else health.readable)
    copy = None if config.fix is None else write_copy(pictures, health, config.fix, config.near)
    if config.json:
        told: dict[str, Any] = {
            "health": health.to_json(),
            "notes": [spelled(note, flags(CheckConfig)) for note in pictures.notes],
            "advice": [spelled(each, flags(CheckConfig)) for each in advices],
            "sheet": str(config.sheet),
        }
        told |= {"training": taken and taken.to_json(), "copy": copy, "next": next_command(config, health, given)}
        print(json_text(told, indent=2))
        return
    render(health, advices, console, pictures.notes)
    lines = [f"training   what `{command('train', given)}` takes:", *taken.lines()] if taken else []
    lines.append(f"sheet      {config.sheet}")
    if copy is not None:
        lines.append(f"copy       {copy['written']} pictures in {config.fix}")
        lines += [f"left out   {shown(name)}: {shown(reason)}" for name, reason in copy["left_out"].items()]
    if health.readable > 1:
        lines.append(f"next       {next_command(config, health, given)}")
    say(console, *lines)
