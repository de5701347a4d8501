"""The plan of the capacity study is fair and valid, and its page says what its rows say."""

import itertools
import json
from pathlib import Path

import pytest

from rggan import TrainConfig
from rggan.training.sparsity import make_target
from studies import capacity
from studies import capacity_report as report
from studies.merge import adopt
from studies.queue import done_rows, key_of

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
ROWS = done_rows(capacity.ROWS)


def test_every_job_is_a_valid_run_and_none_comes_twice():
    jobs = [job for jobs in capacity.stages().values() for job in jobs]
    assert len({job.key for job in jobs}) == len(jobs)
    for job in jobs:
        TrainConfig(data="somewhere", **job.train_options())


def test_tuning_and_confirming_share_no_seed():
    for name, jobs in capacity.stages().items():
        assert all((job.seed >= 100) == (name == "tune") for job in jobs)
    for _, _, values in capacity.TUNED.values():
        assert len(values) <= 3


def test_arms_of_a_seed_differ_in_their_own_options_only():
    for name in ("a", "b", "c", "e"):
        for seed, jobs in itertools.groupby(capacity.stages()[name], key=lambda job: job.seed):
            options = [job.train_options() for job in jobs]
            shared = {key for key, value in options[0].items() if all(o.get(key) == value for o in options)}
            assert {"seed", "kimg", "lr", "width_g", "width_d", "max_images", "aug", "snap", "pattern"} <= shared
            assert options[0]["seed"] == seed


def test_controls_and_faces_differ_from_dense_and_adaptive_in_what_they_are_named_for():
    method = {"rule", "networks", "target_d", "set_point", "adapt_kimg", "min_fan"}
    own = {"width_d", "dropout_d", "dynamic_d", "lr", "lr_decay", "gamma", "lecam", "aug", "ada_kimg"}
    dense = {job.seed: job.train_options() for job in capacity.stages()["a"] if job.arm == "dense"}
    for job in [*capacity.stages()["controls"], *capacity.stages()["more"]]:
        differ = differences(job.train_options(), dense[job.seed])
        assert differ
        assert differ <= method or (differ <= own and len(differ) <= 2), job.key
    faces = capacity.stages()["faces"]
    assert len(faces) == 24
    for job in faces:
        (twin,) = [one for one in faces if (one.seed, one.value) == (job.seed, job.value) and one.arm != job.arm]
        assert differences(job.train_options(), twin.train_options()) <= method


def differences(one, other):
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def test_rows_were_made_by_the_present_jobs():
    there = {job.key: job.train_options() for jobs in capacity.stages().values() for job in jobs}
    assert len({key_of(row) for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row["options"] == json.loads(json.dumps(there[key_of(row)])), key_of(row)
        assert row["commit"]
        found = capacity.end_points(row["curve"])
        assert {name: row[name] for name in found} == pytest.approx(found, abs=1e-3)


def test_results_page_has_the_tables_that_the_rows_give():
    page = PAGE.read_text()
    tables = (report.curves_table, report.seeds_table, report.claims_table, report.controls_table, report.regret_table)
    for table in tables:
        for line in table(ROWS):
            assert line in page, line


def test_smoothing_is_a_weighted_geometric_mean():
    found = report.smoothed([1.0, 4.0, 16.0], 1, 1)
    assert found == pytest.approx([(1 * 1 * 4) ** (1 / 3), 4.0, (4 * 16 * 16) ** (1 / 3)])
    assert report.smoothed([1.0, 4.0], 1, 0) == pytest.approx([1.0, (1 * 4 * 4) ** (1 / 3)])


def test_an_adaptive_runs_densities_come_back_as_a_run(tmp_path):
    with pytest.raises(SystemExit, match="run stage a first"):
        capacity.density_path(capacity.TUNING_SEED, tmp_path)
    job = next(job for job in capacity.stages()["a"] if (job.arm, job.seed) == ("adaptive", 0))
    adopt([job], tmp_path, capacity.ROWS)
    row = next(row for row in ROWS if key_of(row) == job.key)
    target = make_target(TrainConfig(target_d=str(capacity.density_path(0, tmp_path)), batch=16, kimg=96), "d")
    for point in row["curve"]:
        assert target.at(round(point["kimg"] * 1000 / 16)) == pytest.approx(point["density_d"])
