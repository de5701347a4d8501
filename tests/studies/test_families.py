"""The plan of the families study is fair and valid, and its page says what its rows say."""

from pathlib import Path

from rggan import TrainConfig
from rggan.presets import settings
from studies import families, families_report
from studies.queue import done_rows, key_of

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
ROWS = done_rows(families.ROWS)


def test_jobs_are_valid_paired_and_come_once():
    jobs = [job for jobs in families.stages().values() for job in jobs]
    assert len({job.key for job in jobs}) == len(jobs) == 36
    for job in jobs:
        TrainConfig(data="somewhere", **{**settings(job.options["network"]), **job.train_options()})
    for one, other in zip(jobs[::2], jobs[1::2], strict=True):
        assert (one.seed, one.stage, one.arm.split()[0]) == (other.seed, other.stage, other.arm.split()[0])
        shared = {key for key, value in one.train_options().items() if other.train_options().get(key) == value}
        assert set(one.train_options()) - shared == {"rule"}


def test_rows_were_made_by_the_present_jobs():
    options = {job.key: job.train_options() for jobs in families.stages().values() for job in jobs}
    assert len({key_of(row) for row in ROWS}) == len(ROWS) == 36
    for row in ROWS:
        assert row["options"] == options[key_of(row)]
        assert row["memorisation"]["samples"] == 1000


def test_results_page_has_the_tables_of_the_rows():
    for stage in families_report.DATA:
        assert "\n".join(families_report.table(ROWS, stage)) in PAGE.read_text()
