"""Small files that would cost much end within the bounds, with their sentence."""

import json
import os
from pathlib import Path

import pytest

import rggan
from rggan import UserError
from rggan.bounded import values_of
from rggan.cli.main import main
from rggan.config import TrainConfig
from rggan.data.forms.labels import MOST_VALUES
from rggan.data.picture import MAX_BYTES
from rggan.data.source import list_pictures
from rggan.data.streams.address import is_stream, open_shards
from rggan.data.streams.read import load_stream
from rggan.evaluation.saved import is_statistics
from rggan.generation.storage import described, read_generator
from rggan.run.folder import Run
from tests.data.streams import png, write_tar
from tests.faults import headers
from tests.faults.archives import entry, many_entries, zipped
from tests.faults.fuzz import GROWTH, SECONDS, faults, judge
from tests.report.runs import make_run

MIB = 2**20


def outcome(attempt, folder):
    """What came of it: the sentence of a refusal, or what it returned; within the bounds of time and memory."""
    told = []

    def tried():
        try:
            told.append(attempt())
        except UserError as error:
            told.append(str(error))
            raise
        return "read"

    verdict = judge(tried, folder)
    assert told, verdict.error
    assert verdict.seconds < SECONDS
    assert verdict.growth < GROWTH
    assert not (isinstance(told[0], str) and faults(told[0]))
    return told[0]


def written(path, content):
    path.write_bytes(content)
    return str(path)


TARS = headers.tars()
REFUSED = {
    "digits in an extended header": "has an extension of 1,048,576 bytes, more than this reads",
    "digits in a global header": "has an extension of 1,048,576 bytes, more than this reads",
    "digits in each of many headers": "an extended header is damaged",
    "numbers in an extended header": "has an extension of 2,097,152 bytes, more than this reads",
    "a long name": "has an extension of 134,217,728 bytes, more than this reads",
    "many extended headers": "a header is extended more than 4 times",
    "a sparse map of digits": "it has sparse files",
    "a huge member": "its 1,099,511,627,776 bytes are more than this reads",
}


@pytest.mark.parametrize("name", TARS)
def test_tars_that_would_take_long(tmp_path, name):
    plain, packed = TARS[name], headers.gzipped(TARS[name])
    data = written(tmp_path / "c.tar.gz", packed)
    cifar = outcome(lambda: list_pictures(data), tmp_path)
    assert REFUSED.get(name, "it has over 1,000 files, which no CIFAR has") in cifar
    for data in (written(tmp_path / "a.tar", plain), written(tmp_path / "b.tar", packed)):
        assert outcome(lambda data=data: is_stream(data), tmp_path) is False
        shard = outcome(lambda data=data: load_stream(data, 1), tmp_path)
        assert REFUSED.get(name, "over 10,000 members or 536,870,912 bytes without another sample") in shard
        assert outcome(lambda data=data: list(open_shards(data).labels(0)), tmp_path) == shard


def test_gzips_that_unpack_to_much(tmp_path):
    for before in (b"", headers.member("a", b"b")):
        data = written(tmp_path / "c.tar.gz", headers.gzipped(before, 3000))
        assert "holds no CIFAR" in outcome(lambda data=data: list_pictures(data), tmp_path)
    data = written(tmp_path / "d.tar.gz", headers.samples_of_zeros(100, 5))
    assert "unpacked it has over 268,435,456 bytes" in outcome(lambda: list_pictures(data), tmp_path)


@pytest.mark.parametrize(
    ("mib", "count", "told"),
    [(600, 1, "its 629,145,600 bytes are more than this reads"), (100, 20, "Cannot read 0.png of the shard")],
)
def test_shards_that_unpack_to_much(tmp_path, mib, count, told):
    data = written(tmp_path / "a.tar.gz", headers.samples_of_zeros(mib, count))
    assert told in outcome(lambda: load_stream(data, 1), tmp_path)


def test_a_sample_of_many_members_is_bounded(tmp_path):
    parts = [part for i in range(12) for part in (headers.member(f"a.{i}", size=50 * MIB), 50)]
    data = written(tmp_path / "a.tar.gz", headers.gzipped(*parts))
    assert "536,870,912 bytes without another sample" in outcome(lambda: load_stream(data, 1), tmp_path)


def test_large_pictures_that_are_held_out_are_decoded_a_few_at_a_time(tmp_path):
    (tmp_path / "s").mkdir()
    write_tar(tmp_path / "s" / "0.tar", {"a.png": png(1)})
    parts = [part for i in range(16) for part in (headers.member(f"{i}.png", size=100 * MIB), 100)]
    (tmp_path / "s" / "1.tar").write_bytes(headers.gzipped(*parts))
    told = outcome(lambda: load_stream(str(tmp_path / "s"), 1), tmp_path)
    assert told.startswith("Cannot read 0.png of the shard")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("opcodes", "its pickle has over 2,000,000 parts, which no CIFAR has"),
        ("text", "bytes of pixels for 0 labels"),
        ("larger than any", "bytes are more than this reads (156,000,000)"),
    ],
)
def test_pickles_that_would_take_long(tmp_path, kind, told):
    data = written(tmp_path / "data_batch_1", headers.PICKLES[kind]())
    assert told in outcome(lambda: list_pictures(data), tmp_path)


def test_zips_of_many_entries(tmp_path):
    data = written(tmp_path / "a.zip", many_entries(500_000))
    assert outcome(lambda: list_pictures(data), tmp_path) == (
        f"{data} has over {os.path.getsize(data) // 256:,} entries, more than this reads in "
        f"{os.path.getsize(data):,} bytes; give its folder unpacked."
    )
    data = written(tmp_path / "b.zip", many_entries(49_000, ""))
    assert "passed over: 49,000 without an ending" in outcome(lambda: list_pictures(data), tmp_path)
    data = written(tmp_path / "c.npz", many_entries(40_000, ".npy"))
    assert "over 1,000 arrays" in outcome(lambda: list_pictures(data), tmp_path)
    assert outcome(lambda: is_statistics(tmp_path / "c.npz"), tmp_path) is False


def test_many_small_pictures_of_a_zip_are_read(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped([entry(f"{i:06d}.png", bytes(200)) for i in range(51_000)]))
    assert len(list_pictures(tmp_path / "a.zip")) == 51_000


def test_zips_with_much_beside_their_names(tmp_path):
    data = written(tmp_path / "a.zip", many_entries(200, extra=b"\0\0\0\0" * 16_000))
    assert "has entries with more than their names and sizes" in outcome(lambda: list_pictures(data), tmp_path)


def test_names_of_many_accents(tmp_path):
    name = headers.accents(30_000)
    content = zipped([entry(f"{name}{i}/a.png", headers.PIXEL) for i in range(10)])
    data = written(tmp_path / "a.zip", content)
    assert len(outcome(lambda: list_pictures(data), tmp_path)) == 10
    table = json.dumps({"labels": [[headers.accents(10**6), 1], ["a.png", 2]]}, ensure_ascii=False).encode()
    other = written(tmp_path / "b.zip", headers.with_dataset(table))
    found = outcome(lambda: list_pictures(other), tmp_path)
    assert [picture.label for picture in found] == ["2"]


def test_a_dataset_json_of_many_lists(tmp_path):
    data = written(tmp_path / "a.zip", headers.with_dataset(headers.empty_lists(43_000_000)))
    assert os.path.getsize(data) < 200_000
    listing = outcome(lambda: list_pictures(data), tmp_path)
    assert listing.fault == f"dataset.json of {data} cannot be read: its JSON has more than 5,000,000 values"


def test_a_dataset_json_of_a_million_pictures_is_below_the_limits():
    text = b'{"labels": [' + b",".join(b'["%05d/img%08d.png", %d]' % (i, i, i) for i in range(1_300_000)) + b"]}"
    assert len(text) < MAX_BYTES
    assert values_of(text) < MOST_VALUES


def test_headers_of_arrays_that_are_filled_up(tmp_path):
    data = written(tmp_path / "a.npz", headers.npz_of_blanks(700))
    assert "Cannot read" in outcome(lambda: list_pictures(data), tmp_path)
    path = headers.sparse_file(tmp_path / "a.npy", 2**31)
    with path.open("r+b") as file:
        file.write(b"\x93NUMPY\2\0" + (2**31 - 100).to_bytes(4, "little"))
    assert "Cannot read" in outcome(lambda: list_pictures(path), tmp_path)


def test_labels_of_an_npz_are_bounded(tmp_path):
    data = written(tmp_path / "a.npz", headers.npz_of_labels(1_000_000, 11))
    listing = outcome(lambda: list_pictures(data), tmp_path)
    assert listing.fault == f"labels in {data} has more values than this reads (10,000,000): save numbers of classes"
    assert len(listing) == 11


@pytest.mark.parametrize("length", [90 * MIB, 100 * 10**6 - 1, 2**60])
def test_headers_of_generators_are_bounded(tmp_path, length):
    content = headers.safetensors(length) if length < 2**30 else headers.safetensors(1000)
    content = length.to_bytes(8, "little") + content[8:]
    path = tmp_path / "generator.safetensors"
    path.write_bytes(content)
    for read in (read_generator, described):
        told = outcome(lambda read=read: read(path), tmp_path)
        assert f"its header of {length:,} bytes is longer than that of any generator" in told


# ---- runs ----


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "runs" / "00000-pictures-16-sngan-threshold")


COMMANDS = [["show"], ["plot"], ["compare"], ["evaluate"], ["train", "--resume"]]


@pytest.mark.parametrize(
    ("words", "lines"),
    [*((words, "newlines") for words in COMMANDS), (["plot"], "empty lists"), (["plot"], "one line")],
)
def test_commands_on_ticks_that_are_none(run, tmp_path, capsys, monkeypatch, words, lines):
    monkeypatch.chdir(tmp_path)
    (run / "stats.jsonl").write_bytes(headers.LINES[lines]())
    codes = []
    verdict = judge(lambda: codes.append(main([*words, str(run)])) or "read", tmp_path)
    assert verdict.seconds < SECONDS
    assert verdict.growth < GROWTH
    assert codes == [2]
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_page_leaves_out_what_is_too_large(run, tmp_path, capsys):
    """And evaluations, of which some would be lost, are told."""
    (run / "last").mkdir()
    for name in ("health.json", "track.json", "last/config.json"):
        (run / name).write_bytes(headers.empty_lists(5_000_000))
    codes = []
    for content in (b"", headers.LINES["newlines"]()):
        (run / "metrics.jsonl").write_bytes(content)
        verdict = judge(lambda: codes.append(main(["show", str(run)])) or "read", tmp_path)
        assert verdict.seconds < SECONDS
        assert verdict.growth < GROWTH
    assert codes == [0, 2]
    told = f"rggan: Cannot read {run / 'metrics.jsonl'}: it has more than 15,000,000 lines and values; put"
    assert capsys.readouterr().err.startswith(told)


def test_lines_of_pictures_and_evaluations(run, tmp_path):
    for name in ("data.jsonl", "metrics.jsonl", "stats.jsonl"):
        (run / name).write_bytes(headers.LINES["newlines"]())
    for read in (Run(run).evaluations, lambda: Run(run).class_counts(["a"])):
        told = outcome(read, tmp_path)
        assert told.endswith("has more than 15,000,000 lines and values; put the right one there, or move it away.")
    assert Run(run).data_head() == {}


def test_lines_are_regular_files(run, tmp_path):
    for name in ("data.jsonl", "metrics.jsonl", "stats.jsonl", "config.json", "track.json"):
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)
    found = Run(run)
    assert (found.rows(), found.pictures(), found.evaluations(), found.data_head(), found.tracked()) == (
        [],
        [],
        [],
        {},
        {},
    )
    assert Run.at(run) is None


@pytest.mark.parametrize("text", [b'{"seed": [' + b"[]," * 43_000_000 + b"[]]}", b" " * 128 * MIB + b"{}"])
def test_config_json_is_bounded(run, tmp_path, text):
    (run / "config.json").write_bytes(text)
    told = outcome(lambda: TrainConfig.from_json(run / "config.json"), tmp_path)
    more = f"its {len(text):,} bytes are more than this reads (16,777,216)"
    assert told == f"Cannot take options from {run / 'config.json'}: {more}."
    assert Run.at(run) is None


# ---- what is no file ----


@pytest.mark.parametrize("name", ["a.zip", "a.npy", "a.npz", "a.tar", "a.tar.gz", "data_batch_1", "a.png"])
def test_pipes_and_devices_are_no_data(tmp_path, name):
    os.mkfifo(tmp_path / name)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / name).symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / "linked" / name):
        told = outcome(lambda path=path: list_pictures(path), tmp_path)
        assert "is neither a folder nor a zip" in told
        assert is_stream(str(path)) is False


def test_json_is_parsed_in_one_place():
    """But for what the store of decoded images tells of itself, and what workers answer."""
    root = Path(rggan.__file__).parent
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if "json.load" in path.read_text()}
    assert found <= {"bounded.py", "data/store.py", "data/workers.py"}
