"""The order of a stream: each image once per epoch, the same for any number of ranks, taken up anywhere."""

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from rggan import UserError, ranks
from rggan.data.streams.batches import StreamBatches, labels_of
from rggan.data.streams.order import lanes_of
from rggan.data.streams.read import load_stream
from tests.data.streams import numbers_in, write_shards

COUNTS = (7, 5, 9, 4, 6, 8, 3, 5)  # the last shard is held out
LANES = 6


@pytest.fixture
def stream(tmp_path):
    write_shards(tmp_path / "shards", COUNTS)
    return load_stream(str(tmp_path / "shards"), 1, shuffle_buffer=36)


def drawn(batches, count):
    """Returns the numbers of the next `count` batches."""
    found = []
    for _ in range(count):
        batches.draw()
        found += numbers_in(batches.pixels)
    return found


def as_rank(monkeypatch, rank, count, *arguments, **options):
    """The batches of one of several ranks."""
    with monkeypatch.context() as patch:
        patch.setattr(ranks, "world", ranks.World(rank=rank, count=count))
        return StreamBatches(*arguments, **options)


def expected(numbers, seed, lanes, size):
    """The order as the documentation tells it, of shards that hold these numbers."""

    def lane(own):
        pool_number = 0
        for epoch in itertools.count():
            shards = np.random.default_rng([seed, 0, epoch]).permutation(len(numbers))[own::lanes]
            samples = [number for shard in shards for number in numbers[shard]]
            for start in range(0, len(samples), size):
                pool = samples[start : start + size]
                order = np.random.default_rng([seed, 1, own, pool_number]).permutation(len(pool))
                yield from (pool[i] for i in order)
                pool_number += 1

    sources = [lane(own) for own in range(lanes)]
    for n in itertools.count():
        yield next(sources[n % lanes])


def test_the_order_is_that_of_lanes_and_pools(stream):
    numbers, begun = [], 0
    for count in COUNTS[:-1]:
        numbers.append(range(begun, begun + count))
        begun += count
    found = drawn(StreamBatches(stream, 12, seed=5), 20)
    assert found == list(itertools.islice(expected(numbers, 5, LANES, 36 // (2 * LANES)), 240))


@pytest.mark.parametrize(("counts", "buffer"), [([10] * 7, 5), ([10] * 7, 10_000), ([9, 9, 9, 9], 20), ([30, 4], 7)])
def test_shards_of_one_size_give_each_image_once_per_epoch(tmp_path, counts, buffer):
    """Where the lanes divide their number; the last shard is held out."""
    write_shards(tmp_path / "s", counts)
    stream = load_stream(str(tmp_path / "s"), 1, shuffle_buffer=buffer)
    whole = sum(counts[:-1])
    found = drawn(StreamBatches(stream, whole // 3), 9)
    epochs = [found[i * whole : (i + 1) * whole] for i in range(3)]
    assert all(sorted(epoch) == list(range(whole)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_shards_of_other_sizes_give_each_image_about_equally_often(stream):
    whole = sum(COUNTS[:-1])
    often = Counter(drawn(StreamBatches(replace(stream, buffer=600), 42), 50))
    assert set(often) == set(range(whole))  # none of the held-out shard
    assert max(often.values()) < 1.7 * min(often.values())


@pytest.mark.parametrize("count", [2, 3, 6])
def test_ranks_together_see_what_one_process_would(stream, monkeypatch, count):
    alone = StreamBatches(stream, 12, seed=1, mirror=True)
    parts = [as_rank(monkeypatch, rank, count, stream, 12, seed=1, mirror=True) for rank in range(count)]
    for _ in range(25):
        whole, _ = alone.next()
        shared = [part.next()[0] for part in parts]
        assert all(x.shape[0] == 12 // count for x in shared)
        for rank, x in enumerate(shared):
            assert torch.equal(x, whole[rank::count])
            assert torch.equal(parts[rank].flips, alone.flips[rank::count])


def test_four_ranks_share_four_lanes(tmp_path, monkeypatch):
    write_shards(tmp_path / "s", [5] * 6)
    stream = load_stream(str(tmp_path / "s"), 1)
    alone = drawn(StreamBatches(stream, 8), 10)
    parts = [drawn(as_rank(monkeypatch, rank, 4, stream, 8), 10) for rank in range(4)]
    assert [parts[n % 4][n // 4] for n in range(80)] == alone


def test_no_two_ranks_read_a_shard_in_one_epoch(stream, monkeypatch):
    owners = {}
    for rank in range(3):
        for number, source in as_rank(monkeypatch, rank, 3, stream, 12).sources.items():
            for epoch in range(5):
                for shard in source.lane.shards(epoch):
                    assert owners.setdefault((epoch, int(shard)), rank) == rank, number
    assert len(owners) == 5 * (len(COUNTS) - 1)


@pytest.mark.parametrize("count", [4, 5, 7, 12])
def test_numbers_of_ranks_that_cannot_share_are_refused(stream, monkeypatch, count):
    with pytest.raises(
        UserError, match=r"^\d+ ranks cannot share 7 shards, .* in 6 lanes, .*\. Possible here: 1, 2, 3, 6\.$"
    ):
        as_rank(monkeypatch, 0, count, stream, 12)


def test_it_goes_on_from_every_place(stream):
    whole = StreamBatches(stream, 4, seed=3, mirror=True)
    states, images = [], []
    for _ in range(60):
        states.append(whole.state_dict())
        images.append(whole.next()[0])
    other = StreamBatches(stream, 4, seed=9, mirror=True)
    for place in (*range(12), 30, 59):
        other.load_state_dict(other.checked(states[place]))
        assert all(torch.equal(x, other.next()[0]) for x in images[place : place + 8]), place


def test_a_state_of_two_ranks_is_one_of_three(stream, monkeypatch):
    alone = StreamBatches(stream, 6, seed=3)
    drawn(alone, 7)
    state = alone.state_dict()
    further = drawn(alone, 5)
    parts = [as_rank(monkeypatch, rank, 2, stream, 6, seed=3) for rank in range(2)]
    for part in parts:
        drawn(part, 7)
    own = [part.state_dict()["lanes"].tolist() for part in parts]
    monkeypatch.setattr(ranks, "of_all", lambda value: own)
    for part in parts:
        part.gather()
        told = part.state_dict()
        assert all(torch.equal(told[name], state[name]) for name in ("lanes", "random"))
        assert all(told[name] == state[name] for name in ("seed", "first", "size", "shards"))
    three = [as_rank(monkeypatch, rank, 3, stream, 6) for rank in range(3)]
    for part in three:
        part.load_state_dict(part.checked(told))
    found = [drawn(part, 5) for part in three]
    assert [found[n % 3][n // 3] for n in range(30)] == further


def test_what_is_read_ahead_is_still_the_next(stream, monkeypatch):
    """As on a GPU, where a batch is read ahead."""
    plain, ahead = StreamBatches(stream, 4, seed=3, mirror=True), StreamBatches(stream, 4, seed=3, mirror=True)
    ahead.reader = ThreadPoolExecutor(1)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    for _ in range(20):
        assert torch.equal(plain.next()[0], ahead.next()[0])
    assert torch.equal(plain.state_dict()["lanes"], ahead.state_dict()["lanes"])
    ahead.load_state_dict(plain.state_dict())
    assert torch.equal(plain.next()[0], ahead.next()[0])


def test_another_seed_is_another_order_from_here_on(stream):
    batches = StreamBatches(stream, 12, seed=1)
    begun = drawn(batches, 3)
    batches.reseed(8)
    assert drawn(batches, 6) == drawn(StreamBatches(stream, 12, seed=8), 6)
    assert drawn(StreamBatches(stream, 12, seed=1), 3) == begun != drawn(StreamBatches(stream, 12, seed=8), 3)


HOSTILE = {
    "random": [None, torch.zeros(3, dtype=torch.uint8)],
    "seed": [-1, "1", 2**64, None],
    "first": [-1, LANES, 1, 0.0, None],
    "size": [35, None],
    "shards": ["", None],
    "lanes": [
        None,
        torch.zeros(LANES, 4, dtype=torch.int64),
        torch.zeros(LANES, 5),
        torch.full((LANES, 5), -1),
        torch.tensor([[0, 2, 0, 0, 0]] * LANES),
        torch.tensor([[0, 0, 0, 0, 4]] * LANES),
    ],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in HOSTILE.items() for value in values])
def test_states_that_do_not_fit_are_refused_and_change_nothing(stream, name, value):
    batches, other = StreamBatches(stream, 4), StreamBatches(stream, 4)
    with pytest.raises((ValueError, KeyError, TypeError)):
        batches.checked({**batches.state_dict(), name: value})
    with pytest.raises(KeyError):
        batches.checked({key: v for key, v in batches.state_dict().items() if key != name})
    assert drawn(batches, 3) == drawn(other, 3)


def test_a_shard_that_became_shorter_is_told(stream, tmp_path):
    batches = StreamBatches(stream, 6)
    drawn(batches, 4)
    state = batches.state_dict()
    write_shards(tmp_path / "shards", [1] * len(COUNTS))
    other = StreamBatches(stream, 6)
    other.load_state_dict(other.checked(state))
    with pytest.raises(UserError, match=r"has fewer samples than when this run was saved\.$"):
        drawn(other, 1)


def test_a_shard_that_is_mended_goes_on_where_it_failed(stream, tmp_path):
    whole, batches = StreamBatches(stream, 6), StreamBatches(stream, 6)
    paths = sorted((tmp_path / "shards").iterdir())
    assert drawn(batches, 1) == drawn(whole, 1)
    for source in batches.sources.values():
        source.ahead.result()  # what is read ahead is whole
    contents = [path.read_bytes() for path in paths]
    for path in paths:
        path.write_bytes(b"no tar")
    found = []

    def until_it_fails():
        while True:
            found.extend(drawn(batches, 1))

    with pytest.raises(UserError, match=r"^Cannot read the shard .*: it is no tar\.$"):
        until_it_fails()
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    found += drawn(batches, 10)
    assert found == drawn(whole, len(found) // 6)


def test_memory_is_bounded_by_the_buffer(tmp_path):
    write_shards(tmp_path / "s", [40] * 5)
    stream = load_stream(str(tmp_path / "s"), 1, shuffle_buffer=48)
    batches = StreamBatches(stream, 4)
    for _ in range(30):
        batches.draw()
        pools = [source.pool for source in batches.sources.values() if source.pool is not None]
        pools += [source.ahead.result() for source in batches.sources.values() if source.ahead is not None]
        assert sum(len(pool.pixels.base) for pool in pools) <= 48


def test_the_lanes_follow_from_the_shards_alone():
    assert [lanes_of(n) for n in (1, 2, 3, 4, 5, 6, 8, 12, 23, 24, 10**6)] == [1, 2, 3, 4, 4, 6, 8, 12, 12, 24, 24]


def test_classes_stand_in_proportion_where_there_are_many():
    found = labels_of((3_000_000, 1_000_000, 1), torch.device("cpu"))
    assert found.bincount().tolist() == [750_000, 250_000, 1]
