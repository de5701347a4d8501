"""`python -m studies` and the examples that run its lists: the killed goes on, the failed says so, no row is lost."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from studies.__main__ import STUDIES, main, stages_of
from studies.queue import done_rows, key_of, row_of, write_row
from tests.studies.test_queue import begun
from tests.studies.tiny import STEPS, stages

ROOT = Path(__file__).parents[2]
TINY = "tests.studies.tiny"
JOBS = [job for jobs in stages(Path()).values() for job in jobs]
SLURM, PARALLEL, RAY = (ROOT / "examples" / f"jobs_{name}" for name in ("slurm.sh", "parallel.sh", "ray.py"))


def job_list(out, *stages, study=TINY):
    """The lines of the list; `cd` in front makes them independent of the folder."""
    assert main(["jobs", study, *stages, "--cifar", str(ROOT), "--out", str(out)]) == 0
    return (out / "jobs.txt").read_text().splitlines()


def shell(line, **options):
    return subprocess.run(["bash", "-c", line], cwd="/", text=True, capture_output=True, timeout=120, **options)


def merged(out, study=TINY):
    assert main(["merge", study, "--out", str(out)]) == 0
    return done_rows(out / "rows.jsonl")


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "it's an out folder"


def test_plans_name_their_jobs_by_words_that_no_two_share():
    for study in STUDIES:
        found = stages_of(study, Path("pictures"))
        names = [job.name for jobs in found.values() for job in jobs]
        assert len(set(names)) == len(names)
        for name in names:
            assert re.fullmatch(r"[\w.-]+", name), name


def test_a_job_that_begins_with_the_networks_of_another_waits_until_that_is_done(tmp_path):
    job = next(job for job in stages_of("transfer", tmp_path)["faces"] if job.arm != "from scratch" and job.seed == 1)
    source = stages_of("transfer", tmp_path)["source"][1]
    run = source.folder(tmp_path) / "00000-emoji"
    run.mkdir(parents=True)  # it has begun
    with pytest.raises(SystemExit, match="run stage source first"):
        job.folders(tmp_path)
    write_row(source, tmp_path, {name: getattr(source, name) for name in ("stage", "arm", "value", "seed")})
    assert job.folders(tmp_path) == {"init": run}


def test_the_list_has_a_line_a_job_whatever_is_done(out):
    lines = job_list(out)
    assert len(lines) == len(set(lines)) == len(JOBS)
    assert shell(lines[0]).returncode == 0
    assert job_list(Path(os.path.relpath(out))) == lines  # an array that waits reads the list by its numbers
    assert [shlex.split(line)[9] for line in job_list(out, "two", "one")] == [job.name for job in JOBS[20:] + JOBS[:20]]


def test_list_says_which_are_done(out, capsys):
    main(["work", TINY, "two", "--cifar", str(ROOT), "--out", str(out)])
    capsys.readouterr()
    assert main(["list", TINY, "--out", str(out)]) == 0
    said = [line.partition(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [""] * 20 + ["done"] * 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["jobs", "baslines"], "There is no study baslines"),
        (["jobs", TINY, "three"], "has no stage three; it has one, two"),
        (["run", TINY, "--job", "one_none"], "has no job one_none"),
        (["run", TINY], "2"),  # the usage
        (["list", TINY, "--job", "one_dense"], "2"),
        (["jobs", TINY, "--cifar", "nowhere"], "nowhere, which is not there"),
    ],
)
def test_what_is_not_there_is_said(out, words, told):
    with pytest.raises(SystemExit, match=re.escape(told)):
        main([*words, "--out", str(out)])
    assert not (out / "jobs.txt").exists()


@pytest.mark.slow
def test_a_line_that_fails_or_is_killed_says_so_and_goes_on_when_it_is_run_again(out):
    job, line = JOBS[0], job_list(out)[0]
    (out / "fail").touch()
    done = shell(line)
    assert done.returncode == 1
    assert "it cannot train" in done.stderr
    (out / "fail").rename(out / "kill")
    assert shell(line).returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)  # with bash as its parent, or without
    (out / "kill").unlink()
    assert shell(line).returncode == shell(line).returncode == 0
    assert begun(job, out) == [0, 0, 1]  # the last time there was nothing to do
    assert [key_of(row) for row in merged(out)] == [job.key]


def test_a_job_that_another_process_is_at_has_an_exit_code_of_its_own(out, capsys):
    words = ["run", TINY, "--job", JOBS[0].name, "--out", str(out)]
    (out / "locks").mkdir(parents=True)
    with FileLock(out / "locks" / f"{JOBS[0].name}.lock"):
        assert main(words) == 75
    assert "another process is at it" in capsys.readouterr().err
    assert main(words) == 0


def test_merge_fails_where_it_leaves_something_out(out, capsys):
    main(["work", TINY, "one", "--cifar", str(ROOT), "--out", str(out)])
    assert len(merged(out)) == 20
    (out / "rows" / "copy of a row.json").write_text("{")
    capsys.readouterr()
    assert main(["merge", TINY, "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "20 of 40 jobs have a row" in said.out
    assert "copy of a row.json: no job of this study" in said.err


@pytest.mark.slow
def test_no_row_is_lost_where_sixteen_processes_finish_at_once_and_are_killed(out):
    """Two schedulers do the same list, eight processes each; half of the first starts are killed at some instant."""
    dice = random.Random(0)
    lines = job_list(out)
    waiting = [dice.sample(lines, len(lines)) for _ in range(2)]
    running, killed = [[], []], 0
    while any(waiting) or any(running):
        for queue, slots in zip(waiting, running, strict=True):
            while queue and len(slots) < 8:
                line = queue.pop()
                process = subprocess.Popen(["bash", "-c", line], start_new_session=True, stderr=subprocess.DEVNULL)
                end = (
                    time.monotonic() + dice.uniform(0.05, 2) if killed + len(slots) < 40 and dice.random() < 0.5 else 0
                )
                slots.append((line, process, end))
            for slot in list(slots):
                line, process, end = slot
                if process.poll() is None and end and time.monotonic() > end:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                if process.poll() is not None:
                    slots.remove(slot)
                    killed += process.returncode == -signal.SIGKILL
                    if process.returncode:  # killed, or the other scheduler's process is at it
                        assert process.returncode in (-signal.SIGKILL, 75)
                        queue.insert(0, line)
        if dice.random() < 0.02:
            assert main(["merge", TINY, "--out", str(out)]) == 0
        time.sleep(0.01)
    assert killed >= 3
    rows = merged(out)
    assert [key_of(row) for row in rows] == [job.key for job in JOBS]
    assert rows == [row_of(job, out) for job in JOBS]
    assert all((job.folder(out) / "state").read_text() == "x" * STEPS for job in JOBS)


@pytest.mark.slow
def test_a_slurm_task_does_the_line_of_its_number(out):
    """Without Slurm: the script by bash, with the variable that Slurm sets."""
    job_list(out, "two")
    tasks = {number: {**os.environ, "SLURM_ARRAY_TASK_ID": str(number)} for number in (1, 3, 21)}
    codes = [shell(shlex.join(["bash", str(SLURM), str(out / "jobs.txt")]), env=tasks[n]).returncode for n in tasks]
    assert codes == [0, 0, 2]
    assert [key_of(row) for row in merged(out)] == [JOBS[20].key, JOBS[22].key]
    (out / "fail").touch()
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": "2"}
    assert shell(shlex.join(["bash", str(SLURM), str(out / "jobs.txt")]), env=environment).returncode == 1


@pytest.mark.slow
def test_the_parallel_example_does_all_lines_and_fails_with_them(out):
    """By GNU parallel or, where that is missing, by xargs."""
    job_list(out, "one")
    command = shlex.join(["bash", str(PARALLEL), str(out / "jobs.txt"), "2"])
    (out / "fail").touch()
    assert shell(command).returncode != 0
    (out / "fail").unlink()
    assert shell(command).returncode == 0
    assert [key_of(row) for row in merged(out)] == [job.key for job in JOBS[:20]]


@pytest.mark.slow
def test_ray_does_all_lines_tries_again_and_says_what_failed(out):
    pytest.importorskip("ray")
    lines, path = job_list(out, "one")[:4], out / "jobs.txt"
    mark = shlex.quote(str(out / "mark"))
    path.write_text("\n".join([*lines, f"[ -e {mark} ] || {{ touch {mark}; exit 1; }}", "exit 3"]))  # at first; always
    with tempfile.TemporaryDirectory() as home:  # its sockets need a short path
        environment = {**os.environ, "HOME": home, "RAY_TMPDIR": home}
        done = shell(
            shlex.join([sys.executable, str(RAY), str(path), "--cpus", "2", "--retries", "1"]), env=environment
        )
    assert done.returncode == 1
    assert "1 of 6 jobs failed" in done.stdout  # Ray adds what the jobs print
    assert done.stderr.count("failed: ") == done.stderr.count("failed: exit 3") == 1
    assert (out / "mark").exists()
    assert [key_of(row) for row in merged(out)] == [job.key for job in JOBS[:4]]


TRAINED = """
from dataclasses import dataclass
from studies.commands import CommandJob
from studies.queue import Job

@dataclass(frozen=True)
class Trained(CommandJob):
    def data(self, cifar):
        return cifar
    def train_options(self):
        small = {"resolution": 16, "width_g": 8, "width_d": 8, "batch": 16, "kimg": 1.6, "snap": 0.4, "aug": "none"}
        return {**small, "rule": "none", "score_samples": 64, "device": "cpu", "seed": self.seed}
    def evaluation(self, cifar):
        return ["--metrics", "kid", "--samples", "64", "--replicates", "1", "--memorisation", "off"]

def stages(pictures):
    return {"all": [Trained("all", "dense", seed, "") for seed in (0,)]}
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_training_that_is_killed_goes_on_from_its_last_state(out, tmp_path, monkeypatch, number):
    """SIGKILL to all processes of the job, or SIGTERM to its first one only."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "study.py").write_text(TRAINED)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.syspath_prepend(tmp_path)
    dice = random.Random(0)
    (tmp_path / "data").mkdir()
    for name in range(64):
        Image.frombytes("RGB", (16, 16), dice.randbytes(768)).save(tmp_path / "data" / f"{name}.png")
    assert main(["jobs", "own.study", "--cifar", str(tmp_path / "data"), "--out", str(out)]) == 0
    (line,) = (out / "jobs.txt").read_text().splitlines()
    command = ["bash", "-c", line.replace("&& ", "&& exec ")]
    process = subprocess.Popen(command, start_new_session=True, text=True, stderr=subprocess.PIPE)
    runs = out / "runs" / "all_dense__seed_0"
    while process.poll() is None and not any(len(p.read_bytes().splitlines()) > 1 for p in runs.glob("0*/stats.jsonl")):
        time.sleep(0.02)
    assert process.poll() is None
    os.killpg(process.pid, number) if number == signal.SIGKILL else process.terminate()
    said = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert ("the same command continues" in said) == (number == signal.SIGTERM)  # its training was told to stop
    assert not (out / "rows").exists()
    (run,) = runs.glob("0*")
    before = (run / "stats.jsonl").read_text().splitlines()[:1]  # the second may have been written before its state
    assert shell(line).returncode == 0
    assert (run / "stats.jsonl").read_text().splitlines()[: len(before)] == before  # to the last digit of its seconds
    assert list(runs.glob("0*")) == [run]
    assert not (run / "checkpoints").exists()
    (row,) = merged(out, "own.study")
    assert row["scores"][: len(before)] == [round(json.loads(line)["score"], 4) for line in before]
