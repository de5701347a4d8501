"""The newest numbers of `rggan evaluate` of several runs side by side, where they compare."""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rggan.errors import UserError
from rggan.evaluation.arms import (
    COPIES,
    Judged,
    evaluate_command,
    judgement,
    numbers,
    outdated,
    weights_hash,
)
from rggan.evaluation.chosen import builtin_numbers
from rggan.evaluation.compare import OF_ONE_PAIR, check_provenance
from rggan.evaluation.reference import ALL
from rggan.generation.discreet import told, without
from rggan.metrics.provenance import differences
from rggan.report.page.page import against, interval_of
from rggan.run.folder import Row, Run
from rggan.run.naming import general

OWN = "The runs of each seed have a reference of their own: compare those of the same seed."
Found = dict[str, tuple[Judged, Row]]  # of a run, by `general` name


@dataclass(frozen=True)
class Value:
    """A number of a run; interval: (low, high) of 95 %."""

    value: float
    interval: Sequence[float] | None


@dataclass(frozen=True)
class Line:
    """A number that compares. values: of each run, None where it has none. against: samples and reference."""

    name: str
    lower_is_better: bool
    against: str
    values: Sequence[Value | None]


@dataclass(frozen=True)
class Note:
    """A sentence, and a command that it leads to; options in both by their Python names, in backticks."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Evaluated:
    """The lines of the table, and what is to be said beside it."""

    lines: list[Line] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def evaluated(runs: Sequence[Run], arms: Sequence[Sequence[int]]) -> Evaluated:
    """The numbers of the runs' best generators.

    Args:
        arms: of each arm the places of its runs.

    Of where the runs and their pictures lie, what is said has the last parts alone: it stands on a page.

    Raises:
        OSError: a file of a run is there and cannot be read.
    """
    made = Evaluated()
    found: list[Found] = []
    missing: list[Run] = []
    for run in runs:
        mine, said = current(run)
        found.append(mine)
        made.notes.extend(map(Note, said))
        if not mine:
            missing.append(run)
    if not any(found):
        text = "No run has a number of `rggan evaluate` yet. This makes them:"
        made.notes.append(Note(text, evaluate_command([named(run) for run in runs])))
        return discreet(made, runs, found)
    known = dict.fromkeys([*builtin_numbers(), COPIES, *(name for mine in found for name in mine)])
    apart: dict[str, list[Judged]] = {}
    for name in known:
        groups = [[found[place][name][0] for place in arm if name in found[place]] for arm in arms]
        groups = [group for group in groups if group]
        if not groups:
            continue
        paired = by_seed(groups)
        try:
            check_provenance(groups, paired)
        except UserError as error:
            apart.setdefault(str(error), [one for group in groups for one in group])
        else:
            made.lines.append(line(name, found))
            if paired and len({one.provenance["reference_hash"] for group in groups for one in group}) > 1:
                made.notes.append(Note(OWN))
    if apart:
        judged = next(iter(apart.values()))
        command = alike([named(run) for run in runs], judged)
        made.notes.extend(Note(text, command if place == len(apart) - 1 else "") for place, text in enumerate(apart))
    elif missing:
        sample = next(number for mine in found for _, number in mine.values())
        text = f"No evaluation yet: {', '.join(map(str, missing))}. This makes one that compares:"
        made.notes.append(Note(text, evaluate_command([named(run) for run in missing], told(sample))))
    if made.lines and len(arms) > 1 and all(len(arm) > 1 for arm in arms) and not missing:
        words = " -- ".join(shlex.join(named(runs[place]).name for place in arm) for arm in arms)
        made.notes.append(Note("Whether an arm is better, and by how much:", f"rggan compare {words}"))
    return discreet(made, runs, found)


def named(run: Run) -> Path:
    return Path(run.path.resolve().name)


def discreet(made: Evaluated, runs: Sequence[Run], found: Sequence[Found]) -> Evaluated:
    """Each note once, and without the places that runs and numbers name."""
    places = [text for run in runs for text in (str(run), *(run.options() or {}).values()) if isinstance(text, str)]
    for each, _ in (pair for mine in found for pair in mine.values()):
        places += [text for text in each.provenance.values() if isinstance(text, str)]
    notes = [Note(without(places, note.text), note.command) for note in made.notes]
    return Evaluated(made.lines, list(dict.fromkeys(notes)))


def current(run: Run) -> tuple[Found, list[str]]:
    """The newest number of each kind that is of the weights of now, and what is said of others."""
    known = numbers(run.path)
    if not known:
        return {}, []
    try:
        options = run.checked_config()
    except UserError as error:
        return {}, [str(error)]
    weights = weights_hash(run.path)
    fresh = {name: number for name, number in known.items() if not outdated(number, weights)}
    said = [] if fresh else [f"{run} was trained on since it was evaluated."]
    found: Found = {}
    for name, number in fresh.items():
        found.setdefault(general(name), (judgement(run.path, options, name, number), number))
    return found, said


def by_seed(groups: Sequence[Sequence[Judged]]) -> bool:
    """Whether runs can be looked at seed by seed: each seed is in at least two arms."""
    count = Counter(seed for group in groups for seed in {one.options.seed for one in group})
    return all(arms > 1 for arms in count.values())


def line(name: str, found: Sequence[Mapping[str, tuple[Judged, Row]]]) -> Line:
    own = [mine.get(name) for mine in found]
    first = next(each[0] for each in own if each is not None)
    values = [None if each is None else Value(each[0].value, interval_of(each[1])) for each in own]
    return Line(first.metric, first.lower_is_better, against(first.provenance), values)


def alike(paths: Sequence[Path], judged: Sequence[Judged]) -> str:
    """The command after which numbers compare that do not."""
    by = told(judged[0].provenance)
    command = evaluate_command(paths, {"provenance": by})
    apart = itertools.chain.from_iterable(differences(by, one.provenance) for one in judged)
    if by["reference_split"] != ALL and any(text.startswith(OF_ONE_PAIR) for text in apart):
        names = {str(told(one.provenance["reference"])) for one in judged}
        command += f" `reference` {shlex.quote(names.pop()) if len(names) == 1 else 'PICTURES'}"
    return command
