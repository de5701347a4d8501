"""Every image once an epoch, resumable, in range."""

import numpy as np
import torch

from rggan.data import Batches, load_images
from rggan.data.pictures import grid, save_picture, to_pil, to_uint8


def digits(count):
    return load_images("digits", 16, max_images=count)


def test_epochs_hold_every_image_once_and_follow_without_a_seam():
    batches = Batches(digits(50), batch=15, seed=1)
    stream = torch.cat([batches.indices() for _ in range(10)])
    for epoch in stream.split(50):
        assert sorted(epoch.tolist()) == list(range(50))
    assert stream[:50].tolist() != stream[50:100].tolist()


def test_fewer_images_than_a_batch_are_drawn_with_replacement():
    batches = Batches(digits(10), batch=64)
    x, _ = batches.next()
    assert x.shape[0] == 64
    assert set(torch.cat([batches.indices() for _ in range(5)]).tolist()) == set(range(10))


def test_images_come_with_their_labels_in_minus_one_to_one():
    data = digits(40)
    batches = Batches(data, batch=40, seed=2)
    x, labels = batches.next()
    again = Batches(data, batch=40, seed=2).indices()
    assert torch.equal(to_uint8(x), data.images[again])
    assert torch.equal(labels, data.labels[again])
    assert x.min() >= -1
    assert x.max() <= 1


def test_mirror_flips_about_half():
    data = digits(100)
    batches = Batches(data, batch=100, seed=0, mirror=True)
    index = Batches(data, batch=100, seed=0).indices()
    x = to_uint8(batches.next()[0])
    original = data.images[index]
    kept = (x == original).flatten(1).all(1)
    assert torch.equal(x[~kept], original[~kept].flip(3))
    assert 30 < kept.sum() < 70


def test_resumed_stream_goes_on():
    batches = Batches(digits(50), batch=15, seed=1, mirror=True)
    batches.next()
    state = batches.state_dict()
    expected = [batches.next()[0] for _ in range(5)]
    other = Batches(digits(50), batch=15, seed=9, mirror=True)
    other.load_state_dict(state)
    assert all(torch.equal(other.next()[0], x) for x in expected)


def test_uint8_survives_the_round_trip():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(values.float() / 127.5 - 1), values)


def test_grid_places_images_row_by_row_with_gaps(tmp_path):
    images = torch.stack([torch.full((3, 32, 32), 10 * i, dtype=torch.uint8) for i in range(5)])
    pixels = np.asarray(grid(images, columns=3))
    assert pixels.shape == (70, 104, 3)
    corners = [pixels[r, c, 0] for r, c in ((2, 2), (2, 36), (2, 70), (36, 2), (36, 36), (36, 70))]
    assert corners == [0, 10, 20, 30, 40, 255]
    assert pixels[:2].min() == pixels[:, 34:36].min() == pixels[-2:].min() == 255


def test_grid_enlarges_small_images(tmp_path):
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    pixels = np.asarray(grid(image))
    assert np.array_equal(pixels[2:-2:4, 2:-2:4], image[0, 0])
    assert np.array_equal(pixels[5:-2:4, 5:-2:4], image[0, 0])
    save_picture(grid(image), tmp_path / "grey.png")
    assert [path.name for path in tmp_path.iterdir()] == ["grey.png"]
    assert to_pil(image[0]).mode == "L"
