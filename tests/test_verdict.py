"""The verdict on a run, on runs that were really trained: what docs/results.md says of them in words."""

import json
import random
from pathlib import Path

import pytest

from rggan.report.verdict import Scale, noise, verdict

ROOT = Path(__file__).parents[1]


def lines(path):
    return [json.loads(line) for line in (ROOT / path).read_text().splitlines()]


def kinds(rows, options=None):
    """After each evaluation."""
    return [verdict(rows[: i + 1], None, options or {}).kind for i in range(len(rows))]


def of_capacity(stage, arm, seed):
    (found,) = [
        run
        for run in lines("studies/results/capacity.jsonl")
        if (run["stage"], run["arm"], run["seed"]) == (stage, arm, seed) and run["options"]["max_images"] == 100
    ]
    return found


def course(scores, **columns):
    """Rows of these scores, 10 kimg apart."""
    rows = [{"kimg": 10.0 * (i + 1), "score": score} for i, score in enumerate(scores)]
    for name, values in columns.items():
        rows = [row | {name: value} for row, value in zip(rows, values, strict=True)]
    return rows


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("cifar10-classes", "improving"),  # "the score was still falling"
        ("faces128", "improving"),  # "and was still falling"
        ("digits", "flat"),  # since kimg 140 scores jump between 0.01 and 0.08; real digits score 0
        ("cifar10-5000-rggan", "worse"),  # best 0.155 at 500 kimg, 0.235 at 800
        ("emoji-faces", "starting"),  # five evaluations: "both runs are short"
        ("emoji-48x64", "starting"),
    ],
)
def test_runs_of_the_docs(path, kind):
    assert verdict(lines(f"docs/{path}.jsonl"), None, {}).kind == kind


def test_dense_training_on_a_hundred_pictures_overfits_and_adaptive_does_not():
    """With 100 images "dense training overfits" in the last quarter. By its score seed 1 alone still gains there.

    The verdict sees the validation score and D's signs; the FIDs on test images are the study's.
    """
    dense = [of_capacity("a", "dense", seed) for seed in range(6)]
    adaptive = [of_capacity("a", "adaptive", seed) for seed in range(6)]
    told = [verdict(run["curve"], None, run["options"]) for run in dense]
    assert [each.kind for each in told] == ["overfits", "improving", *["overfits"] * 4]
    assert all("takes 9" in each.because for each in told if each.kind == "overfits")
    assert all("`aug` diff" in each.advice for each in told if each.kind == "overfits")
    for run, found in zip(dense, told, strict=True):
        fid = [row["fid"] for row in run["curve"]]
        assert found.kind == "improving" or min(fid) not in fid[-3:]
    assert "overfits" not in {verdict(run["curve"], None, run["options"]).kind for run in adaptive}


def test_the_longer_pilot_runs_overfit_at_last():
    for images, first in ((200, 150), (500, 400), (1000, 700)):
        (run,) = [
            run
            for run in lines("studies/results/capacity.jsonl")
            if run["stage"] == "pilot, longer" and run["options"]["max_images"] == images
        ]
        found = kinds(run["curve"])
        assert found[-1] == "overfits"
        assert run["curve"][found.index("overfits")]["kimg"] > first / 2


def test_of_the_families_those_that_score_best_at_the_end_still_improve():
    """30 of 36 score best at one of their last two evaluations; one of the others rises for good (FastGAN, seed 0)."""
    runs = lines("studies/results/families.jsonl")
    late = [run for run in runs if min(run["scores"]) in run["scores"][-2:]]
    assert len(late) == 30
    found = [verdict(course(run["scores"]), None, run["options"]).kind for run in late]
    assert found.count("improving") >= 28
    assert set(found) <= {"improving", "flat"}
    rises = [run for run in runs if verdict(course(run["scores"]), None, run["options"]).kind == "worse"]
    assert [(run["arm"], run["seed"], run["stage"]) for run in rises] == [("FastGAN RG-GAN", 0, "3-cifar")]


def test_noise_alone_is_flat_and_a_fall_of_three_noises_is_seen():
    """Of drawn courses, whose noise is known."""
    draw = random.Random(0)

    def drawn(fall, count):
        return course([1 - fall * i / count + draw.gauss(0, 0.05) for i in range(count)])

    for count in (8, 12, 20, 40):
        still = [verdict(drawn(0, count), None, {}).kind for _ in range(300)]
        assert still.count("flat") >= 0.85 * 300
        assert still.count("worse") <= 0.07 * 300
        falls = [verdict(drawn(0.5, count), None, {}).kind for _ in range(300)]
        assert falls.count("improving") >= 0.8 * 300
    found = sorted(noise([draw.gauss(5 - i, 0.3) for i in range(60)]) for _ in range(99))
    assert found[49] == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize(("count", "most"), [(8, 0.1), (12, 0.1), (20, 0.15), (40, 0.35)])
def test_slow_drift_is_seldom_called_worse(count, most):
    """Of random walks in steps of 5 % that lead nowhere; of 40 evaluations two in three end three noises above their
    lowest."""
    draw = random.Random(1)

    def walk():
        return course([score := 1.0] + [score := score + draw.gauss(0, 0.05) for _ in range(count - 1)])

    told = [verdict(walk(), None, {}).kind for _ in range(400)]
    assert told.count("worse") <= most * 400


def test_a_rise_of_half_the_score_that_lasts_is_worse():
    draw = random.Random(2)
    told = []
    for _ in range(200):
        falls = [1 + 2 * 0.6**i + draw.gauss(0, 0.03) for i in range(12)]
        told.append(verdict(course([*falls, *(1 + 0.05 * i + draw.gauss(0, 0.03) for i in range(12))]), None, {}).kind)
    assert told.count("worse") >= 0.85 * 200
    assert "improving" not in told


def test_one_lucky_evaluation_is_no_trend():
    scores = [2.0, 1.0, 0.52, 0.5, 0.51, 0.5, 0.52, 0.51, 0.5, 0.51]
    assert verdict(course(scores), None, {}).kind == "flat"
    for lucky in (0.1, 3.0):
        assert verdict(course([*scores[:8], lucky, *scores[9:]]), None, {}).kind == "flat"


def test_a_course_far_from_its_best_is_worse_whatever_the_kernel_distance_may_be_below_zero():
    scores = [1.0, 0.2, 0.01, -0.004, 0.002, -0.003, 0.001, 0.05, 0.1, 0.2, 0.25]
    found = verdict(course(scores), None, {"kimg": 110})
    assert found.kind == "worse"
    assert found.because.startswith("the score rose from ")
    assert "of kimg 40, is kept" in found.advice


def test_flat_at_the_distance_of_real_pictures_is_as_good_as_it_gets():
    rows = course([1.0, 0.2, 0.02, 0.01, 0.02, 0.01, 0.02, 0.01, 0.02])
    assert "nothing is left to gain" in verdict(rows, Scale(0.012, 4.0), {}).advice
    assert "wider networks" in verdict(rows, Scale(-0.4, 4.0), {}).advice
    assert "wider networks" in verdict(rows, None, {}).advice


def test_flat_near_noise_is_no_reason_to_stop():
    rows = course([14.4, 14.5, 14.4, 14.5, 14.4, 14.5, 14.4, 14.5, 14.4])
    found = verdict(rows, Scale(0.07, 16.0), {"kimg": 90})
    assert (found.kind, found.because.rsplit("; ", 1)[1]) == ("flat", "noise scores 16")
    assert found.advice == "The samples are still near noise; go on with: rggan train `resume` RUN `kimg` 180"
    assert "near noise" not in verdict(rows, Scale(0.07, 160.0), {"kimg": 90}).advice


def test_what_to_do_depends_on_whether_the_run_has_ended():
    rows = course([4 / (i + 1) for i in range(8)])
    assert verdict(rows, None, {"kimg": 100}).advice == "Let it run."
    on = verdict(rows, None, {"kimg": 80}, "runs/my run").advice
    assert on == "Go on with: rggan train `resume` 'runs/my run' `kimg` 160"
    few = verdict(rows[:2], None, {"kimg": 20, "snap": 10}, "runs/a").advice
    assert "smaller `snap`" in few
    assert few.endswith("go on with: rggan train `resume` runs/a `kimg` 60")
    assert verdict(rows[:2], None, {"kimg": 100}).advice == "Too few to judge by: wait."


def test_copies_are_told_from_two_evaluations_on_whatever_the_score_does():
    rows = course([4.0, 2.0, 1.0], copies=[0.02, 0.3, 0.5], replays=[False, True, True])
    assert kinds(rows) == ["starting", "starting", "copies"]
    assert "40% of the samples are copies" not in verdict(rows, None, {}).because
    assert "30% of the samples are copies" in verdict(rows, None, {}).because
    again = [*rows, *course([0.9, 0.8], copies=[0.01, 0.01], replays=[False, False])]
    assert kinds(again)[-1] == "starting"


def test_collapse_is_told_after_diversity_or_after_many_evaluations():
    gone = course([1.0, 0.9, 1.1, 1.0], diversity=[0.9, 0.1, 0.08, 0.1])
    assert kinds(gone) == ["starting", "starting", "starting", "collapsed"]
    assert "only 10% as much as the real pictures, after 90% at kimg 10" in verdict(gone, None, {}).because
    never = course([4.0, 3.0, 2.0, 1.5, 1.0, 0.9, 0.8], diversity=[0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.6])
    assert kinds(never) == [*["starting"] * 5, "collapsed", "improving"]


def test_d_that_is_certain_of_held_out_pictures_too_does_not_overfit():
    rows = course([2.0, 1.0, *[0.5, 0.52] * 4], d_sign=[0.95] * 10, d_fake=[-1.0] * 10, d_train=[2.0] * 10)
    told = {held_out: kinds([row | {"d_held_out": held_out} for row in rows])[-1] for held_out in (1.9, 0.6, 0.4, -1.0)}
    assert told == {1.9: "flat", 0.6: "flat", 0.4: "overfits", -1.0: "overfits"}
    assert kinds(rows)[-1] == "overfits"
    assert kinds([row | {"d_sign": 0.85} for row in rows])[-1] == "flat"


def test_mangled_rows_and_options_do_not_stop_it():
    rows = course([4.0, 2.0, 1.0, 0.8, 0.7, 0.6])
    mangled = [
        row | {"diversity": "a lot", "copies": None, "replays": 3, "d_sign": None, "d_held_out": []} for row in rows
    ]
    strange = {"kimg": None, "aug": 7}
    assert verdict(mangled, None, strange) == verdict(rows, None, {})
    assert verdict([*rows, {"kimg": 70.0, "score": float("nan")}], None, {}) == verdict(rows, None, {})
    assert verdict([], None, {}).kind == "starting"
    for head in ({}, {"scale": 3}, {"scale": {"halves": "0", "noise": 1}}, {"scale": {"halves": 0.1}}):
        assert Scale.of(head) is None
    assert Scale.of({"scale": {"halves": 0.1, "noise": 1, "sizes": "ab"}}) == Scale(0.1, 1.0)
