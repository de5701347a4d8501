"""Whole or not at all; the last few kept; a damaged one is passed over aloud; newer refused, older migrated."""

import io
import json
import os
import pickle
import zipfile

import pytest
import torch

from rggan import UserError
from rggan.pruning.overfitting import Overfitting
from rggan.training import checkpoint
from rggan.training.checkpoint import checkpoints, load, readable, save_checkpoint


def newest(folder, say=print):
    return next(readable(folder, say), None)


def names(folder):
    return [path.name.rsplit("-", 1)[0] for path in checkpoints(folder)]


def test_the_last_two_are_kept_and_the_newest_is_loaded(tmp_path):
    for kimg in (0.5, 2.0, 10.0, 100.0):
        save_checkpoint(tmp_path / "c", kimg, {"kimg": kimg, "x": torch.full((3,), kimg)})
    assert names(tmp_path / "c") == ["state-000010.000", "state-000100.000"]
    said = []
    state = newest(tmp_path / "c", said.append)
    assert state["kimg"] == 100.0
    assert state["x"].tolist() == [100.0] * 3
    assert said == []


def test_as_many_are_kept_as_asked(tmp_path):
    for kimg in range(6):
        save_checkpoint(tmp_path, kimg, {"kimg": kimg}, keep=4)
    assert [state["kimg"] for state in readable(tmp_path, print)] == [5, 4, 3, 2]
    save_checkpoint(tmp_path, 6, {"kimg": 6}, keep=1)
    assert names(tmp_path) == ["state-000006.000"]


def test_the_newest_is_the_newest_by_number(tmp_path):
    """As text a state of a million kimg lies before one of less."""
    for kimg in (999_999.5, 999_999.9995, 1_000_000.0, 1_000_000.001, 10_000_000.0):
        path = save_checkpoint(tmp_path, kimg, {"kimg": kimg})
        assert checkpoints(tmp_path)[-1] == path
        assert newest(tmp_path)["kimg"] == kimg
    assert names(tmp_path) == ["state-1000000.001", "state-10000000.000"]


def test_going_back_drops_what_lay_ahead(tmp_path):
    """After a return to kimg 2 another course leads to 3: the old 3 must not be taken for the newest."""
    for kimg in (2, 3, 4):
        save_checkpoint(tmp_path, kimg, {"kimg": kimg, "course": "old"}, keep=5)
    save_checkpoint(tmp_path, 3, {"kimg": 3, "course": "new"}, keep=5)
    assert [(s["kimg"], s["course"]) for s in readable(tmp_path, print)] == [(3, "new"), (2, "old")]


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "foreign"])
@pytest.mark.parametrize("hashed", [True, False])
def test_damaged_newest_is_named_and_the_one_before_is_used(tmp_path, damage, hashed):
    save_checkpoint(tmp_path, 1.0, {"kimg": 1.0, "x": torch.zeros(1000)})
    path = save_checkpoint(tmp_path, 2.0, {"kimg": 2.0, "x": torch.zeros(1000)})
    if not hashed:  # as format 1 named them
        path = path.rename(tmp_path / "state-000002.000.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    changed = {"truncated": content[:500], "empty": b"", "flipped": bytes(content), "foreign": b"hello" * 300}[damage]
    path.write_bytes(changed)
    said = []
    assert newest(tmp_path, said.append)["kimg"] == 1.0
    assert len(said) == 1
    assert path.name in said[0]
    assert "damaged" in said[0]


def test_every_flipped_bit_is_noticed(tmp_path):
    """Also those that no checksum of the zip covers, such as names and padding."""
    path = save_checkpoint(tmp_path, 1.0, {"x": torch.zeros(4)})
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        assert newest(tmp_path, lambda line: None) is None, place
    path.write_bytes(content)
    assert newest(tmp_path) is not None


def test_no_checkpoint_at_all(tmp_path):
    assert newest(tmp_path) is None


def test_nothing_is_unpickled(tmp_path):
    """A pickle that would run code is refused, not run."""

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"kimg": Evil()}, tmp_path / "state-000001.000.pt")
    (tmp_path / "state-000002.000.pt").write_bytes(pickle.dumps(Evil()))
    said = []
    assert newest(tmp_path, said.append) is None
    assert len(said) == 2
    assert "it holds more than numbers" in said[1]  # and not torch's advice to load it all the same
    assert not (tmp_path / "ran").exists()


def test_what_would_unpack_to_more_than_it_holds_is_not_loaded(tmp_path, monkeypatch):
    plain = io.BytesIO()
    torch.save({"x": torch.zeros(1 << 20)}, plain)
    path = tmp_path / "state-000001.000.pt"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in source.infolist():
            bomb.writestr(entry.filename, source.read(entry))
    assert path.stat().st_size < 50_000
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("loaded"))
    said = []
    assert newest(tmp_path, said.append) is None
    assert "more than it holds" in said[0]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_somebody_elses_is_not_written_over(tmp_path, kind):
    """Where a state is written before it gets its name."""
    (tmp_path / "theirs").write_bytes(b"theirs")
    place = tmp_path / ".state.rggan.part"
    {"link": lambda: place.symlink_to("theirs"), "pipe": lambda: os.mkfifo(place), "folder": place.mkdir}[kind]()
    before = os.lstat(place)
    with pytest.raises(FileExistsError):
        save_checkpoint(tmp_path, 2.0, {"kimg": 2.0})
    assert (os.lstat(place).st_ino, (tmp_path / "theirs").read_bytes()) == (before.st_ino, b"theirs")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_leaves_what_was_there_and_no_part(tmp_path, monkeypatch, call):
    first = save_checkpoint(tmp_path, 1.0, {"kimg": 1.0})

    def fails(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, 2.0, {"kimg": 2.0})
    assert list(tmp_path.iterdir()) == [first]


def test_newer_formats_are_refused_by_name_and_not_passed_over(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1.0, {"kimg": 1.0})
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    path = save_checkpoint(tmp_path, 2.0, {"kimg": 2.0})
    monkeypatch.undo()
    with pytest.raises(UserError, match=f"{path.name} was written by a newer rggan .format 99.: upgrade"):
        newest(tmp_path)


def test_format_1_migrates(tmp_path):
    rows = [{"tick": 0, "kimg": 1.0, "score": 0.5, "sec_per_kimg": 3.2}]
    torch.save({"rows": rows, "images": [60, 1, 16, 16, 12345]}, tmp_path / "state-000001.000.pt")
    state = newest(tmp_path)
    assert state["format"] == checkpoint.FORMAT
    assert state["rollbacks"] == 0
    assert state["rows"] == [{"tick": 0, "kimg": 1.0, "score": 0.5, "diversity": 1.0}]
    assert load(tmp_path / "state-000001.000.pt")["rows"] == rows


def test_before_format_6_there_was_one_schedule_whose_sums_counted_no_images(tmp_path):
    """D's outputs on 8 training images, their signs, on 2 held-out images, on 8 generated ones."""
    schedule = {"decisions": 3, "flips": 1, "phase": "dense", "overfitting": 0.4}
    sums = [[4.0, 8.0], [2.0, 8.0], [-1.0, 2.0], [-4.0, 8.0]]
    for number, saved in enumerate(({**schedule, "sums": sums}, {**schedule, "sums": None}, None)):
        folder = tmp_path / str(number)
        folder.mkdir()
        torch.save({"format": 5, "training": {"schedule": saved, "images": 8}}, folder / "state-000000001.000.pt")
        found = newest(folder)["training"]
        assert "schedule" not in found
        if saved is None:
            assert found["schedules"] == []
            continue
        (one,) = found["schedules"]
        assert one["phase"] == "dense"
        if saved["sums"] is None:
            assert one["sums"] is None
            continue
        taken = Overfitting.sums_from(one["sums"])
        assert Overfitting.told(taken, "r_t") == (0.25, 8)
        assert Overfitting.told(taken, "r_v")[0] == (0.5 + 0.5) / (0.5 + 0.5)


def test_the_lines_of_a_long_run_of_large_networks_are_read(tmp_path):
    """As many numbers as StyleGAN2 of 64 pixels tells of its layers, ten thousand times."""
    row = {"tick": 0, "kimg": 1.0, "layers": {f"layer{i}": [0.1 * i, i] for i in range(120)}}
    path = save_checkpoint(tmp_path, 1.0, {"rows": json.dumps([row] * 10_000)})
    assert json.loads(load(path)["rows"]) == [row] * 10_000
