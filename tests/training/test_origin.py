"""A state knows its run, its options and how it was made: what differs is refused by name, or told."""

import copy
import dataclasses
import json
import shutil

import pytest
import torch
from rich.console import Console

from rggan import TrainConfig, UserError, train
from rggan.cli.main import main
from rggan.run.folder import Run
from rggan.training import origin
from rggan.training.checkpoint import checkpoints, load, save_checkpoint
from rggan.training.ended import finished
from rggan.training.reading import read_data
from rggan.training.trainer import Training
from tests.conftest import folders

pytestmark = pytest.mark.slow  # a few runs of a second

OPTIONS = {
    **{"max_images": 40, "width_g": 4, "width_d": 4, "z_dim": 4, "batch": 8, "score_samples": 16, "resolution": 16},
    **{"precision": "fp32", "device": "cpu", "kimg": 0.032, "snap": 0.016, "schedule": "always"},
}


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return train(TrainConfig(outdir=tmp_path_factory.mktemp("old"), **OPTIONS), Console(quiet=True))


@pytest.fixture
def run(old, tmp_path):
    """A copy of a run, of 0.032 kimg."""
    shutil.copytree(old, tmp_path / old.name)
    return tmp_path / old.name


def config_of(run):
    return dataclasses.replace(TrainConfig.from_json(run / "config.json"), outdir=run.parent)


def edited(run, **options):
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))


def with_head(folder, **head):
    """With another header of data.jsonl."""
    path = folder / "data.jsonl"
    first, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps({**json.loads(first), **head}) + "\n" + rest)


def resaved(run, **parts):
    """The newest state with other parts."""
    path = checkpoints(run / "checkpoints")[-1]
    state = copy.deepcopy({name: part for name, part in load(path).items() if name != "format"})
    path.unlink()
    save_checkpoint(run / "checkpoints", state["training"]["images"] / 1000, {**state, **parts})


def listing(run):
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "options", [{"batch": 4}, {"loss": "nonsaturating"}, {"snap": 0.032}, {"floor": 0.5}, {"batch": 4, "seed": 3}]
)
def test_fixed_options_changed_by_hand_are_refused_by_name(run, options, capsys):
    edited(run, **options)
    before = listing(run)
    assert main(["train", "--resume", str(run), "--kimg", "0.048"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"The newest state of {run} was trained with another " in told
    for name, value in options.items():
        was = getattr(TrainConfig(**OPTIONS), name)
        assert f"--{name} ({was} there, {value} here)" in told
    assert "put it back in config.json, or --init" in told
    assert {path: before[path] for path in before if path.suffix != ".txt"} == {
        path: content for path, content in listing(run).items() if path.suffix != ".txt"
    }


def test_options_that_may_change_are_told_though_changed_by_hand(run):
    edited(run, beta1=0.5, kimg=0.048)
    assert main(["train", "--resume", str(run)]) == 0
    log = (run / "log.txt").read_text()
    assert "changed    `kimg` (0.032 there, 0.048 here), `beta1` (0.0 there, 0.5 here)" in log
    assert log.count("changed  ") == 1
    assert len(Run(run).rows()) == 3


def test_a_state_of_another_run_is_refused(run, old, tmp_path, capsys):
    with_head(run, run="0" * 32)
    assert main(["train", "--resume", str(run), "--kimg", "0.048"]) == 2
    told = capsys.readouterr().err
    assert f"The newest state in {run / 'checkpoints'} is of another run: put this run's own back, or --init" in told
    with_head(run, run=Run(old).data_head()["run"])
    assert main(["train", "--resume", str(run), "--kimg", "0.048"]) == 0


def test_each_run_has_a_name_which_its_states_have_too(old, run, tmp_path):
    other = train(TrainConfig(outdir=tmp_path / "other", **OPTIONS), Console(quiet=True))
    names = [origin.id_of(Run(each)) for each in (old, other)]
    assert None not in names
    assert names[0] != names[1]
    for each, name in zip((old, other), names, strict=True):
        assert {load(path)["origin"]["run"] for path in checkpoints(each / "checkpoints")} == {name}
    # a run whose data.jsonl is gone keeps the name that its states have
    (run / "data.jsonl").unlink()
    assert main(["train", "--resume", str(run), "--kimg", "0.048"]) == 0
    assert load(checkpoints(run / "checkpoints")[-1])["origin"]["run"] == names[0]


@pytest.mark.parametrize("data", ["gone", "old"])
def test_runs_and_states_of_before_are_taken_as_before(run, data):
    """Neither knows the other."""
    resaved(run, origin=None)
    if data == "gone":
        (run / "data.jsonl").unlink()
    else:
        with_head(run, run=None)
    edited(run, floor=0.5)
    assert main(["train", "--resume", str(run), "--kimg", "0.048"]) == 0
    assert "note " not in (run / "log.txt").read_text()


def made_elsewhere(run, **made):
    told = load(checkpoints(run / "checkpoints")[-1])["origin"]
    resaved(run, origin={**told, "made": {**told["made"], **made}})


@pytest.mark.parametrize(
    ("name", "there"), [("precision", "bf16"), ("threads", 77), ("torch", "1.0"), ("device", "cuda"), ("ranks", 4)]
)
def test_what_changes_the_last_bits_is_told_in_one_line(run, name, there):
    here = load(checkpoints(run / "checkpoints")[-1])["origin"]["made"][name]
    made_elsewhere(run, **{name: there})
    assert main(["train", "--resume", str(run), "--kimg", "0.048"]) == 0
    lines = [line for line in (run / "log.txt").read_text().splitlines() if line.startswith("note ")]
    assert lines == [f"note       {name} {there} there, {here} here: the numbers will not be the same bit for bit"]


def test_the_same_machine_is_not_told(run):
    assert main(["train", "--resume", str(run), "--kimg", "0.048"]) == 0
    assert "note " not in (run / "log.txt").read_text()


@pytest.mark.parametrize("odd", [3, "x" * 10**6, {"run": 3}, {"run": "x", "made": {}}, {"made": None}, {"options": 3}])
def test_what_is_no_origin_is_passed_over(old, odd):
    config = TrainConfig(**OPTIONS)
    data = read_data(config)
    gan = Training(config, data, data).gan
    good = origin.origin_of(config, gan, "0" * 32)
    assert origin.compared(good, config, gan, Run(old), "0" * 32) == []
    with pytest.raises((ValueError, TypeError, KeyError)) as told:
        origin.compared({**good, **odd} if isinstance(odd, dict) else odd, config, gan, Run(old), "0" * 32)
    assert not isinstance(told.value, UserError)


# ---- whether a run is finished ----


def test_the_newest_state_says_too_whether_a_run_is_finished(run):
    config = config_of(run)
    rows = Run(run).rows()
    assert finished(Run(run), config)
    checkpoints(run / "checkpoints")[-1].unlink()
    assert not finished(Run(run), config)
    before = {name: (run / name / "generator.safetensors").read_bytes() for name in ("best", "last")}
    shutil.rmtree(run / "last")
    train(config, Console(quiet=True))  # goes on from the state before
    assert Run(run).rows() == rows
    assert {name: (run / name / "generator.safetensors").read_bytes() for name in before} == before
    assert len(folders(run.parent)) == 1


def test_a_finished_run_needs_no_states_but_what_it_made(run):
    config = config_of(run)
    shutil.rmtree(run / "checkpoints")
    assert finished(Run(run), config)
    shutil.rmtree(run / "best")
    assert finished(Run(run), config)
    shutil.rmtree(run / "last")
    assert not finished(Run(run), config)
    with pytest.raises(UserError, match=r"The checkpoints of .* are gone; move the folder away to train anew"):
        train(config, Console(quiet=True))


def test_a_run_shortened_by_hand_below_its_first_evaluation_is_told(run):
    state = load(checkpoints(run / "checkpoints")[-1])
    resaved(run, rows=[])
    assert state["training"]["images"] == 32
    edited(run, kimg=0.02)
    (run / "stats.jsonl").unlink()
    with pytest.raises(UserError, match=r"`kimg` 0.02 is no more than .* has trained already"):
        train(config_of(run), Console(quiet=True))


def test_numbers_of_torch_are_words_in_a_state(old):
    assert type(load(checkpoints(old / "checkpoints")[-1])["origin"]["made"]["torch"]) is str
    assert isinstance(torch.__version__, str)
