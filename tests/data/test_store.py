"""Large sets are memory-mapped from a cache: the same pixels, found by content, whole or not there."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rggan import UserError, memory, ranks
from rggan.data import Batches, load_images
from rggan.data import images as images_module
from rggan.data.batches import placed
from rggan.data.store import cache_folder


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(30):
        pixels = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return folder


def mapped(folder, **options):
    return load_images(folder, 16, memory_share=1e-12, **options)


def cached(folder):
    return sorted(path.name for path in (folder.parent / "cache").iterdir() if path.suffix == ".u8")


def test_mapped_images_are_those_in_memory(pictures):
    (pictures / "07.png").write_bytes(b"damaged")
    ours, theirs = mapped(pictures, skip_bad=True), load_images(pictures, 16, skip_bad=True)
    assert (ours.mapped, theirs.mapped) == (True, False)
    assert torch.equal(ours.images, theirs.images)
    assert (ours.names, ours.hashes, ours.skipped, ours.key) == (theirs.names, theirs.hashes, ("07.png",), theirs.key)
    part, again = ours.take(np.array([3, 1, 28])), theirs.take(np.array([3, 1, 28]))
    assert torch.equal(torch.cat(list(part.parts(2))), again.images)
    batches = [Batches(data, batch=8, seed=1, mirror=True).next()[0] for data in (ours, theirs)]
    assert torch.equal(*batches)
    assert batches[0].stride() == batches[1].stride()
    assert next(part.parts(3)).is_contiguous()


def test_grey_sets_are_grey_when_mapped(pictures):
    for path in pictures.iterdir():
        Image.open(path).convert("L").save(path)
    assert torch.equal(mapped(pictures).images, load_images(pictures, 16).images)
    assert mapped(pictures).shape == (1, 16, 16)


def test_second_load_decodes_nothing(pictures, monkeypatch):
    first = mapped(pictures).images.clone()
    monkeypatch.setattr(images_module, "pixels_from", lambda *given: pytest.fail("decoded again"))
    assert torch.equal(mapped(pictures).images, first)


def test_other_content_order_and_size_are_other_files(pictures):
    keys = {mapped(pictures).key, mapped(pictures, resize="stretch").key, mapped(pictures, max_images=20).key}
    keys.add(mapped(pictures, channels="rgba").key)
    os.rename(pictures / "00.png", pictures / "x.png")
    keys.add(mapped(pictures).key)
    Image.new("RGB", (24, 20), "red").save(pictures / "x.png")
    keys.add(mapped(pictures).key)
    assert len(keys) == len(cached(pictures)) == 6


def test_cut_cache_is_made_again(pictures):
    expected = mapped(pictures).images.clone()
    (path,) = (pictures.parent / "cache").glob("*.u8")
    path.write_bytes(path.read_bytes()[:-1])
    assert torch.equal(mapped(pictures).images, expected)
    next((pictures.parent / "cache").glob("*.json")).write_text("{")
    assert torch.equal(mapped(pictures).images, expected)


def test_nothing_half_written_stays_when_the_disk_is_full(pictures, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device; name another folder .* RGGAN_CACHE"):
        mapped(pictures)
    assert not [p.name for p in (pictures.parent / "cache").iterdir() if p.suffix in (".part", ".u8", ".json")]


def test_two_that_want_the_same_cache_make_it_once(pictures, monkeypatch):
    decoded = []
    original = images_module.pixels_from
    monkeypatch.setattr(images_module, "pixels_from", lambda *given: decoded.append(1) or original(*given))
    sets = []
    threads = [threading.Thread(target=lambda: sets.append(mapped(pictures))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decoded) == 30
    assert torch.equal(sets[0].images, sets[2].images)


def test_data_folder_is_left_as_it_was(pictures):
    before = {path.name: path.stat().st_mtime_ns for path in pictures.iterdir()}
    mapped(pictures)
    assert before == {path.name: path.stat().st_mtime_ns for path in pictures.iterdir()}


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.delenv("RGGAN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/rggan")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "rggan"
    assert 1 << 27 < memory.total() < 1 << 50


def test_pictures_that_change_between_the_two_readings_are_not_cached(pictures, monkeypatch):
    original = images_module.in_cache

    def changed(*arguments):
        Image.new("RGB", (24, 20), "red").save(pictures / "05.png")
        return original(*arguments)

    monkeypatch.setattr(images_module, "in_cache", changed)
    with pytest.raises(UserError, match="changed while they were read"):
        mapped(pictures)
    assert cached(pictures) == []


def test_ranks_on_a_machine_share_what_the_first_decodes(pictures, monkeypatch):
    alone = load_images(pictures, 16)
    monkeypatch.setattr(images_module, "SHARED_FROM", 0)
    assert load_images(pictures, 16).mapped is False  # nobody to share with
    monkeypatch.setattr(ranks, "world", ranks.World(0, 2, 0, 2))
    first = load_images(pictures, 16)
    monkeypatch.setattr(images_module, "pixels_from", lambda *given: pytest.fail("decoded again"))
    monkeypatch.setattr(ranks, "world", ranks.World(1, 2, 1, 2))
    second = load_images(pictures, 16)
    assert first.mapped
    assert second.mapped
    assert torch.equal(first.images, alone.images)
    assert torch.equal(second.images, alone.images)
    assert second.identity == alone.identity


def test_ranks_without_room_for_a_cache_have_their_own_pixels(pictures, monkeypatch):
    monkeypatch.setattr(images_module, "SHARED_FROM", 0)
    monkeypatch.setattr(ranks, "world", ranks.World(0, 2, 0, 2))
    alone = load_images(pictures, 16)
    assert alone.mapped
    no_folder = pictures.parent / "file"
    no_folder.write_text("")
    monkeypatch.setenv("RGGAN_CACHE", str(no_folder))
    found = load_images(pictures, 16)
    assert not found.mapped
    assert torch.equal(found.images, alone.images)
    assert found.identity == alone.identity
    with pytest.raises(UserError, match="Cannot write to the folder"):
        mapped(pictures)  # so large that the memory does not hold it


def test_a_mapped_set_on_a_device_is_contiguous(pictures):
    part = mapped(pictures).take(np.array([3, 1, 28]))
    found = placed(part, torch.device("cpu"))
    assert found.is_contiguous()
    assert torch.equal(found, load_images(pictures, 16).images[[3, 1, 28]])
