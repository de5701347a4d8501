"""The page of several runs: its evaluations compare, an arm has one colour, and no line hides another."""

import re
from html import unescape
from pathlib import Path

import pytest

from rggan.evaluation.record import file_hash
from rggan.run.folder import Run
from rggan.run.places import BEST, WEIGHTS
from tests.report.runs import make_rows, make_run
from tests.report.test_page import Page, show

pytestmark = pytest.mark.slow  # all together they take seconds

PROVENANCE = {
    **{"extractor": "reporting", "extractor_hash": "bf0d", "resize": "bicubic", "view": "whole", "precision": "fp32"},
    **{"size": "16x24", "channels": 3, "samples": 500, "reference": "pictures", "reference_hash": "r1"},
    **{"reference_split": "the images that the run was trained on", "reference_images": 200, "ema": True},
}


def evaluate(run, value, metric="kid", snapshot=BEST, weights=None, lower=True, **provenance):
    number = {"value": value, "interval": [value - 1, value + 1], "lower_is_better": lower}
    number["provenance"] = {**PROVENANCE, "metric": metric, **provenance}
    Run(Path(run)).append_evaluation({"subject": str(run), "snapshot": snapshot, "weights": weights, metric: number})


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Two seeds of each of two rules."""
    monkeypatch.chdir(tmp_path)
    arms = [("threshold", 0), ("none", 0), ("threshold", 1), ("none", 1)]
    return [make_run(tmp_path / f"{rule}{seed}", rule=rule, seed=seed, sheets=(8,)).name for rule, seed in arms]


def page_of(*runs):
    show(*runs, "--out", "page.html")
    return Page(Path("page.html"))


def table():
    """{metric: cells after it} of the evaluations of the last page; {} where there is no such table."""
    found = re.search(r'<table id="evaluations".*?</table>', Path("page.html").read_text(), re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", found[0], re.DOTALL)[1:] if found else []
    cells = [[re.sub(r"<[^>]+>", " ", cell).split() for cell in re.findall(r"<td.*?</td>", row)] for row in rows]
    return {name[0]: [" ".join(cell) for cell in rest] for name, *rest in cells}


def commands():
    found = re.findall(r'<div class="command"><pre[^>]*>(.*?)</pre>', Path("page.html").read_text())
    return [unescape(re.sub(r"<[^>]+>", "", each)) for each in found]


def test_the_newest_number_of_each_kind_is_told(study):
    for place, run in enumerate(study):
        evaluate(run, 70.0 + place)
        evaluate(run, 90.0, snapshot="last")
        evaluate(run, 50.0 + place)
    evaluate(study[1], 0.25, "recall", lower=False)
    page = page_of(*study)
    by = "500 samples against 200 of pictures"
    assert table() == {
        "kid": ["50 49 to 51", "51 50 to 52", "52 51 to 53", "53 52 to 54", by],
        "recall": ["", "0.25 -0.75 to 1.25", "", "", by],
    }
    assert "kid ↓ lower is better" in page.text
    assert "recall ↑ higher is better" in page.text
    assert commands()[0] == "rggan compare threshold0 threshold1 -- none0 none1"


def test_numbers_that_do_not_compare_are_not_put_side_by_side(study):
    for run in study:
        evaluate(run, 50.0, samples=500 if run != "none1" else 700)
        evaluate(run, 0.25, "recall", lower=False)
    page = page_of(*study)
    assert list(table()) == ["recall"]
    assert "none1 do not compare; they differ in number of samples (500 and 700): evaluate all runs alike." in page.text
    assert commands()[0] == f"rggan evaluate {' '.join(study)} --samples 500"


def test_each_seed_may_have_its_own_reference_where_it_is_in_several_arms(study):
    for run in study:
        evaluate(run, 50.0, reference_hash=f"pictures of seed {run[-1]}")
    page = page_of(*study)
    assert list(table()) == ["kid"]
    assert "compare those of the same seed" in page.text
    other = make_run(Path.cwd() / "set0", rule="set", seed=0, sheets=(8,)).name
    evaluate(other, 40.0, reference_hash="pictures of seed 0")
    page_of(*study, other)  # seed 0 in three arms, seed 1 in two
    assert table()["kid"][4] == "40 39 to 41"
    page_of(*study[:3])  # seed 1 in one
    assert not table()
    page = page_of(study[0], study[3])  # another seed on each side
    assert not table()
    assert "do not compare; they differ in reference" in page.text
    assert commands()[0] == "rggan evaluate threshold0 none1 --samples 500 --reference pictures"


def test_runs_without_evaluations_say_how_to_get_them(study):
    page = page_of(*study)
    assert not table()
    assert "No run has a number of rggan evaluate yet." in page.text
    assert commands()[0] == f"rggan evaluate {' '.join(study)}"
    evaluate(study[0], 50.0)
    page = page_of(*study[:3])
    assert table()["kid"][:3] == ["50 49 to 51", "", ""]
    assert "No evaluation yet: none0, threshold1." in page.text
    assert commands()[0] == "rggan evaluate none0 threshold1 --samples 500"


def test_a_number_of_other_weights_is_no_number_of_the_run(study):
    for run in study[:2]:
        weights = Path(run) / BEST / WEIGHTS
        weights.parent.mkdir()
        weights.write_bytes(b"generator")
        evaluate(run, 50.0, weights=file_hash(weights))
    page_of(*study[:2])
    assert table()["kid"][:2] == ["50 49 to 51"] * 2
    weights.write_bytes(b"another generator")
    page = page_of(*study[:2])
    assert table()["kid"][:2] == ["50 49 to 51", ""]
    assert "none0 was trained on since it was evaluated." in page.text
    assert commands()[0] == "rggan evaluate none0 --samples 500"


@pytest.mark.parametrize("content", [b"[1]\nnull\n{", b'{"subject": 1, "snapshot": "best", "kid": {"value": 1.0}}\n'])
def test_evaluations_that_cannot_be_read_are_none(study, content):
    for run in study:
        Path(run, "metrics.jsonl").write_bytes(content)
    assert "No run has a number" in page_of(*study).text


def test_a_run_whose_options_cannot_be_read_has_no_comparable_numbers(study):
    for run in study[:2]:
        evaluate(run, 50.0)
    options = Path(study[1], "config.json")
    options.write_text(options.read_text().replace('"none"', '"somebody.elses:RULE"', 1))
    page = page_of(*study[:2])
    assert table()["kid"][:2] == ["50 49 to 51", ""]
    assert "somebody.elses" in page.text


def lines(page):
    """(colour, dashes, width) of each line of the first chart, in the order in which they are drawn."""
    drawn = [a for a in page.all("path", "line") if a["d"] != "M0 5H26"]
    style = [dict(part.split(":") for part in each["style"].split(";")) for each in drawn]
    count = len(drawn) // len(page.all("figure", "chart"))
    return [
        (at["stroke"], each["class"].removeprefix("line").strip(), float(at["stroke-width"]))
        for each, at in zip(drawn[:count], style, strict=False)
    ]


def test_an_arm_has_one_colour_and_each_of_its_runs_a_line_of_its_own(study):
    page = page_of(*study)
    soft0, soft1, none0, none1 = lines(page)
    assert soft0[0] == soft1[0] != none0[0] == none1[0]
    assert len({(colour, dashes) for colour, dashes, _ in (soft0, soft1, none0, none1)}) == 4
    assert (soft0[1], none0[1]) == ("", "")
    # What lies on top of an equal line is narrower, or is broken and wider.
    assert soft0[2] > none0[2]
    assert soft1[2] > none1[2]
    assert (soft1[2] > soft0[2], none1[2] > none0[2]) == (True, True)
    chart = page.text.partition("Course of the training")[2]
    assert "rule threshold seed 0 0.25 seed 1 0.25 rule none seed 0 0.25 seed 1 0.25" in chart


def test_one_arm_alone_is_told_by_its_seeds_and_single_runs_by_their_options(study, tmp_path):
    colours = [colour for colour, _, _ in lines(page_of(study[0], study[2]))]
    assert len(set(colours)) == 1
    page = page_of(study[0], study[1])
    assert "seed" not in page.text.partition("Course of the training")[2].partition("Evaluations")[0]
    again = make_run(tmp_path / "again", rule="threshold", seed=0, sheets=(8,)).name
    page = page_of(study[0], again)  # nothing differs: the folders' names are left
    assert f"threshold0 0.25 {again} 0.25" in page.text


@pytest.mark.parametrize(("count", "wide", "middle"), [(2, 2, 2), (3, 3, 3), (4, 4, 2), (5, 3, 3)])
def test_no_run_is_alone_in_its_row(tmp_path, monkeypatch, count, wide, middle):
    monkeypatch.chdir(tmp_path)
    page = page_of(*(make_run(tmp_path / str(seed), seed=seed, sheets=(8,)).name for seed in range(count)))
    (grid,) = page.all("div", "runs")
    assert grid["style"] == f"--wide:{wide};--middle:{middle}"


def test_a_single_value_is_seen_in_broken_lines_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = make_rows((3.0,), [2.0])
    page = page_of(*(make_run(tmp_path / str(seed), rows, seed=seed, sheets=(8,)).name for seed in range(2)))
    dots = page.all("path", "dots")
    assert len(dots) == 2 * len(page.all("figure", "chart"))
