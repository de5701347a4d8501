"""The fuzzer sees what it must; and a short campaign, in which nothing goes wrong."""

import os
import pickle
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import pytest

from rggan import UserError
from tests.faults import inputs, stored
from tests.faults.fuzz import Broken, judge, living_time, run
from tests.faults.hostile import Evil, make_seeds


def raises(error):
    raise error


class Raw(UserError):
    """Says exactly what it was given."""

    def __str__(self):
        return self.text


def says(text):
    error = Raw("")
    error.text = text
    return lambda: raises(error)


@pytest.mark.parametrize(("attempt", "outcome"), [(lambda: "read", "read"), (says("Mend it."), "refused")])
def test_what_is_in_order_has_its_outcome(tmp_path, attempt, outcome):
    verdict = judge(attempt, tmp_path)
    assert (verdict.outcome, verdict.error) == (outcome, None)


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (lambda: raises(ValueError("bad")), "ValueError: bad"),
        (lambda: raises(SystemExit(0)), "SystemExit"),
        (lambda: raises(MemoryError()), "MemoryError"),
        (lambda: "eaten", "outcome 'eaten'"),
        (says("One.\nTwo."), "2 lines"),
        (says("One.\u2028Two."), "2 lines"),
        (says(" "), "without a word"),
        (says("\x1b[2Jgone"), "control characters"),
        (lambda: subprocess.run(["true"]) and "read", "subprocess.Popen"),
        (lambda: os.system("true") or "read", "os.system"),
        (lambda: socket.socket().connect_ex(("127.0.0.1", 9)) and "read", "socket.connect"),
        (lambda: pickle.loads(pickle.dumps(Path)) and "read", "pickle.find_class"),
        pytest.param(
            lambda: len(np.ones(1_500_000_000, dtype=np.uint8)) and "read", "MB of memory", marks=pytest.mark.slow
        ),
    ],
)
def test_what_must_not_be_is_seen(tmp_path, attempt, error):
    verdict = judge(attempt, tmp_path)
    assert verdict.outcome == "failed"
    assert error in verdict.error


@pytest.mark.slow
def test_memory_is_measured_and_what_was_freed_before_does_not_count(tmp_path):
    judge(lambda: len(np.ones(1_200_000_000, dtype=np.uint8)) and "read", tmp_path)
    assert judge(lambda: "read", tmp_path).growth < 100
    assert 200 < judge(lambda: len(np.ones(300 * 2**20, dtype=np.uint8)) and "read", tmp_path).growth < 400


def test_what_takes_too_long_is_seen(tmp_path):
    def work():
        last = time.process_time() + 0.2
        while time.process_time() < last:
            pass
        return "read"

    assert "seconds" in judge(work, tmp_path, limit=0.1).error


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are counted on Linux")
def test_the_time_of_children_that_go_on_counts(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:

        def work():
            while living_time(process.pid) < 0.3:
                time.sleep(0.02)
            return "read"

        verdict = judge(work, tmp_path, limit=0.1)
        process.kill()
    assert "seconds" in verdict.error


def test_what_must_hold_is_checked_and_not_measured(tmp_path):
    def check():
        last = time.process_time() + 0.2
        while time.process_time() < last:
            pass

    assert judge(lambda: ("read", check), tmp_path, limit=0.1).error is None
    assert "Broken: not so" in judge(lambda: ("read", lambda: raises(Broken("not so"))), tmp_path).error
    assert "looked at again: No." in judge(lambda: ("read", says("No.")), tmp_path).error


@pytest.mark.parametrize("place", ["beside.txt", "in/beside.txt", "out/../up.txt", "../outside.txt"])
@pytest.mark.parametrize("how", ["write", "mkdir", "symlink", "rename"])
def test_writing_is_seen_everywhere_but_in_out(tmp_path, place, how):
    folder = tmp_path / "box"
    for name in ("in", "out"):
        (folder / name).mkdir(parents=True)
    (folder / "out" / "there").touch()

    def write(path):
        if how == "write":
            path.write_text("x")
        elif how == "mkdir":
            path.mkdir()
        elif how == "symlink":
            path.symlink_to("nowhere")
        else:
            (folder / "out" / "there").rename(path)
        return "read"

    assert judge(lambda: write(folder / "out" / "new"), folder).error is None
    (folder / "out" / "there").touch()
    verdict = judge(lambda: write(folder / place), folder)
    assert verdict.outcome == "failed"
    assert Path(place).name in verdict.error


def test_what_no_audit_event_tells_of_is_seen_by_the_listing(tmp_path):
    (tmp_path / "given").write_bytes(b"abc")
    with (tmp_path / "given").open("ab", buffering=0) as file:
        assert judge(lambda: "read", tmp_path).error is None
        assert judge(lambda: file.write(b"d") and "read", tmp_path).error == f"changed: {tmp_path / 'given'}"


@pytest.mark.parametrize("number", range(6))
def test_the_pickles_would_do_something(tmp_path, number):
    content = pickle.dumps(Evil(Random(number), tmp_path / "marker"))
    verdict = judge(lambda: pickle.loads(content) and "read", tmp_path)
    assert "pickle.find_class" in verdict.error
    assert (tmp_path / "marker").exists()


class Tools:
    """For the kinds in here, which a process of the fuzzer takes from this module."""

    def __init__(self, seed, count, folder):
        self.seeds = None


def empty(random, folder, seeds):
    (folder / "input").write_bytes(random.randbytes(8))
    return folder / "input"


def end(tools, path, random, out):
    """Dies, hangs, raises or reads, as the input says."""
    act = path.read_bytes()[0] % 4
    if act == 0:
        os.abort()
    if act == 1:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(stuck).result()
    return "read" if act == 2 else str(1 // 0)


def stuck():
    """As a decoder would be, in another thread."""
    time.sleep(1000)


KINDS = {"end": (1, empty, end)}


@pytest.mark.slow
def test_dying_and_hanging_processes_are_noticed_and_their_inputs_stay(tmp_path):
    outcomes = run(6, 14, tmp_path / "box", kinds=__name__, patience=0.5)
    expected = {0: "died with -6", 1: r"^it hung: \S+ .* in stuck ", 3: "ZeroDivisionError"}
    found = set()
    for failure in outcomes.failures:
        act = (tmp_path / "box" / f"{failure['number']:06d}" / "input").read_bytes()[0] % 4
        assert re.search(expected[act], failure["error"])
        found.add(act)
    assert found == {0, 1, 3}
    assert outcomes.counts == {"end": {"read": 3, "failed": 3}}


@pytest.mark.slow
def test_hostile_input_is_read_refused_or_left_out(tmp_path):
    outcomes = run(400, 0, tmp_path / "box")
    assert outcomes.failures == []
    assert sum(sum(counts.values()) for counts in outcomes.counts.values()) == 400
    for kind, counts in outcomes.counts.items():  # neither is everything refused nor everything read
        if sum(counts.values()) < 15:
            continue
        assert counts["read"] > 0, kind
        assert counts["refused"] + counts["left out"] > 0, kind


@pytest.mark.slow
def test_the_same_seed_makes_the_same_inputs(tmp_path):
    """Hypothesis draws one value of each sort in here, its simplest: others follow its seed in a new process only."""
    makers = (inputs.pictures, inputs.zips, stored.generators)

    def made(name):
        seeds = make_seeds(4, 1, tmp_path / name, {})
        found = []
        for number in range(12):
            box = tmp_path / name / str(number)
            box.mkdir()
            makers[number % len(makers)](Random(f"4:{number}"), box, seeds)
            found.append({path.relative_to(box): path.read_bytes() for path in box.rglob("*") if path.is_file()})
        return found

    first = made("a")
    assert first == made("b")
    assert len(set(map(str, first))) == len(first)
