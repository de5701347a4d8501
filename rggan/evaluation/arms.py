"""The arms of a comparison: which runs they hold, what they are called, and the newest numbers of their runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from rggan.config import TrainConfig
from rggan.errors import UserError, nearest
from rggan.evaluation.chosen import builtin_numbers, builtin_ranges
from rggan.evaluation.record import file_hash
from rggan.evaluation.reference import ALL
from rggan.metrics.metric import METRICS
from rggan.metrics.provenance import COMPARED
from rggan.metrics.uncertainty import Range
from rggan.run.differ import labels
from rggan.run.folder import Row, Run
from rggan.run.naming import FD, PATCHES, find, general
from rggan.run.outdir import runs
from rggan.run.places import BEST, WEIGHTS

NEEDED = {*COMPARED, "extractor", "reference", "reference_split"} - {"metric_hash", "class_mix"}  # of a provenance
RANGES: tuple[Range, ...] = get_args(Range)
STRUCTURE = "structure at 32x32"  # in the place of an extractor
Name = TypeVar("Name", str, Path)
COPIES = "copies"  # the share of samples that look like copies of training images


@dataclass(frozen=True)
class Judged:
    """A run with the newest number that it was given."""

    run: Path
    options: TrainConfig
    metric: str
    value: float
    lower_is_better: bool
    range: Range
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """Runs of one kind, by what differs from those of other arms."""

    name: str
    runs: tuple[Path, ...]


def read_arms(given: Sequence[Sequence[Path]]) -> list[Arm]:
    """The arms, named. A folder that holds runs stands for all of them; one arm alone falls into its kinds of runs.

    Raises:
        UserError: no run, a run in two arms, or fewer than two arms.
    """
    found = [[run for path in arm for run in runs_in(path)] for arm in given]
    seen: dict[Path, int] = {}
    for place, arm in enumerate(found):
        for path in arm:
            if seen.setdefault(path.resolve(), place) != place:
                raise UserError(f"{path} is in two arms: leave it out of one of them.")
    found = [once(arm) for arm in found]
    if len(found) == 1:
        kinds: dict[str, list[Path]] = {}
        for path, label in zip(found[0], labels([options_of(path) for path in found[0]]), strict=True):
            kinds.setdefault(label, []).append(path)
        found = list(kinds.values())
    if len(found) < 2 or not all(found):
        raise UserError("Say which runs to compare with which: rggan compare RUN... -- RUN... [-- RUN...]")
    names = labels([options_of(arm[0]) for arm in found])
    if "" in names or len(set(names)) < len(names):
        names = folder_names(found)
    return [Arm(name, tuple(arm)) for name, arm in zip(names, found, strict=True)]


def once(named: Iterable[Name]) -> list[Name]:
    """Without what is the same place again, as `runs/latest` beside the run that it links to; the first name stays.

    >>> once(["digits", ".", "./", "digits-2"])
    ['digits', '.', 'digits-2']
    """
    found: dict[str, Name] = {}
    for name in named:
        found.setdefault(os.path.realpath(name) if os.path.exists(name) else str(name), name)
    return list(found.values())


def runs_in(path: Path) -> list[Path]:
    """The run, or the snapshot of one, that lies there; or all runs of a folder of runs.

    Raises:
        UserError: neither.
    """
    if Run.at(path) is None and Run.at(path.parent) is None and (inside := runs(path)):
        return [run.path for run in inside]
    owner(path)
    return [path]


def owner(path: Path) -> tuple[Run, str]:
    """The run and the snapshot that `path` stands for: a run's best, or RUN/last."""
    run = Run.at(path)
    return (run, BEST) if run is not None else (Run.at(path.parent) or Run.named(path), path.name)


def options_of(path: Path) -> dict[str, Any]:
    return owner(path)[0].checked_config().to_json()


def folder_names(arms: Sequence[Sequence[Path]]) -> list[str]:
    """The folder that an arm's runs share, or else its first run; the whole path where these are alike.

    >>> folder_names([[Path("a/00000-x"), Path("a/00001-x")], [Path("b/00000-x")]])
    ['a', '00000-x']
    >>> folder_names([[Path("a/00000-x")], [Path("b/00000-x")]])
    ['a/00000-x', 'b/00000-x']
    """
    places = [arm[0].parent if len(arm) > 1 and len({path.parent for path in arm}) == 1 else arm[0] for arm in arms]
    if len(set(places)) < len(places):
        places = [arm[0] for arm in arms]
    names = [place.name for place in places]
    return names if len(set(names)) == len(names) else [str(place) for place in places]


def numbers(path: Path) -> dict[str, Row]:
    """{name: the newest number of it} of the snapshot that `path` stands for."""
    run, snapshot = owner(path)
    found: dict[str, Row] = {}
    for row in reversed(run.evaluations()):
        if row.get("snapshot") != snapshot:
            continue
        for name, number in {**row, **copies(row)}.items():
            if better(name, number) is not None:
                found.setdefault(name, {"weights": row.get("weights"), **number})
    return found


def copies(row: Row) -> dict[str, Row]:
    """The share of copies of an evaluation as a number with where it comes from."""
    told = row.get("memorisation")
    if not isinstance(told, dict) or not isinstance(told.get("rate"), float):
        return {}
    provenance: dict[str, Any] = dict.fromkeys(COMPARED)
    provenance |= {
        "metric": COPIES,
        "extractor": STRUCTURE,
        "extractor_hash": "",
        "samples": told.get("samples"),
    }
    provenance |= {"reference": "training images", "reference_images": told.get("training_count")}
    provenance["reference_split"] = f"calibrated {told.get('yardstick')}"
    return {COPIES: {"value": told["rate"], "lower_is_better": True, "range": "share", "provenance": provenance}}


def better(name: str, number: Any) -> bool | None:
    """Whether lower is better of it; None: it is no value with its provenance, but what somebody else wrote there.

    Numbers of before were all of built-in metrics, and did not say it.
    """
    if not isinstance(number, dict) or not isinstance(number.get("value"), float):
        return None
    provenance = number.get("provenance")
    if not isinstance(provenance, dict) or not set(provenance) >= NEEDED:
        return None
    lower = number.get("lower_is_better", builtin_numbers().get(general(name)))
    return lower if isinstance(lower, bool) else None


def judged(path: Path, metric: str) -> Judged:
    """The newest such number of the snapshot that `path` stands for.

    Raises:
        UserError: it is no run, one whose options cannot be read, or has no such number.
    """
    run, _ = owner(path)
    options, found = run.checked_config(), numbers(path)
    name = find(found, metric)
    if name not in found:
        raise UserError(f"{path} has no {metric} yet; first run: {evaluate_command([path])}")
    if outdated(found[name], weights_hash(path)):
        raise UserError(f"{path} was trained on since its {name} was taken: evaluate it again.")
    return judgement(path, options, name, found[name])


def weights_hash(path: Path) -> str | None:
    """Of the snapshot that `path` stands for; None if it has no weights any more."""
    run, snapshot = owner(path)
    weights = run.path / snapshot / WEIGHTS
    return file_hash(weights) if weights.is_file() else None


def outdated(number: Row, weights: str | None) -> bool:
    """Whether one of `numbers` is of other weights than its snapshot has now, as far as both are known."""
    return None not in (number["weights"], weights) and number["weights"] != weights


def judgement(path: Path, options: TrainConfig, name: str, number: Row) -> Judged:
    """One of `numbers` as it is compared."""
    mix = {"class_mix": "even"} if options.cond and name != COPIES else {}  # before it was told
    told = number.get("range", builtin_ranges().get(general(name)))
    kind: Range = next((each for each in RANGES if each == told), "any")
    lower = better(name, number)
    assert lower is not None
    return Judged(path, options, name, number["value"], lower, kind, {**mix, **number["provenance"]})


def choose(arms: Sequence[Arm], asked: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of the numbers to compare by, and what is to be said about the choice.

    asked: none: the Fréchet distance where every run has it, or else the first that they all have.

    Raises:
        UserError: runs without evaluations; none that all have; or none of such a name.
    """
    held = {path: {general(name): name for name in numbers(path)} for arm in arms for path in arm.runs}
    known = list(dict.fromkeys([*builtin_numbers(), COPIES, *(name for names in held.values() for name in names)]))
    for metric in asked:
        if general(metric) not in known:
            hint = nearest(metric, known) or "."
            raise UserError(f"`metric` is one of {', '.join(known)}, not {metric}{hint}")
    if empty := [path for path, names in held.items() if not names]:
        given = [(general(name), number) for path in held for name, number in numbers(path).items()]
        told = next((number for name, number in given if not asked or name == general(asked[0])), None)
        whose = f"{empty[0]} has" if len(empty) == 1 else f"{len(empty)} of the runs have"
        command = evaluate_command(empty, told, asked[0] if asked else None)
        raise UserError(f"{whose} no evaluation yet; first run: {command}")
    common = [name for name in known if all(name in names for names in held.values())]
    for metric in asked:
        for path, names in held.items():
            if general(metric) not in names:
                sample = next((numbers(p)[n[general(metric)]] for p, n in held.items() if general(metric) in n), None)
                if sample is None and names:  # as its other numbers were taken, but of more images
                    other = next(iter(numbers(path).values()))["provenance"]
                    sample = {"provenance": {**other, "samples": None, "metric_code": None}}
                others = f", but {', '.join(names.values())}" if names else ""
                way = f"compare by `metric` {common[0]}, or first run" if common else "first run"
                command = evaluate_command([path], sample, metric)
                raise UserError(f"{path} has no {metric} yet{others}: {way}: {command}")
    if not common:
        every = [path for arm in arms for path in arm.runs]
        raise UserError(f"There is no number that all of the runs have; first run: {evaluate_command(every)}")
    if asked:
        return list(dict.fromkeys(asked)), []
    if common[0] == FD:
        return common[:1], []
    return common[:1], [f"Compared by {common[0]}: not every run has a Fréchet distance, which needs more images."]


def evaluate_command(paths: Sequence[Path], sample: Row | None = None, metric: str | None = None) -> str:
    """What to type so that these runs have such numbers as others have; the options by their Python names.

    >>> evaluate_command([Path("runs/00000 a")], None, "patch_fd-small")
    "rggan evaluate 'runs/00000 a' `metrics` fd"
    """
    options: dict[str, Any] = {}
    if sample is not None:
        by = sample["provenance"]
        options["reference"] = by["reference"] if by["reference_split"] == ALL else None
        options["features"] = by["extractor"] if by["extractor"] not in ("reporting", STRUCTURE) else None
        options["samples"] = by["samples"]
    if metric is not None and metric != COPIES:
        plain = general(metric).removeprefix(PATCHES)
        giver = [name for name in METRICS.builtin if plain in METRICS.get(name).values]
        code = None if sample is None else sample["provenance"].get("metric_code")
        options["metrics"] = code or (giver or [plain])[0]
    words = shlex.join(["rggan", "evaluate", *map(str, paths)])
    return words + "".join(f" `{name}` {shlex.quote(str(value))}" for name, value in options.items() if value)
