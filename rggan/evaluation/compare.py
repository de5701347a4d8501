"""Which arms are better? From numbers of the same provenance, paired by seed where the runs are."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rggan.errors import UserError
from rggan.evaluation.arms import Arm, Judged, choose, judged, options_of, read_arms
from rggan.evaluation.measure import images_of
from rggan.metrics.provenance import differences, favour
from rggan.metrics.uncertainty import Effect, Interval, Range, effect, holm, interval_of
from rggan.run.differ import labels

OF_ONE_PAIR = "reference"  # differences that begin so may lie between pairs: each seed draws its own images


@dataclass(frozen=True)
class Mean:
    """The mean of an arm's runs, their standard deviation, and the 95 % interval of the mean."""

    arm: str
    runs: int
    value: float
    sd: float
    interval: Interval


@dataclass(frozen=True)
class Pair:
    """How one arm does against another. p: adjusted after Holm over the pairs. verdict: 'better', 'worse', ..."""

    arm: str
    against: str
    effect: Effect
    p: float
    verdict: str


@dataclass(frozen=True)
class Compared:
    """The arms by one number.

    values: for each arm its runs by seed, or one after another where they are not paired.
    """

    metric: str
    lower_is_better: bool
    provenance: dict[str, Any]
    paired: bool
    values: dict[str, dict[int, float]]
    means: list[Mean]
    pairs: list[Pair]


@dataclass(frozen=True)
class Comparison:
    """The arms by each number that they are compared by, and what is to be said beside it."""

    arms: list[Arm]
    metrics: list[Compared]
    notes: list[str]


def compare(
    arms: Sequence[Sequence[Path]],
    metrics: Sequence[str] = (),
    unpaired: bool = False,
    all_pairs: bool = False,
    allow_relatives: bool = False,
    called: Sequence[str] = (),
) -> Comparison:
    """Read the runs' numbers and compare the first arm with each other one.

    Args:
        arms: of each its runs, snapshots of runs (RUN/last), or folders that hold runs.
        metrics: names of numbers of `rggan evaluate`, or 'copies'; none: the Fréchet distance, or what all runs have.
        unpaired: do not pair by seed. Without it arms are paired where each two that are compared share two seeds.
        all_pairs: compare each arm with each other one.
        allow_relatives: compare with a note where the extractor flatters some of the runs and not others, because it
            is a relative of what their D looked through, or selected their snapshots.
        called: names of the arms, in their order; none: by what differs in their options.

    Raises:
        UserError: see `read_arms` and `choose`; numbers of different provenance; too few runs.
    """
    found = renamed(read_arms(arms), called)
    names, notes = choose(found, metrics)
    places = list(itertools.combinations(range(len(found)), 2))
    named = places if all_pairs else [pair for pair in places if pair[0] == 0]
    compared = [compare_by(found, name, named, unpaired, allow_relatives, notes) for name in names]
    return Comparison(found, compared, list(dict.fromkeys(notes + option_notes(found))))


def renamed(arms: list[Arm], called: Sequence[str]) -> list[Arm]:
    """Arms by names of one's own.

    Raises:
        UserError: not a name for each arm, or the same one twice.

    >>> renamed([Arm("rule none", ()), Arm("rule threshold", ())], ["dense", "RG-GAN"])[0].name
    'dense'
    """
    if not called:
        return arms
    if len(called) != len(arms):
        raise UserError(
            f"`names` gives {len(called)} for {len(arms)} arms ({'; '.join(arm.name for arm in arms)}): one for each."
        )
    if len(set(called)) < len(called):
        raise UserError(f"`names` gives two arms the same name: {', '.join(called)}.")
    return [replace(arm, name=name) for arm, name in zip(arms, called, strict=True)]


def compare_by(
    arms: Sequence[Arm],
    metric: str,
    named: Sequence[tuple[int, int]],
    unpaired: bool,
    allow_relatives: bool,
    notes: list[str],
) -> Compared:
    """By one number; adds to the notes."""
    groups = [[judged(run, metric) for run in arm.runs] for arm in arms]
    seeds = [{run.options.seed for run in group} for group in groups]
    paired = not unpaired and all(len(seeds[a] & seeds[b]) >= 2 for a, b in named)
    if paired:
        for group in groups:
            refuse_twins(group)
        notes += [
            f"Seed {run.options.seed} is on one side only: left out of the pairs ({run.run}), but not of the mean."
            for a, b in named
            for one, other in ((a, b), (b, a))
            for run in groups[one]
            if run.options.seed not in seeds[other]
        ]
    elif not unpaired:
        told = next(f"{arms[a].name} and {arms[b].name}" for a, b in named if len(seeds[a] & seeds[b]) < 2)
        notes.append(f"Not paired by seed: {told} do not share two seeds.")
    check_provenance(groups, paired)
    check_favour(groups, allow_relatives, notes)
    for arm, group in zip(arms, groups, strict=True):
        if len(group) < 2:
            raise UserError(
                f"An interval needs at least two runs of each arm, and {arm.name} has {len(group)}: train it with more "
                "seeds (`seed`)."
            )
    first = groups[0][0]
    kind = range_of(groups, notes)
    images, shared = images_of(first.provenance)
    effects = []
    for a, b in named:
        common = sorted(seeds[a] & seeds[b])
        sides = [[run.value for run in groups[place]] for place in (a, b)]
        if paired:
            sides = [[run.value for s in common for run in groups[p] if run.options.seed == s] for p in (a, b)]
        effects.append(effect(sides[0], sides[1], kind, paired, images=images, shared=shared))
    pairs = [
        Pair(arms[a].name, arms[b].name, each, p, each.verdict(first.lower_is_better, p))
        for (a, b), each, p in zip(named, effects, holm([each.p for each in effects]), strict=True)
    ]
    values, means = {}, []
    for arm, group in zip(arms, groups, strict=True):
        drawn = [run.value for run in group]
        numbered = sorted((run.options.seed, run.value) for run in group) if paired else enumerate(drawn)
        values[arm.name] = dict(numbered)
        interval = interval_of(drawn, kind, images, shared)
        means.append(Mean(arm.name, len(group), statistics.fmean(drawn), statistics.stdev(drawn), interval))
    return Compared(first.metric, first.lower_is_better, first.provenance, paired, values, means, pairs)


def range_of(groups: Sequence[Sequence[Judged]], notes: list[str]) -> Range:
    """Shares differ; others, where all are above 0, have a ratio."""
    first = groups[0][0]
    if first.range == "share":
        return "share"
    if all(run.value > 0 for group in groups for run in group):
        return "positive"
    notes.append(f"Some {first.metric} is not above 0: differences of {first.metric} instead of ratios.")
    return "any"


def refuse_twins(group: Sequence[Judged]) -> None:
    """Raises UserError for a seed that comes twice in an arm."""
    found: dict[int, Path] = {}
    for run in group:
        if found.setdefault(run.options.seed, run.run) != run.run:
            raise UserError(
                f"{found[run.options.seed]} and {run.run} have the same seed: leave one of them out, or compare "
                "`unpaired`."
            )


def check_provenance(groups: Sequence[Sequence[Judged]], paired: bool) -> None:
    """Raises UserError for numbers that do not compare. Where runs are paired each seed may have its own reference."""
    first = groups[0][0]
    of_seed: dict[int, Judged] = {}
    for run in itertools.chain.from_iterable(groups):
        told = [(first, text) for text in differences(first.provenance, run.provenance)]
        if paired:
            other = of_seed.setdefault(run.options.seed, run)
            told = [(one, text) for one, text in told if not text.startswith(OF_ONE_PAIR)]
            told += [(other, text) for text in differences(other.provenance, run.provenance)]
        if told:
            one, text = told[0]
            raise UserError(
                f"The numbers of {one.run} and {run.run} do not compare; they differ in {text}: evaluate all runs "
                "alike."
            )


def check_favour(groups: Sequence[Sequence[Judged]], allow_relatives: bool, notes: list[str]) -> None:
    """Where the extractor flatters some runs and not others (see `favour`), add a note if that is allowed.

    Raises:
        UserError: it is not.
    """
    runs = list(itertools.chain.from_iterable(groups))
    told = {favour(run.provenance): run.run for run in reversed(runs)}
    if len(told) < 2:
        return
    (why, path), (_, other) = sorted(told.items(), reverse=True)[:2]
    sentence = f"{runs[0].provenance['extractor']} flatters {path} beside {other}: {why}"
    if not allow_relatives:
        raise UserError(
            f"{sentence}. Evaluate all runs by another network (`features` reporting), or compare all the same with "
            "`allow_relatives`."
        )
    notes.append(f"{sentence}.")


def option_notes(arms: Sequence[Arm]) -> list[str]:
    """What differs in the options of the runs of one arm."""
    notes = []
    for arm in arms:
        told = labels([options_of(path) for path in arm.runs])
        if len(set(told)) > 1:
            runs = "; ".join(f"{path}: {label}" for path, label in zip(arm.runs, told, strict=True))
            notes.append(f"The runs of {arm.name} were not all trained alike ({runs}).")
    return notes
