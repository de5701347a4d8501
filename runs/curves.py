"""A training whose every snapshot is judged by the network that never steers: the curves that a study is made of.

`watched` trains one run as `rggan train` does, resumable at its last evaluation, and writes a row beside each
evaluation into watch.jsonl: what only a study may see.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from rggan import Generator, TrainConfig
from rggan.data import ImageSet
from rggan.files import write_whole
from rggan.metrics import Frechet, Kernel
from rggan.metrics.features import extract, feature_network
from rggan.metrics.moments import statistics
from rggan.run.log import RunLog
from rggan.run.outdir import find_run, new_run
from rggan.training.evaluator import gap_of
from rggan.training.loop import Loop
from rggan.training.reading import read_data
from rggan.training.train import begin

STEERING = (250, 500, 1000)  # samples of the steering scores that are compared
Row = dict[str, Any]


@dataclass
class Judge:
    """What all runs of a study are judged by: Fréchet's distance to these pictures, by the reporting network."""

    reference: ImageSet
    samples: int = 2000
    frechet: Frechet = field(init=False)

    def __post_init__(self) -> None:
        self.reporting, self.steering = feature_network("reporting", "cpu"), feature_network("steering", "cpu")
        self.frechet = Frechet(statistics(extract(self.reporting, self.reference)))

    def __call__(self, pictures: Tensor) -> float:
        return self.frechet(statistics(extract(self.reporting, pictures)))


class Watched(Loop):
    """A loop that shows each snapshot to a judge before it goes on; its course is the same without."""

    judge: Judge
    seen: list[Row]

    def watch(self, judge: Judge) -> None:
        path = self.run.path / "watch.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        # What came after the state that it goes on from is done again.
        self.judge, self.seen = judge, [row for row in rows if row["kimg"] <= self.training.images / 1000]

    def tick(self) -> None:
        kimg, before = self.training.images / 1000, len(self.rows)
        with torch.random.fork_rng(devices=[]):
            seen = self.look()
        super().tick()
        self.seen = [row for row in self.seen if row["kimg"] < kimg]
        if len(self.rows) > before:  # it did not return to an older state
            self.seen.append({"kimg": kimg, **seen})
        write_whole(self.run.path / "watch.jsonl", "".join(json.dumps(row) + "\n" for row in self.seen).encode())

    @torch.no_grad()
    def look(self) -> Row:
        training, judge = self.training, self.judge
        config = {"network": training.network, "classes": training.classes}
        pictures = Generator(training.snapshot(), config).images(range(judge.samples))
        features = extract(judge.steering, pictures[: max(STEERING)])
        kernel = Kernel(extract(judge.steering, training.batches.data))
        found: Row = {"fid": judge(pictures)}
        found |= {f"kid_{count}": kernel(features[:count]).value for count in STEERING}
        gap = gap_of(training.d, training.batches.data, judge.reference, 100, training.conditional, training.autocast)
        return found | {"d_test": gap["d_held_out"], "d_on_train": gap["d_train"]}


def watched(config: TrainConfig, judge: Judge) -> tuple[Path, list[Row]]:
    """Train, or go on where it was stopped; the run's folder, and its evaluations with what the judge saw."""
    console = Console(file=io.StringIO())
    data = read_data(config)
    run = find_run(config) or new_run(config, data.shape[1:])
    loop = begin(config, data, run, RunLog(run, console))
    loop.__class__ = Watched
    assert isinstance(loop, Watched)
    loop.watch(judge)
    if not loop.rows or loop.rows[-1]["kimg"] < config.kimg:
        loop.go()
    return run.path, [{**row, **seen} for row, seen in zip(loop.rows, loop.seen, strict=True)]
