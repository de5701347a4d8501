"""`rggan train PICTURES` and `rggan.train("pictures")`: what is asked for, what is chosen, what is refused."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import rggan
from rggan import TrainConfig, UserError
from rggan.__main__ import entry
from rggan.cli.main import main, parse
from rggan.presets import Found, choose
from rggan.run.folder import Run
from rggan.training.asked import asked
from rggan.training.train import related
from tests.conftest import folders

TINY = {"max_images": 30, "width_g": 8, "width_d": 8, "z_dim": 8, "batch": 8, "score_samples": 8, "kimg": 0.016}


def words(options):
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "my-pictures"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(np.full((70, 90, 3), 50 * i, np.uint8)).save(folder / f"{i}.png")
    return folder


def test_the_folder_stands_anywhere_and_may_be_named(pictures):
    expected = TrainConfig.of("auto", data=str(pictures), device="cpu", kimg=5.0)
    assert expected.network == "fastgan"
    for line in (
        [str(pictures), "--device", "cpu", "--kimg", "5"],
        ["--device", "cpu", "--kimg", "5", str(pictures)],
        ["--device=cpu", "--data", str(pictures), "--kimg", "5"],
        [f"--data={pictures}", "--kimg=5", "--device=cpu"],
    ):
        assert parse(["train", *line]) == expected


def test_naming_a_network_chooses_nothing(pictures):
    assert parse(["train", str(pictures), "--network", "sngan"]) == TrainConfig.of("sngan", data=str(pictures))


@pytest.mark.parametrize("line", [[], ["-n"], ["--network", "sngan"], ["--kimg", "5"], ["--cfg", "auto"]])
def test_without_pictures_it_says_what_it_needs(line, tmp_path, capsys):
    assert main(["train", *line, "--outdir", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert "`rggan train PICTURES`" in told
    assert "`rggan train digits`" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_what_is_no_picture_folder_is_one_sentence(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["train", str(tmp_path / "pics")]) == 2
    assert f"nothing at {tmp_path / 'pics'}" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "empty")]) == 2
    assert f"No pictures in {tmp_path / 'empty'}" in capsys.readouterr().err


def test_two_folders_are_refused(pictures, capsys):
    assert main(["train", str(pictures), "--data", str(pictures)]) == 2
    assert "`rggan train` takes one PICTURES" in capsys.readouterr().err


def test_python_asks_as_the_command_does(pictures):
    given = {"device": "cpu", "aug": "none", "target_g": 0.5}
    assert asked({"data": pictures, **given})[0] == parse(["train", str(pictures), *words(given)])
    assert TrainConfig.of("auto", data=pictures, **given) == parse(["train", str(pictures), *words(given)])


def test_python_says_what_it_needs(tmp_path):
    with pytest.raises(UserError, match=r"train\('pictures'\)"):
        rggan.train()
    with pytest.raises(UserError, match="not a int"):
        rggan.train(3)
    with pytest.raises(UserError, match="has all options"):
        rggan.train(TrainConfig(outdir=tmp_path), kimg=5)
    with pytest.raises(UserError, match="name them with `data`"):
        TrainConfig.of("auto")
    with pytest.raises(UserError, match="`kimg` cannot be 'long'"):
        TrainConfig.of("auto", data="digits", kimg="long")


@pytest.mark.slow
def test_the_command_continues_what_python_began(tmp_path, capsys):
    said = io.StringIO()
    run = rggan.train("digits", Console(file=said), outdir=tmp_path, device="cpu", **TINY)
    assert said.getvalue().count("\nwidth ") == 1
    assert main(["train", "digits", "--outdir", str(tmp_path), "--device", "cpu", *words(TINY)]) == 0
    told = capsys.readouterr().out
    assert f"{run} with these options is finished" in told.replace("\n", " ")
    assert told.count("width ") == 1
    assert folders(tmp_path) == [run]


def stopping(*_, **__):
    raise KeyboardInterrupt


def test_ctrl_c_before_the_first_step_says_what_is_there_and_how_it_goes_on(tmp_path, monkeypatch, capsys):
    """While the command line is read, while the pictures are, while the run begins, before its state; then by states
    on disk, of a run that is to go on and of one that is whole."""
    outdir = tmp_path / "runs"
    line = ["train", "digits", "--outdir", str(outdir), "--device", "cpu", *words(TINY)]
    for place in ("rggan.cli.train.asked", "rggan.training.train.read_fresh"):
        with monkeypatch.context() as patched:
            patched.setattr(place, stopping)
            assert main(line) == 130
        assert capsys.readouterr().out.splitlines()[-1] == "stopped before the training; nothing was written."
        assert not outdir.exists()
    monkeypatch.setattr("rggan.training.train.begin", stopping)
    for _ in range(2):  # the same command takes the same run
        assert main(line) == 130
        (run,) = folders(outdir)
        told = f"stopped before the first step; {run} holds no state yet, and the same command begins it anew."
        assert capsys.readouterr().out.splitlines()[-1] == told
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "state-000000.008.pt").touch()
    assert main(line) == 130
    told = f"stopped at once; {run} holds the state of kimg 0.0, and the same command continues from there."
    assert capsys.readouterr().out.splitlines()[-1] == told
    row = {"tick": 0, "kimg": 0.016, "score": 1.0, "density_g": 1.0, "density_d": 1.0, "phase": "dense"}
    (run / "stats.jsonl").write_text(json.dumps(row) + "\n")
    (run / "checkpoints" / "state-000000.016.pt").touch()
    monkeypatch.setattr("rggan.training.train.draw_page", stopping)
    assert main(line) == 130
    told = f"stopped after the training, which is whole; the page: rggan show {run}"
    assert capsys.readouterr().out.splitlines()[-1] == told


def test_ctrl_c_in_other_commands_and_while_modules_load_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rggan.cli.plot.plot", stopping)
    assert main(["plot", "run"]) == 130
    assert capsys.readouterr().err == "rggan: stopped.\n"
    monkeypatch.setattr("rggan.cli.main.main", stopping)
    with pytest.raises(SystemExit) as ended:
        entry()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "rggan: stopped before it began.\n"


def test_a_new_run_beside_an_old_one_names_options_without_value_in_words(tmp_path):
    old = Run(tmp_path / "00000-digits-16-sngan-threshold")
    old.path.mkdir()
    old.write_options(TrainConfig(outdir=tmp_path, patience=3, mirror=True, lr=1e-3))
    (line,) = related(TrainConfig(outdir=tmp_path))
    assert "`patience` (3 there, not given here)" in line
    assert "`mirror` (yes there, no here)" in line
    assert "None" not in line
    assert line.endswith(f"; to continue it instead: `resume` {old} `lr` 0.0002 `mirror=False`")


def test_choices_say_what_is_taken_and_what_was_asked():
    found = Found(images=100, side=32, classes=0, cuda=False)
    given = {"width_g": 8, "batch": 4, "kimg": 10.0, "aug": "none"}
    options, why = choose(found, given)
    assert {name: options[name] for name in given} == given
    assert options["snap"] == 0.5
    assert why[1:] == [
        "width      G 8 (as asked), D 32, batch 4 (as asked): what a CPU trains in reasonable time at 32 pixels",
        "length     10 kimg, looked at every 0.5: as asked",
        "augment    none: as asked",
    ]
    assert choose(found, {**given, "width_d": 16})[1][1] == (
        "width      G 8 (as asked), D 16 (as asked), batch 4 (as asked): as asked"
    )


def test_what_a_resumed_run_cannot_change_is_the_reason(tmp_path, capsys):
    run = tmp_path / "00000-digits-16-sngan-threshold"
    run.mkdir()
    options = TrainConfig.of("sngan", data="digits", outdir=tmp_path).to_json()
    (run / "config.json").write_text(json.dumps(options))
    assert main(["train", "--resume", str(run), "--rule", "none"]) == 2
    told = capsys.readouterr().err
    assert "--rule (threshold there, none here)" in told
    assert "--target-d" not in told


def test_a_mistyped_option_has_the_nearest_of_its_command(capsys):
    for command, typed, meant in (
        ("train", "--kmg", "--kimg"),
        ("train", "--mirorr", "--mirror"),
        ("plot", "--oot", "--out"),
    ):
        assert main([command, "x", typed]) == 2
        assert f"no option {typed}; did you mean {meant}? `rggan {command} --help`" in capsys.readouterr().err
    for typed, meant in (("trian", "train"), ("--verison", "--version"), ("--hlep", "--help"), ("hepl", "help")):
        assert main([typed]) == 2
        assert f" {typed}; did you mean {meant}? `rggan --help` lists them." in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rggan {rggan.__version__}\n"
