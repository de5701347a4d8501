"""Whole or not at all; the last two kept; a damaged one is passed over aloud."""

import pytest
import torch

from rggan.training.checkpoint import checkpoints, load_newest, save_checkpoint


def test_the_last_two_are_kept_and_the_newest_is_loaded(tmp_path):
    for kimg in (0.5, 2.0, 10.0, 100.0):
        save_checkpoint(tmp_path / "c", kimg, {"kimg": kimg, "x": torch.full((3,), kimg)})
    assert [path.name for path in checkpoints(tmp_path / "c")] == ["state-000010.000.pt", "state-000100.000.pt"]
    said = []
    state = load_newest(tmp_path / "c", said.append)
    assert state["kimg"] == 100.0
    assert state["x"].tolist() == [100.0] * 3
    assert said == []


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "foreign"])
def test_damaged_newest_is_named_and_the_one_before_is_used(tmp_path, damage):
    save_checkpoint(tmp_path, 1.0, {"kimg": 1.0, "x": torch.zeros(1000)})
    newest = save_checkpoint(tmp_path, 2.0, {"kimg": 2.0, "x": torch.zeros(1000)})
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    changed = {"truncated": content[:500], "empty": b"", "flipped": bytes(content), "foreign": b"hello" * 300}[damage]
    newest.write_bytes(changed)
    said = []
    assert load_newest(tmp_path, said.append)["kimg"] == 1.0
    assert len(said) == 1
    assert newest.name in said[0]
    assert "damaged" in said[0]


def test_no_checkpoint_at_all(tmp_path):
    assert load_newest(tmp_path, print) is None


def test_nothing_is_unpickled(tmp_path):
    """A pickle that would run code is refused, not run."""

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"kimg": Evil()}, tmp_path / "state-000001.000.pt")
    said = []
    assert load_newest(tmp_path, said.append) is None
    assert said
    assert not (tmp_path / "ran").exists()
