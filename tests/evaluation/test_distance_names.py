"""A Fréchet distance is called by its extractor; `fid` is kept for the published Inception network."""

import json

import numpy as np
import pytest
import torch

from rggan.cli.main import main
from rggan.config import TrainConfig
from rggan.metrics.extractors import EXTRACTORS
from rggan.metrics.features import WEIGHTS
from rggan.run import naming
from rggan.run.folder import Run
from rggan.run.naming import distance_name
from tests.evaluation.conftest import WHERE

pytestmark = pytest.mark.slow  # all together they take seconds


class Inception(torch.nn.Module):
    """Stands for the published program: features only when asked for."""

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return x.float().mean(dim=(2, 3)) if return_features else x.float().flatten(1)[:, :1]


@pytest.fixture
def program(tmp_path):
    torch.jit.script(Inception()).save(tmp_path / "inception-2015-12-05.pt")
    return tmp_path / "inception-2015-12-05.pt"


@pytest.fixture
def pictures(tmp_path, digits):
    for name, part in (("real", digits.images[:300]), ("fake", digits.images[300:600])):
        np.save(tmp_path / f"{name}.npy", part.permute(0, 2, 3, 1).numpy())
    return tmp_path / "fake.npy", "--reference", tmp_path / "real.npy", "--memorisation", "off"


@pytest.mark.parametrize(("features", "name"), [("reporting", "fd-small"), ("steering", "fd-small-steering")])
def test_by_a_shipped_network_it_has_the_networks_name_however_it_is_asked_for(pictures, told, features, name):
    found = [
        told("evaluate", *pictures, "--features", features, "--metrics", asked)[0] for asked in ("fd", "fid", name)
    ]
    for each in found:
        assert each[name]["value"] == found[0][name]["value"]
        assert each[name]["provenance"]["metric"] == "fd"
        assert not {"fd", "fid"} & set(each)
    assert [bool(each["notes"]) for each in found] == [False, True, False]
    assert f"by {features} it is called {name}" in found[1]["notes"][0]


def test_the_table_has_the_name_too(pictures, capfd):
    assert main(list(map(str, ("evaluate", *pictures, "--metrics", "fid")))) == 0
    out = capfd.readouterr().out
    assert "\nfd-small " in out
    assert "\nfid " not in out


def test_fid_is_what_the_published_file_gives_and_no_other_of_its_name(pictures, program, told, monkeypatch):
    (other,) = told("evaluate", *pictures, "--features", program, "--metrics", "fid")
    assert "fd-inception-2015-12-05" in other
    assert "fid" not in other
    monkeypatch.setattr(naming, "INCEPTION", other["fd-inception-2015-12-05"]["provenance"]["extractor_hash"])
    (published,) = told("evaluate", *pictures, "--features", program.rename(program.with_name("a.pt")))
    assert published["fid"]["value"] == other["fd-inception-2015-12-05"]["value"]
    assert not published["notes"]


def test_no_program_can_take_the_name_of_a_built_in_network():
    for name in ("small.pt", "mine:small", "small", "small-steering.pt2", "imagenet.pt"):
        assert distance_name(name, "a" * 64) not in naming.BUILTIN.values()
    assert (
        {path.stem for path in WEIGHTS.glob("*.safetensors")}
        < set(naming.BUILTIN)
        == set(EXTRACTORS.builtin) - {"inception"}
    )


def test_what_earlier_versions_called_fid_is_read_under_its_name_and_compares_with_todays(tmp_path, capfd):
    """Rows as they wrote them: the key and the metric were `fid`, whatever the extractor."""
    before = {**WHERE, "metric": "fid"}
    today = {**before, "metric": "fd"}
    for name, key, where in (("a", "fid", before), ("b", "fd-small", today)):
        for seed in (0, 1):
            run = tmp_path / f"{name}{seed}"
            run.mkdir()
            (run / "config.json").write_text(json.dumps(TrainConfig(seed=seed).to_json()))
            number = {"value": 50.0 + seed + (10 if name == "b" else 0), "provenance": where}
            row = {"subject": "x", "snapshot": "best", key: number, f"patch_{key}": number}
            (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (row,) = Run(tmp_path / "a0").evaluations()
    assert set(row) == {"subject", "snapshot", "fd-small", "patch_fd-small"}
    sides = [str(tmp_path / name) for name in ("a0", "a1", "--", "b0", "b1")]
    sides[2] = "--"
    for metric, name in (("fid", "fd-small"), ("fd-small", "fd-small"), ("patch_fid", "patch_fd-small")):
        assert main(["compare", *sides, "--metric", metric]) == 0
        out = capfd.readouterr().out
        assert f"{name} (lower is better)" in out
    other = {**before, "extractor": "steering"}
    assert set(naming.of_today({"fid": {"value": 1.0, "provenance": other}})) == {"fd-small-steering"}
    mine = {"fid": {"value": 1.0, "provenance": {"metric": "speed"}}, "seed": 3}
    assert naming.of_today(mine) == mine  # nothing that an evaluation wrote
