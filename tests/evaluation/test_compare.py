"""rggan compare: pairs by seed, what it says, and the numbers that it refuses to compare."""

import json
import math
from pathlib import Path

import pytest
from scipy import stats

from rggan.cli.main import main
from rggan.metrics.provenance import COMPARED, Provenance, differences
from tests.evaluation.conftest import WHERE


@pytest.fixture
def sides(run_of):
    values = {0: (90.0, 100.0), 1: (44.0, 50.0), 2: (73.0, 80.0), 3: (27.5, 30.0)}
    first = [run_of(f"a{seed}", seed, a, "threshold") for seed, (a, _) in values.items()]
    second = [run_of(f"b{seed}", seed, b) for seed, (_, b) in values.items()]
    return first, second[::-1]  # pairs are by seed, not by order


def test_paired_log_ratio_interval_and_sentence(sides, capfd):
    first, second = sides
    assert main(["compare", *first, "--", *second, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    logs = [math.log(a / b) for a, b in ((90, 100), (44, 50), (73, 80), (27.5, 30))]
    theirs = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    (by,) = found["metrics"]
    (pair,) = by["pairs"]
    assert (pair["kind"], pair["n"], pair["arm"], pair["against"]) == ("ratio", 4, "rule threshold", "rule none")
    assert pair["value"] == pytest.approx(math.exp(sum(logs) / 4))
    assert [pair["low"], pair["high"]] == pytest.approx([math.exp(theirs.low), math.exp(theirs.high)])
    assert pair["p"] == pair["p_holm"] == pytest.approx(stats.ttest_1samp(logs, 0).pvalue)
    assert (pair["verdict"], by["values"]["rule threshold"]["1"], by["values"]["rule none"]["1"]) == ("better", 44, 50)
    assert main(["compare", *first, "--", *second]) == 0
    out = capfd.readouterr().out
    assert "\nrule threshold is better than rule none by fd-small.\n" in out
    assert "paired by seed (4 pairs)" in out
    assert "  0.9022  " in out
    assert main(["compare", *second, "--", *first]) == 0
    assert "rule none is worse than rule threshold" in capfd.readouterr().out
    assert main(["compare", first[0], first[1], "--", second[-1], second[-2], "--metric", "fid"]) == 0
    assert (
        "rule threshold and rule none are not told apart" in capfd.readouterr().out
    )  # two pairs: t of one degree of freedom


def test_more_is_better_of_shares(run_of, capfd):
    first = [
        run_of(f"a{seed}", seed, value, "threshold", metric="recall") for seed, value in enumerate((0.8, 0.81, 0.79))
    ]
    second = [run_of(f"b{seed}", seed, value, metric="recall") for seed, value in enumerate((0.4, 0.42, 0.37))]
    assert main(["compare", *first, "--metric", "recall", "--", *second]) == 0
    out = capfd.readouterr().out
    assert "rule threshold is better than rule none by recall" in out
    assert "difference of recall" in out


@pytest.mark.parametrize("field", [name for name in COMPARED if name not in ("reference_hash", "metric")])
def test_numbers_of_different_provenance_do_not_compare(sides, run_of, refused, field):
    first, second = sides
    run_of("b2", 2, 80.0, **{field: "other"})
    sentence = refused("compare", *first, "--", *second)
    assert "do not compare; they differ in" in sentence
    assert COMPARED[field] in sentence
    run_of("a2", 2, 73.0, "threshold", **{field: "other"})  # the pair agrees, but not with the other pairs
    assert "do not compare; they differ in" in refused("compare", *first, "--", *second)


def test_a_pair_has_one_reference_and_each_pair_may_have_its_own(sides, run_of, refused):
    first, second = sides
    run_of("b2", 2, 80.0, reference_hash="other")
    assert "differ in reference (test" in refused("compare", *first, "--", *second)
    run_of("a2", 2, 73.0, "threshold", reference_hash="other")
    assert main(["compare", *first, "--", *second]) == 0


def test_seeds_without_a_partner_are_named_and_left_out(sides, run_of, capfd):
    first, second = sides
    lonely = run_of("lonely", 9, 1.0)
    assert main(["compare", *first, "--", *second, lonely]) == 0
    out = capfd.readouterr().out
    assert f"Seed 9 is on one side only: left out of the pairs ({lonely}), but not of the mean." in out
    assert "rule none          5 " in out
    assert "(4 pairs)" in out


def test_runs_of_one_side_that_were_trained_otherwise_are_named(sides, run_of, capfd):
    first, second = sides
    run_of("a3", 3, 27.5, "threshold", options={"lr": 0.5})
    assert main(["compare", *first, "--", *second]) == 0
    assert "The runs of rule threshold were not all trained alike" in capfd.readouterr().out


def test_the_newest_number_of_the_right_snapshot_counts(sides, run_of, capfd):
    first, second = sides
    run_of("a0", 0, 5.0, "threshold", snapshot="last")
    run_of("a0", 0, 91.0, "threshold")
    run_of("a0", 0, 6.0, "threshold", snapshot="last")
    assert main(["compare", *first, "--", *second, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["metrics"][0]["values"]["rule threshold"]["0"] == 91.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a, b, make: (a[:1], b), "at least two runs of each arm, and rule threshold has 1"),
        (lambda a, b, make: ([*a, make("again", 0, 1.0)], b), "have the same seed"),
        (lambda a, b, make: ([*a, "nowhere"], b), "nowhere is no run"),
        (
            lambda a, b, make: ([*a, make("other", 7, 1.0, metric="kid"), "--metric", "fd"], b),
            "other has no fd yet, but",
        ),
        (lambda a, b, make: ([*a, b[0]], b), "b3 is in two arms: leave it out of one of them."),
        (lambda a, b, make: ([*a, "--metric", "speed"], b), "--metric is one of fd, kid"),
        (
            lambda a, b, make: (a, []),
            "Say which runs to compare with which: rggan compare RUN... -- RUN... [-- RUN...]",
        ),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_sentence(sides, run_of, refused, change, sentence):
    first, second = change(*sides, run_of)
    assert sentence in refused("compare", *first, "--", *second)


def test_what_others_wrote_is_passed_over(sides, capfd):
    first, second = sides
    with open(f"{first[0]}/metrics.jsonl", "a") as file:
        file.write('\n[]\n{"subject"\n{"subject": 0, "snapshot": "best", "fid": 7}\n')
        file.write('{"subject": 0, "snapshot": "best", "fid": {"value": 7.0, "provenance": {}}}\n')
    assert main(["compare", *first, "--", *second, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["metrics"][0]["values"]["rule threshold"]["0"] == 90.0


BEFORE = {
    "metric": "recall", "extractor": "reporting", "extractor_hash": "bf0d", "resize": "bicubic", "view": "whole",
    "precision": "fp32", "size": "16x16", "channels": 1, "samples": 100, "reference": "digits",
    "reference_hash": "1f2e", "reference_split": "all images", "reference_images": 1797, "ema": True, "seeds": "0-199",
}  # fmt: skip


def test_numbers_of_before_are_read_beside_those_of_today(run_of, capfd):
    """They say neither which direction is better nor whose code they are of: all were of built-in metrics."""
    told = Provenance(**BEFORE).to_json()
    sides = []
    for name, value, provenance, more in (("a", 0.8, BEFORE, {}), ("b", 0.4, told, {"lower_is_better": False})):
        sides.append([run_of(f"{name}{seed}", seed, 0.0) for seed in (0, 1)])
        for seed, run in enumerate(sides[-1]):
            number = {"value": value + seed / 1000, "interval": None, "standard_error": None, "replicates": 1}
            row = {"subject": "x", "snapshot": "best", "recall": {**number, **more, "provenance": provenance}}
            Path(run, "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["compare", *sides[0], "--metric", "recall", "--", *sides[1]]) == 0
    assert "a0 is better than b0 by recall" in capfd.readouterr().out
    assert main(["compare", *sides[1], "--metric", "recall", "--", *sides[0]]) == 0
    assert "b0 is worse than a0 by recall" in capfd.readouterr().out


@pytest.mark.parametrize("direction", [{}, {"lower_is_better": None}, {"lower_is_better": "yes"}])
def test_a_number_of_another_metric_without_a_direction_is_passed_over(sides, direction, refused):
    first, second = sides
    number = {"value": 1.0, "provenance": WHERE, **direction}
    with open(f"{first[0]}/metrics.jsonl", "a") as file:
        file.write(json.dumps({"subject": "x", "snapshot": "best", "speed": number}) + "\n")
    assert "patch_coverage, copies, not speed." in refused("compare", *first, "--", *second, "--metric", "speed")


@pytest.mark.slow
def test_evaluated_runs_are_compared(runs, capfd):
    few = ("--samples", "100", "--replicates", "2", "--memorisation", "off", "--metrics", "kid")
    every = [str(run) for run in runs.values()]
    assert main(["evaluate", *every, "--reference", "digits", *few]) == 0
    pruned, dense = ([str(runs[rule, seed]) for seed in (0, 1, 2)] for rule in ("threshold", "none"))
    assert main(["compare", *pruned, "--", *dense, "--metric", "kid"]) == 0
    assert "paired by seed (3 pairs)" in capfd.readouterr().out


def test_differences_are_told_by_name():
    assert differences(WHERE, dict(WHERE)) == []
    assert differences(WHERE, {**WHERE, "seeds": "5-9"}) == []
    assert differences(WHERE, {**WHERE, "extractor_hash": "abc"}) == [
        "extractor (reporting extracto and reporting abc)"
    ]
