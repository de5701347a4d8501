"""The fault drill in short: a few instants of each sort. `make drill` tries them all."""

import pytest

from tests.faults.drill import Drill, compare, half_written

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drill(tmp_path_factory):
    return Drill(tmp_path_factory.mktemp("drill"))


def test_a_few_instants_of_every_sort_resume_exactly(drill):
    outcome = drill.instants(traps=5, moments=1)
    assert outcome.failures == []
    assert outcome.tried.total() == outcome.exact.total() == 8


@pytest.mark.parametrize("place", ["half-written", "evaluating"])
def test_places_that_matter_most_are_always_tried(drill, place):
    assert drill.trapped(place, 2)[1] is None


def test_second_process_in_the_same_folder_is_refused(drill):
    assert drill.two_at_once() is None


def test_drill_can_fail(drill, tmp_path):
    """A run of another seed is not the same; a cut picture is not whole."""
    assert drill.finish(drill.start(tmp_path / "other", extra=("--seed", "1"))) == 0
    from tests.faults.drill import fingerprint

    found = fingerprint(tmp_path / "other")
    assert "state" in compare(drill.expected, found)
    picture = next((tmp_path / "other").glob("*/reals.png"))
    assert half_written(tmp_path / "other") is None
    picture.write_bytes(picture.read_bytes()[:100])
    assert "reals.png is not whole" in half_written(tmp_path / "other")
    assert drill.trapped("step", 10**6)[1].startswith("the trap step 1000000 did not spring")
