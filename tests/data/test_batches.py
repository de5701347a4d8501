"""Every image once an epoch, resumable, in range."""

import dataclasses

import pytest
import torch

from rggan.data import Batches, load_images
from rggan.data.pictures import to_uint8


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


def test_what_is_read_ahead_comes_in_the_same_order_and_goes_on():
    data = digits(50)
    on_disk = dataclasses.replace(data, mapped=True)
    here, ahead = (Batches(each, batch=15, seed=1, mirror=True) for each in (data, on_disk))
    assert (here.reader is None, ahead.reader is None) == (True, False)
    for _ in range(7):
        assert torch.equal(here.next()[0], ahead.next()[0])
    state = ahead.state_dict()
    assert torch.equal(state["queue"], here.state_dict()["queue"])
    assert torch.equal(state["random"], here.state_dict()["random"])
    other = Batches(on_disk, batch=15, seed=9, mirror=True)
    other.next()
    other.load_state_dict(state)
    for _ in range(5):
        assert torch.equal(other.next()[0], here.next()[0])
    for each in (here, other):
        each.reseed(3)
    assert torch.equal(other.next()[0], here.next()[0])


class Gone:
    """A disk that was taken away."""

    def __len__(self):
        return 50

    def at(self, index):
        raise OSError(5, "Input/output error")


def test_what_cannot_be_read_ahead_is_told_of():
    data = dataclasses.replace(digits(50), mapped=True)
    batches = Batches(data, batch=15)
    batches.draw()
    batches.ahead.result()
    batches.data = Gone()
    batches.draw()  # was read before
    expected = batches.state_dict()
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            batches.draw()
    assert torch.equal(batches.state_dict()["queue"], expected["queue"])
    batches.data = data
    batches.draw()
    assert torch.equal(batches.index, expected["queue"][:15])
