"""CIFAR as published, in all its forms; its pickles are read without being executed."""

import gzip
import io
import pickle
import struct
import tarfile
import warnings

import numpy as np
import pytest

from rggan import UserError
from rggan.data.forms import cifar
from rggan.data.source import list_pictures

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
HUNDRED = [f"thing_{i}" for i in range(100)]
COUNT = 5  # pictures a batch


def text(value):
    """A string as Python 2's cPickle writes it at protocol 2 (without its memo)."""
    value = value.encode() if isinstance(value, str) else value
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def integer(value):
    return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)


def items(written):
    """A list, appended to in thousands."""
    parts = [b"(" + b"".join(written[i : i + 1000]) + b"e" for i in range(0, len(written), 1000)]
    return b"]q\4" + b"".join(parts)


def numpy_array(array, by_column=False):
    raw = array.tobytes("F" if by_column else "C")
    shape = b"M" + struct.pack("<H", len(array)) + b"M\x00\x0c\x86q\x09"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\5cnumpy\nndarray\nq\6K\0\x85q\7U\1bq\x08\x87Rq\x0a(K\1" + shape
        + b"cnumpy\ndtype\nq\x0bU\2u1q\x0cK\0K\1\x87Rq\x0d(K\3U\1|q\x0eNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        + (b"\x88" if by_column else b"\x89") + text(raw) + b"q\x0ftb"
    )  # fmt: skip


def python2(pairs):
    return b"\x80\2}q\1(" + b"".join(text(key) + b"q\2" + value for key, value in pairs) + b"u."


def python2_batch(labels, planes, key="labels", by_column=False):
    files = items([text(f"picture_{i}.png") for i in range(len(labels))])
    pairs = [
        ("batch_label", text("training batch 1 of 5") + b"q\3"),
        (key, items([integer(label) for label in labels])),
        ("data", numpy_array(planes, by_column)),
        ("coarse_labels", items([integer(label % 20) for label in labels])),
        ("filenames", files),
    ]
    return python2(pairs if key == "labels" else [pairs[i] for i in (4, 0, 1, 3, 2)])


def python2_meta(key, names):
    return python2([("num_vis", integer(3072)), (key, items([text(name) for name in names])), ("x", text("y"))])


def python3_batch(labels, planes, key="labels"):
    """The same, written again by Python 3."""
    content = {b"batch_label": b"1", key.encode(): labels, b"data": planes, b"filenames": [b"a.png"] * len(labels)}
    return pickle.dumps(content, protocol=2)


def batch(seed, classes, count=COUNT):
    random = np.random.default_rng(seed)
    return random.integers(0, classes, count).tolist(), random.integers(0, 256, (count, 3072), dtype=np.uint8)


def files_of(form):
    """{file name: content} of a published version, and its first training batch (labels, planes)."""
    hundred, written = form.startswith("100"), {}
    classes, names = (100, HUNDRED) if hundred else (10, TEN)
    parts = ["train", "test"] if hundred else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for seed, part in enumerate(parts):
        labels, planes = batch(seed, classes)
        if form.endswith("bin"):
            before = [bytes([label % 20] * hundred + [label]) for label in labels]
            written[f"{part}.bin"] = b"".join(x + row.tobytes() for x, row in zip(before, planes, strict=True))
        elif form.endswith("py2"):
            written[part] = python2_batch(labels, planes, "fine_labels" if hundred else "labels", by_column=seed % 2)
        else:
            written[part] = python3_batch(labels, planes, "fine_labels" if hundred else "labels")
    key = "fine_label_names" if hundred else "label_names"
    if form.endswith("bin"):
        written["fine_label_names.txt" if hundred else "batches.meta.txt"] = "\n".join([*names, "", ""]).encode()
    elif form.endswith("py2"):
        written["meta" if hundred else "batches.meta"] = python2_meta(key, names)
    else:
        content = {key.encode(): [name.encode() for name in names], b"num_vis": 3072, b"x": b"y"}
        written["meta" if hundred else "batches.meta"] = pickle.dumps(content, protocol=2)
    return written


def folder_of(path, files):
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def tar_of(path, files):
    with tarfile.open(path, "w:gz" if path.suffix != ".tar" else "w") as archive:
        for name, content in {"readme.html": b"hello", **files}.items():
            member = tarfile.TarInfo(f"cifar/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def check(pictures, batches, names):
    """Against the batches: [(name, labels, planes)]."""
    expected = {
        f"{name}/{i:04d}": (names[label], plane.reshape(3, 32, 32).transpose(1, 2, 0))
        for name, labels, planes in batches
        for i, (label, plane) in enumerate(zip(labels, planes, strict=True))
    }
    assert [picture.name for picture in pictures] == sorted(expected)
    for picture in pictures:
        label, pixels = expected[picture.name]
        assert picture.label == label
        assert picture.shape == (32, 32, 3)
        assert np.array_equal(np.frombuffer(picture.read(), dtype=np.uint8).reshape(picture.shape), pixels)


FORMS = ["10bin", "10py2", "10py3", "100bin", "100py2", "100py3"]


def training_part(form):
    classes = 100 if form.startswith("100") else 10
    parts = ["train"] if classes == 100 else [f"data_batch_{i}" for i in range(1, 6)]
    return [(part, *batch(seed, classes)) for seed, part in enumerate(parts)], HUNDRED if classes == 100 else TEN


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["", ".tar", ".tar.gz", ".tgz"])
def test_every_published_form_gives_its_training_part(tmp_path, form, ending):
    path = tmp_path / f"cifar{ending}"
    data = tar_of(path, files_of(form)) if ending else folder_of(path, files_of(form))
    check(list_pictures(data), *training_part(form))
    assert len(list_pictures(data, "*0")) == len(training_part(form)[0])


@pytest.mark.parametrize("form", FORMS)
def test_one_batch_is_enough_and_names_come_from_beside_it(tmp_path, form):
    files = files_of(form)
    batches, names = training_part(form)
    seed, classes = len(batches), len(names)
    test = next(name for name in files if name.startswith("test"))
    data = folder_of(tmp_path / "a", files) / test
    check(list_pictures(data), [(test.removesuffix(".bin"), *batch(seed, classes))], names)
    alone = folder_of(tmp_path / "b", {test: files[test]}) / test
    numbers = [str(i) for i in range(classes)]
    check(list_pictures(alone), [(test.removesuffix(".bin"), *batch(seed, classes))], numbers)


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("key", ["labels", "fine_labels"])
def test_our_pickles_are_what_python_reads(key, by_column):
    labels, planes = batch(0, 10, count=2500)  # three appends
    content = python2_batch(labels, planes, key, by_column)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy has renamed its modules since
        oracle = pickle.loads(content, encoding="bytes")
        meta = pickle.loads(python2_meta("label_names", TEN), encoding="bytes")
    assert oracle[key.encode()] == labels
    assert np.array_equal(oracle[b"data"], planes)
    assert meta[b"label_names"] == [name.encode() for name in TEN]
    picked, picked_labels = cifar.pick_batch(content, key)
    assert np.array_equal(picked, oracle[b"data"])
    assert picked_labels == oracle[key.encode()]


def test_nothing_is_unpickled(tmp_path):
    labels, planes = batch(0, 10)
    bomb = b"cbuiltins\nprint\n(S'unpickled'\ntR0"
    content = python2_batch(labels, planes)
    data = folder_of(tmp_path, {"test_batch": content[:2] + bomb + content[2:]}) / "test_batch"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *_: pytest.fail("unpickled"))
        with pytest.raises(pytest.fail.Exception):
            pickle.loads(data.read_bytes())
        check(list_pictures(data), [("test_batch", labels, planes)], [str(i) for i in range(10)])


LABELS, PLANES = batch(0, 10)
RECORDS = files_of("10bin")["test_batch.bin"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test_batch.bin", b"", "no multiple"),
        ("test_batch.bin", RECORDS[:-1], "no multiple"),
        ("test_batch.bin", b"\x0a" + RECORDS[1:], "labels outside 0 to 9"),
        ("test.bin", RECORDS, "no multiple"),
        ("test.bin", b"\0\x64" + bytes(3072), "labels outside 0 to 99"),
        ("test_batch", b"", "exhausted"),
        ("test_batch", b"no pickle", r"\w"),
        ("test_batch", python2_batch(LABELS, PLANES)[:5000], "expected"),
        ("test_batch", python2_batch(LABELS[1:], PLANES), "15,360 bytes of pixels for 4 labels"),
        ("test_batch", python2_batch(LABELS, PLANES[:-1]), "12,288 bytes of pixels for 5 labels"),
        ("test_batch", python2_batch([10] * COUNT, PLANES), "labels outside 0 to 9"),
        ("test_batch", python2([("data", numpy_array(PLANES))]), "for 0 labels"),
        ("test_batch", pickle.dumps({"labels": [], "data": b""}, 2), "for 0 labels"),
        ("test_batch", pickle.dumps({"labels": [-1], "data": "\0" * 3072}, 2), "labels outside 0 to 9"),
        ("test", python2_batch(LABELS, PLANES), "for 0 labels"),  # CIFAR-10 under the name of CIFAR-100
    ],
)
def test_damaged_batch_is_refused(tmp_path, name, content, message):
    with pytest.raises(UserError, match=rf"^{name} of .* is damaged: .*{message}"):
        list_pictures(folder_of(tmp_path, {name: content}) / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("batches.meta.txt", b"airplane\ndog\n"),
        ("batches.meta.txt", b"\xff" * 20),
        ("batches.meta", python2_meta("label_names", HUNDRED)),
        ("batches.meta", python2_meta("other_names", TEN)),
        ("batches.meta", b"no pickle"),
    ],
)
def test_damaged_class_names_are_refused(tmp_path, name, content):
    files = {**files_of("10bin" if name.endswith("txt") else "10py2"), name: content}
    with pytest.raises(UserError, match=rf"^{name} of .* is damaged: "):
        list_pictures(folder_of(tmp_path / "a", files))


def test_missing_batch_is_named(tmp_path):
    files = files_of("10bin")
    del files["data_batch_3.bin"]
    for data in (folder_of(tmp_path / "a", files), tar_of(tmp_path / "a.tar.gz", files)):
        with pytest.raises(UserError, match=r"data_batch_3\.bin is missing in"):
            list_pictures(data)


def test_foreign_archive_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no CIFAR-10 or CIFAR-100; unpack it"):
        list_pictures(tar_of(tmp_path / "a.tar.gz", {"cat.png": b"x"}))


def test_damaged_archive_is_refused(tmp_path):
    whole = tar_of(tmp_path / "a.tar.gz", files_of("10bin")).read_bytes()
    plain = gzip.decompress(whole)
    for damaged in (b"", b"no tar", whole[:-2000], whole[:30] + bytes(30) + whole[60:], plain[:2000]):
        (tmp_path / "b.tar.gz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"b\.tar\.gz"):
            list_pictures(tmp_path / "b.tar.gz")


def test_archive_is_unpacked_up_to_a_bound(tmp_path, monkeypatch):
    path = tar_of(tmp_path / "a.tar.gz", {**files_of("10bin"), "more.bin": bytes(200_000)})
    size = len(gzip.decompress(path.read_bytes()))
    monkeypatch.setattr(cifar, "MAX_BYTES", size)
    assert len(list_pictures(path)) == 5 * COUNT
    monkeypatch.setattr(cifar, "MAX_BYTES", 200_000)
    with pytest.raises(UserError, match="unpacked it has over"):
        list_pictures(path)


def header(name, size, kind=b"0", realsize=None):
    """A tar header with a size that tarfile itself would not write."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    block[156:157] = kind
    block[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    if realsize is not None:
        block[483:495] = b"\x80" + realsize.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_sparse_members_are_refused(tmp_path):
    content = header("cifar/train.bin", 0, b"S", realsize=2**50) + bytes(1024)
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(UserError, match="it has sparse files"):
        list_pictures(tmp_path / "a.tar")


def test_archive_that_leads_round_in_circles_ends(tmp_path):
    back = b"\xff" * 10 + (-512 & 0xFFFF).to_bytes(2, "big")  # a size of -512: the next header is this one again
    (tmp_path / "a.tar").write_bytes(header("cifar/readme", 0) + header("cifar/train.bin", back) + bytes(1024))
    with pytest.raises(UserError, match=r"its -512 bytes are more than this reads"):
        list_pictures(tmp_path / "a.tar")
