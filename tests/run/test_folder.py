"""What is a run, what is read of it, and what of it is passed over."""

import json

import pytest
from filelock import FileLock

from rggan import TrainConfig, UserError, train
from rggan.cli.main import main
from rggan.evaluation.compare import judged
from rggan.run import folder, places
from rggan.run.folder import Run
from rggan.run.outdir import LATEST, find_run, new_run, point_to, runs

TICK = {"tick": 0, "kimg": 1.0, "score": 0.5, "density_g": 1, "density_d": 1, "phase": "prune"}
SNAPSHOT = {"format": 2, "network": {"name": "sngan"}, "classes": [], "trained": {"data": "digits", "rule": "none"}}


@pytest.fixture
def run(tmp_path):
    return new_run(TrainConfig(outdir=tmp_path / "runs"), (16, 16))


def test_a_run_is_one_from_its_first_moment_on(run):
    assert Run.at(run.path) == Run.named(run.path) == find_run(run.config()) == run
    assert (run.rows(), run.evaluations(), run.data_head()) == ([], [], {})


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"data": "digits"}', json.dumps(SNAPSHOT), "[" * 10**5])
def test_what_has_no_options_of_ours_is_no_run(tmp_path, text):
    other = tmp_path / "00000-digits"
    other.mkdir()
    (other / places.STATS).write_text(json.dumps(TICK))
    if text is not None:
        (other / places.OPTIONS).write_text(text)
    assert Run.at(other) is None
    assert runs(tmp_path) == []
    with pytest.raises(UserError, match="00000-digits is no run"):
        Run.named(other)


def test_a_run_of_another_version_is_a_run_whose_options_are_not_checked(run, capsys):
    options = {**run.options(), "option_of_tomorrow": 1}
    (run.path / places.OPTIONS).write_text(json.dumps(options))
    run.write_rows([TICK, TICK])
    assert Run.at(run.path) == run
    assert run.config() is None
    assert run.options() == options
    assert main(["plot", str(run), "--out", str(run.path / "a.png")]) == 0
    with pytest.raises(UserError, match="unexpected keyword argument 'option_of_tomorrow'"):
        judged(run.path, "fid")


def test_lines_of_others_are_passed_over(run):
    odd = [b"\xff", b"[]", b'{"tick": "a"}', b"[" * 10**5, b'{"tick": 0, "ki']
    (run.path / places.STATS).write_bytes(b"\n".join([*odd[:2], json.dumps(TICK).encode(), *odd[2:]]))
    (run.path / places.METRICS).write_bytes(b'{"subject": 1}\n' + b"\n".join(odd))
    assert run.rows() == [TICK]
    run.append_evaluation({"subject": 2})  # behind a line that was cut
    assert run.evaluations() == [{"subject": 1}, {"subject": 2}]
    for head in (b"\xff\n", b"[1]\n", b"", b"{"):
        (run.path / places.DATA).write_bytes(head)
        assert run.data_head() == {}
    run.write_data([{"key": "k"}, {"name": "a"}])
    assert run.data_head() == {"key": "k"}


def test_evaluations_wait_for_one_another(run, monkeypatch):
    monkeypatch.setattr(folder, "WAIT", 0.1)
    with FileLock(run.path / places.METRICS_LOCK), pytest.raises(TimeoutError) as busy:
        run.append_evaluation({"subject": 1})
    assert not busy.value.strerror
    assert run.evaluations() == []


def test_weights_are_those_of_a_file_a_snapshot_or_a_runs_best(run):
    assert places.find_weights(run.path) is None
    run.best.mkdir()
    file = run.best / places.WEIGHTS
    file.touch()
    assert {places.find_weights(place) for place in (run.path, run.best, file)} == {file}
    assert places.find_weights(run.path / "a\0b") is None


def test_latest_is_the_run_trained_last_under_its_own_name(tmp_path):
    first, second = (new_run(TrainConfig(outdir=tmp_path, seed=seed), (16, 16)) for seed in (0, 1))
    for run in (first, second, first):
        point_to(run)
        assert Run.named(tmp_path / LATEST) == run
    assert runs(tmp_path) == [first, second]  # the link is no run of its own


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_latest_never_replaces_what_is_somebodys_own(tmp_path, kind):
    run = new_run(TrainConfig(outdir=tmp_path), (16, 16))
    own = tmp_path / LATEST
    if kind == "folder":
        own.mkdir()
        own = own / "mine.txt"
    own.write_text("mine")
    point_to(run)
    assert own.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {run.name, LATEST}


def test_latest_is_not_made_beside_a_run_that_was_moved(tmp_path):
    run = new_run(TrainConfig(outdir=tmp_path), (16, 16))
    (tmp_path / "else").mkdir()
    point_to(Run(run.path.rename(tmp_path / "else" / "digits")))
    assert [path.name for path in (tmp_path / "else").iterdir()] == ["digits"]


@pytest.mark.parametrize("option", ["init", "target_g", "target_d"])
def test_another_run_is_not_named_by_a_link_that_this_one_moves(tmp_path, option):
    run = new_run(TrainConfig(outdir=tmp_path), (16, 16))
    point_to(run)
    named = tmp_path / LATEST if option == "init" else str(tmp_path / LATEST)
    with pytest.raises(UserError, match=f"`{option}` .*latest is a link, which each new run moves: give {run}"):
        train("digits", outdir=tmp_path, network="sngan", device="cpu", **{option: named})
    assert runs(tmp_path) == [run]
