"""A run that is stopped, starved, lost or asked again: what it says, what it keeps, where it goes on."""

import dataclasses
import io
import json
import os
import signal

import matplotlib
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from rich.console import Console

from rggan import TrainConfig, UserError
from rggan.cli.main import main
from rggan.data import load_images
from rggan.run.folder import Run
from rggan.run.log import RunLog
from rggan.run.outdir import new_run
from rggan.training import keeper, loop
from rggan.training.callbacks import Callback
from rggan.training.checkpoint import checkpoints, readable
from rggan.training.evaluator import Evaluator, Judgement, diversity
from rggan.training.interrupt import Interrupted
from rggan.training.keeper import WriteFailed
from rggan.training.loop import Diverged, given_up
from rggan.training.train import train
from rggan.training.trainer import Training
from tests.conftest import folders
from tests.recorded.old_format import held_in_networks

pytestmark = pytest.mark.slow  # each trains for a second or two

OPTIONS = {
    **{"max_images": 60, "width_g": 8, "width_d": 8, "z_dim": 8, "batch": 8, "score_samples": 20, "d_steps": 1},
    **{"precision": "fp32", "kimg": 0.16, "snap": 0.032, "threshold_lr": 0.01},
}


def config(outdir, **options):
    return TrainConfig(outdir=outdir, **{**OPTIONS, **options})


def go(outdir, **options):
    return train(config(outdir, **options), Console(quiet=True))


def log(run):
    return (run / "log.txt").read_text()


def is_drawn(run):
    """Whether its progress.png is a picture, with nothing half-written beside it."""
    with Image.open(run / "progress.png") as picture:
        return picture.format == "PNG" and not list(run.glob(".progress*"))


def poison(monkeypatch, at, times=1):
    """Let the losses become NaN in the given step, `times` times over all attempts."""
    original, hits = Training.step, []

    def step(self):
        original(self)
        if self.images == at * 8 and len(hits) < times:
            hits.append(self.images)
            self.loss_sums.fill_(float("nan"))
            with torch.no_grad():
                next(self.gan.g.parameters()).fill_(float("nan"))

    monkeypatch.setattr(Training, "step", step)
    return hits


def test_lost_numbers_bring_back_the_last_good_state_with_lower_rates(tmp_path, monkeypatch):
    poison(monkeypatch, at=10)
    run = go(tmp_path, rollback_lr=0.25)
    rows = Run(run).rows()
    assert [row["tick"] for row in rows] == [0, 1, 2, 3, 4]
    assert "kimg 0.1: score nan" in log(run)
    assert "back to kimg 0.1, learning rates x 0.25 (return 1 of at most 3)" in log(run)
    state = next(readable(run / "checkpoints", print))
    assert state["rollbacks"] == 1
    assert state["training"]["opt_g"]["param_groups"][0]["lr"] == pytest.approx(2e-4 / 4)
    assert all(value.isfinite().all() for value in state["training"]["g"].values())


def test_losses_are_looked_at_between_ticks_too(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKED_EVERY", 3)
    poison(monkeypatch, at=5)
    run = go(tmp_path)
    assert "the losses are no finite numbers any more; back to kimg 0.0" in log(run)
    assert log(run).index("back to kimg") < log(run).index("tick 1")


def test_first_tick_can_be_taken_back_as_well(tmp_path, monkeypatch):
    poison(monkeypatch, at=2)
    assert len(Run(go(tmp_path)).rows()) == 5


def test_after_a_return_other_random_numbers_come(tmp_path, monkeypatch):
    plain = Run(go(tmp_path / "plain")).rows()
    poison(monkeypatch, at=10)
    again = Run(go(tmp_path / "again", rollback_lr=1.0)).rows()
    assert plain[:2] == again[:2]
    assert plain[2]["loss_d"] != again[2]["loss_d"]


def test_too_many_returns_end_the_run_and_keep_what_was_good(tmp_path, monkeypatch):
    hits = poison(monkeypatch, at=10, times=99)
    with pytest.raises(Diverged, match=r"diverged at kimg 0.1: .* after 2 returns .* Try a lower `lr`"):
        go(tmp_path, rollbacks=2)
    assert len(hits) == 3
    (run,) = folders(tmp_path)
    assert len(Run(run).rows()) == 2
    assert next(readable(run / "checkpoints", print))["training"]["images"] == 64
    assert is_drawn(run)


def test_a_run_with_returns_resumes_exactly(tmp_path, monkeypatch):
    """Stopped after the return and continued: the same rows as without the stop."""
    poison(monkeypatch, at=10)
    whole = Run(go(tmp_path / "whole")).rows()
    monkeypatch.undo()
    poison(monkeypatch, at=10)
    original = Training.step

    def step(self):
        original(self)
        if self.images == 8 * 18:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(Interrupted):
            go(tmp_path / "cut")
    assert Run(go(tmp_path / "cut")).rows() == whole


def test_collapse_to_one_picture_is_noticed(tmp_path, monkeypatch):
    """Against a generator that really makes one picture: its weights on the latents are zero."""
    original, hits = Training.step, []
    monkeypatch.setattr(loop, "DIVERSE", 0.0)  # eight channels and 20 steps make no diverse pictures

    def step(self):
        original(self)
        if self.images == 8 * 12 and not hits:
            hits.append(1)
            with torch.no_grad():
                self.gan.g.linear.weight.zero_()
                self.ema.network.linear.weight.zero_()

    monkeypatch.setattr(Training, "step", step)
    run = go(tmp_path)
    assert "collapsed to one picture (diversity 0.000" in log(run)
    assert [row["tick"] for row in Run(run).rows()] == [0, 1, 2, 3, 4]


def test_diversity_is_the_spread_over_the_images():
    images = load_images("digits", 16, max_images=50).images
    expected = images.double().numpy().std(axis=0).mean()
    assert diversity(images) == pytest.approx(expected, rel=1e-5)
    assert diversity(images[:1].expand(20, -1, -1, -1)) == 0


def test_patience_stops_and_keeps_the_best(tmp_path, monkeypatch):
    scores = iter([1.0, 0.2, 0.25, 0.31, 0.32, 0.9])
    monkeypatch.setattr(Evaluator, "judge", lambda self, network: Judgement(next(scores), 1.0))
    run = go(tmp_path, patience=2, kimg=9)
    assert [row["score"] for row in Run(run).rows()] == [1.0, 0.2, 0.25, 0.31, 0.32]
    assert "stopped: 2 scores in succession far above the best (`patience`). Best score 0.2000" in log(run)
    best = json.loads((run / "best" / "config.json").read_text())
    assert best["trained"]["score"] == 0.2
    before = log(run)
    assert go(tmp_path, patience=2, kimg=9) == run  # finished: it does not train on
    assert log(run) == before


def test_patience_counts_from_the_best_also_below_zero():
    """The kernel distance may be negative."""
    rows = [{"score": score} for score in (0.5, -0.02, -0.009, -0.005)]
    assert given_up(rows, 2)
    assert not given_up(rows[:3], 2)
    assert not given_up([{"score": 1.0}] * 3, 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_save_and_tell_their_code(tmp_path, monkeypatch, number, signals_are_heard):
    original, before = Training.step, signal.getsignal(number)  # a shell's background job ignores SIGINT

    def step(self):
        original(self)
        if self.images == 8 * 6:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Training, "step", step)
    line = [f"--{key.replace('_', '-')}={value}" for key, value in OPTIONS.items()]
    assert main(["train", "digits", "--network", "sngan", "--outdir", str(tmp_path), *line]) == 128 + number
    (run,) = folders(tmp_path)
    assert "the same command continues" in log(run)
    assert next(readable(run / "checkpoints", print))["training"]["images"] == 48
    assert signal.getsignal(number) == before


def test_lost_numbers_are_not_saved_on_a_signal(tmp_path, monkeypatch):
    original = Training.step

    def step(self):
        original(self)
        if self.images == 8 * 6:
            self.loss_sums.fill_(float("nan"))
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(Interrupted):
            go(tmp_path)
    (run,) = folders(tmp_path)
    assert is_drawn(run)
    assert next(readable(run / "checkpoints", print))["training"]["images"] == 32
    assert len(Run(go(tmp_path)).rows()) == 5


def test_second_run_in_a_folder_refuses(tmp_path):
    run = go(tmp_path, kimg=0.032)
    with FileLock(run / ".lock"), pytest.raises(UserError, match="Another process is training in"):
        go(tmp_path, kimg=0.032)


def test_same_command_at_the_same_moment_refuses(tmp_path, monkeypatch):
    """The other one made its run while this one was reading its pictures."""
    from rggan.training import reading

    original, once = reading.read_data, []

    def slow(*args):
        if not once:
            once.append(1)
            go(tmp_path, kimg=0.032)
        return original(*args)

    monkeypatch.setattr(reading, "read_data", slow)
    with pytest.raises(UserError, match="Another process is training"):
        go(tmp_path, kimg=0.032)
    assert len(folders(tmp_path)) == 1


def test_folder_of_a_killed_start_is_no_run(tmp_path, monkeypatch):
    def killed(run, config):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_options", killed)
        with pytest.raises(KeyboardInterrupt):
            new_run(config(tmp_path), (16, 16))
    assert folders(tmp_path) == []
    assert new_run(config(tmp_path), (16, 24)).name == "00000-digits-16x24-sngan-d_steps1-threshold_lr0.01-threshold"


def fail_writes(monkeypatch, after, until=10**9):
    """From the `after`-th flush to the disk on, the disk is full; from the `until`-th on there is room again."""
    original, calls = os.fsync, []

    def fsync(number):
        calls.append(number)
        if after <= len(calls) < until:
            raise OSError(28, "No space left on device")
        original(number)

    monkeypatch.setattr(os, "fsync", fsync)
    return calls


def whole_run(tmp_path, monkeypatch):
    """An undisturbed run, and how often it flushes to the disk."""
    with monkeypatch.context() as patch:
        calls = fail_writes(patch, after=10**9)
        return go(tmp_path / "whole"), len(calls)


def test_full_disk_stops_with_a_sentence_and_the_same_command_continues(tmp_path, monkeypatch):
    whole, flushes = whole_run(tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        fail_writes(patch, after=flushes // 2)
        with pytest.raises(WriteFailed, match=r"No space left on device. What was saved before is kept"):
            go(tmp_path / "full")
    (run,) = folders(tmp_path / "full")
    assert 0 < len(Run(run).rows()) < 5
    assert not [path for path in run.rglob("*.part")]
    go(tmp_path / "full")
    assert Run(run).rows() == Run(whole).rows()
    for name in ("best", "last"):
        assert (run / name / "generator.safetensors").read_bytes() == (
            whole / name / "generator.safetensors"
        ).read_bytes()


def test_python_draws_a_run_as_the_command_line_does(tmp_path, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "backend", "TkAgg")  # with no display to show anything on
    monkeypatch.delenv("DISPLAY", raising=False)
    run = go(tmp_path, kimg=0.032)
    assert is_drawn(run)
    (run / "progress.png").unlink()
    assert go(tmp_path, kimg=0.032) == run
    assert is_drawn(run)


def test_a_run_that_cannot_be_drawn_is_trained_all_the_same(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rggan.report.plot.write_whole", full)
    run = go(tmp_path, kimg=0.032)
    assert not (run / "progress.png").exists()
    assert "finished." in log(run)


def test_a_run_that_a_full_disk_stopped_is_drawn_when_there_is_room_again(tmp_path, monkeypatch):
    original = keeper.save_picture

    def full_at_the_second(picture, path):
        if Run(path.parent).rows():
            raise OSError(28, "No space left on device")
        original(picture, path)

    monkeypatch.setattr(keeper, "save_picture", full_at_the_second)
    with pytest.raises(WriteFailed, match="No space left"):
        go(tmp_path)
    (run,) = folders(tmp_path)
    assert is_drawn(run)


def test_full_disk_can_be_outlived(tmp_path, monkeypatch):
    """With --on-write-error go-on nothing is lost if there is room again: best, rows and state."""
    whole, flushes = whole_run(tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        fail_writes(patch, after=flushes // 2, until=flushes // 2 + 2)
        run = go(tmp_path / "full", on_write_error="go-on")
    assert "No space left on device; going on" in log(run)
    assert Run(run).rows() == Run(whole).rows()
    assert (run / "best/generator.safetensors").read_bytes() == (whole / "best/generator.safetensors").read_bytes()


def test_a_run_whose_end_is_not_on_disk_is_not_called_finished(tmp_path, monkeypatch):
    whole, flushes = whole_run(tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        fail_writes(patch, after=flushes // 2)
        with pytest.raises(WriteFailed, match="continues from there"):
            go(tmp_path / "full", on_write_error="go-on")
    (run,) = folders(tmp_path / "full")
    assert "finished" not in log(run)
    assert Run(go(tmp_path / "full")).rows() == Run(whole).rows()


def test_a_best_that_could_not_be_written_is_written_later(tmp_path, monkeypatch):
    scores = iter([0.5, 0.1, 0.4, 0.4, 0.4])
    monkeypatch.setattr(Evaluator, "judge", lambda self, network: Judgement(next(scores), 1.0))
    original, failed = keeper.save_picture, []

    def full_at_the_second(picture, path):
        if len(Run(path.parent).rows()) == 1 and not failed:
            failed.append(path)
            raise OSError(28, "No space left on device")
        original(picture, path)

    monkeypatch.setattr(keeper, "save_picture", full_at_the_second)
    run = go(tmp_path, on_write_error="go-on")
    assert json.loads((run / "best" / "config.json").read_text())["trained"]["score"] == 0.1


def test_resume_with_other_options_says_which_differ(tmp_path, capsys):
    run = go(tmp_path, kimg=0.064)
    base = TrainConfig.from_json(run / "config.json")
    with pytest.raises(UserError, match=r"differs in `width_g` \(8 there, 16 here\): a run cannot change that"):
        train(dataclasses.replace(base, resume=run, width_g=16))
    assert main(["train", "--resume", str(run), "--kimg", "0.16", "--lr", "0.0001"]) == 0
    assert "changed    `kimg` (0.064 there, 0.16 here), `lr` (0.0002 there, 0.0001 here)" in log(run)
    assert len(Run(run).rows()) == 5
    state = next(readable(run / "checkpoints", print))
    assert state["training"]["opt_d"]["param_groups"][0]["lr"] == 0.0001
    assert TrainConfig.from_json(run / "config.json").kimg == 0.16
    assert main(["train", "--resume", str(tmp_path / "nowhere")]) == 2
    assert main(["train", "--resume", str(run), "--config", str(run / "config.json")]) == 2


def test_new_run_says_what_it_differs_in(tmp_path):
    first = go(tmp_path, kimg=0.032)
    second = go(tmp_path, kimg=0.032, lr=1e-3)
    assert f"new run    {first.name} differs in `lr` (0.0002 there, 0.001 here)\n" in log(second)  # it is finished
    third = go(tmp_path, kimg=0.064, lr=1e-3, mirror=True)
    assert f"here); to continue it instead: `resume` {second} `kimg` 0.064 `mirror`\n" in log(third)
    fourth = go(tmp_path, kimg=0.096, lr=1e-3, mirror=True, seed=1)  # which cannot change
    (line,) = [each for each in log(fourth).splitlines() if each.startswith("new run")]
    assert "`seed` (0 there, 1 here)" in line
    assert "to continue" not in line


def test_options_of_an_older_version_are_the_same_run(tmp_path):
    """A config.json without the options that came later, and with a side as a number."""
    run = go(tmp_path, kimg=0.032, resolution=16)
    options = json.loads((run / "config.json").read_text())
    assert options["resolution"] == 16
    for name in ("channels", "resize", "background", "patience", "rollbacks", "rollback_lr", "keep"):
        del options[name]
    (run / "config.json").write_text(json.dumps(options))
    assert go(tmp_path, kimg=0.032, resolution="16x16") == run
    (run / "config.json").write_text(json.dumps({**options, "option_of_tomorrow": 1}))
    assert go(tmp_path, kimg=0.032, resolution=16) != run


def test_states_that_are_gone_are_not_trained_over(tmp_path):
    run = go(tmp_path)
    (run / "stats.jsonl").write_text("".join((run / "stats.jsonl").read_text().splitlines(keepends=True)[:-1]))
    for path in checkpoints(run / "checkpoints"):
        path.unlink()
    with pytest.raises(UserError, match="are gone"):
        go(tmp_path)


def test_state_of_another_shape_is_passed_over(tmp_path):
    """Whole by its hash, and yet not of this run: named, and the one before is used."""
    run = go(tmp_path, kimg=0.096)
    newest = checkpoints(run / "checkpoints")[-1]
    state = torch.load(newest, weights_only=True)
    del state["training"]["ema"]
    newest.unlink()
    from rggan.training.checkpoint import save_checkpoint

    save_checkpoint(run / "checkpoints", 0.096, state)
    rows = Run(run).rows()
    (run / "stats.jsonl").write_text(json.dumps(rows[0]) + "\n")
    go(tmp_path, kimg=0.096)
    assert "does not fit ('ema'); looking for the one before" in log(run)
    assert Run(run).rows() == rows


def test_state_of_format_1_is_continued(tmp_path):
    """As version 0.1.0's first format wrote it: no hash, images known by shape and sum, times in the rows."""
    whole = Run(go(tmp_path / "whole")).rows()
    run = go(tmp_path / "old", kimg=0.064)
    for path in checkpoints(run / "checkpoints"):
        state = torch.load(path, weights_only=True)
        images = load_images("digits", 16, max_images=60).images
        state["images"] = [*images.shape, int(images.sum(dtype=torch.int64))]
        state["rows"] = [{"sec_per_kimg": 1.0, **row} for row in json.loads(state["rows"])]
        state["training"] = held_in_networks(state["training"])
        del state["format"], state["rollbacks"]
        torch.save(state, path.with_name(f"state-{path.name.split('-')[1]}.pt"))
        path.unlink()
    base = TrainConfig.from_json(run / "config.json")
    train(dataclasses.replace(base, resume=run, kimg=0.16), Console(quiet=True))
    assert Run(run).rows() == whole


def test_what_was_taken_is_recorded(tmp_path):
    run = go(tmp_path, kimg=0.032, max_images=1200)
    head, *lines = [json.loads(line) for line in (run / "data.jsonl").read_text().splitlines()]
    assert (head["images"], head["held_out"], head["subset_seed"], head["size"]) == (1200, 120, 0, [16, 16])
    data = load_images("digits", 16, max_images=1200)
    assert [line["name"] for line in lines] == list(data.names)
    assert [line["sha256"] for line in lines] == list(data.hashes)
    assert [line["class"] for line in lines] == [data.classes[i] for i in data.labels]
    held_out = data.split(0)[1]
    assert [line["name"] for line in lines if line["held_out"]] == list(held_out.names)


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "log.txt").mkdir()
    said = Console(record=True, quiet=False, file=io.StringIO())
    RunLog(Run(tmp_path), said).say("still said")
    assert "still said" in said.export_text()


def test_a_console_that_cannot_be_written_stops_nothing(tmp_path):
    """The disk that is full may also hold what the output was sent to."""

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    RunLog(Run(tmp_path), Console(file=Full())).say("line")
    assert (tmp_path / "log.txt").read_text() == "line\n"


def folder_of(path, count=12, classes=("a", "b")):
    for index in range(count):
        place = path / classes[index % len(classes)] / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place)
    return path


def test_runs_do_not_lie_in_the_data(tmp_path, monkeypatch):
    """The next command would take the run's own pictures for data."""
    folder_of(tmp_path / "set")
    monkeypatch.chdir(tmp_path / "set")
    with pytest.raises(UserError, match="`outdir` runs lies inside the data"):
        train(TrainConfig(**{**OPTIONS, "data": "."}), Console(quiet=True))
    assert not (tmp_path / "set" / "runs").exists()


def test_a_moved_data_folder_is_known_by_its_content(tmp_path):
    data = folder_of(tmp_path / "here")
    run = go(tmp_path / "runs", data=str(data), kimg=0.032)
    data.rename(tmp_path / "there")
    line = ["train", "--resume", str(run), "--kimg", "0.064"]
    assert main(line) == 2
    assert main([*line, "--data", str(tmp_path / "there")]) == 0
    assert len(Run(run).rows()) == 2
    Image.new("RGB", (16, 16)).save(tmp_path / "there" / "a" / "0.png")
    assert main(["train", "--resume", str(run), "--kimg", "0.096"]) == 2
    assert TrainConfig.from_json(run / "config.json").kimg == 0.064  # a refused resume changes nothing


def test_other_labels_of_the_same_pixels_are_other_data(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.arange(12) % 2)
    run = go(tmp_path / "runs", data=str(tmp_path / "set.npz"), kimg=0.032)
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.arange(12) // 6)
    base = TrainConfig.from_json(run / "config.json")
    with pytest.raises(UserError, match="are not those"):
        train(dataclasses.replace(base, resume=run, kimg=0.064), Console(quiet=True))


def test_resume_to_less_than_is_done_is_refused(tmp_path, capsys):
    run = go(tmp_path, kimg=0.096)
    assert main(["train", "--resume", str(run), "--kimg", "0.05"]) == 2
    assert "--kimg 0.05 is no more than" in capsys.readouterr().err
    assert main(["train", "-n", "--resume", str(run), "--batch", "4"]) == 2
    assert "--batch (8 there, 4 here)" in capsys.readouterr().err


def test_lost_weights_are_not_saved_on_a_signal_even_with_finite_losses(tmp_path, monkeypatch):
    original = Training.step

    def step(self):
        original(self)
        if self.images == 8 * 6:
            with torch.no_grad():
                self.gan.g.to_rgb.bias.fill_(float("inf"))
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "step", step)
    with pytest.raises(Interrupted):
        go(tmp_path)
    (run,) = folders(tmp_path)
    assert next(readable(run / "checkpoints", print))["training"]["images"] == 32
    assert "continues from the last good state" in log(run)


def full(number):
    raise OSError(28, "No space left")


def test_a_stop_that_could_not_be_saved_says_so(tmp_path, monkeypatch):
    original = Training.step

    def step(self):
        original(self)
        if self.images == 8 * 6:
            monkeypatch.setattr(os, "fsync", full)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "step", step)
    with pytest.raises(WriteFailed, match="No space left"):
        go(tmp_path, on_write_error="go-on")


def test_lost_numbers_without_any_saved_state_end_the_run(tmp_path, monkeypatch):
    poison(monkeypatch, at=2)
    monkeypatch.setattr(keeper, "save_checkpoint", lambda *given: full(0))
    with pytest.raises(Diverged, match="holds no state to return to"):
        go(tmp_path, on_write_error="go-on")


def test_real_diversity_is_of_all_classes():
    """Folders are sorted by class: the first 256 images may all be of one."""
    images = torch.zeros(600, 1, 16, 16, dtype=torch.uint8)
    images[300:] = 255
    digits = load_images("digits", 16, max_images=600)
    data = dataclasses.replace(digits, store=images)
    assert Training(config("."), data, data).evaluator.real_diversity == pytest.approx(127.5, rel=0.05)


def test_beginners_of_python_are_told(tmp_path):
    with pytest.raises(UserError, match="train takes pictures or a TrainConfig, not a dict"):
        train({"data": "digits"})
    with pytest.raises(UserError, match=r"There is no option kimgs; did you mean kimg\?"):
        train("digits", kimgs=1)
    with pytest.raises(UserError, match=r"`callbacks` takes objects: give Callback\(\), not Callback"):
        train(TrainConfig(outdir=tmp_path / "runs"), callbacks=[Callback])
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="`cfg` auto looks at the pictures: name them"):
        TrainConfig.of("auto")


def test_a_finished_training_ends_well_whatever_becomes_of_its_pictures(tmp_path, monkeypatch):
    def starved(*_):
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr("rggan.training.drawing.replay_sheet", starved)
    run = go(tmp_path, kimg=0.032)
    assert Run(run).rows()[-1]["kimg"] >= 0.032
    assert "No nearest training pictures were drawn: no memory left.\n" in log(run)
    assert is_drawn(run)
    assert (run / "page.html").is_file()
