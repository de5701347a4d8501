"""Metrics that are not built in: by a place in code, of installed packages, as the page shows; and what is refused."""

import json
import re
import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

from rggan import registry
from rggan.cli.main import main
from rggan.evaluation.chosen import BESIDE
from rggan.metrics import extract, feature_network
from rggan.metrics.metric import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
APART = """
from rggan.metrics import Metric

def compute(reference, found):
    return {"apart": (reference.statistics.mean - found.statistics.mean).norm(), "likeness": (0.5, 0.1)}

METRIC = Metric("apart", {"apart": "lower", "likeness": "higher"}, "statistics", compute)
"""
FEW = ("--samples", "30", "--replicates", "2", "--memorisation", "off")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What one test loads is unknown to the next."""
    monkeypatch.setattr(METRICS, "found", {})


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module outside the package; gives its name, another one each time."""
    (tmp_path / "code").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "code")
    written = []

    def write(source, name=None):
        name = name or f"metric_{tmp_path.name}_{len(written)}"
        written.append(name)
        (tmp_path / "code" / f"{name}.py").write_text(source)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def pictures(tmp_path, digits):
    """Two arrays of 40 digits each."""
    for name, part in (("real", digits.images[:40]), ("fake", digits.images[40:80])):
        np.save(tmp_path / f"{name}.npy", part.permute(0, 2, 3, 1).numpy())
    return tmp_path / "fake.npy", "--reference", tmp_path / "real.npy", "--memorisation", "off"


def one_value(value, **changed):
    """Source of a metric whose number is that expression."""
    arguments = {"name": "'own'", "values": "{'own': 'lower'}", "needs": "'features'"} | changed
    told = ", ".join(f"{name}={value}" for name, value in arguments.items())
    return (
        f"from rggan.metrics import Metric\n\n\ndef compute(reference, found):\n    return {value}\n\n\n"
        f"METRIC = Metric({told}, compute=compute)\n"
    )


def test_a_metric_in_a_module_is_evaluated(module, pictures, told, digits):
    place = f"{module(APART)}:METRIC"
    (found,) = told("evaluate", *pictures, "--metrics", place, "kid")
    network = feature_network("reporting")
    real, fake = (extract(network, digits.images[start : start + 40]) for start in (0, 40))
    assert found["apart"]["value"] == pytest.approx((real.mean(0) - fake.mean(0)).norm().item(), rel=1e-9)
    assert (found["likeness"]["value"], found["likeness"]["standard_error"]) == (0.5, 0.1)
    assert (found["apart"]["lower_is_better"], found["likeness"]["lower_is_better"]) == (True, False)
    assert found["apart"]["standard_error"] is None
    where = found["apart"]["provenance"]
    assert (where["metric"], where["metric_code"], where["samples"]) == ("apart", place, 40)
    assert not {"metric_code", "metric_hash"} & set(found["kid"]["provenance"])
    assert [name for name in found if name not in BESIDE] == ["kid", "apart", "likeness"]


@pytest.mark.slow
def test_what_needs_features_takes_the_subset_and_statistics_all_images(module, pictures, told, capfd):
    counts = "{'own': len(reference.rows) * 1000 + found.count}"
    features = module(one_value(counts, needs="'features'"))
    (found,) = told("evaluate", *pictures, "--metrics", f"{features}:METRIC", "--subset", "30")
    assert (found["own"]["value"], found["own"]["provenance"]["samples"]) == (30040.0, 30)
    statistics = module(APART)
    metrics = ("--metrics", f"{features}:METRIC", f"{statistics}:METRIC")
    assert main(list(map(str, ("evaluate", *pictures, *metrics, "--subset", "30")))) == 0
    out = capfd.readouterr().out
    assert "samples    40 images, a fixed set" in out
    assert "subset     KID, neighbours and own: 30 samples against 30 reference images\n" in out


@pytest.mark.slow
def test_large_images_are_seen_by_patches_too(module, tmp_path, told, digits):
    large = digits.images[:40].repeat_interleave(4, 2).repeat_interleave(4, 3)
    np.save(tmp_path / "large.npy", large.permute(0, 2, 3, 1).numpy())
    few = ("--resolution", "64", "--memorisation", "off", "--metrics", f"{module(APART)}:METRIC")
    (found,) = told("evaluate", tmp_path / "large.npy", "--reference", tmp_path / "large.npy", *few)
    assert found["patch_apart"]["provenance"]["view"] == "patches"
    assert found["patch_apart"]["provenance"]["metric"] == "apart"
    assert found["patch_likeness"]["lower_is_better"] is False


@pytest.mark.slow
def test_a_metric_of_statistics_takes_files_of_them(module, pictures, told, refused, tmp_path):
    saved = tmp_path / "real.npz"
    place, features = (f"{module(source)}:METRIC" for source in (APART, one_value("{'own': 1.0}")))
    (first,) = told("evaluate", *pictures, "--metrics", place, "--save-statistics", saved)
    (again,) = told("evaluate", pictures[0], "--reference", saved, "--metrics", place)
    assert again["apart"]["value"] == pytest.approx(first["apart"]["value"], rel=1e-9)
    sentence = refused("evaluate", pictures[0], "--reference", saved, "--metrics", features)
    assert "own needs the images themselves, and" in sentence


@pytest.fixture
def trained(module, runs, tmp_path):
    """Copies of runs of two kinds that were evaluated by `APART`."""
    sides = []
    for rule in ("threshold", "none"):
        sides.append([tmp_path / f"{rule}{seed}" for seed in (0, 1)])
        for seed, path in enumerate(sides[-1]):
            shutil.copytree(runs[rule, seed], path, ignore=shutil.ignore_patterns("metrics.jsonl"))
    module(APART, "apart_of_trained")
    every = list(map(str, (*sides[0], *sides[1])))
    assert main(["evaluate", *every, "--reference", "digits", *FEW, "--metrics", "apart_of_trained:METRIC"]) == 0
    return sides


@pytest.mark.slow
def test_runs_are_compared_by_it_without_its_code(trained, capfd, monkeypatch, refused):
    """The direction is in the runs; only its name is asked for."""
    first, second = (list(map(str, side)) for side in trained)
    monkeypatch.delitem(sys.modules, "apart_of_trained")
    monkeypatch.setattr(METRICS, "found", {})
    for name, better in (("apart", "lower"), ("likeness", "higher")):
        assert main(["compare", *first, "--", *second, "--metric", name]) == 0
        out = capfd.readouterr().out
        assert f"{name} ({better} is better) by reporting" in out
    assert "apart_of_trained" not in sys.modules
    assert "--metric is one of fd, kid, " in refused("compare", *first, "--", *second, "--metric", "nearness")
    (trained[0][1] / "metrics.jsonl").unlink()
    sentence = refused("compare", *first, "--", *second, "--metric", "apart")
    assert f"has no evaluation yet; first run: rggan evaluate {first[1]} --reference digits --samples 30 " in sentence
    assert sentence.endswith("--metrics apart_of_trained:METRIC\n")


@pytest.mark.slow
def test_the_direction_of_a_number_decides_which_side_is_better(trained, capfd):
    """Values that are told apart, written into what the runs were given."""
    for side, base in zip(trained, (0.4, 0.8), strict=True):
        for seed, path in enumerate(side):
            row = json.loads((path / "metrics.jsonl").read_text())
            for name in ("apart", "likeness"):
                row[name]["value"] = base + seed / 1000
            assert {name for name in row if name not in BESIDE} == {"apart", "likeness"}
            (path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    sides = [*map(str, trained[0]), "--", *map(str, trained[1])]
    for name, verdict in (("apart", "better"), ("likeness", "worse")):
        assert main(["compare", *sides, "--metric", name, "--json"]) == 0
        assert json.loads(capfd.readouterr().out)["metrics"][0]["pairs"][0]["verdict"] == verdict
        assert main(["compare", *sides, "--metric", name]) == 0
        assert f"rule threshold is {verdict} than rule none by {name}" in capfd.readouterr().out


@pytest.mark.slow
def test_numbers_of_other_code_do_not_compare(trained, module, refused):
    module(APART + "\n# another version\n", "apart_of_trained")
    sys.modules.pop("apart_of_trained")
    METRICS.found.clear()
    again = ("--reference", "digits", *FEW, "--metrics", "apart_of_trained:METRIC")
    assert main(list(map(str, ("evaluate", trained[0][0], *again)))) == 0
    sentence = refused("compare", *trained[0], "--", *trained[1], "--metric", "apart")
    assert "they differ in code of the metric (apart " in sentence


def test_a_metric_of_an_installed_package_has_a_name(module, pictures, told, refused, monkeypatch):
    place = f"{module(APART)}:METRIC"
    points = [EntryPoint("nearness", place, "rggan.metrics")]
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])
    (found,) = told("evaluate", *pictures, "--metrics", "nearness")
    assert found["apart"]["provenance"]["metric_code"] == place
    (plain,) = told("evaluate", *pictures)
    assert "apart" not in plain  # unless it is named
    (twice,) = told("evaluate", *pictures, "--metrics", place, "nearness")
    assert twice["apart"] == found["apart"]
    assert "there are fd, kid, prdc, nearness, or package.module:OBJECT; did you mean nearness?" in refused(
        "evaluate", *pictures, "--metrics", "farness"
    )


def test_the_metric_of_the_page_runs(module, pictures, told, refused, digits):
    block = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "METRIC =" in block)
    name = module(block, "mine")
    assert f"--metrics fd {name}:METRIC" in PAGE
    (found,) = told("evaluate", *pictures, "--metrics", f"{name}:METRIC")
    real, fake = (extract(feature_network("reporting"), digits.images[start : start + 40]) for start in (0, 40))
    expected = torch.cdist(fake, fake).mean() / torch.cdist(real, real).mean()
    assert found["spread"]["value"] == pytest.approx(expected.item(), rel=1e-6)
    assert found["spread"]["lower_is_better"] is False
    sentence = refused("evaluate", *pictures, "--metrics", f"{name}:METRIC", "--subset", "10")
    assert sentence == "rggan: spread needs at least 20 images on each side, and it has 10.\n"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import no_such_module", "No module named 'no_such_module'."),
        ("METHOD = 1", "has no attribute 'METRIC'."),
        ("METRIC = 'fid'", "it is no rggan.metrics.Metric."),
        (one_value("{'own': float('nan')}"), "The metric own gives own = nan, which is no finite number."),
        (one_value("{'own': (float('inf'), 1.0)}"), "The metric own gives own = inf, which is no finite number."),
        (one_value("{'own': '1'}"), "The metric own gives a str for own, and not a number"),
        (one_value("{'own': (1.0, 2.0, 3.0)}"), "The metric own gives a tuple for own, and not a number, or a pair"),
        (one_value("{'own': found.rows}"), "The metric own gives a Tensor for own, and not a number"),
        (one_value("{'other': 1.0}"), "The metric own gives ['other'], and not ['own']."),
        (one_value("3.0"), "The metric own gives float, and not ['own']."),
        (one_value("{'own': 1 / 0}"), "The metric own fails in compute: division by zero."),
        (one_value("{}", why_not="lambda images, features: 1 / 0"), "The metric own fails in why_not: division by"),
        (one_value("{}", why_not="lambda images, features: True"), "The metric own gives True for why_not, and not a"),
        (one_value("{}", values="{'recall': 'higher'}"), "the name recall belongs to the built-in metric prdc"),
        (one_value("{}", name="'prdc'"), "the name prdc belongs to the built-in metric prdc; it needs another."),
        (one_value("{}", values="{'seed': 'higher'}"), "the name seed belongs to what stands beside the numbers"),
        (one_value("{}", values="{'patch_own': 'lower'}"), "a metric cannot have the name 'patch_own'"),
        (one_value("{}", name="'my own'"), "a metric cannot have the name 'my own'"),
        (one_value("{}", values="{'own': 'less'}"), "which own is better is 'lower' or 'higher', not 'less'."),
        (one_value("{}", values="{}"), "a metric needs values"),
        (one_value("{}", values="['own']"), "a metric needs values"),
        (one_value("{}", needs="'pictures'"), "a metric needs 'statistics' or 'features', not 'pictures'."),
        (one_value("{}", why_not="3"), "compute and why_not are functions, not a int."),
    ],
)
def test_what_is_no_metric_is_said_in_one_sentence(module, pictures, refused, source, sentence):
    assert sentence in refused("evaluate", *pictures, "--metrics", f"{module(source)}:METRIC")


def test_two_metrics_with_one_number_are_refused(module, pictures, refused):
    one, other = (f"{module(one_value('{}'))}:METRIC" for _ in range(2))
    sentence = refused("evaluate", *pictures, "--metrics", one, other)
    assert f"--metrics {other}: the name own belongs to the metric {one}; it needs another." in sentence


def test_metrics_are_looked_up_before_pictures_are_read(refused):
    assert "there are fd, kid, prdc, or package.module:OBJECT." in refused(
        "evaluate", "nowhere", "--reference", "nowhere", "--metrics", "fib"
    )


@pytest.mark.slow
def test_what_stands_beside_the_numbers_has_names_that_no_metric_may_take(runs, told, monkeypatch):
    monkeypatch.setattr("rggan.evaluation.replays.LOOKED_AT", 60)
    run = runs["none", 2]
    told("evaluate", run, "--samples", "30", "--replicates", "1", "--metrics", "kid")
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(row) == {*BESIDE, "kid"}
