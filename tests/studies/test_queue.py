"""Workers share a queue: each job is run once, and one that another worker holds is left to it."""

from argparse import Namespace
from dataclasses import dataclass

from filelock import FileLock

from studies.queue import Job, act, done_rows, key_of, work

RUN = []


@dataclass(frozen=True)
class Recorded(Job):
    def run(self, cifar, out):
        RUN.append(self.key)
        return {"stage": self.stage, "arm": self.arm, "seed": self.seed, "value": self.value, "fid": 1.0, "seconds": 1}


JOBS = [Recorded("2", arm, seed, 0.5) for seed in range(2) for arm in ("dense", "RG-GAN")]


def test_a_job_with_a_row_is_not_run_again(tmp_path):
    RUN.clear()
    rows = tmp_path / "rows.jsonl"
    work(tmp_path, tmp_path, rows, JOBS[:2])
    work(tmp_path, tmp_path, rows, JOBS)
    assert [job.key for job in JOBS] == RUN == [key_of(row) for row in done_rows(rows)]


def test_a_job_that_another_worker_holds_is_left_to_it(tmp_path):
    RUN.clear()
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / f"{JOBS[0].key.replace(' ', '_')}.lock"):
        work(tmp_path, tmp_path, tmp_path / "rows.jsonl", JOBS)
    assert [job.key for job in JOBS[1:]] == RUN


def test_list_says_which_are_done(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    work(tmp_path, tmp_path, rows, JOBS[:1])
    capsys.readouterr()
    act(Namespace(command="list", rows=rows), JOBS[:2])
    assert capsys.readouterr().out.splitlines() == ["done 2 dense 0.5 seed 0", "     2 RG-GAN 0.5 seed 0"]
