"""What real pictures and noise score: against direct draws of both, and without touching the run's random numbers."""

import json

import numpy as np
import pytest
import torch
from rich.console import Console

from rggan import TrainConfig, train
from rggan.data import load_images
from rggan.metrics import Score, frechet_distance, kernel_distance
from rggan.report.verdict import Scale, verdict
from rggan.run.folder import Run
from rggan.training.scale import UniformNoise, scale_of, typical_distance


@pytest.fixture(scope="module")
def features():
    """A large population of rows."""
    return torch.randn(4000, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def apart(features, count, other, times=200):
    """The root mean square kernel distance between two sets drawn without common rows."""
    draw = np.random.default_rng(5)
    values = []
    for _ in range(times):
        rows = draw.permutation(len(features))
        one, two = features[rows[:count]], features[rows[count : count + other]]
        values.append(kernel_distance(one, two).value ** 2)
    return (sum(values) / times) ** 0.5


def test_typical_distance_is_that_of_explicit_splits(features):
    few = features[:90]
    draw = np.random.default_rng(0)
    values = []
    for _ in range(256):
        inside = torch.from_numpy(draw.permutation(90) < 40)
        values.append(kernel_distance(few[inside], few[~inside]).value ** 2)
    assert typical_distance(few, 40) == pytest.approx((sum(values) / 256) ** 0.5, rel=1e-9)


def test_it_is_brought_to_the_sizes_of_the_score(features):
    """What halves of 100 differ by tells what 400 fresh ones and these 100 do, as 1 / n + 1 / m has it."""
    told = np.mean([typical_distance(features[i : i + 100], 50) for i in range(0, 2000, 100)])
    told *= (1 / 400 + 1 / 100) / (1 / 50 + 1 / 50)
    assert told == pytest.approx(apart(features, 400, 100), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("count", [60, 1100])
def test_real_pictures_lie_near_and_noise_far(count):
    """A score of real ones that no generator has seen lies within the scale, one of noise at its end."""
    everything = load_images("digits", 16)
    data, held_out = everything.take(np.arange(count)).split(0)
    rest = everything.take(np.arange(count, len(everything))).images[:200]
    score = Score(held_out or data)
    assert (held_out is None) == (count < 1000)
    before = torch.get_rng_state()
    found = scale_of(score, data, held_out, 200)
    assert torch.equal(torch.get_rng_state(), before)
    assert found == scale_of(score, data, held_out, 200)
    assert found.sizes == ((30, 30) if held_out is None else (200, 110))
    assert abs(score(rest)) < 4 * found.halves
    draw = torch.Generator().manual_seed(7)
    noise = torch.randint(256, (200, 1, 16, 16), dtype=torch.uint8, generator=draw)
    assert found.noise == pytest.approx(score(noise), rel=0.02)
    assert found.noise > 50 * found.halves


@pytest.mark.slow
def test_frechet_compares_as_many_as_the_score_does(monkeypatch):
    monkeypatch.setattr("rggan.metrics.score.FRECHET_FROM", 50)
    data, held_out = load_images("digits", 16, max_images=1000).split(0)
    score = Score(held_out)
    found = scale_of(score, data, held_out, 120)
    assert found.sizes == (120, 100)
    evenly = data.at(torch.arange(120) * len(data) // 120)
    assert found.halves == pytest.approx(score(evenly), rel=1e-6)
    assert score(UniformNoise(120, (1, 16, 16))) == found.noise
    few = held_out
    without = scale_of(score, few, None, 20)
    halves = [score.statistics(few.images[first::2]) for first in (0, 1)]
    assert without.halves == pytest.approx(frechet_distance(*halves), rel=1e-6)


def test_fewer_than_four_pictures_have_none():
    three = load_images("digits", 16, max_images=3)
    assert scale_of(Score(three), three, None, 10) is None
    four = load_images("digits", 16, max_images=4)
    assert scale_of(Score(four), four, None, 10).sizes == (2, 2)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_noise_is_uniform_and_of_the_right_count(batch):
    noise = torch.cat(list(UniformNoise(50, (4, 8, 6)).parts(batch)))
    assert noise.shape == (50, 4, 8, 6)
    assert noise.double().mean() == pytest.approx(127.5, abs=3)
    assert noise.double().std() == pytest.approx(73.9, abs=2)


@pytest.mark.slow
def test_a_run_tells_its_scale_at_the_start_and_its_verdict_at_the_end(tmp_path):
    """A real one, of seconds; the folder alone gives the same verdict as the log."""
    options = {
        "resolution": 16,
        "width_g": 8,
        "width_d": 8,
        "z_dim": 8,
        "batch": 8,
        "score_samples": 64,
        "max_images": 60,
    }
    options |= {"kimg": 0.8, "snap": 0.1, "precision": "fp32", "device": "cpu", "outdir": tmp_path, "lr": 2e-3}
    path = train(TrainConfig(**options), Console(quiet=True))
    run, log = Run(path), (path / "log.txt").read_text().splitlines()
    head = json.loads((path / "data.jsonl").read_text().splitlines()[0])
    scale = Scale.of(run.data_head())
    assert scale is not None
    assert head["scale"] == {"halves": scale.halves, "noise": scale.noise, "sizes": [30, 30]}
    assert f"score      {scale.line()}" in log
    found = verdict(run.rows(), scale, run.options(), str(path))
    assert len(run.rows()) == 8
    assert found.kind in ("improving", "collapsed")
    end = next(place for place, line in enumerate(log) if line.startswith("finished."))
    assert log[end + 1 : end + 3] == [f"verdict    {found.line()}", f"advice     {found.advice}"]
    told = [line for line in log if line.startswith("verdict")]
    kinds = [verdict(run.rows()[: i + 1], scale, run.options()).kind for i in range(8)]
    changes = sum(a != b for a, b in zip(["starting", *kinds], kinds[:-1], strict=False))
    assert len(told) == changes + 1
