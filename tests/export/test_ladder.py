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
SMALL = {"width_g": 8, "width_d": 4, "z_dim": 8, "batch": 8, "score_samples": 8, "max_images": 40, "device": "cpu"}


def test_targets_that_are_none_are_refused(tmp_path: Path) -> None:
    for targets, said in (((), "fall"), ((0.5, 0.75), "0.5, 0.75"), ((1.0, 0.5), "below 1"), ((0.5, 0.5), "0.5, 0.5")):
        with pytest.raises(UserError, match=said):
            climb(tmp_path, tmp_path / "out", targets, 1.0, SILENT)
    with pytest.raises(UserError, match="`recover` must be above 0, not 0"):
        climb(tmp_path, tmp_path / "out", (0.5,), 0.0, SILENT)
    with pytest.raises(UserError, match="is no run"):
        climb(tmp_path, tmp_path / "out", (0.5,), 1.0, SILENT)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_recovery_too_short_for_a_row_to_leave_is_told(tmp_path: Path) -> None:
    run = rggan.train("digits", SILENT, outdir=tmp_path / "runs", kimg=0.08, rule="none", precision="fp32", **SMALL)
    with pytest.raises(UserError, match=r"There is no rung: no row left on the way to 0\.5"):
        climb(run, tmp_path / "ladder", (0.5,), 0.08, SILENT)
    assert not (tmp_path / "ladder" / "0.5").exists()


@pytest.mark.slow
def test_from_run_to_picture(tmp_path: Path) -> None:
    run = rggan.train("digits", SILENT, outdir=tmp_path / "runs", kimg=0.08, rule="none", precision="fp32", **SMALL)
    config = LadderConfig(run, tmp_path / "ladder", (0.5, 0.3), recover=0.64, samples=20, replicates=2)
    ladder(config, SILENT)
    told = json.loads((tmp_path / "ladder" / "ladder.json").read_text())
    assert [one["target"] for one in told] == [1.0, 0.5, 0.3]
    sizes = [one["parameters"] for one in told]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    pruned, recovered = (sorted((tmp_path / "ladder" / "runs").glob(f"0*{rule}")) for rule in ("threshold", "none"))
    begun = [(Run(one).checked_config().init, Run(one).checked_config().init_d) for one in pruned]
    assert begun == [(run, None), (recovered[0], None)]  # each from the one above it
    begun = [(Run(one).checked_config().init, Run(one).checked_config().init_d) for one in recovered]
    assert begun == [
        (tmp_path / "ladder" / "runs" / f"start-{target}", one) for target, one in zip((0.5, 0.3), pruned, strict=True)
    ]
    assert [Run(place).rows()[-1]["density_d"] for place in pruned] == [1.0, 1.0]
    shares = [Run(place).rows()[-1]["density_g"] for place in pruned]  # of the one above
    assert all(0.3 < share < 0.85 for share in shares)
    for one, place, target in zip(told[1:], recovered, (0.5, 0.3), strict=True):
        assert one["parameters"] / sizes[0] == pytest.approx(target, abs=0.12)
        shrunk = Generator.from_pretrained(tmp_path / "ladder" / one["folder"])
        whole = Generator.from_pretrained(Run(place).last)
        apart = shrunk.images(range(8)).int() - whole.images(range(8)).int()
        assert apart.abs().max() == 0
        assert one["parameters"] == sum(weight.numel() for weight in shrunk.network.parameters())
        assert len(one["kid"]["interval"]) == 2
    assert (tmp_path / "ladder" / "ladder.png").read_bytes().startswith(b"\x89PNG")
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "ladder" / "runs").glob("0*/last/*.safetensors")}
    ladder(config, SILENT)  # what is finished is not done again
    assert trained == {path: path.stat().st_mtime_ns for path in trained}
    assert torch.isfinite(torch.tensor([one["kid"]["value"] for one in told])).all()
