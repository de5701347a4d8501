"""The size ladder: rungs from rungs, each a generator that every command takes."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

import rggan
from rggan import Generator, UserError
from rggan.cli.ladder import LadderConfig, ladder
from rggan.export.ladder import climb
from rggan.run.folder import Run

SILENT = Console(file=io.StringIO())


def test_targets_that_are_none_are_refused(tmp_path: Path) -> None:
    for targets, said in (((), "fall"), ((0.5, 0.75), "0.5, 0.75"), ((1.0, 0.5), "below 1"), ((0.5, 0.5), "0.5, 0.5")):
        with pytest.raises(UserError, match=said):
            climb(tmp_path, tmp_path / "out", targets, 1.0, SILENT)
    with pytest.raises(UserError, match="above 0 kimg, not 0"):
        climb(tmp_path, tmp_path / "out", (0.5,), 0.0, SILENT)
    with pytest.raises(UserError, match="is no run"):
        climb(tmp_path, tmp_path / "out", (0.5,), 1.0, SILENT)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_from_run_to_picture(tmp_path: Path) -> None:
    small = {"width_g": 8, "width_d": 4, "z_dim": 8, "batch": 8, "score_samples": 8, "max_images": 40, "device": "cpu"}
    run = rggan.train("digits", SILENT, outdir=tmp_path / "runs", kimg=0.08, rule="none", precision="fp32", **small)
    config = LadderConfig(run, tmp_path / "ladder", (0.5, 0.3), recover=0.16, samples=20, replicates=2)
    ladder(config, SILENT)
    told = json.loads((tmp_path / "ladder" / "ladder.json").read_text())
    assert [one["target"] for one in told] == [1.0, 0.5, 0.3]
    sizes = [one["parameters"] for one in told]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    runs = sorted((tmp_path / "ladder" / "runs").glob("0*"))
    assert [Run(one).checked_config().init for one in runs] == [run, runs[0]]  # each from the one above it
    densities = [1.0, *(Run(place).rows()[-1]["density_g"] for place in runs)]
    assert densities == sorted(set(densities), reverse=True)
    for one, place in zip(told[1:], runs, strict=True):
        assert Run(place).rows()[-1]["density_d"] == 1
        shrunk = Generator.from_pretrained(one["folder"])
        whole = Generator.from_pretrained(Run(place).last)
        apart = shrunk.images(range(8)).int() - whole.images(range(8)).int()
        assert apart.abs().max() <= 1
        assert one["parameters"] == sum(weight.numel() for weight in shrunk.network.parameters())
        assert len(one["kid"]["interval"]) == 2
    assert (tmp_path / "ladder" / "ladder.png").read_bytes().startswith(b"\x89PNG")
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "ladder" / "runs").glob("0*/last/*.safetensors")}
    ladder(config, SILENT)  # what is finished is not done again
    assert trained == {path: path.stat().st_mtime_ns for path in trained}
    assert torch.isfinite(torch.tensor([one["kid"]["value"] for one in told])).all()
