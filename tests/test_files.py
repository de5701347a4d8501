"""A file is there whole, as it was, or not at all; a mistyped place has the nearest one."""

import errno
import os
from pathlib import Path

import pytest

from rggan import TrainConfig
from rggan.cli.main import main
from rggan.files import nearest_place, write_whole
from rggan.run.folder import Run


def full(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_new_and_replaced(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"one", b"", bytes(range(256)) * 1000):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, before):
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({} if before is None else {"a.bin": before})


def test_ctrl_c_leaves_nothing_half_written(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.bin", b"new")
    assert list(tmp_path.iterdir()) == []


def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Flushed whole while the name still shows the old content; then the folder."""
    path = tmp_path / "a.bin"
    write_whole(path, b"old")
    seen = []
    real = os.fsync

    def watch(descriptor):
        part = tmp_path / ".a.bin.rggan.part"
        seen.append((path.read_bytes(), part.read_bytes() if part.exists() else None))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_whole(path, b"new")
    assert seen == [(b"old", b"new"), (b"new", None)]


def test_what_a_kill_left_is_written_over(tmp_path):
    (tmp_path / ".a.bin.rggan.part").write_bytes(b"a longer half-written file")
    write_whole(tmp_path / "a.bin", b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.bin": b"new"}


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_somebody_elses_is_not_written_over(tmp_path, kind):
    """Where a file is written before it gets its name."""
    (tmp_path / "theirs").write_bytes(b"theirs")
    place = tmp_path / ".a.bin.rggan.part"
    {"link": lambda: place.symlink_to("theirs"), "pipe": lambda: os.mkfifo(place), "folder": place.mkdir}[kind]()
    before = os.lstat(place)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a.bin", b"new")
    assert (os.lstat(place).st_ino, (tmp_path / "theirs").read_bytes()) == (before.st_ino, b"theirs")
    assert not (tmp_path / "a.bin").exists()


def test_a_file_of_the_name_that_others_give_their_parts_stays(tmp_path):
    (tmp_path / ".a.bin.part").write_bytes(b"theirs")
    write_whole(tmp_path / "a.bin", b"new")
    assert (tmp_path / ".a.bin.part").read_bytes() == b"theirs"


def test_the_longest_names_can_be_written(tmp_path):
    for name in ("n" * 255, "\N{SNOWMAN}" * 85):
        write_whole(tmp_path / name, b"new")
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()


def test_the_folders_that_cannot_be_flushed_do_not_matter(tmp_path, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(errno.EACCES, "a folder cannot be opened here")

    monkeypatch.setattr(os, "open", refuse)
    write_whole(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_missing_folder_is_the_callers_to_tell(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "a.bin", b"new")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("runs/lates", "runs/latest"),
        ("runs/00001", "runs/00001-pictures-64-sngan"),
        ("run/latest", "runs/latest"),
        ("runs/latest/bset", "runs/latest/best"),
        ("runs/0002-picture-64-sngan", "runs/00001-pictures-64-sngan"),
        ("runs/another", None),
        ("runs", None),  # which is there
        ("x" * 5000, None),
        ("runs/latest/list/more", None),  # below a file
    ],
)
def test_a_mistyped_place_has_the_nearest_one(typed, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "00001-pictures-64-sngan"
    (run / "best").mkdir(parents=True)
    (run / "list").touch()
    (tmp_path / "runs" / "latest").symlink_to(run.name)
    found = nearest_place(Path(typed), lambda place: place.is_dir() and typed != str(place))
    assert found == ("" if meant is None else f"; did you mean {meant}?")


def test_commands_that_read_a_run_or_pictures_suggest_the_nearest(tmp_path, capsys):
    run = tmp_path / "runs" / "00000-digits-16-sngan-threshold"
    run.mkdir(parents=True)
    Run(run).write_options(TrainConfig())
    (run / "best").mkdir()
    (run / "best" / "generator.safetensors").touch()
    for typed, lies in ("runs/00000-digit-16", run), ("runs/0000", run), ("run/00000-digits-16-sngan-threshold", run):
        for words in (["generate", "TYPED", "--outdir", "out"], ["show", "TYPED"], ["train", "--resume", "TYPED"]):
            assert main([word.replace("TYPED", str(tmp_path / typed)) for word in words]) == 2
            assert f"{tmp_path / typed}; did you mean {lies}?\n" in capsys.readouterr().err.replace(" is no run", "")
    (tmp_path / "pictures").mkdir()
    for words in (["train"], ["check"], ["evaluate"]):
        assert main([*words, str(tmp_path / "picturs")]) == 2
        told = f"rggan: There is nothing at {tmp_path / 'picturs'}; did you mean {tmp_path / 'pictures'}?\n"
        assert capsys.readouterr().err == told
