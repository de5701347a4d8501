"""A file is there whole, as it was, or not at all."""

import errno
import os

import pytest

from rggan.files import write_whole


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
        part = tmp_path / ".a.bin.part"
        seen.append((path.read_bytes(), part.read_bytes() if part.exists() else None))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_whole(path, b"new")
    assert seen == [(b"old", b"new"), (b"new", None)]


def test_what_a_kill_left_is_written_over(tmp_path):
    (tmp_path / ".a.bin.part").write_bytes(b"a longer half-written file")
    write_whole(tmp_path / "a.bin", b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.bin": b"new"}


def test_the_folders_that_cannot_be_flushed_do_not_matter(tmp_path, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(errno.EACCES, "a folder cannot be opened here")

    monkeypatch.setattr(os, "open", refuse)
    write_whole(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_missing_folder_is_the_callers_to_tell(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "a.bin", b"new")
