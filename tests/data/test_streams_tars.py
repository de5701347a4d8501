"""WebDataset shards: what counts as such, what is in them, and a sentence for whatever is wrong with them."""

import io
import json
import os
import shlex
import shutil
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from PIL import Image

from rggan import UserError
from rggan.cli.train import trust_named
from rggan.config import TrainConfig, plain
from rggan.data import load_images
from rggan.data.source import list_pictures, named_form
from rggan.data.streams import tars
from rggan.data.streams.address import is_stream, open_shards
from rggan.data.streams.batches import StreamBatches
from rggan.data.streams.read import load_stream
from rggan.registry import TRUSTED
from tests.data.streams import numbers_in, png, write_shards, write_tar

COUNTS = (6, 5, 4)


@pytest.fixture
def folder(tmp_path):
    write_shards(tmp_path / "shards", COUNTS, labels=lambda number: "even" if number % 2 == 0 else "odd")
    return tmp_path / "shards"


def drawn(stream, count=1, batch=4):
    batches = StreamBatches(stream, batch)
    found = []
    for _ in range(count):
        batches.draw()
        found += numbers_in(batches.pixels)
    return found


def test_a_folder_a_pattern_an_address_and_a_command_are_the_same_stream(folder):
    command = f"pipe:cat {shlex.quote(str(folder))}/00{{0..2}}.tar"
    given = [str(folder), f"{folder}/{{000..002}}.tar", f"{folder}/00{{0,1,2}}.tar", command]
    assert all(map(is_stream, given))
    streams = [load_stream(each, 1) for each in given]
    assert all(drawn(stream, 5) == drawn(streams[0], 5) for stream in streams)
    assert len({stream.key for stream in streams[:3]}) == 1  # wherever they are stored


@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset asks curl for addresses")
def test_shards_at_an_address(folder):
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.RequestHandlerClass.log_message = lambda *arguments: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        stream = load_stream(f"{address}/00{{0..2}}.tar", 1, cond=True)
        assert (stream.key, stream.class_counts) == (load_stream(str(folder), 1, cond=True).key, [6, 5])
        assert drawn(stream, 5) == drawn(load_stream(str(folder), 1), 5)
        with pytest.raises(
            UserError, match=r"^Cannot read the shard http.*/9\.tar: what it is read with ended with exit"
        ):
            load_stream(f"{address}/9.tar", 1)
        server.shutdown()


def test_other_shards_are_another_set_wherever_the_sample_ends(tmp_path):
    write_shards(tmp_path / "s", [1000, 2, 3])
    before = load_stream(str(tmp_path / "s"), 1)
    (tmp_path / "s" / "0015.tar").write_bytes((tmp_path / "s" / "001.tar").read_bytes())
    after = load_stream(str(tmp_path / "s"), 1)
    assert (after.names, after.held_out.names) == (before.names, before.held_out.names)
    assert after.key != before.key
    assert after.identity != before.identity
    with pytest.raises(ValueError, match=r"the shards, or how many of their images"):
        StreamBatches(after, 4).checked(StreamBatches(before, 4).state_dict())


def test_the_last_shard_is_held_out_and_the_first_ones_are_the_sample(folder):
    stream = load_stream(str(folder), 1)
    assert numbers_in(stream.images) == list(range(11))
    assert numbers_in(stream.held_out.images) == list(range(11, 15))
    assert stream.split(seed=3) == (stream, stream.held_out)


def test_of_one_shard_nothing_is_held_out(folder):
    stream = load_stream(str(folder / "001.tar"), 1)
    assert numbers_in(stream.images) == list(range(6, 11))
    assert stream.held_out is None
    assert sorted(drawn(stream, 1, batch=5)) == list(range(6, 11))


def test_what_is_no_stream(tmp_path):
    write_shards(tmp_path / "mixed", [3])
    (tmp_path / "mixed" / "a.png").write_bytes(png(1))
    write_shards(tmp_path / "nested", [3])
    (tmp_path / "nested" / "more").mkdir()
    write_tar(tmp_path / "cifar.tar", {"cifar-10/data_batch_1": b"..."})
    (tmp_path / "empty").mkdir()
    others = ["mixed", "nested", "cifar.tar", "empty", "nothing", "{a,b}"]
    assert not any(is_stream(str(tmp_path / name)) for name in others)
    assert not any(map(is_stream, ("digits", "hf:a/b", "my_forms:WEB:https://a.org/1.tar")))


@pytest.mark.parametrize("where", ["a local file", "a command"])
def test_classes_are_counted_in_all_training_shards(folder, where, monkeypatch):
    data = str(folder) if where == "a local file" else f"pipe:cat {shlex.quote(str(folder))}/00{{0..2}}.tar"
    stream = load_stream(data, 1, cond=True)
    assert stream.classes == ("even", "odd")
    assert stream.class_counts == [6, 5]
    assert stream.labels.tolist() == [n % 2 for n in range(11)]
    batches = StreamBatches(stream, 4)
    assert batches.labels.bincount().tolist() == [6, 5]
    for _ in range(6):
        _, labels = batches.next()
        assert labels.tolist() == [n % 2 for n in numbers_in(batches.pixels)]


def test_without_classes_no_shard_is_passed_over(folder, monkeypatch):
    monkeypatch.setattr(tars.TarShards, "labels", None)
    assert load_stream(str(folder), 1).classes == ()


def test_counting_classes_reads_no_picture(folder, monkeypatch):
    shard = open_shards(str(folder))
    contents = []
    monkeypatch.setattr(tars, "picture_of", lambda sample, shard: contents.append(sample["png"]) or ("", b""))
    assert [label for _, label in shard.labels(1)] == ["even", "odd", "even", "odd", "even"]
    assert contents == [b""] * 5


@pytest.mark.parametrize(
    ("told", "label"),
    [({"label": 3}, "3"), ({"class": "cat"}, "cat"), ({"label": [0, 1]}, "1"), ({"caption": "cat"}, ""), ([3], "")],
)
def test_classes_in_json(tmp_path, told, label):
    write_tar(tmp_path / "1.tar", {"a.png": png(1), "a.json": json.dumps(told).encode()})
    shards = open_shards(str(tmp_path / "1.tar"))
    assert [picture.label for picture in shards.pictures(0, labels=True)] == [label]
    assert [found for _, found in shards.labels(0)] == [label]


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "bmp", "ppm", "gif", "tiff"])
def test_pictures_of_any_format(tmp_path, form):
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 100, 50)).save(stream, form)
    write_tar(tmp_path / "1.tar", {f"a/{i}.{form}": stream.getvalue() for i in range(3)})
    found = load_stream(str(tmp_path / "1.tar"))
    assert found.shape == (3, 16, 16)
    assert len(found) == 3


def test_channels_and_size_follow_the_first_images(tmp_path):
    write_tar(tmp_path / "0.tar", {f"{i}.png": png(i, "L") for i in range(4)})
    write_tar(tmp_path / "1.tar", {f"{i}.png": png(i) for i in range(4)})
    stream = load_stream(str(tmp_path))
    assert stream.shape == (1, 16, 16) == stream.held_out.shape
    batches = StreamBatches(stream, 2)
    batches.draw()
    assert batches.pixels.shape == (2, 1, 16, 16)
    assert load_stream(str(tmp_path), 1, channels="rgba").shape == (4, 1, 1)


def test_compressed_shards_are_read(folder, tmp_path):
    for name in "ab":
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as tar:
            tar.addfile(*entry("1.png", png(7)))
            tar.addfile(*entry("2.png", png(8)))
    assert numbers_in(load_stream(f"{tmp_path}/{{a,b}}.tar.gz", 1).images) == [7, 8]


def entry(name, content):
    found = tarfile.TarInfo(name)
    found.size = len(content)
    return found, io.BytesIO(content)


def test_the_first_pictures_stand_for_a_stream_where_pictures_are_looked_over(folder):
    listing = list_pictures(str(folder))
    assert [picture.name for picture in listing] == [f"{n:06d}.png" for n in range(11)]
    assert {picture.class_name for picture in listing} == {"even", "odd"}
    assert listing.notes == ("a sample: the first 11 pictures of 2 shards to train on",)
    with pytest.raises(UserError, match=r"is a stream, which only training takes"):
        load_images(str(folder), 1)


def test_large_files_make_a_smaller_sample(folder, monkeypatch):
    monkeypatch.setattr("rggan.data.streams.address.SAMPLE_BYTES", 4 * len(png(0)) - 1)
    assert numbers_in(load_stream(str(folder), 1).images) == [0, 1, 2, 3]


def test_how_many_there_are_is_told_by_the_shards_that_were_looked_into(tmp_path):
    write_shards(tmp_path / "s", [600] * 8)
    assert list_pictures(str(tmp_path / "s")).about == 1000 * 7 // 2


# ---- what is wrong with them ----


def damaged(folder, number, change):
    path = folder / f"{number:03d}.tar"
    path.write_bytes(change(path.read_bytes()))


def test_a_missing_shard_is_named(folder):
    with pytest.raises(UserError, match=r"^There is no shard at .*/003\.tar \(1 more of its 5 are missing too\)\.$"):
        load_stream(f"{folder}/{{000..004}}.tar")


@pytest.mark.parametrize("end", [512 + 100, 3 * 512, 10 * 512 + 200, -10240, -9000])
def test_a_shard_that_is_cut_off_is_named_with_its_member(tmp_path, end):
    """In a picture, behind one, in a header, or before the mark of its end."""
    write_shards(tmp_path / "s", [15] * 3)
    damaged(tmp_path / "s", 1, lambda content: content[:end].rstrip(b"\0") if end < 0 else content[:end])
    with pytest.raises(UserError, match=r"^Cannot read the shard .*/001\.tar, at its member 0000\d\d\.png: .*\.$"):
        load_stream(str(tmp_path / "s"), 1)


@pytest.mark.parametrize("reads", ["the first images", "a batch", "the images held out"])
def test_a_broken_picture_is_named_wherever_it_is_met(tmp_path, monkeypatch, reads):
    write_shards(tmp_path / "s", [4, 4, 4])
    stream = load_stream(str(tmp_path / "s"), 1)
    number = 2 if reads == "the images held out" else 1
    write_tar(tmp_path / "s" / f"00{number}.tar", {"a.png": png(1), "b.png": b"no picture", "c.png": png(2)})
    told = (
        rf"^Cannot read b\.png of the shard .*/00{number}\.tar: no picture, by its content; mend or remove it, or pass"
    )
    if reads == "a batch":
        with pytest.raises(UserError, match=told):
            drawn(stream, 4)
    else:
        told = told.replace(r"/001\.tar", r"/00\d\.tar")
        with pytest.raises(UserError, match=told):
            load_stream(str(tmp_path / "s"), 1)


def test_broken_pictures_are_left_out_in_the_same_order_each_time(tmp_path):
    write_shards(tmp_path / "s", [6, 6, 6])
    members = {f"{n}.png": b"broken" if n in (7, 10) else png(n) for n in range(6, 12)}
    write_tar(tmp_path / "s" / "001.tar", members)
    stream = load_stream(str(tmp_path / "s"), 1, skip_bad=True, shuffle_buffer=12)
    assert stream.skipped == ("7.png", "10.png")
    batches = StreamBatches(stream, 2)
    found, states = [], []
    for _ in range(12):
        states.append(batches.state_dict())
        batches.draw()
        found += numbers_in(batches.pixels)
    assert set(found) == set(range(12)) - {7, 10}
    assert batches.skipped >= 2
    other = StreamBatches(stream, 2)
    for place, state in enumerate(states):
        other.load_state_dict(other.checked(state))
        other.draw()
        assert numbers_in(other.pixels) == found[2 * place : 2 * place + 2]


def test_a_whole_epoch_without_a_picture_is_an_end(tmp_path):
    write_shards(tmp_path / "s", [4, 4, 4])
    stream = load_stream(str(tmp_path / "s"), 1, skip_bad=True)
    for number in (0, 1):
        write_tar(tmp_path / "s" / f"00{number}.tar", {"a.png": b"broken", "b.png": b"broken"})
    with pytest.raises(UserError, match=r"^No picture in a whole epoch of .* can be read\.$"):
        drawn(stream)


FAULTS = {
    "no picture": (
        {"a.png": png(1), "b.txt": b""},
        r"^The sample b of the shard .* has no picture \(txt\); each needs",
    ),
    "two pictures": ({"a.png": png(1), "a.jpg": png(1)}, r"^The sample a of .* has 2 pictures \(png, jpg\)"),
    "twice the same": (
        {"a.png": png(1), "b.png": png(1), "b.PNG": png(2)},
        r"^Cannot read the shard .* b\.PNG: .*dupl",
    ),
    "nothing": ({"__meta__": b"", "a.PNG/": b""}, r"^The shard .*000\.tar holds no samples\.$"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_samples_that_are_none(tmp_path, fault):
    members, told = FAULTS[fault]
    write_shards(tmp_path / "s", [3, 3])
    stream = load_stream(str(tmp_path / "s"), 1)
    write_tar(tmp_path / "s" / "000.tar", members)
    with pytest.raises(UserError, match=told):
        drawn(stream)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"a.png": png(1), "b.png": png(2), "b.cls": b"1"}, r"needs a class for each picture, and a\.png of the shard"),
        ({"a.png": png(1), "a.cls": b"1"}, r"^`cond` needs classes, and the shards of .* have one\.$"),
        ({"a.png": png(1), "a.json": b"{"}, r"^The class of the sample a of the shard .* cannot be read: "),
        ({"a.png": png(1), "a.cls": b"\xff"}, r"^The class of the sample a of the shard .* cannot be read: "),
    ],
)
def test_classes_that_are_none(tmp_path, members, told):
    write_tar(tmp_path / "1.tar", members)
    with pytest.raises(UserError, match=told):
        load_stream(str(tmp_path / "1.tar"), 1, cond=True)


def test_a_class_that_is_new_is_told(tmp_path):
    write_shards(tmp_path / "s", [4, 4, 4], labels=lambda number: number % 2)
    stream = load_stream(str(tmp_path / "s"), 1, cond=True)
    write_tar(tmp_path / "s" / "000.tar", {"a.png": png(1), "a.cls": b"7"})
    with pytest.raises(UserError, match=r"^a\.png of the shard .*000\.tar has the class 7, which"):
        drawn(stream)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("no-such-scheme://a/1.tar", r"^Cannot read the shard .*: webdataset opens no such address"),
        ("pipe:exit 3", r"^Cannot read the shard pipe:exit 3: what it is read with ended with exit code 3\.$"),
        ("pipe:echo hello", r"^Cannot read the shard pipe:echo hello: it is no tar\.$"),
        ("file:///no/such/1.tar", r"^Cannot read the shard file:///no/such/1\.tar: .*No such file"),
        ("{p,q}ipe:touch oops.tar", r"^`data` .* runs a command: let it begin with pipe:\.$"),
        ("PIPE:touch oops.tar", r"^`data` .* runs a command: let it begin with pipe:\.$"),
    ],
)
def test_addresses_that_cannot_be_read(data, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        load_stream(data, 1)
    assert os.listdir() == []


def test_a_command_that_fails_behind_whole_samples_is_told(folder, tmp_path):
    for end in ("exit 9", "exec 1>&-; sleep 0.2; exit 9"):
        with pytest.raises(UserError, match=r"ended with exit code 9\.$"):
            load_stream(f"pipe:cat {shlex.quote(str(folder / '000.tar'))}; {end}", 1)


def test_a_held_out_shard_of_one_picture_is_too_small(tmp_path):
    write_shards(tmp_path / "s", [4, 1])
    with pytest.raises(UserError, match=r"^The last shard, .*001\.tar, is held out for the score and has 1 picture"):
        load_stream(str(tmp_path / "s"), 1)


def test_options_of_whole_sets_are_refused(folder):
    with pytest.raises(UserError, match=r"^`white_level` auto looks at all pictures"):
        load_stream(str(folder), 1, white_level="auto")
    with pytest.raises(UserError, match=r"^`pattern` means nothing for "):
        list_pictures(str(folder), "*.png")


def test_without_the_library_its_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset.gopen", None)
    with pytest.raises(UserError, match=r'^Shards need one more library: pip install "rggan\[shards\]"\.$'):
        load_stream(str(folder), 1)


# ---- commands run only where somebody names them ----


def test_no_file_makes_a_command_run(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"data": f"pipe:touch {tmp_path / 'ran'}"}))
    with pytest.raises(
        UserError, match=r"it names a command, which runs only where you name it too: give `data` pipe:"
    ):
        TrainConfig.from_json(config)
    assert os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize("hidden", ["{p,q}ipe:touch ran.tar", "{pi,x}pe:touch ran.tar", " pipe:touch ran.tar"])
def test_no_file_hides_a_command(tmp_path, monkeypatch, hidden):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"data": hidden}))
    with pytest.raises(UserError, match=r"runs a command: let it begin with pipe:"):
        list_pictures(TrainConfig.from_json(tmp_path / "config.json").data)
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_command_on_the_command_line_may_run_where_a_file_names_it(tmp_path):
    data = f"pipe:cat {tmp_path}/a:b:c.tar"
    (tmp_path / "config.json").write_text(json.dumps({"data": data}))
    try:
        trust_named(["train", f"--data={data}"])
        assert TrainConfig.from_json(tmp_path / "config.json").data == data
    finally:
        TRUSTED.discard(data)


def test_commands_stay_as_they_are():
    for data in ("pipe:cat a//b/ | tee /", "hf-stream:a//b", "https://a.org//1.tar", "pipe:cat:x:y"):
        assert plain(data) == data
        assert named_form(data) is None


def test_its_state_is_small(folder):
    state = StreamBatches(load_stream(str(folder), 1), 4).state_dict()
    assert sum(value.nbytes for value in state.values() if isinstance(value, torch.Tensor)) < 10_000
