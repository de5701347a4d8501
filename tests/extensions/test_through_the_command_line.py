"""A family, rule, schedule, loss, metric, input form and callback of somebody's, each one file outside the package: the
command line trains, resumes, generates and evaluates with them."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import rggan
from rggan import Generator, TrainConfig, UserError, registry, train
from rggan.cli.main import main
from rggan.networks import FAMILIES
from rggan.pruning import Always, Pruner, Rule, Schedule, ScoreSchedule, Threshold
from rggan.pruning.kind import Wanted, own_rule_kind, own_schedule_kind
from rggan.run.folder import Run
from rggan.training.callbacks import Callback
from tests.extensions.thin import FAMILY

pytestmark = pytest.mark.slow  # trains

HERE = "tests.extensions"
OWN = [
    *("--data", f"{HERE}.stripes:FORM:40", "--cond"),
    *("--network", f"{HERE}.thin:FAMILY", "--network-options", "depth=2", "--width-g", "16", "--width-d", "16"),
    *("--rule", f"{HERE}.keep_columns:KeepColumns", "--rule-options", "power=1.5", "every_step=yes"),
    *("--target-g", "0.5", "--networks", "both"),
    *("--loss", f"{HERE}.relativistic:LOSS", "--gamma", "0.1"),
    *("--schedule", f"{HERE}.in_turn:InTurn", "--schedule-options", "evaluations=2"),
    *("--callbacks", f"{HERE}.diary:Diary"),
    *("--z-dim", "4", "--aug", "none", "--snap", "0.04", "--score-samples", "8", "--device", "cpu"),
]


@pytest.fixture
def nobody_named_it(monkeypatch):
    """As in a process in which nothing of ours was asked for."""
    monkeypatch.setattr(registry, "TRUSTED", set())
    from rggan.cli import train
    from rggan.data.source import FORMS
    from rggan.methods import RULES, SCHEDULES
    from rggan.steps import LOSSES

    for each in (FAMILIES, RULES, SCHEDULES, LOSSES, FORMS):
        monkeypatch.setattr(each, "found", {})
    assert train.trust is registry.trust


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    assert main(["train", *OWN, "--outdir", str(out), "--kimg", "0.12"]) == 0
    (run,) = out.glob("0*")
    return run


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_it_generates_and_evaluates(run, tmp_path, capsys, nobody_named_it):
    place = f"{HERE}.thin:FAMILY"
    words = [str(run), "--outdir", str(tmp_path), "--seeds", "0-2"]
    assert main(["generate", *words]) == 2
    assert f"to let it run, name it: --trust {place}" in capsys.readouterr().err
    assert main(["generate", *words, "--trust", place]) == 0
    assert len(list(tmp_path.glob("seed*.png"))) == 3
    stripes = f"{HERE}.stripes:FORM:40"
    judged = [str(run), "--reference", stripes, "--samples", "40", "--replicates", "1", "--json"]
    judged += ["--metrics", "kid", f"{HERE}.mean_gap:METRIC"]
    assert main(["evaluate", *judged, "--trust", place]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["kid"]["value"] > 0
    assert found["mean_gap"]["lower_is_better"]
    assert Run(run).evaluations()[-1]["seed"] == 0
    assert main(["evaluate", str(run), "--samples", "40", "--trust", place]) == 2
    assert "it names code, which runs only where you name it too: give --" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--network", "--rule", "--schedule", "--loss", "--data"])
def test_a_runs_file_alone_makes_no_code_run(run, flag, capsys, nobody_named_it):
    """Everything is named again but one."""
    place = OWN.index(flag)
    others = [word for i, word in enumerate(OWN) if i not in (place, place + 1)]
    assert main(["train", "--resume", str(run), "--kimg", "0.16", *others]) == 2
    said = capsys.readouterr().err
    assert f"it names code, which runs only where you name it too: give {flag} {OWN[place + 1]}" in said


@pytest.mark.slow
def test_callbacks_are_never_taken_from_a_file(tmp_path, capsys):
    options = {"callbacks": [f"{HERE}.diary:Broken"], "kimg": 0.02, "width_g": 2, "width_d": 2, "z_dim": 2, "batch": 4}
    (tmp_path / "c.json").write_text(json.dumps({**options, "score_samples": 8, "max_images": 20, "device": "cpu"}))
    words = ["train", "--config", str(tmp_path / "c.json"), "--outdir", str(tmp_path / "runs")]
    assert main(words) == 0
    assert "callbacks" not in TrainConfig().to_json()
    assert main([*words, "--seed", "1", "--callbacks", f"{HERE}.diary:Broken"]) == 2
    assert "The callback Broken failed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_module_of_the_current_folder_hides_no_other(tmp_path):
    (tmp_path / "sklearn.py").write_text("raise RuntimeError('this ran')")
    (tmp_path / "mine.py").write_text("VALUE = 3")
    code = "from rggan.registry import load_object as load; print(load('mine:VALUE', ''), load('sklearn:svm', ''))"
    environment = {**os.environ, "PYTHONPATH": str(Path(rggan.__file__).parents[1])}
    command = [sys.executable, "-c", f"import sys; sys.path.remove(''); {code}"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert found.stdout.startswith("3 <module 'sklearn.svm'"), found.stderr


@pytest.mark.slow
def test_what_a_callback_draws_is_none_of_the_run(tmp_path):
    class Draws(Callback):
        def tick(self, row, snapshot):
            torch.rand(7)

    options = {"width_g": 2, "width_d": 2, "z_dim": 2, "batch": 4, "kimg": 0.06, "snap": 0.02, "score_samples": 8}
    config = TrainConfig(outdir=tmp_path, max_images=20, device="cpu", **options)
    runs = [
        train(dataclasses.replace(config, outdir=tmp_path / str(i)), callbacks=c) for i, c in enumerate([[], [Draws()]])
    ]
    assert Run(runs[0]).rows() == Run(runs[1]).rows()


def test_rules_are_given_for_g_and_d_only(tmp_path):
    with pytest.raises(UserError, match="rules are given for 'g' and 'd', not for G"):
        train(TrainConfig(outdir=tmp_path), rules={"G": Threshold()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("def __init__(self, kept): ...", "its argument kept has no default"),
        ("def __init__(self, kept=1): raise KeyError('no kept')", "fails: 'no kept'."),
    ],
)
def test_a_rule_that_cannot_be_made_leaves_no_run(body, sentence, tmp_path, monkeypatch, capsys):
    name = f"own_rule_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(f"from rggan.pruning import Rule\nclass Mine(Rule):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        main(["train", "digits", "--rule", f"{name}:Mine", "--outdir", str(tmp_path / "runs"), "--device", "cpu"]) == 2
    )
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_module_that_exits_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "exiting_module.py").write_text("import sys; sys.exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["train", "digits", "--rule", "exiting_module:X", "--outdir", str(tmp_path / "runs")]) == 2
    assert "--rule exiting_module:X: 3." in capsys.readouterr().err


def test_options_of_ones_own_are_compared_by_value():
    names = {"network": f"{HERE}.thin:FAMILY", "rule": f"{HERE}.keep_columns:KeepColumns"}
    names["schedule"] = f"{HERE}.in_turn:InTurn"
    one = TrainConfig(
        **names,
        network_options=["depth=02"],
        rule_options=["power=1.50", "every_step=yes"],
        schedule_options={"evaluations": 2},
    )
    other = TrainConfig(
        **names,
        network_options={"depth": 2},
        rule_options={"every_step": True, "power": 1.5},
        schedule_options=["evaluations=2"],
    )
    assert one == other
    assert one.same_run(other.to_json())
    assert one.rule_options == ("every_step=True", "power=1.5")
    assert not one.same_run(TrainConfig(**names, rule_options=["power=1.51"]).to_json())


def test_own_defaults_stay_where_the_run_says_nothing():
    class Own(Rule):
        def __init__(self, floor=0.3, every=7, penalty=2.0):
            self.told = floor, every, penalty

    class OwnSchedule(Schedule):
        def __init__(self, *pruners, target=0.6, fade=3):
            self.told = target, fade

    options = vars(TrainConfig())
    assert own_rule_kind(Own).make(Wanted(options)).told == (0.3, 7, 2.0)
    assert own_rule_kind(Own).make(Wanted({**options, "penalty": 5.0}, {"floor": 0.1})).told == (0.1, 7, 5.0)
    assert own_schedule_kind(OwnSchedule).make(Wanted(options, fade=[0])).told == (0.6, 3)
    assert own_schedule_kind(OwnSchedule).own == {"target": 0.6}


def test_states_of_own_rules_and_schedules_may_change_their_form():
    class Remembers(Rule):
        seen = None

        def update(self, layers):
            self.seen = [*(self.seen or []), len(layers)]

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    def pruner():
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return model, optimizer, Pruner(model, optimizer, Remembers())

    model, optimizer, first = pruner()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    second = pruner()[2]
    second.load_state_dict(first.state_dict())
    assert second.rule.seen == [1]
    with pytest.raises(ValueError, match="none of a ScoreSchedule"):
        ScoreSchedule(second).checked(None)
    assert Always(second).checked(None)["phase"] == "prune"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--network", "no_such_module:FAMILY"], "--network no_such_module:FAMILY: No module named 'no_such_module'."),
        (["--network", f"{HERE}.in_turn:InTurn"], "is no Family"),
        (["--network", f"{HERE}.thin:FAMILY", "--width-d", "2"], "--width-d: Thin wants 4 at least."),
        (["--network", f"{HERE}.thin:FAMILY", "--network-options", "depth=9"], "depth lies from 0 to 4, not at 9."),
        (
            ["--network", f"{HERE}.thin:FAMILY", "--network-options", "deep=1"],
            "--network-options deep: there are depth; did you mean depth?",
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
        (["--loss", f"{HERE}.thin:FAMILY"], "is no Loss"),
        (["--loss", "wasserstein"], "--loss wasserstein: there are hinge, nonsaturating, or package.module:OBJECT."),
        (["--network", "fastgan", "--loss", f"{HERE}.relativistic:LOSS"], "brings its own training steps, and so does"),
        (["--data", f"{HERE}.thin:FAMILY:x"], "is no input form"),
    ],
)
def test_what_is_of_the_wrong_kind_is_one_sentence_and_code_2(options, sentence, tmp_path, capsys):
    data = [] if "--data" in options else ["digits"]
    words = [*data, "--outdir", str(tmp_path / "runs"), "--kimg", "0.1", "--device", "cpu", *options]
    assert main(["train", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_callback_that_fails_loses_nothing(tmp_path, capsys):
    options = [word for word in OWN if word != f"{HERE}.diary:Diary"]
    options.insert(options.index("--callbacks") + 1, f"{HERE}.diary:Broken")
    words = ["train", *options, "--outdir", str(tmp_path), "--kimg", "0.08"]
    assert main(words) == 2
    assert "The callback Broken failed in tick: 'no such tracker'." in capsys.readouterr().err
    (run,) = tmp_path.glob("0*")
    assert len(Run(run).rows()) == 1


@pytest.mark.slow
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
    assert "sparsity   as given in Python: D by Threshold\n" in (run / "log.txt").read_text()
    assert seen == [row["density_d"] for row in Run(run).rows()]
    assert seen[-1] == pytest.approx(0.25, abs=0.02)
    assert Run(run).rows()[-1]["density_g"] == 1
    assert len(Generator.from_pretrained(run)(2)) == 2


def test_a_family_that_is_given_by_name_only_is_that_of_its_file():
    assert FAMILIES.get(f"{HERE}.thin:FAMILY") is FAMILY
    with pytest.raises(
        UserError, match=re.escape("there are biggan, fastgan, projected, projected-stylegan2, sngan, stylegan2")
    ):
        FAMILIES.get("thin")


@pytest.mark.parametrize(("page", "file"), [("networks", "thin"), ("networks", "relativistic"), ("running", "diary")])
def test_the_pages_show_what_is_run_here(page, file):
    code = (Path(__file__).parent / f"{file}.py").read_text().rstrip()
    if file == "diary":
        code = code[code.index("from rggan") : code.index("\n\n\nclass Broken")]
    assert f"```python\n{code}\n```" in (Path(__file__).parents[2] / "docs" / f"{page}.md").read_text()
