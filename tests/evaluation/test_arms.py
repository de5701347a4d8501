"""rggan compare of any number of arms: names, pairs, Holm over them, tables in every format, and the way to numbers."""

import csv
import io
import itertools
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rggan.cli.main import main
from rggan.evaluation.layout import cells, escaped

ARMS = {"none": {"rule": "none"}, "soft": {"rule": "threshold"}, "half": {"rule": "threshold", "target_g": 0.5}}
NAMES = {"none": "rule none", "soft": "no target_g, rule threshold", "half": "target_g 0.5, rule threshold"}
SEEDS = range(4)
SAME = (("a", 5.0, "threshold"), ("b", 10.0, "none"))
RECORDED = Path(__file__).parents[1] / "recorded" / "run-2" / "00000-digits-16-sngan-threshold"


@pytest.fixture
def study(run_of, tmp_path):
    """{arm: its runs}, each with two numbers; pairs differ less than seeds do."""
    random = np.random.default_rng(0)
    found = {}
    for place, (arm, options) in enumerate(ARMS.items()):
        rule = options["rule"]
        others = {name: value for name, value in options.items() if name != "rule"}
        found[arm] = []
        for seed in SEEDS:
            value = 100 + 10 * seed - 4 * place + random.normal(0, 1)
            run = run_of(f"{seed:05d}-{arm}", seed, float(value), rule, options=others)
            share = float(random.beta(1, 40))
            run_of(f"{seed:05d}-{arm}", seed, share, rule, metric="coverage", options=others)
            found[arm].append(run)
    return found


@pytest.fixture
def compared(capfd):
    def run(*arguments):
        capfd.readouterr()
        code = main(["compare", *map(str, arguments)])
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    return run


def joined(study, *arms):
    words = itertools.chain.from_iterable(["--", *study[arm]] for arm in arms)
    return list(words)[1:]


def values(study, arm, metric="fid"):
    found = []
    for run in study[arm]:
        rows = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
        found.append(next(row[metric]["value"] for row in rows if metric in row))
    return found


def closed(p):
    """Adjusted by the closure of Bonferroni tests, which is Holm's procedure."""
    places = range(len(p))
    subsets = [s for size in range(1, len(p) + 1) for s in itertools.combinations(places, size)]
    return [max(min(1, len(s) * min(p[i] for i in s)) for s in subsets if k in s) for k in places]


def test_the_first_arm_is_compared_with_each_other_one_paired_by_seed(study, compared):
    (by,) = json.loads(compared(*joined(study, "none", "soft", "half"), "--json"))["metrics"]
    assert [(pair["arm"], pair["against"]) for pair in by["pairs"]] == [
        (NAMES["none"], NAMES["soft"]), (NAMES["none"], NAMES["half"])
    ]  # fmt: skip
    theirs = [stats.ttest_rel(np.log(values(study, "none")), np.log(values(study, a))).pvalue for a in ("soft", "half")]
    assert by["paired"]
    assert [pair["p"] for pair in by["pairs"]] == pytest.approx(theirs)
    assert [pair["p_holm"] for pair in by["pairs"]] == pytest.approx(closed(theirs))
    assert [pair["verdict"] for pair in by["pairs"]] == [
        "worse" if p < 0.05 else "not told apart" for p in closed(theirs)
    ]
    assert [mean["value"] for mean in by["means"]] == pytest.approx([np.mean(values(study, arm)) for arm in ARMS])


def test_all_pairs_are_corrected_together_and_unpaired_runs_are_welchs(study, compared):
    words = [*joined(study, "none", "soft", "half"), "--all-pairs", "--unpaired", "--json"]
    (by,) = json.loads(compared(*words))["metrics"]
    pairs = list(itertools.combinations(ARMS, 2))
    theirs = [
        stats.ttest_ind(np.log(values(study, a)), np.log(values(study, b)), equal_var=False).pvalue for a, b in pairs
    ]
    assert [pair["p"] for pair in by["pairs"]] == pytest.approx(theirs)
    assert [pair["p_holm"] for pair in by["pairs"]] == pytest.approx(closed(theirs))
    assert not by["paired"]


def test_arms_that_share_no_seeds_are_not_paired_and_that_is_said(study, compared):
    out = compared(*study["none"][:2], "--", *study["soft"][2:])
    assert "not paired (Welch)" in out
    assert "note: Not paired by seed: rule none and rule threshold do not share two seeds." in out
    out = compared(*study["none"][:3], "--", *study["soft"][1:])
    assert "paired by seed (2 pairs)" in out
    assert f"rggan show {shlex.join([*study['none'][:3], *study['soft'][1:]])}\n" in out


def test_an_arm_may_be_a_folder_of_runs_and_arms_are_found_in_one(study, compared, tmp_path):
    whole = json.loads(compared(*joined(study, "none", "soft", "half"), "--json"))
    found = json.loads(compared(tmp_path, "--json"))
    means = {arm["arm"]: arm["value"] for arm in found["metrics"][0]["means"]}
    assert means == {arm["arm"]: arm["value"] for arm in whole["metrics"][0]["means"]}
    (tmp_path / "apart").mkdir()
    for run in study["half"]:
        name = run.rsplit("/", 1)[1]
        (tmp_path / name).rename(tmp_path / "apart" / name)
    again = json.loads(compared(*study["none"], "--", tmp_path / "apart", "--json"))
    assert [len(arm["runs"]) for arm in again["arms"]] == [4, 4]


def test_a_link_beside_its_run_is_that_run(study, compared, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(study["soft"][-1], target_is_directory=True)
    every = json.loads(compared(*study["none"], *study["soft"], link, "--json"))
    assert [arm["runs"] for arm in every["arms"]] == [study["none"], study["soft"]]
    twice = json.loads(compared(*study["none"], "--", *study["soft"], link, "--json"))
    assert twice["arms"][1]["runs"] == study["soft"]


def test_shares_of_the_reference_count_its_images_once(run_of, compared):
    """None of a hundred images is recalled by any of three runs: three times the same hundred."""
    for seed in range(3):
        for name, rule in (("a", "threshold"), ("b", "none")):
            for metric in ("recall", "precision"):
                run_of(f"{name}{seed}", seed, 0.0, rule, metric=metric, reference_images=100, samples=5000)
    for metric, images in (("recall", 100), ("precision", 15000)):
        arms = ["a0", "a1", "a2", "--", "b0", "b1", "b2"]
        (by,) = json.loads(compared(*arms, "--metric", metric, "--json"))["metrics"]
        assert [mean["high"] for mean in by["means"]] == pytest.approx([1 - 0.025 ** (1 / images)] * 2)
        assert -1 < by["pairs"][0]["low"] < 0 < by["pairs"][0]["high"] < 1


def test_runs_without_any_spread_are_not_told_apart(run_of, compared):
    arms = [[run_of(f"{name}{seed}", seed, value, rule) for seed in (0, 1)] for name, value, rule in SAME]
    words = [*arms[0], "--", *arms[1]]
    assert "0 to inf" in compared(*words)
    (pair,) = json.loads(compared(*words, "--json"), parse_constant=pytest.fail)["metrics"][0]["pairs"]
    assert (pair["low"], pair["high"], pair["p"], pair["verdict"]) == (0, None, 1, "not told apart")


def test_arms_with_the_same_options_go_by_their_folders(run_of, compared, tmp_path):
    for arm, base in (("first", 50.0), ("second", 60.0)):
        (tmp_path / arm).mkdir()
        for seed in (0, 1):
            run_of(f"{arm}/0000{seed}-x", seed, base + seed)
    names = [
        arm["name"] for arm in json.loads(compared(tmp_path / "first", "--", tmp_path / "second", "--json"))["arms"]
    ]
    assert names == ["first", "second"]


def test_intervals_of_shares_lie_within_their_range(study, compared):
    (by,) = json.loads(compared(*joined(study, "none", "soft", "half"), "--metric", "coverage", "--json"))["metrics"]
    assert all(0 <= mean["low"] <= mean["value"] <= mean["high"] <= 1 for mean in by["means"])
    drawn = values(study, "none", "coverage")
    plain = stats.ttest_1samp(drawn, 0).confidence_interval(0.95)
    assert plain.low < 0 < by["means"][0]["low"]  # what it was
    assert {pair["kind"] for pair in by["pairs"]} == {"difference"}


def test_copies_are_compared_as_shares(study, compared, refused):
    assert "has no copies yet" in refused("compare", *joined(study, "none", "soft"), "--metric", "copies")
    for arm, rate in (("none", 0.0), ("soft", 0.2)):
        for seed, run in enumerate(study[arm]):
            told = {"rate": rate + seed * rate / 100, "samples": 1000, "training_count": 100, "yardstick": "held-out"}
            with open(f"{run}/metrics.jsonl", "a") as file:
                file.write(json.dumps({"subject": "x", "snapshot": "best", "memorisation": told}) + "\n")
    (by,) = json.loads(compared(*joined(study, "none", "soft"), "--metric", "copies", "--json"))["metrics"]
    assert by["pairs"][0]["verdict"] == "better"
    assert by["means"][0]["high"] == pytest.approx(1 - 0.025 ** (1 / 4000))


def test_latex_is_a_booktabs_table_that_holds_its_names(study, compared):
    out = compared(*joined(study, "none", "half"), "--format", "latex")
    assert out.count(r"\begin{table}") == out.count(r"\end{table}") == 3  # means, seeds, pairs
    for alignment, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", out, re.S):
        lines = body.strip().splitlines()
        assert (lines[0], lines[2], lines[-1]) == (r"\toprule", r"\midrule", r"\bottomrule")
        for line in (lines[1], *lines[3:-1]):
            assert line.endswith(r" \\")
            assert len(re.findall(r"(?<!\\)&", line)) == len(alignment) - 1
    assert r"target\_g 0.5, rule threshold" in out
    unescaped = re.sub(r"\\[a-zA-Z]+|\\[&%$#_{}\\]", "", out.replace("% \\usepackage{booktabs}", ""))
    assert not set("%$#_~^") & set(unescaped)
    assert cells(["[new] a", "[b]"]) == r"{}[new] a & [b] \\"  # not the argument of the \\ of the row before it
    assert cells(["a", "[b]"]) == r"a & [b] \\"
    assert escaped("a_b & 5 % {x} ~ ^ \\ < > #1 $") == (
        r"a\_b \& 5 \% \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} "
        r"\textless{} \textgreater{} \#1 \$"
    )


def test_markdown_and_csv_hold_the_numbers_of_json(study, compared):
    words = joined(study, "none", "soft", "half")
    (by,) = json.loads(compared(*words, "--format", "json"))["metrics"]
    rows = list(csv.DictReader(io.StringIO(compared(*words, "--format", "csv"))))
    means = [row for row in rows if row["kind"] == "mean"]
    assert [float(row["value"]) for row in means] == [mean["value"] for mean in by["means"]]
    pairs = [row for row in rows if row["kind"] == "ratio"]
    assert [(row["against"], float(row["p_holm"])) for row in pairs] == [
        (p["against"], p["p_holm"]) for p in by["pairs"]
    ]
    table = [line for line in compared(*words, "--format", "markdown").splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table[:5]}) == 1
    assert f"| rule none | 4 | {by['means'][0]['value']:.4g} |" in table[2]


def test_tables_have_the_value_of_each_seed_where_arms_are_paired(study, compared):
    words = joined(study, "none", "half")
    (by,) = json.loads(compared(*words, "--json"))["metrics"]
    wanted = {seed: value for seed, value in by["values"]["rule none"].items()}
    body = compared(*words, "--format", "latex").split("of each seed")[1].split(r"\bottomrule")[0]
    rows = [line.removesuffix(r" \\").split(" & ") for line in body.splitlines() if re.match(r"\d+ & ", line)]
    assert {seed: float(value) for seed, value, _ in rows} == pytest.approx(
        {str(seed): value for seed, value in wanted.items()}, rel=1e-3
    )
    assert "of each seed" in compared(*words, "--format", "markdown")
    assert "of each seed" not in compared(*words, "--format", "markdown", "--unpaired")


def test_arms_take_names_of_ones_own(study, compared, refused):
    words = joined(study, "none", "half")
    named = json.loads(compared(*words, "--names", "dense", "RG-GAN", "--json"))["metrics"][0]
    plain = json.loads(compared(*words, "--json"))["metrics"][0]
    assert [mean["arm"] for mean in named["means"]] == list(named["values"]) == ["dense", "RG-GAN"]
    assert (named["pairs"][0]["arm"], named["pairs"][0]["against"]) == ("dense", "RG-GAN")
    assert list(named["values"].values()) == list(plain["values"].values())
    assert "--names gives 1 for 2 arms" in refused("compare", *words, "--names", "dense")
    assert "two arms the same name" in refused("compare", *words, "--names", "dense", "dense")


def test_runs_without_evaluations_are_told_the_command_that_gives_them(study, refused):
    for arm in ("none", "half"):
        for run in study[arm]:
            Path(run, "metrics.jsonl").write_text("")
    sentence = refused("compare", *joined(study, "none", "half"))
    told = re.search(r"first run: (rggan evaluate .*)$", sentence)[1]
    assert shlex.split(told)[2:] == [*study["none"], *study["half"]]
    sentence = refused("compare", *joined(study, "none", "soft"))
    told = shlex.split(re.search(r"first run: (rggan evaluate .*)$", sentence)[1])
    assert told[2:] == [*study["none"], "--reference", "test", "--samples", "5000"]  # as the others were


@pytest.fixture
def trained(tmp_path):
    """Two arms of two runs that have generators."""
    arms = []
    for lr in (0.001, 0.002):
        arms.append([str(tmp_path / f"{lr}-{seed}") for seed in (0, 1)])
        for seed, run in enumerate(arms[-1]):
            shutil.copytree(RECORDED, run)
            options = json.loads(Path(run, "config.json").read_text())
            Path(run, "config.json").write_text(json.dumps({**options, "seed": seed, "lr": lr}))
    return arms


@pytest.mark.slow
def test_a_few_samples_do_not_lead_into_a_circle(trained, capfd, refused, compared):
    """So few that there is no Fréchet distance: the runs are compared by what there is."""
    arms = trained
    few = ("--samples", "60", "--replicates", "1", "--memorisation", "off", "--reference", "digits")
    latest = Path(arms[1][-1]).with_name("latest")
    latest.symlink_to(arms[1][-1], target_is_directory=True)
    assert main(["evaluate", *arms[0], *arms[1], str(latest), *few]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("subject ")] == [*arms[0], *arms[1]]
    assert "What is named more than once (by a link such as runs/latest) is evaluated once." in lines
    told = next(line for line in lines if line.startswith("Next: "))
    assert shlex.split(told)[1:] == ["rggan", "compare", *arms[0], "--", *arms[1]]
    out = compared(*shlex.split(told)[3:])
    assert out.startswith("kid (lower is better)")
    assert "not every run has a Fréchet distance" in out
    sentence = refused("compare", *arms[0], "--", *arms[1], "--metric", "fd")
    assert "has no fd yet, but kid, precision" in sentence
    assert "compare by --metric kid, or first run:" in sentence
    told = shlex.split(re.search(r"first run: (rggan evaluate .*)$", sentence)[1])
    assert told == ["rggan", "evaluate", arms[0][0], "--reference", "digits", "--metrics", "fd"]  # of more samples
    sentence = refused("evaluate", arms[0][0], *few[:2], "--reference", "digits", "--metrics", "fd")
    assert "fd needs more images on each side" in sentence
