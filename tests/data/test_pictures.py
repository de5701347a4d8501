"""Tensors become pictures with every value kept, and grids with gaps."""

import errno
import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from rggan.data.pictures import grid, save_picture, to_pil, to_uint8


def test_uint8_survives_the_round_trip():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(values.float() / 127.5 - 1), values)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_a_png_holds_what_the_tensor_held(tmp_path, channels, mode):
    image = torch.randint(0, 256, (channels, 8, 12), dtype=torch.uint8)
    save_picture(to_pil(image), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as read:
        assert (read.format, read.mode, read.size) == ("PNG", mode, (12, 8))
        pixels = np.asarray(read).reshape(8, 12, channels)
    assert np.array_equal(pixels, image.permute(1, 2, 0).numpy())


def test_a_full_disk_leaves_the_picture_that_was_there(tmp_path, monkeypatch):
    save_picture(Image.new("L", (4, 4), 7), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_picture(Image.new("L", (4, 4), 8), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_grid_places_images_row_by_row_with_gaps():
    images = torch.stack([torch.full((3, 32, 32), 10 * i, dtype=torch.uint8) for i in range(5)])
    pixels = np.asarray(grid(images, columns=3))
    assert pixels.shape == (70, 104, 3)
    corners = [pixels[r, c, 0] for r, c in ((2, 2), (2, 36), (2, 70), (36, 2), (36, 36), (36, 70))]
    assert corners == [0, 10, 20, 30, 40, 255]
    assert pixels[:2].min() == pixels[:, 34:36].min() == pixels[-2:].min() == 255


def test_grid_enlarges_small_images():
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    pixels = np.asarray(grid(image))
    assert np.array_equal(pixels[2:-2:4, 2:-2:4], image[0, 0])
    assert np.array_equal(pixels[5:-2:4, 5:-2:4], image[0, 0])


@pytest.mark.parametrize(("height", "width", "zoom"), [(16, 40, 2), (40, 16, 2), (48, 32, 1), (8, 200, 4)])
def test_grid_of_rectangles(height, width, zoom):
    """Every image is found again, whole, at its place; all the rest is white."""
    images = torch.randint(0, 255, (5, 3, height, width), dtype=torch.uint8)
    pixels = np.asarray(grid(images, columns=3)).copy()
    gap = height * zoom // 16
    for i, image in enumerate(images):
        top, left = gap + i // 3 * (height * zoom + gap), gap + i % 3 * (width * zoom + gap)
        place = (slice(top, top + height * zoom), slice(left, left + width * zoom))
        assert np.array_equal(pixels[place][::zoom, ::zoom], image.permute(1, 2, 0))
        pixels[place] = 255
    assert pixels.min() == 255


def test_grid_with_alpha_has_transparent_gaps():
    images = torch.randint(1, 255, (3, 4, 32, 48), dtype=torch.uint8)
    stream = io.BytesIO()
    grid(images, columns=2).save(stream, "png")
    pixels = np.asarray(Image.open(stream)).copy()
    assert pixels.shape == (2 * 34 + 2, 2 * 50 + 2, 4)
    for i, image in enumerate(images):
        place = (slice(2 + i // 2 * 34, 34 + i // 2 * 34), slice(2 + i % 2 * 50, 50 + i % 2 * 50))
        assert np.array_equal(pixels[place], image.permute(1, 2, 0))
        pixels[place] = [255, 255, 255, 0]
    assert (pixels == [255, 255, 255, 0]).all()  # the empty fourth place too
