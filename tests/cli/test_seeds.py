"""rggan train --seeds: a set of runs, resumable; and names of runs that tell them apart."""

import re
import shlex

import pytest

from rggan import TrainConfig
from rggan.cli import seeds as cli_seeds
from rggan.cli.main import main
from rggan.run.outdir import LONGEST, apart, describe, runs
from rggan.run.places import WEIGHTS
from rggan.training.interrupt import Interrupted
from rggan.training.loop import Diverged

TINY = (
    "digits --network sngan --max-images 40 --width-g 4 --width-d 4 --z-dim 4 --batch 4 --score-samples 8 --kimg 0.008 "
    "--snap 0.008 --device cpu --precision fp32"
)


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path / "cache"))
    return lambda *more: main(["train", *TINY.split(), "--outdir", "out", *more])


@pytest.fixture
def pretended(monkeypatch):
    """Training that writes the ticks of a finished run; what happens instead, by seed."""
    happens, trained = {}, []

    def train(config, console):
        from rggan.run.outdir import find_run, new_run

        trained.append(config.seed)
        run = find_run(config) or new_run(config, (16, 16))
        if config.seed in happens:
            raise happens[config.seed]
        row = {"tick": 0, "kimg": config.kimg, "score": 1.0, "density_g": 1.0, "density_d": 1.0, "phase": "prune"}
        run.write_rows([row])
        run.best.mkdir()
        (run.best / WEIGHTS).touch()
        return run.path

    monkeypatch.setattr(cli_seeds, "train", train)
    return happens, trained


@pytest.mark.slow
def test_a_set_is_trained_once_and_skipped_after(command, tmp_path, capsys):
    assert command("--seeds", "0-1") == 0
    found = runs(tmp_path / "out")
    assert [run.config().seed for run in found] == [0, 1]
    assert [run.name for run in found] == ["00000-digits-16-sngan-threshold", "00001-digits-16-sngan-seed1-threshold"]
    out = capsys.readouterr().out
    told = [shlex.split(line.partition(":")[2]) for line in out.splitlines() if ": " in line and "rggan " in line]
    names = [f"out/{run.name}" for run in found]
    assert ["rggan", "show", *names] in told
    assert ["rggan", "evaluate", *names] in told
    before = {path: path.stat().st_mtime_ns for run in found for path in run.path.rglob("*")}
    assert command("--seeds", "0-1") == 0
    out = capsys.readouterr().out
    assert f"0 (1 of 2): {names[0]} is finished" in out
    assert {path: path.stat().st_mtime_ns for run in found for path in run.path.rglob("*")} == before


def test_the_same_command_goes_on_where_it_was_stopped(command, pretended, capsys):
    happens, trained = pretended
    happens[1] = Interrupted(2)
    assert command("--seeds", "0,1-2") == 130
    assert trained == [0, 1]  # not the third
    happens.clear()
    assert command("--seeds", "0,1-2") == 0
    assert trained == [0, 1, 1, 2]
    assert "0 (1 of 3): out/00000-digits-16-sngan-threshold is finished" in capsys.readouterr().out


def test_a_diverged_seed_is_told_and_the_others_go_on(command, pretended, capsys):
    happens, trained = pretended
    happens[1] = Diverged("The generator makes no finite pictures.")
    assert command("--seeds", "0-2") == 1
    assert trained == [0, 1, 2]
    out, err = capsys.readouterr()
    assert "seed       1 diverged: The generator makes no finite pictures." in out
    assert err == "rggan: 1 of 3 seeds diverged (1); the others are trained.\n"
    assert "rggan show out/00000-digits-16-sngan-threshold out/00002-digits-16-sngan-seed2-threshold" in out


def test_it_ends_with_a_comparison_to_other_runs_of_the_same_pictures(command, pretended, capsys):
    assert command("--seeds", "0-1", "--rule", "none") == 0
    assert "rggan compare out/00000-digits-16-sngan-none out/00001-digits-16-sngan-seed1-none -- RUN..." in (
        capsys.readouterr().out
    )
    assert command("--seeds", "0-1") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "rggan compare" in line)
    ours = "out/00002-digits-16-sngan-threshold out/00003-digits-16-sngan-seed1-threshold"
    dense = "out/00000-digits-16-sngan-none out/00001-digits-16-sngan-seed1-none"
    assert line.endswith(f"rggan compare {ours} -- {dense}")
    for other in (("--seeds", "2-3"), ("--seeds", "0-1", "--kimg", "7")):  # no seeds in common, or not as long
        assert command(*other, "--lr", "0.1") == 0
        assert "rggan compare" in (text := capsys.readouterr().out)
        assert "-none" not in text.split("rggan compare")[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--seeds", "0-5", "--seed", "3"], "--seed is about one run, and --seeds about several: give one of them."),
        (["--seeds=0-5", "--resume", "x"], "--resume is about one run"),
        (["--seeds", "a"], "--seeds takes numbers and ranges like 0-63"),
        (["--seeds"], "--seeds takes numbers and ranges like 0-63"),
        (["--seeds", "3-1"], "--seeds takes numbers and ranges like 0-63"),
    ],
)
def test_bad_seeds_are_one_sentence(command, pretended, capsys, words, sentence):
    assert command(*words) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not pretended[1]


def test_help_has_it(capsys):
    assert main(["train", "--help"]) == 0
    assert "--seeds NAME " in capsys.readouterr().out


def test_names_tell_apart_what_was_asked_for():
    plain = describe(TrainConfig.of("sngan"), (16, 16))
    assert plain == describe(TrainConfig(), (16, 16)) == "digits-16-sngan-threshold"
    options = (
        {"seed": 3}, {"target_g": 0.5}, {"lr": 0.001}, {"aug": "none"}, {"target_d": 0.5}, {"seed": 3, "target_g": 0.5},
        {"penalty": 2.0}, {"finale": 0.2, "target_g": 0.5},
    )  # fmt: skip
    names = [describe(TrainConfig.of("sngan", **each), (16, 16)) for each in options]
    assert len({plain, *names}) == len(options) + 1
    assert all(re.fullmatch(r"digits-16-sngan-[\w.+-]+-threshold", name) for name in names)  # runs/*-threshold
    assert describe(TrainConfig.of("fastgan"), (64, 64)) == "digits-64-fastgan-threshold"  # whatever it takes itself
    assert apart(TrainConfig.of("stylegan2-32", cfg="stylegan2-32")) == ""


def test_names_of_pictures_stay_as_they_are_typed():
    names = {"my-pictures": "my-pictures", "my flags.zip": "my_flags", "a/b c/": "b_c", "hf:user/set": "set"}
    for data, name in names.items():
        assert describe(TrainConfig(data=data), (16, 16)) == f"{name}-16-sngan-threshold"


def test_names_are_short():
    many = {"lr": 1e-4, "lr_d": 2e-4, "beta1": 0.1, "beta2": 0.9, "ema": 0.5, "lecam": 0.1, "dropout_d": 0.3}
    name = apart(TrainConfig.of("sngan", seed=123, **many))
    assert name.startswith("-seed123-")
    assert name.endswith("-etc")
    assert len(name) <= LONGEST + len("-etc")
