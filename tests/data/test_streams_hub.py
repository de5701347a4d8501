"""Hugging Face data sets that are streamed: their files are the shards; nothing is asked of the network."""

import pytest

from rggan import UserError
from rggan.data.source import list_pictures
from rggan.data.streams.address import is_stream
from rggan.data.streams.batches import StreamBatches
from rggan.data.streams.hub import STREAM, content_of
from rggan.data.streams.read import load_stream
from tests.data.streams import numbers_in, png

COUNTS = (6, 5, 4)


def table(datasets, numbers):
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["even", "odd"])}
    rows = {"image": [{"bytes": png(n), "path": f"{n}.png"} for n in numbers], "label": [n % 2 for n in numbers]}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


@pytest.fixture
def folder(datasets, tmp_path):
    begun = 0
    (tmp_path / "set").mkdir()
    for index, count in enumerate(COUNTS):
        numbers = range(begun, begun + count)
        table(datasets, numbers).to_parquet(tmp_path / "set" / f"train-{index:05d}-of-00003.parquet")
        begun += count
    return tmp_path / "set"


def test_files_are_shards(folder):
    assert is_stream(f"{STREAM}{folder}")
    stream = load_stream(f"{STREAM}{folder}:train", 1)
    assert numbers_in(stream.images) == list(range(11))
    assert numbers_in(stream.held_out.images) == list(range(11, 15))
    batches = StreamBatches(stream, 11, seed=2)
    found = []
    for _ in range(2):
        batches.draw()
        found += numbers_in(batches.pixels)
    assert set(found) == set(range(11))


def test_classes_are_counted(folder):
    stream = load_stream(f"{STREAM}{folder}", 1, cond=True)
    assert stream.classes == ("even", "odd")
    assert stream.class_counts == [6, 5]
    batches = StreamBatches(stream, 4)
    for _ in range(5):
        _, labels = batches.next()
        assert labels.tolist() == [n % 2 for n in numbers_in(batches.pixels)]


def test_one_that_was_saved_to_disk(datasets, tmp_path):
    table(datasets, range(12)).save_to_disk(tmp_path / "saved", num_shards=3)
    stream = load_stream(f"{STREAM}{tmp_path / 'saved'}", 1)
    assert len(stream.reading.shards.names) == 3
    assert numbers_in(stream.images) == list(range(8))


def test_the_first_pictures_stand_for_it(folder):
    listing = list_pictures(f"{STREAM}{folder}")
    assert len(listing) == 11
    assert {picture.class_name for picture in listing} == {"even", "odd"}


def test_pictures_at_addresses_are_read():
    import fsspec

    with fsspec.open("memory://streams/a.png", "wb") as file:
        file.write(png(7))
    assert content_of({"bytes": None, "path": "memory://streams/a.png"}) == png(7)
    assert content_of({"bytes": png(8), "path": "memory://streams/none.png"}) == png(8)
    for cell in ({"bytes": None, "path": "memory://streams/none.png"}, {"bytes": None, "path": None}, None):
        with pytest.raises(ValueError, match=r"."):
            content_of(cell)


def test_a_folder_of_pictures(datasets, tmp_path):
    for number in range(12):
        folder = tmp_path / "pictures" / "train" / ("odd" if number % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:02d}.png").write_bytes(png(number))
    stream = load_stream(f"{STREAM}{tmp_path / 'pictures'}", 1, cond=True)
    assert stream.classes == ("even", "odd")
    assert len(stream) + len(stream.held_out or ()) == 12


def test_what_is_not_there_is_told(folder, tmp_path, datasets):
    with pytest.raises(UserError, match=r"^Cannot load hf-stream:.*:test: "):
        load_stream(f"{STREAM}{folder}:test", 1)
    with pytest.raises(UserError, match=r"^Cannot load hf-stream:"):
        load_stream(f"{STREAM}{tmp_path / 'nothing'}", 1)
    (tmp_path / "none").mkdir()
    datasets.Dataset.from_dict({"text": ["a", "b"]}).to_parquet(tmp_path / "none" / "train.parquet")
    with pytest.raises(UserError, match=r"it needs one column of images, called image; it has text\.$"):
        load_stream(f"{STREAM}{tmp_path / 'none'}", 1)


def test_a_set_without_classes_is_told_of_cond(datasets, tmp_path):
    (tmp_path / "plain").mkdir()
    table(datasets, range(4)).remove_columns("label").to_parquet(tmp_path / "plain" / "train.parquet")
    with pytest.raises(UserError, match=r"^`cond` needs classes, and hf-stream:.* has no column of them\.$"):
        load_stream(f"{STREAM}{tmp_path / 'plain'}", 1, cond=True)
