"""Are these runs better than those? Over paired seeds, from numbers of the same provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rggan.config import TrainConfig
from rggan.errors import UserError
from rggan.evaluation.chosen import builtin_numbers
from rggan.evaluation.record import file_hash
from rggan.metrics.provenance import COMPARED, differences
from rggan.metrics.uncertainty import Ratio, paired_ratio
from rggan.run.folder import Run
from rggan.run.naming import FD, find, general
from rggan.run.places import BEST, WEIGHTS

NEEDED = {*COMPARED, "extractor", "reference", "reference_split"} - {"metric_hash", "class_mix"}  # of a provenance
OF_ONE_PAIR = ("reference",)  # what may differ between pairs: each seed draws its own images


@dataclass(frozen=True)
class Judged:
    """A run with the newest number that it was given."""

    run: Path
    options: TrainConfig
    metric: str
    value: float
    lower_is_better: bool
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """The runs by seed, pairwise; and what they tell."""

    metric: str
    pairs: dict[int, tuple[Judged, Judged]]
    ratio: Ratio
    notes: list[str]

    @property
    def lower_is_better(self) -> bool:
        return next(iter(self.pairs.values()))[0].lower_is_better

    def sentence(self) -> str:
        """Better, worse or not told apart, in one plain sentence."""
        verdict = self.ratio.verdict(self.lower_is_better)
        subject = "The first runs are" if verdict != "not told apart" else "The two kinds of runs are"
        than = " than the second" if verdict != "not told apart" else ""
        low, high = self.ratio.interval
        return (
            f"{subject} {verdict}{than}: the ratio of their {self.metric}, first to second, is {self.ratio.value:.3f} "
            f"(95 % interval {low:.3f} to {high:.3f}, {self.ratio.pairs} pairs of seeds)."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "ratio": self.ratio.value,
            "interval": list(self.ratio.interval),
            "verdict": self.ratio.verdict(self.lower_is_better),
            "pairs": {str(seed): [one.value, other.value] for seed, (one, other) in self.pairs.items()},
            "notes": self.notes,
        }


def compare(runs: Sequence[Path], against: Sequence[Path], metric: str = FD) -> Comparison:
    """Read the runs' numbers and compare them, paired by seed; what a side has alone is left out, with a note.

    Raises:
        UserError: no such number; a run without it; numbers of different provenance; the same seed twice on a side;
            fewer than two pairs; a value of which no ratio can be taken.
    """
    code = code_of([*runs, *against], metric)
    sides = [by_seed([judged(run, metric, code) for run in side]) for side in (runs, against)]
    pairs = {seed: (sides[0][seed], sides[1][seed]) for seed in sides[0] if seed in sides[1]}
    notes = [
        f"Seed {seed} is on one side only: left out ({side[seed].run})."
        for side, other in (sides, sides[::-1])
        for seed in side
        if seed not in other
    ]
    if len(pairs) < 2:
        raise UserError(
            f"An interval needs at least two pairs of runs with the same seed, and there are {len(pairs)}: train both "
            "kinds with more seeds (`seed`)."
        )
    check_provenance(list(pairs.values()))
    called = next(iter(pairs.values()))[0].metric
    try:
        ratio = paired_ratio([one.value for one, _ in pairs.values()], [other.value for _, other in pairs.values()])
    except ValueError as error:
        raise UserError(
            f"Some {called} is not above 0, so that ratios mean nothing; compare by another `metric`."
        ) from error
    return Comparison(called, pairs, ratio, notes + option_notes(list(pairs.values())))


def code_of(runs: Sequence[Path], metric: str) -> str:
    """The code of the metric that gives this number; '' of built-in ones.

    Raises:
        UserError: it is none of those, nor one that any of the runs was given.
    """
    known = dict.fromkeys(builtin_numbers(), "")
    if general(metric) in known:
        return ""
    for path in runs:
        for row in (Run.at(path) or Run(path.parent)).evaluations():
            for name, number in row.items():
                if general(name) not in known and better(name, number) is not None:
                    known[name] = str(number["provenance"].get("metric_code"))
    if metric not in known:
        raise UserError(f"`metric` is one of {', '.join(known)}, not {metric}.")
    return known[metric]


def judged(path: Path, metric: str, code: str = "") -> Judged:
    """The newest such number of a run's best snapshot, or of the snapshot (RUN/last) that `path` is.

    code: see `code_of`.

    Raises:
        UserError: it is no run, one whose options cannot be read, or has no such number.
    """
    run, snapshot = Run.at(path), BEST
    if run is None:
        run, snapshot = Run.at(path.parent) or Run.named(path), path.name
    options = run.checked_config()
    for row in reversed(run.evaluations()):
        name = find(row, metric)
        number: Any = row.get(name)
        if row.get("snapshot") != snapshot:
            continue
        if (lower := better(name, number)) is not None:
            weights = run.path / snapshot / WEIGHTS
            if "weights" in row and weights.is_file() and row["weights"] != file_hash(weights):
                raise UserError(f"{path} was trained on since its {name} was taken: evaluate it again.")
            # Before it was told, classes were drawn equally often.
            mix = {"class_mix": "even"} if options.cond else {}
            return Judged(path, options, name, number["value"], lower, {**mix, **number["provenance"]})
    command = f"`rggan evaluate {path} --reference PICTURES`"
    if code:
        command = f"`rggan evaluate {path} --reference PICTURES --metrics {code}`"
    raise UserError(f"{path} has no {metric} yet: run {command} first.")


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


def by_seed(runs: Sequence[Judged]) -> dict[int, Judged]:
    """Raises UserError for a seed that comes twice."""
    found: dict[int, Judged] = {}
    for run in runs:
        if run.options.seed in found:
            raise UserError(f"{found[run.options.seed].run} and {run.run} have the same seed: leave one of them out.")
        found[run.options.seed] = run
    return dict(sorted(found.items()))


def check_provenance(pairs: Sequence[tuple[Judged, Judged]]) -> None:
    """Raises UserError for numbers that do not compare: within a pair, or (but for the reference) between pairs."""
    first = pairs[0][0]
    for one, other in pairs:
        told = differences(one.provenance, other.provenance)
        told += [text for text in differences(first.provenance, one.provenance) if not text.startswith(OF_ONE_PAIR)]
        if told:
            raise UserError(
                f"The numbers of {one.run} and {other.run} do not compare; they differ in {told[0]}: evaluate all runs "
                "alike."
            )


def option_notes(pairs: Sequence[tuple[Judged, Judged]]) -> list[str]:
    """What differs in the options of the runs of one side."""
    notes = []
    for side, called in zip(zip(*pairs, strict=True), ("first", "second"), strict=True):
        for run in side[1:]:
            changed = run.options.differences(side[0].options.to_json())
            told = [text for name, text in changed.items() if name != "seed"]
            if told:
                notes.append(f"The {called} runs were not all trained alike: {run.run} has {', '.join(told)}.")
    return notes


def trained_differently(found: Comparison) -> str:
    """The options in which the first pair differs."""
    one, other = next(iter(found.pairs.values()))
    told = list(one.options.differences(other.options.to_json()).values())
    return ", ".join(told) if told else "nothing: the same options"


def lines(found: Comparison) -> list[str]:
    """A line for each pair, the ratio, and the sentence."""
    one = next(iter(found.pairs.values()))[0].provenance
    told = [
        f"metric     {found.metric} ({'lower' if found.lower_is_better else 'higher'} is better) by "
        f"{one['extractor']} ({one['extractor_hash'][:8]}), {one['samples']} samples, against {one['reference']} "
        f"({one['reference_split']})",
        f"differ in  {trained_differently(found)}",
        "",
        f"{'seed':>6} {'first':>10} {'second':>10} {'ratio':>8}",
    ]
    told += [
        f"{seed:>6} {a.value:>10.4g} {b.value:>10.4g} {a.value / b.value:>8.3f}" for seed, (a, b) in found.pairs.items()
    ]
    return [*told, "", found.sentence(), *(f"note: {note}" for note in found.notes)]
