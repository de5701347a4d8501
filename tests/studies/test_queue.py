"""Jobs share a queue: each is done once, one that another process holds is left to it, a killed write leaves no row."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from studies import queue
from studies.queue import done_rows, finish, row_file, row_of, work, write_row
from tests.studies.tiny import STEPS, stages

ROOT = Path(__file__).parents[2]
JOBS = stages(Path())["one"][:4]
JOB = JOBS[0]


def begun(job, out):
    """The steps that were there at each of its starts."""
    path = job.folder(out) / "begun"
    return [int(line) for line in path.read_text().splitlines()] if path.is_file() else []


def python(script, out):
    begin = f"from pathlib import Path\nfrom tests.studies.test_queue import *\nout = Path({str(out)!r})\n"
    return subprocess.Popen([sys.executable, "-c", begin + script], cwd=ROOT, text=True, stderr=subprocess.PIPE)


def test_a_finished_job_is_not_run_again(tmp_path):
    work(tmp_path, tmp_path, JOBS[:2])
    work(tmp_path, tmp_path, JOBS)
    assert [begun(job, tmp_path) for job in JOBS] == [[0]] * 4
    assert all(row_of(job, tmp_path)["seed"] == job.seed for job in JOBS)


def test_a_job_that_another_process_holds_is_left_to_it(tmp_path):
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / f"{JOB.name}.lock"):
        assert not finish(JOB, tmp_path, tmp_path)
        work(tmp_path, tmp_path, JOBS)
    assert [begun(job, tmp_path) for job in JOBS] == [[], [0], [0], [0]]
    assert finish(JOB, tmp_path, tmp_path)


def test_a_finished_job_is_finished_though_another_process_looks_at_it(tmp_path):
    finish(JOB, tmp_path, tmp_path)
    with FileLock(tmp_path / "locks" / f"{JOB.name}.lock"):
        assert finish(JOB, tmp_path, tmp_path)


def test_a_damaged_row_is_none_and_its_job_is_run_again(tmp_path):
    finish(JOB, tmp_path, tmp_path)
    whole, path = row_of(JOB, tmp_path), row_file(JOB, tmp_path)
    other = json.dumps({**whole, "seed": 7})
    for content in (path.read_text()[:100], "", "null", "[]", "{}", other, "\x00" * 100):
        path.write_text(content)
        assert row_of(JOB, tmp_path) is None
        assert finish(JOB, tmp_path, tmp_path)
        assert row_of(JOB, tmp_path) == whole


def test_a_process_killed_while_it_writes_leaves_no_row_and_no_job_undone(tmp_path):
    states = JOB.folder(tmp_path) / "00000-run" / "checkpoints"
    states.mkdir(parents=True)
    kill = "os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)\nfinish(JOB, out, out)"
    killed = python(kill, tmp_path)
    assert killed.wait(60) == -signal.SIGKILL, killed.stderr.read()
    assert not row_file(JOB, tmp_path).exists()
    assert list((tmp_path / "rows").iterdir())  # it was at it
    assert states.is_dir()
    assert finish(JOB, tmp_path, tmp_path)
    assert begun(JOB, tmp_path) == [0, STEPS]


def test_without_any_lock_two_that_write_one_row_leave_it_whole(tmp_path):
    """A network file system may grant a lock twice."""
    row = {"stage": "one", "arm": JOB.arm, "seed": 0, "value": "a b", "scores": [0.5] * 2000}
    write_row(JOB, tmp_path, row)
    writers = [python(f"for _ in range(150): write_row(JOB, out, {row})", tmp_path) for _ in range(3)]
    seen = 0
    while any(writer.poll() is None for writer in writers):
        assert row_of(JOB, tmp_path) == row
        seen += 1
    assert seen
    for writer in writers:
        assert writer.returncode == 0, writer.stderr.read()
    assert os.listdir(tmp_path / "rows") == [row_file(JOB, tmp_path).name]


def test_a_job_that_was_finished_between_a_look_and_its_lock_is_not_run(tmp_path, monkeypatch):
    class Late(FileLock):
        def __enter__(self):
            write_row(JOB, tmp_path, {"stage": "one", "arm": JOB.arm, "seed": 0, "value": "a b"})
            return super().__enter__()

    monkeypatch.setattr(queue, "FileLock", Late)
    assert finish(JOB, tmp_path, tmp_path)
    assert begun(JOB, tmp_path) == []


def test_states_of_a_finished_job_are_removed_though_it_was_killed_before(tmp_path):
    states = JOB.folder(tmp_path) / "00000-run" / "checkpoints"
    states.mkdir(parents=True)
    write_row(JOB, tmp_path, JOB.run(tmp_path, tmp_path))
    assert finish(JOB, tmp_path, tmp_path)
    assert not states.exists()


def test_a_file_of_rows_with_a_line_that_is_none_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"stage": "one"}\n{"sta')
    with pytest.raises(SystemExit, match="line 2"):
        done_rows(path)
