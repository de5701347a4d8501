"""Small runs and generators to evaluate."""

import json

import pytest
import torch
from rich.console import Console

from rggan import Generator, TrainConfig, train
from rggan.cli.main import main
from rggan.metrics.provenance import COMPARED
from rggan.networks.sngan import SNGANGenerator

TINY = {"resolution": 16, "max_images": 300, "width_g": 8, "width_d": 8, "kimg": 0.2, "snap": 0.1, "batch": 25}
TINY |= {"score_samples": 20, "device": "cpu", "precision": "fp32"}
WHERE = {name: name for name in COMPARED} | {"extractor": "reporting", "reference": "test", "samples": 5000}
WHERE |= {"reference_split": "all images"}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """By content, so that what one test has seen another need not see again."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("RGGAN_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def generator(tmp_path):
    """An untrained generator of grey 16x16 pictures in a folder of its own."""
    torch.manual_seed(0)
    network = {"name": "sngan", "resolution": [16, 16], "channels": 1, "width": 8, "z_dim": 128, "classes": 0}
    Generator(SNGANGenerator((16, 16), 1, 8), {"network": network, "classes": []}).save(tmp_path / "generator")
    return str(tmp_path / "generator")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """{(rule, seed): a finished run of 300 digits}."""
    outdir = tmp_path_factory.mktemp("runs")
    made = {}
    for seed in (0, 1, 2):
        for rule in ("threshold", "none"):
            options = TrainConfig(**TINY, seed=seed, rule=rule, outdir=outdir)
            made[rule, seed] = train(options, Console(quiet=True))
    return made


@pytest.fixture
def told(capfd):
    """Runs a command that prints JSON lines; gives them."""

    def run(*arguments):
        capfd.readouterr()
        code = main([*map(str, arguments), "--json"])
        out, err = capfd.readouterr()
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]

    return run


@pytest.fixture
def refused(capfd):
    """Runs a command that must end with exit code 2; gives the one sentence."""

    def run(*arguments):
        capfd.readouterr()
        assert main(list(map(str, arguments))) == 2
        err = capfd.readouterr().err
        assert err.startswith("rggan: ")
        assert err.count("\n") == 1
        return err

    return run


@pytest.fixture
def run_of(tmp_path):
    """Makes a run folder that was given a number (a distance by its earlier name)."""

    def make(name, seed, value, rule="none", metric="fid", snapshot="best", options=None, **where):
        run = tmp_path / name
        run.mkdir(exist_ok=True)
        config = TrainConfig(seed=seed, rule=rule, **(options or {}))
        (run / "config.json").write_text(json.dumps(config.to_json()))
        (run / "stats.jsonl").touch()
        row = {
            "subject": name,
            "snapshot": snapshot,
            metric: {"value": value, "provenance": {**WHERE, "metric": metric, **where}},
        }
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        return str(run)

    return make
