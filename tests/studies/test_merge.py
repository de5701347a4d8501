"""Rows that were written one by one become one file: whole, once each, in the order of the plan, whoever merges."""

import json
import random
from pathlib import Path

import pytest

from studies.merge import adopt, merge, missing
from studies.queue import done_rows, key_of, row_file, row_of, write_row
from tests.studies.tiny import stages

JOBS = [job for jobs in stages(Path()).values() for job in jobs][:30]


def row(job, fid=1.0):
    return {"stage": job.stage, "arm": job.arm, "seed": job.seed, "value": job.value, "fid": fid, "seconds": 1}


def test_the_same_rows_give_the_same_file_in_whatever_order_they_came(tmp_path):
    files = []
    for attempt in range(3):
        out = tmp_path / str(attempt)
        shuffled = random.Random(attempt).sample(JOBS, len(JOBS))
        for part in (shuffled[:10], shuffled[10:]):  # merged in between, too
            for job in part:
                write_row(job, out, row(job))
            assert merge(JOBS, out, out / "rows.jsonl") == []
            assert merge(JOBS, out, out / "rows.jsonl") == []
        files.append((out / "rows.jsonl").read_bytes())
    assert files[0] == files[1] == files[2]
    assert [json.loads(line) for line in files[0].splitlines()] == [row(job) for job in JOBS]


def test_damaged_and_foreign_files_are_named_and_left_out(tmp_path):
    whole, short, wrong = JOBS[:3]
    write_row(whole, tmp_path, row(whole))
    row_file(short, tmp_path).write_text(json.dumps(row(short))[:40])
    row_file(wrong, tmp_path).write_text(json.dumps(row(whole)))  # copied by hand
    foreign = tmp_path / "rows" / "notes.txt"
    foreign.write_text("try 5e-4")
    (tmp_path / "rows" / f".{row_file(JOBS[3], tmp_path).name}.ab.part").write_text("{")  # a killed write
    left_out = merge(JOBS, tmp_path, tmp_path / "rows.jsonl")
    assert {line.partition(": ")[0] for line in left_out} == {
        str(row_file(short, tmp_path)), str(row_file(wrong, tmp_path)), str(foreign)
    }  # fmt: skip
    assert done_rows(tmp_path / "rows.jsonl") == [row(whole)]
    assert foreign.read_text() == "try 5e-4"
    assert [job.key for job in missing(JOBS, tmp_path)] == [job.key for job in JOBS[1:]]


def test_rows_that_are_there_stay_and_another_row_of_a_job_is_named(tmp_path):
    rows = tmp_path / "rows.jsonl"
    older = {"stage": "0", "arm": "of an older plan", "seed": 0, "value": ""}
    rows.write_text("".join(json.dumps(each) + "\n" for each in (row(JOBS[4]), older)))
    write_row(JOBS[4], tmp_path, row(JOBS[4], fid=2.0))
    write_row(JOBS[2], tmp_path, row(JOBS[2]))
    (told,) = merge(JOBS, tmp_path, rows)
    assert str(row_file(JOBS[4], tmp_path)) in told
    assert done_rows(rows) == [older, row(JOBS[2]), row(JOBS[4])]


def test_a_file_with_a_broken_line_is_refused_and_left_as_it_is(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(row(JOBS[0])) + '\n{"sta')
    before = rows.read_bytes()
    write_row(JOBS[1], tmp_path, row(JOBS[1]))
    with pytest.raises(SystemExit, match="line 2 is no row"):
        merge(JOBS, tmp_path, rows)
    assert rows.read_bytes() == before


def test_jobs_take_the_rows_of_an_earlier_file_but_keep_their_own(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row(job)) + "\n" for job in JOBS[:5]))
    write_row(JOBS[0], tmp_path, row(JOBS[0], fid=2.0))
    adopt(JOBS[:3], tmp_path, rows)
    assert [row_of(job, tmp_path)["fid"] for job in JOBS[:3]] == [2.0, 1.0, 1.0]
    assert {path.name for path in (tmp_path / "rows").iterdir()} == {row_file(job, tmp_path).name for job in JOBS[:3]}
    assert key_of(row_of(JOBS[1], tmp_path)) == JOBS[1].key


def test_a_damaged_row_is_replaced_by_that_of_an_earlier_file(tmp_path):
    job = JOBS[0]
    (tmp_path / "earlier.jsonl").write_text(json.dumps(row(job)) + "\n")
    row_file(job, tmp_path).parent.mkdir(parents=True)
    row_file(job, tmp_path).write_text(json.dumps(row(job))[:30])
    adopt([job], tmp_path, tmp_path / "earlier.jsonl")
    assert row_of(job, tmp_path) == row(job)
