"""The fault drill in short: a few instants of each sort. `make drill` tries them all."""

import os
import signal
import subprocess
import sys

import pytest

from rggan.methods import RULES, SCHEDULES
from rggan.networks import FAMILIES
from rggan.pretrained import LITE1
from rggan.run.places import replays
from tests.conftest import folders
from tests.faults.configurations import CONFIGURATIONS
from tests.faults.drill import Drill, compare, fingerprint, half_written
from tests.faults.traps import MARK, processes, started_by, survivors


@pytest.fixture(scope="module")
def drill(tmp_path_factory):
    return Drill(tmp_path_factory.mktemp("drill"))


@pytest.mark.slow
def test_a_few_instants_of_every_sort_resume_exactly(drill):
    outcome = drill.instants(traps=3, stops=1, moments=1)
    assert outcome.failures == []
    assert outcome.tried.total() == outcome.exact.total() == 10
    assert {"SIGTERM after a step", "SIGINT after a step", "SIGHUP after a step"} <= outcome.exact.keys()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["half-written", "evaluating"])
def test_places_that_matter_most_are_always_tried(drill, place):
    assert drill.trapped(place, 2)[1] is None


@pytest.mark.slow
def test_run_that_ended_before_its_last_picture_was_drawn_draws_it(drill):
    (run,) = folders(drill.folder / "warm")
    (run / replays()).unlink()
    assert drill.resumed(drill.folder / "warm") is None


@pytest.mark.slow
def test_second_process_in_the_same_folder_is_refused(drill):
    assert drill.two_at_once() is None


@pytest.mark.slow
def test_drill_can_fail(drill, tmp_path):
    """A run of another seed is not the same; a cut picture is not whole."""
    assert drill.finish(drill.start(tmp_path / "other", extra=("--seed", "1"))) == 0
    found = fingerprint(tmp_path / "other")
    assert "state" in compare(drill.expected, found)
    picture = next((tmp_path / "other").glob("*/reals.png"))
    assert half_written(tmp_path / "other") is None
    picture.write_bytes(picture.read_bytes()[:100])
    assert "reals.png is not whole" in half_written(tmp_path / "other")
    assert drill.trapped("step", 10**6)[1].startswith("the trap step 1000000 did not spring")


@pytest.mark.parametrize("known_by", ["session", "environment"])
def test_process_that_outlives_its_training_is_noticed(tmp_path, known_by):
    mark = str(tmp_path / "run")
    other = known_by == "environment"  # one that has left the session
    options = "start_new_session=True" if other else "env={}"
    text = f"import subprocess; subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, {options})"
    leader = subprocess.Popen(
        [sys.executable, "-c", text], env={**os.environ, MARK: mark}, start_new_session=True, stdout=subprocess.DEVNULL
    )
    assert leader.wait() == 0
    (line,) = survivors(leader.pid, mark, patience=0.1)
    assert line.startswith("sleep 60")
    (number,) = (n for n in processes() if started_by(n, leader.pid, mark) is not None)
    os.kill(number, signal.SIGKILL)
    assert survivors(leader.pid, mark) == []


def test_every_family_rule_schedule_and_augmentation_is_drilled():
    """But for the defaults, which are drilled wherever nothing else is said."""
    words = {word for configuration in CONFIGURATIONS.values() for word in configuration.options}
    needs = {"projected", "projected-stylegan2"}
    assert set(FAMILIES.builtin) - (set() if LITE1.installed() else needs) <= words
    assert {*RULES.builtin, "none"} - {"threshold"} <= words
    assert set(SCHEDULES.builtin) - {"score"} <= words
    assert {"none", "ada", "bf16", "fp32", "--cond", "--mirror", "--balance", "--rewind", "--finale", "row"} <= words
