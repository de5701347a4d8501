"""Runs, states and a run folder that commit 4e49c31 wrote: the same bits follow from them now."""

import dataclasses
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from rggan import Generator, TrainConfig, train
from rggan.run.folder import Run
from rggan.training.checkpoint import checkpoints, load, migrate
from tests.recorded.arithmetic import ROWS, same_arithmetic
from tests.recorded.runs import CELLS, STEPS, WIDTHS, course, digest, fingerprint, make, row

pytestmark = pytest.mark.slow  # 40 steps a run

HERE = Path(__file__).parent
STATES = json.loads((HERE / "states.json").read_text())
(RUN,) = (HERE / "run").iterdir()


# Every rule on one family; on the others the rules that differ in which layers they take, and how.
ON_ALL = ("target", "rows", "hard, target, regrowth", "published", "RigL, balance")
FOLLOWED = [cell for cell in CELLS if cell[1] in ON_ALL or (cell[0] == "sngan" and cell[1] != "none")]


@pytest.mark.parametrize("cell", FOLLOWED, ids=" ".join)
def test_forty_steps_are_those_of_the_commit_before(cell):
    same_arithmetic(cell[0])
    assert row(*cell)["seen"] == ROWS[cell]


@pytest.mark.parametrize("name", [name for name in STATES if name not in ("none", "run")])
def test_states_of_before_are_taken_up_as_they_were(name, monkeypatch):
    run = taken_up(name, monkeypatch)
    assert fingerprint(run) == STATES[name]["here"]


@pytest.mark.parametrize("name", [name for name in STATES if name not in ("none", "run")])
def test_states_of_before_go_on_to_the_same_bits(name, monkeypatch):
    same_arithmetic("sngan")
    run = taken_up(name, monkeypatch)
    course(run, STATES[name]["at"], STEPS)
    assert fingerprint(run) == STATES[name]["then"]


def taken_up(name, monkeypatch):
    monkeypatch.setitem(WIDTHS, "sngan", 2)
    run = make("sngan", STATES[name]["rule"])
    path = HERE / "states" / f"{name}.pt"
    state = migrate(load(path), path)["training"]
    state["schedules"][0]["phase"] = state["pruners"][0]["phase"]  # `course` moves pruners behind their schedule's back
    run.load_state_dict(state)
    return run


def test_a_run_folder_of_before_goes_on_to_the_same_bits(tmp_path):
    shutil.copytree(RUN, run := tmp_path / RUN.name)
    pictures = Generator.from_pretrained(run).images(range(3))
    assert torch.equal(pictures, Generator.from_pretrained(RUN / "best").images(range(3)))
    config = dataclasses.replace(TrainConfig.from_json(run / "config.json"), resume=run, kimg=0.8, device="cpu")
    assert train(config, Console(file=io.StringIO())) == run
    found, expected = Run(run).rows(), STATES["run"]
    assert len(found) == len(expected["scores"]) == 8
    assert len(checkpoints(run / "checkpoints")) == 2
    same_arithmetic("sngan")
    assert [row["score"] for row in found] == expected["scores"]
    assert [[row["density_g"], row["density_d"]] for row in found] == expected["densities"]
    weights = load_file(run / "last" / "generator.safetensors")
    assert digest([weights[name] for name in sorted(weights)]) == expected["generator"]
