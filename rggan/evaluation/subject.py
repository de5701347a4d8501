"""What is judged: a trained generator, pictures, or statistics of features that somebody saved."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from rggan.config import TrainConfig
from rggan.data import ImageSet, load_images
from rggan.data.decode import Resize
from rggan.data.images import Channels
from rggan.data.named import check_named
from rggan.errors import UserError
from rggan.evaluation.saved import SavedStatistics, is_statistics, read_statistics
from rggan.generation.generator import Generator
from rggan.networks import FAMILIES
from rggan.run.folder import Run
from rggan.run.places import WEIGHTS, find_weights
from rggan.training.progress import reading
from rggan.training.reading import read_data

TRUST = "pass `trust_data` to let it be read, or name pictures with"
KINDS: dict[int, Channels] = {1: "grey", 3: "rgb", 4: "rgba"}


@dataclass(frozen=True)
class Reading:
    """How pictures are read. None: as the run was trained, or else as `rggan train` would."""

    resolution: int | str | tuple[int, int] | None = None
    channels: Channels = "auto"
    resize: Resize | None = None
    background: str | None = None
    pattern: str = "*"
    max_images: int | None = None
    skip_bad: bool = False
    formats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Samples:
    """Pictures of a generator's seeds, made as they are asked for."""

    generator: Generator
    seeds: range
    class_mix: str | None = None

    def __len__(self) -> int:
        return len(self.seeds)

    def parts(self, batch: int) -> Iterator[Tensor]:
        return self.generator.parts(self.seeds, batch, self.class_mix)


@dataclass(frozen=True)
class Subject:
    """One X of `rggan evaluate X`: exactly one of generator, images and statistics is there.

    weights: the generator's file. run: that it lies in. options: what that run was trained with; None where another
    version did. class_mix: how often a generator's classes are drawn, as in its 'data' or 'even'; None: it has none.
    """

    name: str
    generator: Generator | None = None
    images: ImageSet | None = None
    statistics: SavedStatistics | None = None
    weights: Path | None = None
    run: Run | None = None
    options: TrainConfig | None = None
    class_mix: str | None = None

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(channels, height, width); None for statistics."""
        if self.generator is not None:
            network = self.generator.config["network"]
            return (network["channels"], *network["resolution"])
        return None if self.images is None else self.images.shape

    @property
    def ema(self) -> bool | None:
        """Every generator of ours is the average over its training; of others nobody knows."""
        return True if self.generator is not None else None

    @property
    def looked_through(self) -> str:
        """The frozen pretrained network that the discriminator of a generator looked through; "": none."""
        return "" if self.generator is None else FAMILIES.get(self.generator.config["network"]["name"]).looks_through

    @property
    def steered_by(self) -> str:
        """The extractor by whose score a run's snapshot was selected; "": nothing tells."""
        trained = {} if self.generator is None else self.generator.config.get("trained", {})
        return str(trained.get("score_provenance", {}).get("extractor", ""))

    def count(self, samples: int) -> int | None:
        """How many images a sample set has; None: the saved statistics do not tell."""
        if self.statistics is not None:
            return self.statistics.known.get("images")
        return samples if self.images is None else len(self.images)

    def samples(self, replicate: int, count: int) -> Samples | ImageSet:
        """The images of one replicate: other seeds each time; of a fixed set always the whole."""
        if self.generator is not None:
            return Samples(self.generator, range(replicate * count, (replicate + 1) * count), self.class_mix)
        assert self.images is not None
        return self.images


def open_subject(
    name: str, how: Reading, device: str, console: Console | None = None, class_mix: str | None = None
) -> Subject:
    """A run folder (its best snapshot), a snapshot, a generator.safetensors; .npz of mu and sigma; or pictures.

    class_mix: see `rggan.generation.sampler.mixed`.

    Raises:
        UserError: nothing of the kind there, or it is damaged; a class mix of what has no classes.
    """
    path = Path(name)
    weights = find_weights(path)
    if path.name == WEIGHTS or (weights is not None and weights.name == WEIGHTS):  # other files are pictures
        generator = Generator.from_pretrained(path, device)
        run = Run.around(path)
        if run is not None and generator.classes and "class_counts" not in generator.config:  # of before they told it
            generator.config["class_counts"] = run.class_counts(generator.classes)
        options, mix = None if run is None else run.config(), generator.sampler(class_mix)[1]
        return Subject(name, generator=generator, weights=weights, run=run, options=options, class_mix=mix)
    if class_mix is not None:
        raise UserError(f"`class_mix` says how a generator's classes are drawn, and {name} is none: leave it out.")
    if is_statistics(path):
        return Subject(name, statistics=read_statistics(path))
    return Subject(name, images=read_images(name, dataclasses.replace(how, max_images=None), console))


def read_images(name: str, how: Reading, console: Console | None = None) -> ImageSet:
    """Raises UserError as `load_images`, for a run (its sheets are no pictures), and where fewer than two are left."""
    if Run.at(Path(name)) is not None:
        raise UserError(
            f"{name} is a run without a snapshot, and no set of pictures: train it further, or name another."
        )
    with reading(console) as progress:
        images = load_images(
            name,
            how.resolution,
            channels=how.channels,
            resize=how.resize or "crop",
            background=how.background or "white",
            pattern=how.pattern,
            max_images=how.max_images,
            skip_bad=how.skip_bad,
            formats=how.formats,
            progress=progress,
        )
    if len(images) < 2:
        raise UserError(f"Only one image is left of {name}; scores need at least 2.")
    return images


def reference_images(name: str, subject: Subject, how: Reading, console: Console | None = None) -> ImageSet:
    """The pictures of `name` at the size and in the channels of the subject.

    Raises:
        UserError: as `read_images`; or the subject is grey and these are not.
    """
    assert subject.shape is not None
    channels, height, width = subject.shape
    if subject.generator is not None and how.channels not in ("auto", KINDS[channels]):
        raise UserError(f"`channels` {how.channels}: {subject.name} makes {KINDS[channels]} pictures; leave it out.")
    options = subject.options
    how = dataclasses.replace(
        how,
        resolution=(height, width),
        channels=KINDS[channels] if how.channels == "auto" and channels > 1 else how.channels,
        resize=how.resize or (options.resize if options else None),
        background=how.background or (options.background if options else None),
    )
    images = read_images(name, how, console)
    if images.shape[0] != channels:
        mend = "; `channels` rgb reads both alike" if subject.images is not None else ", which it cannot make"
        raise UserError(
            f"{subject.name} is {KINDS[channels]} ({channels} channels) and {name} is {KINDS[images.shape[0]]} "
            f"({images.shape[0]}){mend}."
        )
    return images


def training_images(
    subject: Subject, console: Console | None = None, option: str = "reference"
) -> tuple[ImageSet, ImageSet | None]:
    """(those that the run was trained on, those held out of it or None).

    option: names them where they cannot be read.

    Raises:
        UserError: they cannot be read any more, or are others; or they were never named (`rggan.data.named`).
    """
    assert subject.options is not None
    check_named(subject.run, subject.options.data, f"{TRUST} `{option}`")
    options = dataclasses.replace(subject.options, device="cpu")
    images = read_data(options, console)
    assert subject.run is not None
    if images.shape != subject.shape or subject.run.data_head().get("key", images.key) != images.key:
        raise UserError(
            f"The images of {options.data} are not those that {subject.name} was trained on: put them back, or name "
            "others with `reference` (and `training`)."
        )
    return images.split(options.seed)


def content_hash(images: ImageSet) -> str:
    """SHA-256 of the pixels that the set holds: names and contents of its files, size, how it was cut, which of them.

    >>> digits = load_images("digits", 16, max_images=20)
    >>> first, again = (digits.take(digits.rows.numpy()[:19]) for _ in range(2))
    >>> content_hash(first) == content_hash(again) != content_hash(digits)
    True
    """
    channels = images.shape[0]  # 'auto' decodes to more than what is kept
    rows = images.rows.numpy().astype("<i8").tobytes()
    return hashlib.sha256(f"{images.key} {channels} ".encode() + rows).hexdigest()


def evenly(count: int, wanted: int) -> Tensor:
    """At most `wanted` of the indices 0..count-1, evenly spaced: int64.

    >>> evenly(10, 4), evenly(3, 4)
    (tensor([0, 2, 5, 7]), tensor([0, 1, 2]))
    """
    wanted = min(count, wanted)
    return torch.arange(wanted) * count // max(1, wanted)
