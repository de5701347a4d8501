"""Whether a subject replays its training images: where it is looked for, and where the picture of it goes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from torch import Tensor

from rggan.data import ImageSet
from rggan.data.images import HELD_OUT_FROM
from rggan.data.pictures import save_picture
from rggan.errors import UserError, make_folder
from rggan.evaluation.features import BATCH
from rggan.evaluation.measure import Evaluation
from rggan.evaluation.record import snapshot_name
from rggan.evaluation.reference import Reference
from rggan.evaluation.subject import Reading, Subject, evenly, reference_images, training_images
from rggan.metrics.memorisation import Memoriser
from rggan.report.replays import replay_sheet
from rggan.run.places import replays

LOOKED_AT = 1000  # samples whose nearest training images are looked for
Wanted = Literal["auto", "on", "off"]


def look_for_replays(
    found: Evaluation,
    reference: Reference,
    memorisation: Wanted = "auto",
    training: str | None = None,
    held_out: str | None = None,
    reading: Reading | None = None,
    sheet: Path | None = None,
    console: Console | None = None,
) -> None:
    """Add to an evaluation what memorisation there is, where it is asked for, and draw the nearest training images.

    Args:
        memorisation: 'auto' looks where there are fewer than 1,000 training images or `training` names them; what
            stands in its way becomes a note, where 'on' raises it.
        training, held_out: pictures that the subject was, and was not, trained on; where it is a run, None: its own.
        sheet: where the picture goes; None: into the run, if there is one.

    Raises:
        UserError: there are no training images to compare with, or too few, and `memorisation` is 'on'; the sheet
            cannot be written.
    """
    if memorisation == "off":
        return
    try:
        looked_at = compared(found, reference, memorisation, training, held_out, reading or Reading(), console)
    except UserError as error:
        if memorisation == "on":
            raise
        found.notes.append(f"Memorisation was not looked for: {error}")
        return
    if looked_at is not None:
        draw(found, *looked_at, sheet)


def compared(
    found: Evaluation,
    reference: Reference,
    memorisation: Wanted,
    training: str | None,
    held_out: str | None,
    reading: Reading,
    console: Console | None,
) -> tuple[Tensor, ImageSet] | None:
    """Add what memorisation there is, where it is asked for; returns the samples and the training images.

    Raises:
        UserError: there are no training images to compare with, or too few.
    """
    subject, on = found.subject, memorisation == "on"
    images: ImageSet
    others: ImageSet | None = None
    if subject.statistics is not None:
        if on:
            raise UserError(f"{subject.name} holds mu and sigma only: replays are looked for in images.")
        return None
    if training is not None:
        whole = dataclasses.replace(reading, pattern="*", max_images=None)
        images = reference_images(training, subject, whole, console)
        if held_out is not None:
            others = reference_images(held_out, subject, whole, console)
    elif subject.options is not None:
        assert subject.run is not None
        count = subject.run.data_head().get("images")
        if not on and isinstance(count, int) and count >= HELD_OUT_FROM:
            return None
        images, others = training_images(subject, console, "training")
    elif reference.images is not None and (on or len(reference.images) < HELD_OUT_FROM):
        images = reference.images
    elif on:
        raise UserError(f"`memorisation` on: say with `training` what {subject.name} was trained on.")
    else:
        return None
    if memorisation == "auto" and training is None and len(images) >= HELD_OUT_FROM:
        return None
    samples = first_samples(subject)
    try:
        found.memorisation = Memoriser(images, others)(samples)
    except ValueError as error:
        raise UserError(str(error)) from error
    return samples, images


def first_samples(subject: Subject) -> Tensor:
    """uint8 [at most `LOOKED_AT`, C, H, W]: of the first seeds, or evenly from the pictures."""
    if subject.generator is not None:
        return torch.cat([part.cpu() for part in subject.samples(0, LOOKED_AT).parts(BATCH)])
    assert subject.images is not None
    return subject.images.at(evenly(len(subject.images), LOOKED_AT))


def draw(found: Evaluation, samples: Tensor, training: ImageSet, sheet: Path | None = None) -> None:
    """The picture of the nearest training images, where it is asked for, or into the run.

    Raises:
        UserError: it was asked for and cannot be written.
    """
    subject = found.subject
    path = sheet
    if path is not None:
        make_folder(path.parent)
    elif subject.run is not None:
        path = subject.run.path / replays(snapshot_name(subject))
    else:
        return
    assert found.memorisation is not None
    try:
        save_picture(replay_sheet(samples, training, found.memorisation), path)
        found.sheet = path
    except OSError as error:
        reason = f"Cannot write {path}: {error.strerror or error}."
        if sheet is not None:
            raise UserError(reason) from error
        found.notes.append(reason)
