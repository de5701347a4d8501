"""A run's folder appears whole, and what is somebody's in an output folder stays as it was."""

import os

import pytest

from rggan import TrainConfig, UserError
from rggan.run.folder import Run
from rggan.run.outdir import LATEST, new_run, point_to

LEFT = ".new-0123456789abcdef.rggan"  # what a killed start leaves


def listing(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start(outdir):
    return new_run(TrainConfig(outdir=outdir), (16, 16))


@pytest.mark.parametrize(
    "place",
    [
        ".new/theirs.txt",
        ".new/config.json",
        ".new-mine.rggan/config.json",
        f"{LEFT}/theirs.txt",
        f"{LEFT}/config.json/theirs.txt",
        f"{LEFT}/a/config.json",
    ],
)
def test_a_folder_that_is_not_ours_stays(tmp_path, place):
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("theirs")
    run = start(tmp_path)
    assert listing(tmp_path).keys() == {place, f"{run.name}/config.json"}
    assert (tmp_path / place).read_text() == "theirs"


@pytest.mark.parametrize("inside", [[], ["config.json"], [".config.json.rggan.part"]])
def test_what_a_killed_start_left_is_removed(tmp_path, inside):
    (tmp_path / LEFT).mkdir()
    for name in inside:
        (tmp_path / LEFT / name).write_text("{}")
    run = start(tmp_path)
    assert os.listdir(tmp_path) == [run.name]


def test_a_link_under_our_name_is_not_followed(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("theirs")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / LEFT).symlink_to(tmp_path / "theirs")
    start(tmp_path / "runs")
    assert (tmp_path / "theirs" / "config.json").read_text() == "theirs"
    assert (tmp_path / "runs" / LEFT).is_symlink()


def test_a_start_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"Cannot write to the folder .*: No space left"):
        start(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [LATEST, ".latest.rggan.part"])
@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "link", "link beside"])
def test_what_is_somebodys_under_the_name_of_the_link_stays(tmp_path, name, kind):
    place = tmp_path / "runs" / name
    theirs = tmp_path / "00000-theirs"
    theirs.mkdir()
    place.parent.mkdir()
    {
        "file": lambda: place.write_text("theirs"),
        "folder": place.mkdir,
        "pipe": lambda: os.mkfifo(place),
        "link": lambda: place.symlink_to(theirs),
        "link beside": lambda: place.symlink_to("theirs"),
    }[kind]()
    before = os.lstat(place)
    point_to(start(tmp_path / "runs"))
    now = os.lstat(place)
    assert (now.st_ino, now.st_mode, now.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)


def test_a_link_to_another_run_is_moved(tmp_path):
    runs = [start(tmp_path), new_run(TrainConfig(outdir=tmp_path, seed=1), (16, 16))]
    for run in (*runs, runs[0]):
        point_to(run)
        assert Run.at(tmp_path / LATEST) == run
    assert sorted(os.listdir(tmp_path)) == sorted([LATEST, *(run.name for run in runs)])
