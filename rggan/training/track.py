"""Experiment trackers: the run's numbers, sheets of samples and options in TensorBoard, Weights & Biases or trackio."""

from __future__ import annotations

import contextlib
import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from rggan.errors import reason
from rggan.files import write_whole
from rggan.generation.discreet import told
from rggan.registry import Registry, called
from rggan.run.folder import Row, Run
from rggan.run.places import TRACKED, fakes
from rggan.training.callbacks import Callback

# Keys of a row in stats.jsonl -> group/name. All others are numbers of the group "run".
NAMES = {
    **{key: f"evaluation/{key}" for key in ("score", "diversity", "copies", "replays")},
    **{f"{key}_{network}": f"{key}/{network.upper()}" for key in ("density", "loss", "signal") for network in "gd"},
    **{f"set_point_{network}": f"signal/{network.upper()}_set_point" for network in "gd"},
    "d_sign": "discriminator/r_t",
    **{f"d_{key}": f"discriminator/{key}" for key in ("real", "fake", "train", "held_out")},
}
PHASES = {"phase": "pruning", "phase_g": "pruning_G", "phase_d": "pruning_D"}
CHANGES = {"births": "grown", "deaths": "pruned"}  # of all layers together


@dataclass(frozen=True)
class Tracked:
    """The run that a tracker opens, for the first time or again.

    Attributes:
        path: its folder. name: that of the folder. id: the same each time, and no other run's.
        options: all options. images: how the images were prepared and drawn, the head of data.jsonl; of places that
            both name there is the last part (`discreet`), as trackers show them to others.
    """

    path: Path
    name: str
    id: str
    options: dict[str, Any]
    images: dict[str, Any]


class Tracker:
    """Where a run is shown; subclasses call their library. What a method raises ends the tracking, not the run.

    Steps are images that D has seen. Each step is logged once, in rising order, also where a run is resumed.

    >>> class Printed(Tracker):
    ...     def log(self, step, values, picture):
    ...         print(step, values["evaluation/score"])
    >>> Printed().log(20000, scalars({"kimg": 20.0, "score": 0.5, "phase": "dense"}), None)
    20000 0.5
    """

    def open(self, run: Tracked) -> None:
        """The run begins, or goes on."""

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        """An evaluation. values: what `scalars` gives, {} before the first step. picture: the PNG of the samples."""

    def rewind(self, step: int) -> bool:
        """Drop what was logged after this step, for the run went back to it. Returns False where that is impossible:
        what was logged then stays, and no step is logged twice."""
        return False

    def close(self, ended: bool) -> None:
        """Send what is left. ended: whether the run came to its end; else it was stopped, or diverged."""


def tracker(found: Any) -> Callable[[], Tracker]:
    """What makes one for a run: the class.

    Raises:
        TypeError: it is no class of them.
    """
    if isinstance(found, type) and issubclass(found, Tracker):
        return found
    raise TypeError("tracker (a subclass of rggan.training.track.Tracker)")


TRACKERS: Registry[Callable[[], Tracker]] = Registry(
    "`track`",
    {
        "tensorboard": "rggan.training.trackers.tensorboard:TensorBoard",
        "wandb": "rggan.training.trackers.wandb:WandB",
        "trackio": "rggan.training.trackers.trackio:Trackio",
    },
    "rggan.trackers",
    tracker,
)


def make_trackers(names: Sequence[str]) -> dict[str, Tracker]:
    """Raises UserError where one of them is unknown, or its library is not installed."""
    return {name: called(f"`track` {name}", TRACKERS.get(name)) for name in names}


def scalars(row: Row) -> dict[str, float]:
    """The numbers of a row in stats.jsonl by group/name; those that are none (None, NaN) are left out.

    >>> layers = {"g": {"a.weight": {"density": 0.25, "births": 3}, "b.weight": {"density": 0.75, "births": 4}}}
    >>> for name, value in scalars({"kimg": 20.0, "score": 0.5, "phase": "prune", "layers": layers}).items():
    ...     print(name, value)
    run/kimg 20.0
    evaluation/score 0.5
    run/pruning 1.0
    layer_density_G/a.weight 0.25
    layer_density_G/b.weight 0.75
    weights/grown_G 7.0
    """
    told: dict[str, Any] = {}
    for key, value in row.items():
        if key in PHASES:
            told[f"run/{PHASES[key]}"] = value == "prune"
        elif key != "layers":
            told[NAMES.get(key, f"run/{key}")] = value
    for network, layers in row.get("layers", {}).items():
        told |= {f"layer_density_{network.upper()}/{name}": found["density"] for name, found in layers.items()}
        for key, name in CHANGES.items():
            if counts := [found[key] for found in layers.values() if key in found]:
                told[f"weights/{name}_{network.upper()}"] = sum(counts)
    return {name: float(v) for name, v in told.items() if isinstance(v, int | float) and math.isfinite(v)}


def step_of(row: Row) -> int:
    return round(row["kimg"] * 1000)


class Tracking(Callback):
    """Keeps trackers at what stats.jsonl says, also after a kill or where a tracker is added later.

    A tracker that fails is named in the log when that happens and at the end, and the run goes on without it. As a
    context it closes them.

    Args:
        options: all options of the run. say: writes a line to the log.
    """

    def __init__(self, trackers: Mapping[str, Tracker], options: dict[str, Any], say: Callable[[str], None]) -> None:
        self.trackers, self.options, self.say = dict(trackers), options, say
        self.logged: dict[str, int] = {}  # the last step of each
        self.sent = dict.fromkeys(self.trackers, 0)  # evaluations
        self.failed: dict[str, str] = {}  # why
        self.last = -1  # the last step that the run stands by

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = dict(self.failed)
        for name in list(self.trackers):
            self.call(name, "close", kind is None)
        for name, why in failed.items():
            step = self.logged.get(name, -1)
            has = f"has the run up to kimg {step / 1000:g} only" if step > 0 else "has nothing of the run"
            self.say(
                f"track      {name} {has} ({why}): the same command sends it the rest, also when the run has ended."
            )

    def told(self) -> list[str]:
        """Lines about what the trackers have of a run that had ended before they were asked."""
        count = len(self.run.rows()) if self.trackers else 0
        return [
            f"track      {name} has all {count} evaluations, {self.sent[name]} of them sent now"
            for name in self.trackers
        ]

    def begin(self, run: Path) -> None:
        if not self.trackers:
            return
        self.run = Run(run)
        found = self.run.tracked()
        self.id: str = found.get("id") or secrets.token_hex(4)
        self.logged = {name: step for name, step in found.get("logged", {}).items() if type(step) is int}
        self.write()  # the id, before anybody is told of it
        head = self.run.data_head()
        head |= {"data": told(head["data"])} if "data" in head else {}
        opened = Tracked(run, self.run.name, self.id, told(self.options), head)
        rows = self.run.rows()
        for name in list(self.trackers):
            self.call(name, "open", opened)
        self.go_back(step_of(rows[-1]) if rows else 0)
        self.log(0, {}, 0)
        for row in rows:
            self.log(step_of(row), scalars(row), row["kimg"])

    def tick(self, row: Row, snapshot: nn.Module) -> None:
        if not self.trackers:
            return
        if (step := step_of(row)) <= self.last:  # the run went back to an earlier state
            self.go_back(step - 1)
        self.log(step, scalars(row), row["kimg"])

    def go_back(self, step: int) -> None:
        for name in list(self.trackers):
            if self.logged.get(name, -1) > step and self.call(name, "rewind", step):
                self.logged[name] = step

    def log(self, step: int, values: dict[str, float], kimg: float) -> None:
        picture = self.run.path / fakes(round(kimg))
        self.last = step
        for name in list(self.trackers):
            if self.logged.get(name, -1) < step:
                self.call(name, "log", step, values, picture if picture.is_file() else None)
                if name in self.trackers:  # what fails comes when the run goes on
                    self.logged[name] = step
                    self.sent[name] += bool(values)
        self.write()

    def write(self) -> None:
        with contextlib.suppress(OSError):  # of a full disk the run itself tells; here a step may come twice
            content = json.dumps({"id": self.id, "logged": self.logged}) + "\n"
            write_whole(self.run.path / TRACKED, content.encode())

    def call(self, name: str, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self.trackers[name], method)(*arguments)
        except Exception as error:  # of somebody else's library
            del self.trackers[name]
            self.failed[name] = reason(error)
            self.say(f"`track` {name} failed in {method}: {reason(error)}; the run goes on without it.")
            return None
