"""Where no images are held out, the share of copies stands beside the score; it steers nothing."""

import dataclasses
import json

import pytest
from rich.console import Console
from torch import nn

from rggan import TrainConfig, train
from rggan.data import load_images
from rggan.metrics import feature_network
from rggan.run.folder import Run
from rggan.run.log import status_line
from rggan.training.trainer import Training

TINY = {"resolution": 16, "width_g": 8, "width_d": 8, "batch": 8, "score_samples": 64, "device": "cpu"}
TINY |= {"precision": "fp32"}


class Replay(nn.Module):
    """Gives the training images, one after the other."""

    def __init__(self, images):
        super().__init__()
        self.images, self.next = images, 0

    def forward(self, z, *labels):
        self.next += len(z)
        return self.images[self.next - len(z) : self.next].float().div(127.5).sub(1)


@pytest.fixture(scope="module")
def few():
    return load_images("digits", 16, max_images=100)


@pytest.mark.slow
def test_a_generator_that_replays_is_told_at_once(few):
    training = Training(TrainConfig(**TINY), few, few)
    found = training.evaluator.judge(Replay(few.images))
    assert found.copies > 0.9
    assert found.replays is True
    noise = training.evaluator.judge(training.snapshot())
    assert noise.copies < 0.1
    assert noise.replays is False


def test_with_held_out_images_none_are_looked_for(few):
    training = Training(TrainConfig(**TINY), few, dataclasses.replace(few))
    found = training.evaluator.judge(training.snapshot())
    assert (found.copies, found.replays) == (None, None)


def test_fewer_than_three_different_images_are_trained_on_without(few):
    two = dataclasses.replace(few, rows=few.rows[:2], names=few.names[:2], hashes=few.hashes[:2])
    assert Training(TrainConfig(**TINY), two, two).evaluator.memoriser is None


@pytest.mark.slow
def test_rows_and_log_have_it(tmp_path):
    run = train(TrainConfig(**TINY, max_images=60, kimg=0.1, snap=0.05, outdir=tmp_path), Console(quiet=True))
    rows = Run(run).rows()
    assert all(0 <= row["copies"] <= 1 and row["replays"] is False for row in rows)
    trained = json.loads((run / "best" / "config.json").read_text())["trained"]
    where = trained["score_provenance"]
    assert where["extractor_hash"] == feature_network("steering").hash
    assert (where["samples"], where["reference"], where["reference_images"]) == (64, "the training images", 60)
    assert trained["copies"] == min(rows, key=lambda row: row["score"])["copies"]
    assert "copies 0.0%" in (run / "log.txt").read_text()
    told = status_line({**rows[0], "copies": 0.31, "replays": True}, 1.0)
    assert told.endswith("copies 31.0% (replays training images)")
