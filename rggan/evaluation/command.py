"""`rggan evaluate`: what it can be asked, and what it does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console
from torch import Tensor

from rggan.data import ImageSet
from rggan.data.decode import Resize
from rggan.data.images import HELD_OUT_FROM, Channels
from rggan.data.pictures import save_picture
from rggan.device import check_device
from rggan.errors import UserError, make_folder
from rggan.evaluation.chosen import chosen
from rggan.evaluation.features import BATCH, Precision
from rggan.evaluation.measure import Evaluation, measure
from rggan.evaluation.progress import counting
from rggan.evaluation.record import append, snapshot_name
from rggan.evaluation.reference import Reference, check_statistics, open_reference
from rggan.evaluation.saved import write_statistics
from rggan.evaluation.subject import (
    Reading,
    Subject,
    evenly,
    open_subject,
    reference_images,
    training_images,
)
from rggan.evaluation.table import lines
from rggan.metrics.extractors import load_extractor
from rggan.metrics.features import Extractor
from rggan.metrics.memorisation import Memoriser
from rggan.metrics.metric import METRICS
from rggan.registry import trust
from rggan.report.replays import replay_sheet
from rggan.run.places import replays
from rggan.training.loop import refuse_inside

WHICH = (
    f"Only these: {', '.join(METRICS.builtin)}, those of installed packages by name, or package.module:METRIC, which "
    "is code and runs here, so take only such as you trust. Without it, all built-in ones that mean something for so "
    "many images."
)
LOOKED_AT = 1000  # samples whose nearest training images are looked for


@dataclass(frozen=True)
class EvaluateConfig:
    """Score generators or pictures against real ones: distances, shares, and whether training images are replayed."""

    subjects: Annotated[tuple[str, ...], tyro.conf.Positional]
    """What is judged: runs, snapshots, generators, or pictures in any form that `rggan train --data` takes; or .npz
    files of the mu and sigma of features."""
    reference: str | None = None
    """What it is compared with: pictures in any such form, or an .npz of mu and sigma; without it, the images that the
    run was trained on."""
    features: str = "reporting"
    """What sees the images: 'reporting' or 'steering', which ship with the package; the name of one of an installed
    package; a TorchScript or exported program (.pt2) from uint8 images to features; or package.module:function."""
    metrics: Annotated[tuple[str, ...], tyro.conf.arg(help=WHICH)] = ()
    samples: int = 5000
    """Images that are generated for one score. Scores of different numbers do not compare."""
    replicates: int = 10
    """Sets of so many images, each of other seeds: from them comes the interval."""
    subset: int = 10_000
    """KID, precision, recall, density, coverage, and others that need features, take at most so many images of each
    side."""
    memorisation: Literal["auto", "on", "off"] = "auto"
    """Look for replayed training images; 'auto': where there are fewer than 1,000 of them, or --training names them."""
    training: str | None = None
    """The images that it was trained on, where it is no run; without it, a reference of fewer than 1,000 images."""
    held_out: str | None = None
    """Real images that it was not trained on: what replays are told from; with --training."""
    sheet: Path | None = None
    """Where the picture of the nearest training images goes; without it, into the run, if there is one."""
    save_statistics: Path | None = None
    """Write mu and sigma of the reference's features into this .npz."""
    resolution: int | str | None = None
    """Size of the pictures, where no generator gives it: a side, or HEIGHTxWIDTH."""
    channels: Channels = "auto"
    """As in `rggan train`, where no generator gives it."""
    resize: Resize | None = None
    """How pictures of another shape are cut; without it, as the run was trained."""
    background: str | None = None
    """What lies under transparency; without it, as the run was trained."""
    pattern: str = "*"
    """Take only files of the reference, and of pictures that are judged, whose name fits this shell pattern."""
    max_images: int | None = None
    """Take at most so many images of the reference, equally from each class."""
    skip_bad: bool = False
    """Leave unreadable files out instead of stopping."""
    precision: Precision = "fp32"
    """Arithmetic of generator and extractor; bf16 is faster on processors that multiply it, and another score."""
    class_mix: Literal["data", "even"] | None = None
    """How often each class of a generator is drawn: as in the data that it was trained on (without this option, where
    that is known), or all equally often. Scores of different mixes do not compare."""
    trust: tuple[str, ...] = ()
    """package.module:OBJECT of your own network, rule, schedule or input form that a run names: its code runs. Without
    it no run makes code run."""
    device: str = "auto"
    """Where to compute."""
    json: bool = False
    """Print one JSON object a line for each subject instead."""

    def __post_init__(self) -> None:
        """Raises UserError for a value out of its range."""
        for name, least in (("samples", 2), ("replicates", 1), ("subset", 2)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, not {getattr(self, name)}.")
        if not self.subjects:
            raise UserError("Say what to evaluate: a run, a generator, or pictures.")
        if self.held_out is not None and self.training is None:
            raise UserError("--held-out goes with --training: give that too.")
        if self.sheet is not None and len(self.subjects) > 1:
            raise UserError("--sheet is one picture: evaluate one subject at a time.")
        if self.save_statistics is not None and self.save_statistics.suffix != ".npz":
            raise UserError(f"--save-statistics {self.save_statistics}: give a name that ends in .npz.")

    @property
    def reading(self) -> Reading:
        return Reading(
            self.resolution,
            self.channels,
            self.resize,
            self.background,
            self.pattern,
            self.max_images,
            self.skip_bad,
        )


@contextmanager
def full_precision() -> Iterator[None]:
    """fp32 means that on GPUs too: PyTorch lets convolutions there round to TF32 otherwise."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@full_precision()
def evaluate(config: EvaluateConfig, console: Console) -> list[Evaluation]:
    """Score every subject, print it, and keep it in the run it belongs to.

    Raises:
        UserError: bad input of any kind, with one sentence.
    """
    trust(*config.trust)
    device = str(check_device(config.device))
    chosen(config.metrics)  # what is wrong there is said before any picture is read
    for place in (*config.subjects, config.reference, config.training, config.held_out):
        if config.sheet is not None and place is not None:
            refuse_inside("--sheet", config.sheet, place)
    extractor = load_extractor(config.features, device)
    shown = None if config.json else console
    references: dict[object, Reference] = {}
    done = []
    for name in config.subjects:
        subject = open_subject(name, config.reading, device, shown, config.class_mix)
        key = (subject.name if config.reference is None else None, subject.shape, how_read(subject))
        if config.save_statistics is not None and references and key not in references:
            raise UserError("--save-statistics takes one reference, and these subjects have several: name one.")
        if key not in references:
            opened = open_reference(
                config.reference, subject, config.reading, extractor, config.subset, config.precision, shown
            )
            references[key] = opened
            if config.save_statistics is not None and opened.images is None:
                raise UserError(f"--save-statistics: {config.reference} holds statistics already; name pictures.")
        check_statistics(subject, references[key], extractor, config.precision)
        done.append(evaluate_one(config, subject, references[key], extractor, shown))
        append(done[-1])
        if config.json:
            print(json.dumps(done[-1].to_json()), flush=True)
        else:
            console.print("\n".join(lines(done[-1])), markup=False, highlight=False, soft_wrap=True)
    if config.save_statistics is not None:
        save_reference(config, config.save_statistics, next(iter(references.values())), extractor)
    return done


def how_read(subject: Subject) -> tuple[object, ...]:
    """What of its training, or of its statistics, decides how the reference is read."""
    options = subject.options
    if subject.statistics is not None:
        return (subject.statistics.known.get("size"), subject.statistics.known.get("channels"))
    return () if options is None else (options.resize, options.background)


def evaluate_one(
    config: EvaluateConfig, subject: Subject, reference: Reference, extractor: Extractor, console: Console | None
) -> Evaluation:
    total = (subject.count(config.samples) or 0) * (config.replicates if subject.generator is not None else 1)
    with counting("samples", total, console) as progress:
        found = measure(
            subject,
            reference,
            extractor,
            config.metrics,
            config.samples,
            config.replicates,
            config.subset,
            config.precision,
            progress,
        )
    if config.memorisation != "off":
        try:
            looked_at = look_for_replays(config, found, reference, console)
        except UserError as error:
            if config.memorisation == "on":
                raise
            found.notes.append(f"Memorisation was not looked for: {error}")
        else:
            if looked_at is not None:
                draw(config, found, *looked_at)
    return found


def look_for_replays(
    config: EvaluateConfig, found: Evaluation, reference: Reference, console: Console | None
) -> tuple[Tensor, ImageSet] | None:
    """Add what memorisation there is, where it is asked for; returns the samples and the training images.

    Raises:
        UserError: there are no training images to compare with, or too few.
    """
    subject, on = found.subject, config.memorisation == "on"
    training: ImageSet
    held_out: ImageSet | None = None
    if subject.statistics is not None:
        if on:
            raise UserError(f"{subject.name} holds mu and sigma only: replays are looked for in images.")
        return None
    if config.training is not None:
        whole = dataclasses.replace(config.reading, pattern="*", max_images=None)
        training = reference_images(config.training, subject, whole, console)
        if config.held_out is not None:
            held_out = reference_images(config.held_out, subject, whole, console)
    elif subject.options is not None:
        assert subject.run is not None
        count = subject.run.data_head().get("images")
        if not on and isinstance(count, int) and count >= HELD_OUT_FROM:
            return None
        training, held_out = training_images(subject, console)
    elif reference.images is not None and (on or len(reference.images) < HELD_OUT_FROM):
        training = reference.images
    elif on:
        raise UserError(f"--memorisation on: say with --training what {subject.name} was trained on.")
    else:
        return None
    if config.memorisation == "auto" and config.training is None and len(training) >= HELD_OUT_FROM:
        return None
    samples = first_samples(subject)
    try:
        found.memorisation = Memoriser(training, held_out)(samples)
    except ValueError as error:
        raise UserError(str(error)) from error
    return samples, training


def first_samples(subject: Subject) -> Tensor:
    """uint8 [at most `LOOKED_AT`, C, H, W]: of the first seeds, or evenly from the pictures."""
    if subject.generator is not None:
        return torch.cat([part.cpu() for part in subject.samples(0, LOOKED_AT).parts(BATCH)])
    assert subject.images is not None
    return subject.images.at(evenly(len(subject.images), LOOKED_AT))


def draw(config: EvaluateConfig, found: Evaluation, samples: Tensor, training: ImageSet) -> None:
    """The picture of the nearest training images, where it is asked for, or into the run.

    Raises:
        UserError: it was asked for and cannot be written.
    """
    subject = found.subject
    path = config.sheet
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
        if config.sheet is not None:
            raise UserError(reason) from error
        found.notes.append(reason)


def save_reference(config: EvaluateConfig, path: Path, reference: Reference, extractor: Extractor) -> None:
    """Raises UserError where it cannot be written."""
    known: dict[str, Any] = {
        "extractor": extractor.name,
        "extractor_hash": extractor.hash,
        "resize": extractor.resize,
        "view": "whole",
        "precision": config.precision,
        "size": reference.size,
        "channels": reference.channels,
        "images": reference.count,
        "source": reference.name,
        "content_hash": reference.hash,
        "split": reference.split,
    }
    write_statistics(path, reference.features["whole"].statistics, known)
