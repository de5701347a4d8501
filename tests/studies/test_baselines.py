"""The plan of the first study is fair and valid, and its page says what its rows say."""

import itertools
import json
from pathlib import Path

from rggan import TrainConfig
from studies import baselines
from studies import baselines_report as report
from studies.queue import done_rows, key_of

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
ROWS = done_rows(baselines.ROWS)


def test_every_job_is_a_valid_run_and_none_comes_twice():
    jobs = [job for jobs in baselines.stages().values() for job in jobs]
    assert len({job.key for job in jobs}) == len(jobs)
    for job in jobs:
        TrainConfig(data="somewhere", **job.train_options())


def test_tuning_and_confirming_share_no_seed():
    stages = baselines.stages()
    assert all(job.seed >= 100 for job in stages["1"])
    assert all(job.seed < 100 for name, jobs in stages.items() if name != "1" for job in jobs)
    for arm, (_, _, values) in baselines.ARMS.items():
        assert len(values) <= 3
        if arm in baselines.CHOSEN:
            assert baselines.CHOSEN[arm] in values


def test_arms_of_a_seed_differ_in_their_own_options_only():
    for name in ("2a", "2b"):
        for seed, jobs in itertools.groupby(baselines.stages()[name], key=lambda job: job.seed):
            options = [job.train_options() for job in jobs]
            shared = {key: value for key, value in options[0].items() if all(o.get(key) == value for o in options)}
            assert {"seed", "kimg", "lr", "width_g", "width_d", "max_images", "aug", "snap", "pattern"} <= set(shared)
            assert shared["seed"] == seed


def test_rows_were_made_by_the_present_jobs():
    """But for the number of samples of the validation score (first rows: 1,000)."""
    for row in ROWS:
        job = next(
            (j for jobs in baselines.stages().values() for j in jobs if j.key == key_of(row)),
            baselines.BaselineJob(row["stage"], row["arm"], row["seed"], row["value"], {"aug": row["options"]["aug"]}),
        )
        options = {**job.train_options(), "score_samples": row["options"]["score_samples"]}
        assert row["options"] == json.loads(json.dumps(options)), key_of(row)
        assert row["commit"]


def test_results_page_has_the_tables_that_the_rows_give():
    page = PAGE.read_text()
    tables = [*report.tuning_table(ROWS), *report.arms_table(ROWS, "2"), *report.claims(ROWS)]
    tables += report.secondary(ROWS)
    if any(row["stage"] == "2b" for row in ROWS):
        tables += report.arms_table(ROWS, "2b")
    for line in tables:
        assert line in page, line
