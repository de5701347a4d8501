"""Training on a stream: whole, stopped and taken up, evaluated; in little memory, from shards made on the fly."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from rggan import TrainConfig, UserError, train
from rggan.cli.check import CheckConfig, check
from rggan.cli.main import main
from rggan.data.streams.address import is_stream
from rggan.training.callbacks import Callback
from rggan.training.describe import left_out, summary
from rggan.training.interrupt import Interrupted
from rggan.training.reading import read_data, read_fresh
from rggan.training.train import make_training
from tests.conftest import folders
from tests.data.streams import write_tar

TINY = {"width_g": 4, "width_d": 4, "z_dim": 4, "batch": 6, "score_samples": 16, "device": "cpu", "network": "sngan"}


def png(number, side=16):
    """A picture of noise that no other number has."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def shards(tmp_path):
    (tmp_path / "shards").mkdir()
    for shard in range(4):
        members = {}
        for i in range(20):
            number = 100 * shard + i
            members |= {f"{number:04d}.png": png(number), f"{number:04d}.cls": b"cat" if i % 4 else b"dog"}
        write_tar(tmp_path / "shards" / f"{shard}.tar", members)
    return f"{tmp_path / 'shards'}/{{0..3}}.tar"


def config_of(data, tmp_path, **options):
    return TrainConfig.of("sngan", **{**TINY, "data": data, "outdir": tmp_path / "runs", "kimg": 0.12, **options})


def weights(training):
    return [p.detach().clone() for network in (training.gan.g, training.gan.d) for p in network.parameters()]


def test_what_looks_at_the_training_images_sees_the_first_ones(shards, tmp_path):
    config = config_of(shards, tmp_path, shuffle_buffer=24)
    data = read_data(config)
    training = make_training(config, data, True)
    assert training.evaluator.data.names[0] == "0000.png"
    assert len(training.evaluator.data) == 60
    assert [name[:2] for name in training.evaluator.held_out.names] == ["03"] * 20
    told = summary(config, data)
    assert f"data       {shards}: 3 shards to train on, read as a stream, 16x16 RGB" in told
    assert any(line.startswith("training   with 24 images in memory") for line in told)


def test_a_training_goes_on_bit_for_bit(shards, tmp_path):
    config = config_of(shards, tmp_path, shuffle_buffer=24, mirror=True, cond=True)
    whole = make_training(config, read_data(config), True)
    for _ in range(4):
        whole.step()
    state = whole.state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    for _ in range(4):
        whole.step()
    other = make_training(config, read_data(config), True)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for _ in range(4):
        other.step()
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(other), strict=True))


def test_options_of_sets_in_memory_are_refused(shards, tmp_path):
    for name, value in (("max_images", 5), ("fraction", 0.5), ("pattern", "*.png")):
        with pytest.raises(UserError, match=rf"^`{name}` means nothing with a stream "):
            read_data(config_of(shards, tmp_path, **{name: value}))
    with pytest.raises(
        UserError, match=r"^`shuffle_buffer` means nothing with digits, which is no stream of shards\.$"
    ):
        read_data(config_of("digits", tmp_path, shuffle_buffer=5))
    with pytest.raises(UserError, match=r"^`shuffle_buffer` must be at least 1, not 0\.$"):
        config_of(shards, tmp_path, shuffle_buffer=0)


def test_runs_among_the_shards_are_refused(shards, tmp_path):
    folder = tmp_path / "shards"
    with pytest.raises(UserError, match=r"^`outdir` .*runs lies inside the data"):
        train(config_of(str(folder), tmp_path, outdir=folder / "runs"))
    assert is_stream(str(folder))


def test_a_buffer_that_the_memory_does_not_hold_is_refused(shards, tmp_path):
    with pytest.raises(UserError, match=r"^`shuffle_buffer` 900,000,000 images of 16x16 take 691\.2 GB, more than"):
        read_data(config_of(shards, tmp_path, shuffle_buffer=9 * 10**8))


def test_held_out_images_are_bounded(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("rggan.data.streams.read.HELD_OUT_BYTES", 5 * 16 * 16 * 3)
    assert len(read_data(config_of(shards, tmp_path)).split(0)[1]) == 5


def test_no_copy_is_made_of_a_sample(shards, tmp_path):
    with pytest.raises(UserError, match=r"writes a copy of a whole set, and of a stream .* a sample is looked at\.$"):
        check(CheckConfig(shards, fix=tmp_path / "copy"), Console(file=io.StringIO()))
    assert not (tmp_path / "copy").exists()


def test_pictures_that_were_left_out_are_told(shards, tmp_path):
    write_tar(tmp_path / "shards" / "1.tar", {f"{i}.png": b"broken" if i % 2 else png(i) for i in range(20)})
    config = config_of(shards, tmp_path, skip_bad=True, shuffle_buffer=24)
    training = make_training(config, read_data(config), True)
    assert left_out(training) == []
    for _ in range(12):
        training.step()
    training.reseed(1)
    (line,) = left_out(training)
    assert re.fullmatch(r"skipped    \d+ times a picture of the stream could not be read", line)


def test_a_broken_shard_ends_the_command_before_anything_is_written(shards, tmp_path, capsys):
    write_tar(tmp_path / "shards" / "0.tar", {"a.png": b"broken", "b.png": png(1)})
    with pytest.raises(UserError, match=r"^Cannot read a\.png of the shard .*/0\.tar: no picture, by its content; "):
        read_fresh(config_of(shards, tmp_path))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_run_from_end_to_end(shards, tmp_path, monkeypatch, capsys):
    console = Console(file=io.StringIO(), width=200)
    options = {**TINY, "outdir": tmp_path / "runs", "shuffle_buffer": 24, "kimg": 0.12, "snap": 0.06, "cond": True}
    run = train(shards, console, **options)
    head = json.loads((run / "data.jsonl").read_text().splitlines()[0])
    assert (head["shards"], head["sample"], head["held_out"]) == ([f"{i}.tar" for i in range(4)], 60, 20)
    assert (run / "reals.png").is_file()
    monkeypatch.chdir(tmp_path)
    for words in (
        ["evaluate", str(run), "--samples", "20", "--device", "cpu", "--json"],
        ["generate", str(run), "--seeds", "0-1", "--outdir", "out", "--device", "cpu"],
        ["plot", str(run)],
        ["show", str(run)],
        ["check", shards, "--device", "cpu"],
    ):
        assert main(words) in (0, None), words
    told = capsys.readouterr().out
    line = next(json.loads(line) for line in told.splitlines() if line.startswith("{"))
    assert line["kid"] is not None
    assert "the images that the run held out" in told
    assert "a sample: the first 60 pictures of 3 shards to train on" in told
    again = train(shards, console, **options)
    assert again == run
    (tmp_path / "shards" / "4.tar").write_bytes((tmp_path / "shards" / "3.tar").read_bytes())
    with pytest.raises(UserError, match=r"^The images of .* are not those that .* was trained on"):
        train(shards.replace("3}", "4}"), console, resume=run, kimg=0.2)


@pytest.mark.slow
def test_a_stopped_run_ends_as_one_that_was_not(shards, tmp_path):
    """Stopped in the middle, and begun again by the same command."""
    options = {**TINY, "shuffle_buffer": 24, "kimg": 0.36, "snap": 0.06}
    quiet = Console(file=io.StringIO())
    whole = train(shards, quiet, outdir=tmp_path / "whole", **options)

    class Stop(Callback):
        def tick(self, row, snapshot):
            if row["tick"] == 2:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        train(shards, quiet, outdir=tmp_path / "parts", callbacks=[Stop()], **options)
    parts = train(shards, quiet, outdir=tmp_path / "parts", **options)
    assert len(folders(tmp_path / "parts")) == 1
    drop = {"seconds", "sec_per_kimg"}
    first, second = (
        [{k: v for k, v in json.loads(line).items() if k not in drop} for line in (run / "stats.jsonl").open()]
        for run in (whole, parts)
    )
    assert first == second
    assert (whole / "best" / "generator.safetensors").read_bytes() == (
        parts / "best" / "generator.safetensors"
    ).read_bytes()


MAKER = """
import io, random, sys, tarfile
shard, out = int(sys.argv[1]), tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
open(f"{sys.argv[2]}/{shard:04d}", "w").close()
random.seed(shard)
for number in range(1000):
    content = b"P6 64 64 255 " + random.randbytes(3 * 64) * 64
    entry = tarfile.TarInfo(f"{shard:04d}{number:04d}.ppm")
    entry.size = len(content)
    out.addfile(entry, io.BytesIO(content))
out.close()
"""
TRAINED = """
import sys
from pathlib import Path
from rggan.__main__ import entry
from rggan.training.estimate import peak_memory
sys.argv[1:] = sys.argv[2:]
try:
    entry()
finally:
    Path("peak").write_text(str(peak_memory()))
"""


@pytest.mark.slow
def test_a_million_images_that_nobody_stores(tmp_path):
    """1,000 shards of 1,000 pictures of 64 pixels, each made by a command when it is read."""
    (tmp_path / "read").mkdir()
    (tmp_path / "make.py").write_text(MAKER)
    data = f"pipe:{shlex.quote(sys.executable)} make.py {{0000..0999}} read"
    assert is_stream(data)
    words = ["train", data, "--kimg", "2", "--snap", "2", "--batch", "48", "--network", "sngan", "--device", "cpu"]
    words += ["--width-g", "4", "--width-d", "4", "--z-dim", "8", "--score-samples", "64", "--outdir", "runs"]
    words += ["--aug", "none"]
    done = subprocess.run(
        [sys.executable, "-c", TRAINED, "rggan", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "999 shards to train on, read as a stream, 64x64 RGB" in done.stdout
    assert int((tmp_path / "peak").read_text()) < 2 << 30
    # The 24 lanes stand in their first shards; besides these, the first and the last one are looked at.
    assert len(list((tmp_path / "read").iterdir())) <= 24 + 2
    assert "0999" in {path.name for path in (tmp_path / "read").iterdir()}
