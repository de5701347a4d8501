"""The study's plan is fair and valid, its statistics are right, and its page says what its rows say."""

import dataclasses
import importlib.util
import itertools
import json
import math
import random
import sys
from pathlib import Path

import pytest
from scipy import stats

from rggan import TrainConfig
from rggan.presets import settings

ROOT = Path(__file__).parents[1]


def script(name):
    specification = importlib.util.spec_from_file_location(name, ROOT / "runs" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


study, report = script("study"), script("study_report")
families, families_report = script("families"), script("families_report")
ROWS = [json.loads(line) for line in (ROOT / "docs" / "study.jsonl").read_text().splitlines()]


def test_every_job_is_a_valid_run_and_none_comes_twice():
    jobs = [job for jobs in study.stages().values() for job in jobs]
    assert len({job.key for job in jobs}) == len(jobs)
    for job in jobs:
        TrainConfig(data="somewhere", **job.train_options())


def test_tuning_and_confirming_share_no_seed_and_no_judge():
    stages = study.stages()
    assert all(job.seed >= 100 for job in stages["1"])
    assert all(job.seed < 100 for name, jobs in stages.items() if name != "1" for job in jobs)
    for arm, (_, _, values) in study.ARMS.items():
        assert len(values) <= 3
        if arm in study.CHOSEN:
            assert study.CHOSEN[arm] in values


def test_arms_of_a_seed_differ_in_their_own_options_only():
    for name in ("2a", "2b"):
        for seed, jobs in itertools.groupby(study.stages()[name], key=lambda job: job.seed):
            options = [job.train_options() for job in jobs]
            shared = {key: value for key, value in options[0].items() if all(o.get(key) == value for o in options)}
            assert {"seed", "kimg", "lr", "width_g", "width_d", "max_images", "aug", "snap", "pattern"} <= set(shared)
            assert shared["seed"] == seed


def test_rows_were_made_by_the_jobs_that_stand_here():
    """Options in a row are those of the job today, but for the samples that steering looked at (first rows: 1,000)."""
    for row in ROWS:
        job = next(
            (j for jobs in study.stages().values() for j in jobs if j.key == study.key_of(row)),
            study.Job(row["stage"], row["arm"], row["seed"], row["value"], {"aug": row["options"]["aug"]}),
        )
        options = {**job.train_options(), "score_samples": row["options"]["score_samples"]}
        assert row["options"] == json.loads(json.dumps(options)), study.key_of(row)
        assert row["commit"]


def test_holm_is_the_closure_of_bonferroni():
    numbers = random.Random(0)
    for _ in range(50):
        p = [numbers.random() ** 3 for _ in range(4)]
        subsets = [s for size in range(1, 5) for s in itertools.combinations(range(4), size)]
        expected = [max(min(1.0, len(s) * min(p[i] for i in s)) for s in subsets if k in s) for k in range(4)]
        assert report.holm(p) == pytest.approx(expected)


def test_p_value_is_that_of_the_one_sided_t_test_on_logarithms():
    ours, others = [0.9, 0.8, 1.1, 0.7], [1.0, 1.0, 1.0, 0.9]
    logs = [math.log(a / b / 1.05) for a, b in zip(ours, others, strict=True)]
    mean = sum(logs) / 4
    deviation = (sum((x - mean) ** 2 for x in logs) / 3) ** 0.5
    assert report.p_value((ours, others), 1.05) == pytest.approx(stats.t.cdf(mean / (deviation / 2), 3))


def test_results_page_has_the_tables_that_the_rows_give():
    page = (ROOT / "docs" / "results.md").read_text()
    tables = [*report.tuning_table(ROWS), *report.arms_table(ROWS, "2"), *report.claims(ROWS)]
    tables += report.secondary(ROWS)
    if any(row["stage"] == "2b" for row in ROWS):
        tables += report.arms_table(ROWS, "2b")
    for line in tables:
        assert line in page, line


def test_a_job_whose_row_is_there_is_not_done_again(tmp_path, monkeypatch):
    done = []

    def do(job, cifar, out):
        done.append(job.key)
        fields = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
        return {**fields, "fid": 1, "kid": 1, "kimg": 1, "seconds": 1}

    monkeypatch.setattr(study, "do", do)
    rows = tmp_path / "rows.jsonl"
    study.work(tmp_path, tmp_path, rows, study.open_jobs(["2a"]))
    assert len(done) == len(set(done)) == 12
    study.work(tmp_path, tmp_path, rows, study.open_jobs(["2a"]))
    assert len(done) == 12
    assert len(study.done_rows(rows)) == 12


FAMILY_ROWS = [json.loads(line) for line in (ROOT / "docs" / "families.jsonl").read_text().splitlines()]


def test_family_jobs_are_valid_paired_and_come_once():
    jobs = list(families.jobs())
    assert len({job.key for job in jobs}) == len(jobs) == 36
    for job in jobs:
        TrainConfig(data="somewhere", **{**settings(job.options["network"]), **job.train_options()})
    for one, other in zip(jobs[::2], jobs[1::2], strict=True):
        assert (one.seed, one.stage, one.arm.split()[0]) == (other.seed, other.stage, other.arm.split()[0])
        shared = {key for key, value in one.train_options().items() if other.train_options().get(key) == value}
        assert set(one.train_options()) - shared == {"rule"}


def test_family_rows_were_made_by_the_jobs_that_stand_here():
    there = {job.key: job.train_options() for job in families.jobs()}
    assert len({study.key_of(row) for row in FAMILY_ROWS}) == len(FAMILY_ROWS)
    for row in FAMILY_ROWS:
        assert row["options"] == there[study.key_of(row)]
        assert row["memorisation"]["samples"] == 1000


def test_results_page_shows_the_tables_of_the_family_rows():
    page = (ROOT / "docs" / "results.md").read_text()
    for stage in families_report.DATA:
        table = "\n".join(families_report.table(FAMILY_ROWS, stage))
        assert table in page
