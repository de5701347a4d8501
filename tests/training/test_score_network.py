"""`score`: which network selects the best snapshot, and what a run keeps of that."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from rggan import TrainConfig, pretrained, train
from rggan.auto import IMAGENET_FROM, score_network
from rggan.data import load_images
from rggan.errors import UserError
from rggan.metrics.imagenet import imagenet_network
from rggan.pretrained import LITE0
from rggan.run.folder import Run
from rggan.training.asked import asked
from rggan.training.trainer import Training

TINY = {"width_g": 2, "width_d": 2, "z_dim": 2, "batch": 4, "score_samples": 8, "max_images": 9, "kimg": 0.004}
TINY |= {"device": "cpu", "precision": "fp32", "data": "digits", "resolution": 64}
AUTO = TINY | {"score": "auto"}


@pytest.fixture
def remove_extra(monkeypatch: pytest.MonkeyPatch):
    def remove() -> None:
        found = pretrained.importlib.util.find_spec
        monkeypatch.setattr(
            pretrained.importlib.util, "find_spec", lambda name: None if name == LITE0.package else found(name)
        )
        imagenet_network.cache_clear()

    yield remove
    imagenet_network.cache_clear()


def test_auto_goes_by_the_size_of_the_pictures(remove_extra) -> None:
    assert [score_network("sngan", side)[0] for side in (16, IMAGENET_FROM - 1)] == ["steering", "steering"]
    assert [score_network("fastgan", side)[0] for side in (IMAGENET_FROM, 256)] == ["imagenet", "imagenet"]
    remove_extra()
    name, why = score_network("fastgan", 256)
    assert name == "steering"
    assert 'pip install "rggan[pretrained]"' in why


def test_a_relative_of_what_the_discriminator_looks_through_does_not_steer() -> None:
    name, why = score_network("projected", 128)
    assert name == "steering"
    assert "relative" in why


@pytest.mark.parametrize(("resolution", "score"), [(16, "steering"), (64, "imagenet")])
def test_what_auto_took_is_settled_and_said_before_the_run(resolution: int, score: str) -> None:
    config, why = asked(AUTO | {"resolution": resolution, "network": "sngan"})
    assert config.score == json.loads(json.dumps(config.to_json()))["score"] == score
    assert why[-1].startswith(f"score      {score}: ")
    assert asked(TINY | {"network": "sngan"})[0].score == "steering"


@pytest.mark.slow
def test_a_run_keeps_what_auto_took_and_says_what_is_missing_where_it_goes_on(tmp_path: Path, remove_extra) -> None:
    config = TrainConfig(**AUTO, outdir=tmp_path)
    run = train(config, Console(quiet=True))
    assert (Run(run).options() or {})["score"] == "imagenet"
    trained = json.loads((run / "best" / "config.json").read_text())["trained"]
    assert trained["score_provenance"]["extractor"] == "imagenet"
    assert "distance by imagenet" in (run / "log.txt").read_text()
    assert train(config, Console(quiet=True)) == run  # the same command finds it
    longer, _ = asked({"resume": run, "score": "auto", "kimg": 0.02})
    assert longer.score == "imagenet"
    remove_extra()
    before = (run / "stats.jsonl").read_text()
    with pytest.raises(UserError, match=r'pip install "rggan\[pretrained\]"'):
        train(longer, Console(quiet=True))
    assert (run / "stats.jsonl").read_text() == before
    with pytest.raises(UserError, match=r'pip install "rggan\[pretrained\]"'):
        train(TrainConfig(**TINY, score="imagenet", outdir=tmp_path / "other"), Console(quiet=True))
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("score", "told"), [("steering", None), ("imagenet", "lite1")])
def test_a_score_by_a_relative_of_what_the_discriminator_looked_through_compares_with_no_other(
    score: str, told: str | None
) -> None:
    data = load_images("digits", 64, max_images=9)
    options = {name: value for name, value in TINY.items() if name not in ("data", "max_images")}
    config = TrainConfig.of("projected", **{**options, "score": score})
    assert Training(config, data, data).evaluator.provenance.get("looked_through") == told
