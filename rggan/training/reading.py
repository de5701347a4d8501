"""The images of a run, read as its options say; options that name something are looked through with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich.console import Console

from rggan.config import TrainConfig
from rggan.data import ImageSet, load_images
from rggan.data.decode import parse_size
from rggan.data.images import SIDES
from rggan.data.source import named_form
from rggan.data.streams.address import is_stream
from rggan.data.streams.read import BUFFER, load_stream
from rggan.device import check_device
from rggan.errors import UserError
from rggan.networks import FAMILIES, check_resolution
from rggan.run.folder import Run
from rggan.training.progress import reading
from rggan.training.setup import make_steps
from rggan.training.sparsity import make_rules

NONE_HELD_OUT = "`signal` r_v compares with held-out images, and of fewer than 1,000 none are held out: take r_t."


def read_data(config: TrainConfig, console: Console | None = None) -> ImageSet:
    """The images that the options ask for.

    Raises:
        UserError: see `load_images` and `load_stream`; classes asked for where the data give none; a single image.
    """
    sizes = FAMILIES.get(config.network).sizes
    if config.resolution is not None:
        check_resolution(parse_size(config.resolution), sizes)
    check_device(config.device, training=True)
    refuse_inside("`outdir`", config.outdir, config.data)
    how: dict[str, Any] = {"channels": config.channels, "resize": config.resize, "background": config.background}
    how |= {name: getattr(config, name) for name in ("skip_bad", "white_level", "max_pixels", "formats")}
    how |= {"sides": (sizes.low, min(sizes.high, SIDES[1]))}
    stream = is_stream(config.data)
    refuse_meaningless(config, stream)
    with reading(console) as progress:
        how |= {"progress": progress}
        if stream:
            buffer = config.shuffle_buffer
            return load_stream(config.data, config.resolution, cond=config.cond, shuffle_buffer=buffer, **how)
        how |= {name: getattr(config, name) for name in ("max_images", "fraction", "seed", "pattern", "memory_share")}
        data = load_images(config.data, config.resolution, **how)
    if len(data) < 2:
        raise UserError(f"Only {len(data)} image is left of {config.data}; training needs at least 2.")
    if config.cond and data.fault is not None:
        raise UserError(f"`cond` needs a class for each picture, and {data.fault}; mend or remove that.")
    if config.cond and not data.classes:
        raise UserError(
            f"`cond` needs classes in {config.data}: one folder per class with every picture inside one, or labels."
        )
    return data


def read_fresh(config: TrainConfig, console: Console | None = None) -> ImageSet:
    """The images of a new run, whose options are looked through together with what they name.

    Raises:
        UserError: a target names a run that tells no densities; a rule that cannot be made; too few images for what an
            'auto' target follows; or see `read_data`.
    """
    for network in ("g", "d"):
        target = getattr(config, f"target_{network}")
        if isinstance(target, str) and target != "auto":
            densities = [row[f"density_{network}"] for row in Run(Path(target)).rows()]
            if not densities or min(densities) <= 0:
                raise UserError(
                    f"`target_{network}` is a density, 'auto', or a run whose densities it takes; {target} is none."
                )
            if config.regrow >= min(densities):
                raise UserError(
                    f"`regrow` {config.regrow} must be below all densities of `target_{network}` {target}, which fall "
                    f"to {min(densities):.3g}."
                )
    make_rules(config)  # somebody's rule that cannot be made is told before anything is written
    data = read_data(config, console)
    make_steps(
        config, data.shape[1] * data.shape[2], check_device(config.device, training=True)
    )  # as are training steps
    if config.signal == "r_v" and data.split(config.seed)[1] is None:
        raise UserError(NONE_HELD_OUT)
    return data


def refuse_meaningless(config: TrainConfig, stream: bool) -> None:
    """Raises UserError for an option of sets in memory that is given for a stream, and the other way round."""
    if not stream:
        if config.shuffle_buffer != BUFFER:
            raise UserError(f"`shuffle_buffer` means nothing with {config.data}, which is no stream of shards.")
        return
    for name in ("max_images", "fraction", "pattern"):
        if getattr(config, name) != getattr(TrainConfig, name):
            raise UserError(
                f"`{name}` means nothing with a stream ({config.data}): all images of its shards are taken."
            )


def refuse_inside(option: str, path: Path, data: str) -> None:
    """Raises UserError where we would write into the data: what is written would be read as pictures next time."""
    _, place = named_form(data) or ("", "")
    for folder in (data, *([place] if place else [])):
        if os.path.isdir(folder) and path.resolve().is_relative_to(Path(folder).resolve()):
            raise UserError(f"{option} {path} lies inside the data {data}; give a place outside.")
