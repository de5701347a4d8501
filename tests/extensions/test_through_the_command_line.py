"""A family, a rule, a schedule, an input form and a callback of somebody's, each one file outside the package: the
command line trains, resumes, generates and evaluates with them."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rggan import Generator, TrainConfig, UserError, registry, train
from rggan.cli import main
from rggan.networks import FAMILIES
from rggan.pruning import Always, Threshold
from rggan.run.folder import Run
from rggan.training.callbacks import Callback
from tests.extensions.thin import FAMILY

HERE = "tests.extensions"
OWN = [
    *("--data", f"{HERE}.stripes:FORM:40", "--cond"),
    *("--network", f"{HERE}.thin:FAMILY", "--network-options", "depth=2", "--width-g", "16", "--width-d", "16"),
    *("--rule", f"{HERE}.keep_columns:KeepColumns", "--rule-options", "power=1.5", "every_step=yes"),
    *("--target-g", "0.5", "--networks", "both"),
    *("--schedule", f"{HERE}.in_turn:InTurn", "--schedule-options", "evaluations=2"),
    *("--callbacks", f"{HERE}.diary:Diary"),
    *("--z-dim", "4", "--aug", "none", "--snap", "0.04", "--score-samples", "8", "--device", "cpu"),
]


@pytest.fixture
def nobody_named_it(monkeypatch):
    """As in a process in which nothing of ours was asked for."""
    monkeypatch.setattr(registry, "TRUSTED", set())
    from rggan import cli
    from rggan.data.source import FORMS
    from rggan.methods import RULES, SCHEDULES

    for each in (FAMILIES, RULES, SCHEDULES, FORMS):
        monkeypatch.setattr(each, "found", {})
    assert cli.trust is registry.trust


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    assert main(["train", *OWN, "--outdir", str(out), "--kimg", "0.12"]) == 0
    (run,) = out.glob("0*")
    return run


def test_it_trains_with_all_of_them(run):
    rows = Run(run).rows()
    assert [row["seen"] for row in rows] == [1, 2, 3]
    assert [row["phase"] for row in rows] == ["prune", "prune", "dense"]
    assert rows[0]["density_g"] < 0.6
    options = json.loads((run / "config.json").read_text())
    assert options["network_options"] == ["depth=2"]
    described = json.loads((run / "best" / "config.json").read_text())
    assert described["network"]["depth"] == 2
    assert described["class_counts"] == [36, 4]
    assert (run / "diary.txt").read_text().splitlines()[:2] == ["begin", "tick 0 ThinGenerator False"]


def test_it_goes_on_to_the_bits_of_a_run_that_was_never_stopped(run, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["train", *OWN, "--outdir", str(whole), "--kimg", "0.24"]) == 0
    assert main(["train", *OWN, "--outdir", str(parts), "--kimg", "0.12"]) == 0
    (first,), (second,) = whole.glob("0*"), parts.glob("0*")
    assert main(["train", "--resume", str(second), "--kimg", "0.24", *OWN]) == 0
    assert Run(first).rows() == Run(second).rows()
    one, other = [load_file(run / "last" / "generator.safetensors") for run in (first, second)]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (second / "diary.txt").read_text().splitlines()[-1] == "end 6"


def test_it_generates_and_evaluates(run, tmp_path, capsys, nobody_named_it):
    place = f"{HERE}.thin:FAMILY"
    words = [str(run), "--outdir", str(tmp_path), "--seeds", "0-2"]
    assert main(["generate", *words]) == 2
    assert f"to let it run, name it: --trust {place}" in capsys.readouterr().err
    assert main(["generate", *words, "--trust", place]) == 0
    assert len(list(tmp_path.glob("seed*.png"))) == 3
    stripes = f"{HERE}.stripes:FORM:40"
    judged = [str(run), "--reference", stripes, "--samples", "40", "--replicates", "1", "--metrics", "kid", "--json"]
    assert main(["evaluate", *judged, "--trust", place]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["kid"]["value"] > 0


@pytest.mark.parametrize("flag", ["--network", "--rule", "--schedule", "--data"])
def test_a_runs_file_alone_makes_no_code_run(run, flag, capsys, nobody_named_it):
    """Everything is named again but one."""
    place = OWN.index(flag)
    others = [word for i, word in enumerate(OWN) if i not in (place, place + 1)]
    assert main(["train", "--resume", str(run), "--kimg", "0.16", *others]) == 2
    said = capsys.readouterr().err
    assert f"it names code, which runs only where you name it too: give {flag} {OWN[place + 1]}" in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--network", "no_such_module:FAMILY"], "--network no_such_module:FAMILY: No module named 'no_such_module'."),
        (["--network", f"{HERE}.in_turn:InTurn"], "is no Family"),
        (["--network", f"{HERE}.thin:FAMILY", "--width-d", "2"], "--width-d: Thin wants 4 at least."),
        (["--network", f"{HERE}.thin:FAMILY", "--network-options", "depth=9"], "depth lies from 0 to 4, not at 9."),
        (
            ["--network", f"{HERE}.thin:FAMILY", "--network-options", "deep=1"],
            "--network-options deep: there are depth.",
        ),
        (["--network-options", "depth=1"], "--network-options depth: there are none here."),
        (["--rule", f"{HERE}.in_turn:InTurn"], "is no rule (a subclass of rggan.pruning.Rule)."),
        (
            ["--rule", f"{HERE}.keep_columns:KeepColumns", "--rule-options", "power=much"],
            "power is a number, not much",
        ),
        (["--rule", f"{HERE}.keep_columns:KeepColumns", "--rule-options", "power"], "takes words like name=value"),
        (["--rule", f"{HERE}.keep_columns:KeepColumns", "--regrow", "0.1"], "--regrow means nothing with --rule tests"),
        (["--rule-options", "power=2"], "--rule-options power: there are none here."),
        (["--schedule", f"{HERE}.thin:FAMILY"], "is no schedule (a subclass of rggan.pruning.Schedule)."),
        (["--schedule", f"{HERE}.in_turn:InTurn", "--period", "3"], "--period means nothing with --schedule tests"),
        (["--callbacks", f"{HERE}.thin:FAMILY"], "is no callback"),
        (["--data", f"{HERE}.thin:FAMILY:x"], "is no input form"),
    ],
)
def test_what_is_of_the_wrong_kind_is_one_sentence_and_code_2(options, sentence, tmp_path, capsys):
    assert main(["train", "--outdir", str(tmp_path / "runs"), "--kimg", "0.1", "--device", "cpu", *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_callback_that_fails_loses_nothing(tmp_path, capsys):
    options = [word for word in OWN if word != f"{HERE}.diary:Diary"]
    options.insert(options.index("--callbacks") + 1, f"{HERE}.diary:Broken")
    words = ["train", *options, "--outdir", str(tmp_path), "--kimg", "0.08"]
    assert main(words) == 2
    assert "The callback Broken failed in tick: 'no such tracker'." in capsys.readouterr().err
    (run,) = tmp_path.glob("0*")
    assert len(Run(run).rows()) == 1


def test_python_does_what_the_command_line_does(tmp_path):
    seen = []

    class Watch(Callback):
        def tick(self, row, snapshot):
            seen.append(row["density_d"])

    config = TrainConfig(
        data=f"{HERE}.stripes:FORM:40", network=f"{HERE}.thin:FAMILY", network_options={"depth": 0}, outdir=tmp_path,
        width_g=16, width_d=16, z_dim=4, aug="none", kimg=0.12, snap=0.04, score_samples=8, batch=8, device="cpu",
    )  # fmt: skip
    rules = {"d": Threshold(target=0.25, every=1)}
    run = train(config, rules=rules, schedules=lambda pruners: [Always(*pruners.values())], callbacks=[Watch()])
    assert seen == [row["density_d"] for row in Run(run).rows()]
    assert seen[-1] == pytest.approx(0.25, abs=0.02)
    assert Run(run).rows()[-1]["density_g"] == 1
    assert len(Generator.from_pretrained(run)(2)) == 2


def test_a_family_that_is_given_by_name_only_is_that_of_its_file():
    assert FAMILIES.get(f"{HERE}.thin:FAMILY") is FAMILY
    with pytest.raises(UserError, match=re.escape("there are biggan, fastgan, sngan, stylegan2")):
        FAMILIES.get("thin")


@pytest.mark.parametrize(("page", "file"), [("networks", "thin"), ("running", "diary")])
def test_the_pages_show_what_is_run_here(page, file):
    code = (Path(__file__).parent / f"{file}.py").read_text().rstrip()
    if file == "diary":
        code = code[code.index("from rggan") : code.index("\n\n\nclass Broken")]
    assert f"```python\n{code}\n```" in (Path(__file__).parents[2] / "docs" / f"{page}.md").read_text()
