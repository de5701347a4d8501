"""Training curves of what a run itself must not see: fd-small (column `fid`) and D's outputs on test images.

`train_with_curve` trains one run as `rggan train` does, resumable at its last evaluation, and writes a row for each
evaluation into watch.jsonl in its folder.
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
from rggan.training.checkpoint import checkpoints
from rggan.training.evaluator import gap_of
from rggan.training.loop import Loop
from rggan.training.reading import read_data
from rggan.training.train import begin, make_training

VALIDATION_SAMPLES = (250, 500, 1000)  # of the validation scores that are compared
Point = dict[str, Any]  # of a curve: one evaluation


@dataclass
class Evaluator:
    """The fd-small of a study: `samples` generated images against `reference`, by the reporting extractor."""

    reference: ImageSet
    samples: int = 2000
    frechet: Frechet = field(init=False)

    def __post_init__(self) -> None:
        self.reporting, self.steering = feature_network("reporting", "cpu"), feature_network("steering", "cpu")
        self.frechet = Frechet(statistics(extract(self.reporting, self.reference)))

    def __call__(self, images: Tensor) -> float:
        """images: uint8 [N, C, H, W]."""
        return self.frechet(statistics(extract(self.reporting, images)))


class EvaluatedLoop(Loop):
    """A training loop that evaluates each snapshot; the training is the same without, to the bit."""

    evaluator: Evaluator
    points: list[Point]

    def evaluate_with(self, evaluator: Evaluator) -> None:
        path = self.run.path / "watch.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        # Evaluations after the state that it goes on from are done again.
        self.evaluator, self.points = evaluator, [row for row in rows if row["kimg"] <= self.training.images / 1000]

    def tick(self) -> None:
        kimg, before = self.training.images / 1000, len(self.rows)
        with torch.random.fork_rng(devices=[]):
            point = self.evaluated()
        super().tick()
        self.points = [row for row in self.points if row["kimg"] < kimg]
        if len(self.rows) > before:  # it did not return to an older state
            self.points.append({"kimg": kimg, **point})
        write_whole(self.run.path / "watch.jsonl", "".join(json.dumps(row) + "\n" for row in self.points).encode())

    @torch.no_grad()
    def evaluated(self) -> Point:
        training, evaluator = self.training, self.evaluator
        gan = training.gan
        config = training.description
        images = Generator(training.snapshot(), config).images(range(evaluator.samples))
        features = extract(evaluator.steering, images[: max(VALIDATION_SAMPLES)])
        kernel = Kernel(extract(evaluator.steering, gan.batches.data))
        found: Point = {"fid": evaluator(images)}
        found |= {f"kid_{count}": kernel(features[:count]).value for count in VALIDATION_SAMPLES}
        gap = gap_of(
            gan.d,
            gan.batches.data,
            evaluator.reference,
            100,
            gan.conditional,
            gan.autocast,
        )
        return found | {"d_test": gap["d_held_out"], "d_on_train": gap["d_train"]}


def train_with_curve(config: TrainConfig, evaluator: Evaluator) -> tuple[Path, list[Point]]:
    """Train, or go on where it was stopped; the run's folder, and a point for each of its evaluations."""
    console = Console(file=io.StringIO())
    data = read_data(config)
    run = find_run(config) or new_run(config, data.shape[1:])
    training = make_training(config, data, not checkpoints(run.checkpoints))
    loop = begin(training, data, run, RunLog(run, console))
    loop.__class__ = EvaluatedLoop
    assert isinstance(loop, EvaluatedLoop)
    loop.evaluate_with(evaluator)
    if not loop.rows or loop.rows[-1]["kimg"] < config.kimg:
        loop.go()
    return run.path, [{**row, **point} for row, point in zip(loop.rows, loop.points, strict=True)]
