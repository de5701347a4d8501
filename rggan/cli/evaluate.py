"""rggan evaluate: how good generators or pictures are."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from rggan.data.decode import Resize
from rggan.data.images import Channels
from rggan.data.named import remember
from rggan.device import check_device, full_precision, what_mps_lacks
from rggan.errors import UserError
from rggan.evaluation.arms import once
from rggan.evaluation.chosen import chosen
from rggan.evaluation.features import Precision
from rggan.evaluation.measure import Evaluation, measure
from rggan.evaluation.progress import counting
from rggan.evaluation.protocol import PROTOCOLS, ProtocolName
from rggan.evaluation.record import append
from rggan.evaluation.reference import Reference, check_statistics, open_reference, save_reference
from rggan.evaluation.replays import Wanted, look_for_replays
from rggan.evaluation.subject import Reading, Subject, open_subject
from rggan.evaluation.table import lines
from rggan.files import json_text
from rggan.metrics.extractors import load_extractor, runs_code
from rggan.metrics.features import Extractor
from rggan.metrics.inception import fetch_inception
from rggan.metrics.metric import METRICS
from rggan.ranges import check_ranges
from rggan.registry import trust
from rggan.run.differ import labels
from rggan.run.log import say
from rggan.training.reading import refuse_inside

NAMED_TWICE = "What is named more than once (by a link such as runs/latest) is evaluated once."
WHICH = (
    f"Only these: {', '.join(METRICS.builtin)}, those of installed packages by name, or package.module:METRIC, which "
    "is code and runs here, so take only such as you trust. Without it, all built-in ones that mean something for so "
    "many images."
)


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
    """What sees the images: 'reporting' or 'steering', which ship with the package; 'imagenet', a larger network of the
    extra `rggan[pretrained]`; 'inception', that of published FIDs, in the file that $RGGAN_FEATURES names; the name of
    one of an installed package; a TorchScript or exported program (.pt2) from uint8 images to features; or
    package.module:function. A program or a function is code, which runs here: take only such as you trust."""
    download: bool = False
    """Fetch the file of 'inception', where it is not there; the address is shown first."""
    protocol: ProtocolName | None = None
    """Take the Fréchet distance as papers do: 50,000 samples against the training images, 10,000 against test images,
    which --reference names, or 5,000 against the few training images. A note says whether it compares with theirs."""
    metrics: Annotated[tuple[str, ...], tyro.conf.arg(help=WHICH)] = ()
    samples: int = 5000
    """Images that are generated for one score. Scores of different numbers do not compare."""
    replicates: int = 10
    """Sets of so many images, each of other seeds: from them comes the interval."""
    subset: int = 10_000
    """KID, precision, recall, density, coverage, and others that need features, take at most so many images of each
    side."""
    memorisation: Wanted = "auto"
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
    formats: tuple[str, ...] = ()
    """Read pictures of these formats too, as in `rggan train`."""
    precision: Precision = "fp32"
    """Arithmetic of generator and extractor; bf16 is faster on processors that multiply it, and another score."""
    class_mix: Literal["data", "even"] | None = None
    """How often each class of a generator is drawn: as in the data that it was trained on (without this option, where
    that is known), or all equally often. Scores of different mixes do not compare."""
    trust_data: bool = False
    """Read the data that a run of somebody else names, wherever they are; asked once for each. Data that you trained on
    yourself are read without it."""
    trust: tuple[str, ...] = ()
    """package.module:OBJECT of your own network, rule, schedule or input form that a run names: its code runs. Without
    it no run makes code run."""
    device: str = "auto"
    """Where to compute: 'cpu', 'cuda', 'cuda:1', 'mps'; 'auto' takes a CUDA GPU if there is one, else Apple's (MPS)."""
    json: bool = False
    """Print one JSON object a line for each subject instead."""

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
            self.formats,
        )


def check_options(config: EvaluateConfig) -> None:
    """Raises UserError for a value out of its range."""
    check_ranges(vars(config))
    if not config.subjects:
        raise UserError("Say what to evaluate: a run, a generator, or pictures.")
    if config.held_out is not None and config.training is None:
        raise UserError("--held-out goes with --training: give that too.")
    if config.sheet is not None and len(config.subjects) > 1:
        raise UserError("--sheet is one picture: evaluate one subject at a time.")
    if config.download and config.features != "inception":
        raise UserError("--download fetches the network of --features inception: give that too.")
    if config.save_statistics is not None and config.save_statistics.suffix != ".npz":
        raise UserError(f"--save-statistics {config.save_statistics}: give a name that ends in .npz.")


def under_protocol(config: EvaluateConfig) -> EvaluateConfig:
    """With the numbers of samples and the metric of its protocol.

    Raises:
        UserError: other ones were given, or no reference that it needs.
    """
    if config.protocol is None:
        return config
    protocol, default = PROTOCOLS[config.protocol], EvaluateConfig(())
    protocol.check(config.reference)
    if config.samples not in (default.samples, protocol.samples):
        raise UserError(f"--protocol {protocol.name} has {protocol.samples:,} samples: leave --samples out.")
    if config.metrics:
        raise UserError(f"--protocol {protocol.name} is of the Fréchet distance alone: leave --metrics out.")
    replicates = 1 if config.replicates == default.replicates else config.replicates
    return replace(config, samples=protocol.samples, metrics=("fd",), replicates=replicates)


@what_mps_lacks()
@full_precision()
def evaluate(config: EvaluateConfig, console: Console) -> list[Evaluation]:
    """Score every subject, print it, and keep it in the run it belongs to.

    Raises:
        UserError: bad input of any kind, with one sentence.
    """
    check_options(config)
    config = under_protocol(config)
    trust(*config.trust)
    device = str(check_device(config.device))
    chosen(config.metrics)  # what is wrong there is said before any picture is read
    for place in (*config.subjects, config.reference, config.training, config.held_out):
        if config.sheet is not None and place is not None:
            refuse_inside("--sheet", config.sheet, place)
    if config.download:
        fetch_inception(lambda line: say(Console(stderr=True) if config.json else console, line))
    if runs_code(config.features):
        told = f"note: --features {config.features} is code, and runs here; take only such as you trust."
        say(Console(stderr=True), told)
    extractor = load_extractor(config.features, device)
    shown = None if config.json else console
    subjects = once(config.subjects)
    if len(subjects) < len(config.subjects) and shown is not None:
        say(shown, NAMED_TWICE)
    references: dict[object, Reference] = {}
    done = []
    for name in subjects:
        subject = open_subject(name, config.reading, device, shown, config.class_mix)
        if config.trust_data and subject.options is not None:
            remember(subject.options.data)
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
            print(json_text(done[-1].to_json()), flush=True)
        else:
            say(console, *lines(done[-1]))
    if not config.json and (following := next_command([one.subject for one in done])):
        say(console, "", f"Next: {following}")
    if config.save_statistics is not None:
        save_reference(config.save_statistics, next(iter(references.values())), extractor, config.precision)
    return done


def next_command(subjects: Sequence[Subject]) -> str:
    """What to type after an evaluation: a comparison of the runs where they are of two kinds, or else their page."""
    found = [one for one in subjects if one.run is not None and one.options is not None]
    if not found:
        return ""
    kinds: dict[str, list[str]] = {}
    for one, label in zip(found, labels([one.options.to_json() for one in found if one.options]), strict=True):
        kinds.setdefault(label, []).append(one.name)
    if len(kinds) > 1 and all(len(names) > 1 for names in kinds.values()):
        return "rggan compare " + " -- ".join(map(shlex.join, kinds.values()))
    return shlex.join(["rggan", "show", *dict.fromkeys(str(one.run) for one in found)])


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
            singular=config.protocol is not None,
        )
    if config.protocol is not None:
        found.notes.insert(0, PROTOCOLS[config.protocol].told(subject, reference, extractor, config.precision))
    look_for_replays(
        found, reference, config.memorisation, config.training, config.held_out, config.reading, config.sheet, console
    )
    return found
