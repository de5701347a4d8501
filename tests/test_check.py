"""`rggan check` from end to end: what it tells, the sheet, the JSON, the cleaned copy; what training would take."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image

from rggan import TrainConfig
from rggan.cli.check import CheckConfig, asked_for, next_command
from rggan.cli.main import main
from rggan.data import load_images
from rggan.data.picture import MAX_PIXELS
from rggan.training.estimate import estimate, peak_memory
from rggan.training.trainer import Training


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """A dry run measures what a step takes; here it is one."""
    monkeypatch.setattr("rggan.cli.train.MEASURED", 0.0)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    random = np.random.default_rng(0)
    for index in range(12):
        (folder / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((40, 32), Image.Resampling.BICUBIC).save(folder / "ab"[index % 2] / f"{index:02d}.png")
    (folder / "a" / "copy.png").write_bytes((folder / "a" / "00.png").read_bytes())
    (folder / "b" / "broken.png").write_bytes(b"broken")
    return folder


def check(*arguments):
    return main(["check", *map(str, arguments)])


@pytest.mark.slow
def test_everything_is_told_and_nothing_in_the_data_changes(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in pictures.rglob("*")}
    assert check(pictures, "--device", "cpu") == 0
    out = capsys.readouterr().out
    for part in ("14 pictures", "1: b/broken.png (no picture, by its content)", "a/00.png = a/copy.png", "40x32"):
        assert part in out
    chosen = TrainConfig.of("auto", data=str(pictures), device="cpu", skip_bad=True)
    assert f"{chosen.network} at 32x32 RGB, width {chosen.width_g}: " in out
    assert f" for {chosen.kimg:g} kimg, besides evaluations: " in out
    assert f"what `rggan train {pictures} --device cpu` takes:" in out
    assert out.splitlines()[-1] == f"next       rggan train {pictures} --device cpu --skip-bad"
    assert Image.open("contact-sheet.png").size[0] > 500
    assert before == {path: path.stat().st_mtime_ns for path in pictures.rglob("*")}


@pytest.mark.slow
def test_json_is_the_same_for_programs(pictures, tmp_path, capsys):
    assert check(pictures, "--json", "--sheet", tmp_path / "s.png", "--fix", tmp_path / "clean", "--device", "cpu") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["health"]["count"] == 14
    assert told["health"]["unreadable"] == [["b/broken.png", "no picture, by its content"]]
    assert told["training"]["size"] == [32, 32]
    assert told["training"]["kimg"] == 400
    assert told["next"] == f"rggan train {tmp_path / 'clean'} --device cpu"
    assert told["training"]["sec_per_kimg"] > 0
    assert told["copy"]["written"] == 12
    assert told["sheet"] == str(tmp_path / "s.png")


def test_copy_trains_where_the_original_is_refused(pictures, tmp_path):
    where = ["--sheet", tmp_path / "s.png", "--no-measure"]
    assert main(["train", "--data", str(pictures), "-n"]) == 2
    assert check(pictures, *where, "--fix", tmp_path / "clean") == 0
    assert main(["train", "--data", str(tmp_path / "clean"), "-n"]) == 0
    assert len(load_images(tmp_path / "clean", 32)) == 12
    assert check(pictures, *where, "--fix", tmp_path / "clean") == 2  # never over what is there
    assert check(pictures, *where, "--fix", pictures / "clean") == 2  # nor into the data themselves
    assert not (pictures / "clean").exists()


def test_the_command_to_run_has_what_was_given_and_is_one_that_runs(tmp_path, capsys):
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(np.full((80, 60 + 30 * i, 3), 40 * i, np.uint8)).save(folder / f"{i}.png")
    given = ["--resolution", "32x48", "--channels", "rgb", "--pattern", "*.png", "--device", "cpu"]
    assert check(folder, *given, "--sheet", tmp_path / "s.png", "--no-measure") == 0
    told = capsys.readouterr().out.splitlines()[-1]
    words = shlex.split(told.removeprefix("next       "))
    assert words == ["rggan", "train", str(folder), *given]
    assert main([*words[1:], "-n"]) == 0


def test_the_command_for_the_copy_has_nothing_about_the_files_it_was_made_of(tmp_path, capsys):
    folder, copy = tmp_path / "pictures", tmp_path / "copy"
    folder.mkdir()
    for i in range(3):
        Image.effect_noise((60, 50), 20 + 30 * i).save(folder / f"{i}.webp")
    given = ["--pattern", "*.webp", "--white-level", "4095", "--max-pixels", "5000", "--resolution", "32"]
    assert check(folder, *given, "--fix", copy, "--sheet", tmp_path / "s.png", "--no-measure") == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("next       "))
    assert words == ["rggan", "train", str(copy), "--resolution", "32"]
    large = CheckConfig(str(folder), max_pixels=2 * MAX_PIXELS, fix=copy)  # JPEGs are copied as they are
    assert next_command(large, None, asked_for(large)) == f"rggan train {copy} --max-pixels {2 * MAX_PIXELS}"
    assert main([*words[1:], "--device", "cpu", "-n"]) == 0


def test_pictures_of_many_shapes_are_not_said_to_be_like_others(tmp_path, capsys):
    for i in range(5):
        Image.fromarray(np.full((40, 40 + 20 * i, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    assert check(tmp_path, "--sheet", tmp_path.parent / "s.png", "--no-measure") == 0
    told = capsys.readouterr().out
    assert "of many shapes" in told
    assert "odd shape" not in told
    assert "1 of 5 about" in told


def test_bad_input_is_one_sentence(tmp_path, capsys):
    assert check(tmp_path / "nowhere") == 2
    assert check("digits", "--resolution", "100x150", "--sheet", tmp_path / "s.png") == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_any_readable_picture_is_still_described(tmp_path, capsys):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(b"x")
    assert check(tmp_path / "set", "--sheet", tmp_path / "s.png") == 0
    assert "1: a.png" in capsys.readouterr().out


def test_estimate_counts_the_networks_that_would_be_trained():
    config = TrainConfig(width_g=8, width_d=16, batch=8, score_samples=2, device="cpu", kimg=10)
    data = load_images("digits", 16, max_images=20)
    taken = estimate(config, data, images=10**9, seconds=0.05)
    training = Training(config, data, data)
    assert taken.parameters_g == sum(p.numel() for p in training.gan.g.parameters())
    assert taken.parameters_d == sum(p.numel() for p in training.gan.d.parameters())
    assert taken.hours == pytest.approx(taken.sec_per_kimg * 10 / 3600)
    assert taken.memory_mb > 256 * 10**9 / 1e6  # all pictures, not only the sample
    assert taken.memory_mb - 256 * 10**9 / 1e6 == pytest.approx(peak_memory() / 1e6, rel=0.2)


def test_sheet_that_cannot_be_written_or_lies_in_the_data_is_refused(pictures, tmp_path, capsys):
    (tmp_path / "s.png").mkdir()
    assert check(pictures, "--sheet", tmp_path / "s.png", "--no-measure") == 2
    assert check(pictures, "--sheet", pictures / "s.png", "--no-measure") == 2
    error = capsys.readouterr().err
    assert "Cannot write" in error
    assert "lies inside the data" in error
    assert not (pictures / "s.png").exists()
