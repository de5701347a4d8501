"""Trackers have what stats.jsonl has, each step once, and never stand in a run's way."""

import dataclasses
import io
import json
import math
import os
import re
import sqlite3
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rggan
from rggan import TrainConfig, UserError, registry, train
from rggan.cli.main import main, parse
from rggan.data.pictures import save_picture
from rggan.run.folder import Run
from rggan.run.places import fakes
from rggan.training import track
from rggan.training.track import TRACKERS, Tracker, Tracking, make_trackers, scalars

SMALL = {"width_g": 2, "width_d": 2, "z_dim": 2, "batch": 4, "snap": 0.02, "score_samples": 8, "max_images": 20}
LIBRARIES = {name: find_spec(name) is not None for name in TRACKERS.builtin}


class Kept(Tracker):
    """Notes what it is told."""

    def __init__(self, rewinds=False, fails=()):
        self.rewinds, self.fails, self.told = rewinds, fails, []

    def note(self, method, *what):
        self.told.append((method, *what))
        if method in self.fails:
            raise ConnectionError("no network\nno such host")

    def open(self, run):
        self.note("open", run)

    def log(self, step, values, picture):
        self.note("log", step, values, picture)

    def rewind(self, step):
        self.note("rewind", step)
        return self.rewinds

    def close(self, ended):
        self.note("close", ended)

    def steps(self):
        return [what[1] for what in self.told if what[0] == "log"]


def row(kimg, score=0.5):
    return {"tick": 0, "kimg": kimg, "score": score, "density_g": 1.0, "density_d": 0.5, "phase": "prune"}


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "00000-run")
    run.path.mkdir()
    run.write_data([{"images": 20}])
    run.write_rows([row(0.02), row(0.04)])
    for kimg in (0, 40):
        save_picture(Image.new("RGB", (40, 30), (kimg, 0, 200)), run.path / fakes(kimg))
    return run


def tracked(run, rows=(), options=None, **trackers):
    """The trackers in a run that begins, or goes on, and has these evaluations; returns what the log says."""
    said = []
    with Tracking(trackers, options or {}, said.append) as tracking:
        tracking.begin(run.path)
        for each in rows:
            run.write_rows([*run.rows(), each])
            tracking.tick(each, None)
    return said


def test_a_tracker_has_every_evaluation_once_also_those_from_before_it_was_asked_for(run):
    first, later = Kept(), Kept()
    assert tracked(run, [row(0.06)], {"seed": 3}, first=first) == []
    assert first.steps() == [0, 20, 40, 60]
    assert tracked(run, [row(0.08)], {"seed": 3}, first=first, later=later) == []
    assert first.steps() == [0, 20, 40, 60, 80]
    assert later.steps() == [0, 20, 40, 60, 80]
    opened = [what[1] for what in (*first.told, *later.told) if what[0] == "open"]
    assert len({each.id for each in opened}) == 1
    assert (opened[0].name, opened[0].options, opened[0].images) == ("00000-run", {"seed": 3}, {"images": 20})
    assert later.told[1] == ("log", 0, {}, run.path / fakes(0))
    assert later.told[2] == ("log", 20, scalars(row(0.02)), run.path / fakes(0))
    assert [what for what in later.told if what[0] == "close"] == [("close", True)]


def test_two_runs_have_two_ids(run, tmp_path):
    other = Run(tmp_path / "00001-run")
    other.path.mkdir()
    trackers = Kept(), Kept()
    tracked(run, one=trackers[0])
    tracked(other, one=trackers[1])
    assert trackers[0].told[0][1].id != trackers[1].told[0][1].id


@pytest.mark.parametrize("rewinds", [True, False])
def test_a_run_that_goes_on_from_an_earlier_state_logs_no_step_twice(run, rewinds):
    kept = Kept(rewinds)
    tracked(run, [row(0.06), row(0.08)], one=kept)
    run.write_rows([row(0.02), row(0.04)])  # its newest state could not be read
    tracked(run, [row(0.06, 0.7), row(0.08, 0.7), row(0.1, 0.7)], one=kept)
    assert ("rewind", 40) in kept.told
    again = [60, 80] if rewinds else []  # after what was logged had been dropped
    assert kept.steps() == [0, 20, 40, 60, 80, *again, 100]


@pytest.mark.parametrize("rewinds", [True, False])
def test_a_run_that_goes_back_in_the_middle_logs_no_step_twice(run, rewinds):
    kept = Kept(rewinds)
    tracked(run, [row(0.06), row(0.04, 0.7), row(0.06, 0.7), row(0.08, 0.7)], one=kept)
    assert [what for what in kept.told if what[0] == "rewind"] == [("rewind", 39)]
    assert kept.steps() == [0, 20, 40, 60, *([40, 60] if rewinds else []), 80]


@pytest.mark.skipif(not LIBRARIES["tensorboard"], reason="tensorboard is not installed")
def test_tensorboard_drops_what_a_run_went_back_behind(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracked(run, [row(0.06), row(0.08)], **make_trackers(["tensorboard"]))
    run.write_rows([row(0.02), row(0.04)])
    tracked(run, [row(0.06, 0.7)], **make_trackers(["tensorboard"]))
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    scores = [(event.step, event.value) for event in events.Scalars("evaluation/score")]
    assert scores == [(20, 0.5), (40, 0.5), (60, pytest.approx(0.7))]


@pytest.mark.parametrize("method", ["open", "log", "rewind", "close"])
def test_a_tracker_that_fails_is_named_once_and_the_others_go_on(run, method):
    broken, kept = Kept(fails=(method,)), Kept()
    back = row(0.04) if method == "rewind" else row(0.1)
    said = tracked(run, [row(0.06), back, row(0.12)], broken=broken, kept=kept)
    assert said[0] == f"`track` broken failed in {method}: no such host; the run goes on without it."
    has = {"open": "nothing of the run", "log": "nothing of the run", "rewind": "the run up to kimg 0.06 only"}
    end = "(no such host): the same command sends it the rest, also when the run has ended."
    assert said[1:] == ([] if method == "close" else [f"track      broken has {has[method]} {end}"])
    assert broken.told[-1][0] == method
    assert kept.steps()[-1] == 120


@pytest.mark.parametrize("step", [None, 0, 40, 60])
def test_what_a_failed_tracker_lacks_comes_when_the_run_goes_on(run, step):
    """It fails where it is opened, or at a step, which it then lacks."""

    class Broken(Kept):
        def log(self, at, values, picture):
            if at == step:
                raise ConnectionError("no network")
            super().log(at, values, picture)

    broken, mended = Broken(fails=("open",) if step is None else ()), Kept()
    tracked(run, [row(0.06)], one=broken)
    tracked(run, [row(0.08)], one=mended)
    assert broken.steps() + mended.steps() == [0, 20, 40, 60, 80]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": 3, "logged": {}}', '{"id": "a", "logged": {"one": null}}'])
def test_a_damaged_note_ends_no_run(run, content):
    (run.path / "track.json").write_text(content)
    kept = Kept()
    tracked(run, [row(0.06)], one=kept)
    assert kept.steps()[-1] == 60


def test_a_tracker_of_a_run_that_has_ended_is_told_what_was_sent(run):
    kept = Kept()
    for sent in (2, 0):
        with Tracking({"one": kept}, {}, print) as tracking:
            tracking.begin(run.path)
            assert tracking.told() == [f"track      one has all 2 evaluations, {sent} of them sent now"]
    with Tracking({}, {}, print) as tracking:
        tracking.begin(run.path)
        assert tracking.told() == []


def test_a_stopped_run_is_no_ended_one(run):
    kept = Kept()
    tracking = Tracking({"one": kept}, {}, print)
    tracking.begin(run.path)
    with pytest.raises(KeyboardInterrupt), tracking:
        raise KeyboardInterrupt
    assert kept.told[-1] == ("close", False)


def test_numbers_that_are_none_are_left_out():
    told = scalars({**row(0.02), "signal_g": None, "balance": math.nan, "signal": "r_t", "replays": True, "own": 3})
    assert told["evaluation/replays"] == 1
    assert told["run/own"] == 3
    assert not {"signal/G", "run/balance", "run/signal", "run/signal_g"} & set(told)


def test_trackers_are_named_with_commas_or_one_by_one_and_are_no_part_of_a_run():
    both = ("tensorboard", "wandb")
    words = ["--track", "tensorboard", "--track", "wandb"], ["--track", "tensorboard,wandb"], ["--track=wandb"]
    assert [parse(["train", "digits", *each]).track for each in words] == [both, both, ("wandb",)]
    config = TrainConfig(track="tensorboard, wandb")
    assert config.track == both
    assert "track" not in config.to_json()
    assert config.same_run(TrainConfig().to_json())
    with pytest.raises(UserError, match=r"`track` takes words like tensorboard, not \[3\]"):
        TrainConfig(track=[3])


def test_trackers_are_never_taken_from_a_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"track": ["wandb"], "seed": 3}))
    assert TrainConfig.from_json(path).track == ()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tensorbord", "trackio, or package.module:OBJECT; did you mean tensorboard?"),
        ("tests.training.test_track:SMALL", "it is no tracker (a subclass of rggan.training.track.Tracker)"),
    ],
)
def test_an_unknown_tracker_is_one_sentence_before_anything_is_written(name, sentence, tmp_path, capsys):
    words = ["train", "--data", "digits", "--outdir", str(tmp_path / "runs"), "--kimg", "0.1", "--device", "cpu"]
    assert main([*words, "--track", name]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", TRACKERS.builtin)
def test_a_tracker_that_is_not_installed_is_one_sentence_before_anything_is_written(name, tmp_path, monkeypatch):
    monkeypatch.setattr(TRACKERS, "found", {})
    monkeypatch.delitem(sys.modules, f"rggan.training.trackers.{name}", raising=False)
    for module in [each for each in sys.modules if each == "torch.utils.tensorboard"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError) as caught:
        train(TrainConfig(outdir=tmp_path / "runs", track=name))
    assert str(caught.value) == f'`track` {name}: it needs one more library: pip install "rggan[{name}]".'
    assert not (tmp_path / "runs").exists()


def test_extras_bring_the_libraries():
    text = (Path(rggan.__file__).parents[1] / "pyproject.toml").read_text()
    assert all(f'{name} = ["{name}>=' in text for name in TRACKERS.builtin)


@pytest.mark.slow
def test_without_the_option_no_tracker_is_imported(tmp_path):
    code = (
        "import sys; from rggan import TrainConfig, train;"
        f"train(TrainConfig(outdir={str(tmp_path)!r}, device='cpu', kimg=0.02, **{SMALL!r}));"
        "print({'tensorboard', 'wandb', 'trackio', 'torch.utils.tensorboard'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(rggan.__file__).parents[1])}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.endswith("set()\n")
    assert not list(tmp_path.glob("*/track.json"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that was stopped after two evaluations and resumed to four, in all trackers that are installed."""
    out = tmp_path_factory.mktemp("runs")
    own = ("WANDB_", "TRACKIO_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environment |= {"WANDB_MODE": "offline", "TRACKIO_DIR": str(out / "trackio")}
    environment["PYTHONPATH"] = str(Path(rggan.__file__).parents[1])
    here = [name for name, there in LIBRARIES.items() if there]
    code = f"""
from rggan import TrainConfig, train
options = dict(device="cpu", outdir={str(out / "runs")!r}, track={here!r}, **{SMALL!r})
run = train(TrainConfig(kimg=0.04, **options))
train(TrainConfig(kimg=0.08, resume=run, **options))
"""
    subprocess.run([sys.executable, "-c", code], cwd=out, env=environment, check=True, timeout=300)
    (run,) = (out / "runs").glob("0*")
    return Run(run)


def pixels(picture):
    return np.asarray(Image.open(picture))


def wandb_records(path):
    """The records of a .wandb file: LevelDB's log format after seven bytes, then protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, or last
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARIES["tensorboard"], reason="tensorboard is not installed")
def test_tensorboard_has_the_run(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.path / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    rows = trained.rows()
    for name in scalars(rows[-1]):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(round(r["kimg"] * 1000), pytest.approx(scalars(r)[name], rel=1e-6)) for r in rows]
    pictures = events.Images("samples")
    assert [event.step for event in pictures] == [0, *(round(r["kimg"] * 1000) for r in rows)]
    shown = Image.open(io.BytesIO(pictures[-1].encoded_image_string))
    assert np.array_equal(np.asarray(shown.convert("L")), pixels(trained.path / fakes(0)))  # of kimg 0.08, too
    (options,) = events.Tensors("options/text_summary")
    assert '"width_g": 2' in options.tensor_proto.string_val[0].decode()
    assert "_hparams_/session_start_info" in events.summary_metadata


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARIES["wandb"], reason="wandb is not installed")
def test_wandb_has_the_run_offline(trained):
    parts = sorted((trained.path / "wandb").glob("offline-run-*"))
    assert len(parts) == 2
    history, ids = [], set()
    for part in parts:
        (file,) = part.glob("*.wandb")
        for record in wandb_records(file):
            if record.WhichOneof("record_type") == "run":
                ids.add((record.run.run_id, record.run.project, record.run.display_name))
                options = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            if record.WhichOneof("record_type") == "history":
                items = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
                history.append((record.history.step.num, {key: json.loads(value) for key, value in items.items()}))
    assert ids == {(trained.tracked()["id"], "rggan", trained.name)}
    assert options["width_g"] == 2
    assert options["images"]["images"] == 20
    rows = trained.rows()
    assert [step for step, _ in history] == [0, *(round(r["kimg"] * 1000) for r in rows)]
    for (_, values), each in zip(history[1:], rows, strict=True):
        assert {name: values[name] for name in scalars(each)} == pytest.approx(scalars(each))
        picture = next(trained.path.glob(f"wandb/*/files/{values['samples/path']}"))
        assert pixels(picture).shape == pixels(trained.path / fakes(0)).shape


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARIES["trackio"], reason="trackio is not installed")
def test_trackio_has_the_run_in_its_database(trained):
    folder = trained.path.parents[1] / "trackio"
    base = sqlite3.connect(folder / "rggan.db")
    name = f"{trained.name}-{trained.tracked()['id']}"
    found = base.execute("SELECT run_name, run_id, step, metrics FROM metrics ORDER BY id").fetchall()
    assert {each[0] for each in found} == {name}
    assert len({each[1] for each in found}) == 1
    rows = trained.rows()
    assert [each[2] for each in found] == [0, *(round(r["kimg"] * 1000) for r in rows)]
    for (*_, metrics), each in zip(found[1:], rows, strict=True):
        values = json.loads(metrics)
        assert {key: values[key] for key in scalars(each)} == pytest.approx(scalars(each))
        picture = folder / "media" / values["samples"]["file_path"]
        assert pixels(picture).shape == pixels(trained.path / fakes(0)).shape
    ((options,),) = base.execute("SELECT config FROM configs").fetchall()
    assert json.loads(options)["width_g"] == 2


@pytest.mark.slow
def test_a_tracked_run_is_the_same_run_and_a_finished_one_can_still_be_tracked(trained, tmp_path):
    """What trackers draw at random or log is none of the run's."""
    config = TrainConfig(outdir=tmp_path, device="cpu", kimg=0.04, **SMALL)
    run = train(config)
    assert train(dataclasses.replace(config, track=f"{__name__}:Steps")) == run
    assert (run / "steps.txt").read_text() == "0 24 40 True\n"
    assert train(dataclasses.replace(config, kimg=0.08, resume=run)) == run
    assert Run(run).rows() == trained.rows()
    assert config.same_run(TrainConfig(outdir=trained.path.parent, device="cpu", kimg=0.04, **SMALL).to_json())


@pytest.mark.slow
def test_a_tracker_of_ones_own_that_fails_does_not_stop_the_training(tmp_path, capsys):
    place = f"{__name__}:Unplugged"
    words = [
        "train",
        "--data",
        "digits",
        "--outdir",
        str(tmp_path),
        "--kimg",
        "0.06",
        "--device",
        "cpu",
        "--track",
        place,
    ]
    options = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main([*words, *options]) == 0
    (run,) = tmp_path.glob("0*")
    assert (run / "log.txt").read_text().count(f"`track` {place} failed in log: unplugged; the run goes on") == 1
    assert len(Run(run).rows()) == 3
    assert place in registry.TRUSTED
    assert make_trackers([place])[place].__class__ is track.TRACKERS.get(place)


class Steps(Tracker):
    def open(self, run):
        self.file = (run.path / "steps.txt").open("a")

    def log(self, step, values, picture):
        print(step, end=" ", file=self.file)

    def close(self, ended):
        print(ended, file=self.file)
        self.file.close()


class Unplugged(Tracker):
    def log(self, step, values, picture):
        if step > 30:
            raise OSError("unplugged")


def test_the_tracker_of_the_page_runs(run):
    page = (Path(rggan.__file__).parents[1] / "docs" / "trackers.md").read_text()
    names = {}
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1], names)
    tracked(run, [row(0.06, 0.25)], own=names["Table"]())
    assert (run.path / "table.csv").read_text().splitlines() == ["0,", "20,0.5", "40,0.5", "60,0.25"]
    for name in scalars({**row(0.02), "signal_g": 1, "d_sign": 1, "layers": {"g": {"a": {"density": 1, "births": 1}}}}):
        assert re.search(rf"^\|.*`{name.partition('/')[0]}`.*\|", page, re.M)
