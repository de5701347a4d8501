"""Folders, zips and their dataset.json: what is listed, what is refused, and that nothing blocks or blows up."""

import io
import json
import os
import re
import struct
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from rggan import UserError
from rggan.data.picture import MAX_BYTES
from rggan.data.source import list_pictures


def png(value=0, size=(8, 8)):
    stream = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(stream, "png")
    return stream.getvalue()


def write(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png() if content is None else content)


def make_zip(path, files, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def names(data, pattern="*"):
    return [picture.name for picture in list_pictures(data, pattern)]


def one(data, name):
    return next(picture for picture in list_pictures(data) if picture.name == name)


# Folders


def test_folder_gives_names_bytes_and_classes(tmp_path):
    for i, name in enumerate(("b/2.png", "a/x/1.JPG", "0.png", ".hidden.png", "__MACOSX/a.png", "notes.txt")):
        write(tmp_path / name, bytes([i]))
    pictures = list_pictures(str(tmp_path))
    assert [(p.name, p.read(), p.class_name) for p in pictures] == [
        ("0.png", b"\2", ""),
        ("a/x/1.JPG", b"\1", "a"),
        ("b/2.png", b"\0", "b"),
    ]
    assert names(tmp_path, "[12].*") == ["a/x/1.JPG", "b/2.png"]
    with pytest.raises(UserError, match=r"No pictures named \*\.gif in"):
        list_pictures(tmp_path, "*.gif")


def test_links_to_folders_are_followed_but_a_cycle_ends(tmp_path):
    write(tmp_path / "elsewhere/1.png")
    write(tmp_path / "set/dog/1.png")
    (tmp_path / "set/cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/dog/back").symlink_to(tmp_path / "set")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path)
    assert names(tmp_path / "set") == ["cat/1.png", "dog/1.png"]


def test_many_links_among_folders_end_soon(tmp_path):
    for a in range(12):  # 12! paths, if only a path's own ancestors were remembered
        write(tmp_path / f"{a:02d}/1.png")
        for b in range(12):
            (tmp_path / f"{a:02d}/to{b}").symlink_to(tmp_path / f"{b:02d}")
    assert names(tmp_path) == [f"{a:02d}/1.png" for a in range(12)]


def test_what_is_no_readable_file_fails_when_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    write(tmp_path / "large.png", b"x" * 101)
    write(tmp_path / "fits.png", b"x" * 100)
    monkeypatch.setattr("rggan.data.picture.MAX_BYTES", 100)
    with pytest.raises(OSError, match=r"^it is no regular file$"):
        one(tmp_path, "pipe.png").read()
    with pytest.raises(OSError, match=r"^No such file or directory$"):
        one(tmp_path, "gone.png").read()
    with pytest.raises(ValueError, match="101 bytes are more"):
        one(tmp_path, "large.png").read()
    assert one(tmp_path, "fits.png").read() == b"x" * 100


def test_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    write(tmp_path / "cat/1.png")
    write(tmp_path / "dog/1.png")
    scandir = os.scandir

    def scan(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(UserError, match=r"Cannot list the folder .*dog: Permission denied"):
        list_pictures(tmp_path)


def test_name_that_is_no_utf8_can_be_printed(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as stream:
        stream.write(b"x")
    picture = list_pictures(tmp_path)[0]
    assert picture.name == r"caf\xe9.png"
    assert picture.name.encode()
    assert picture.read() == b"x"


# What is no source at all


def test_missing_and_foreign_sources_are_told_apart(tmp_path):
    for nowhere in (tmp_path / "nowhere", "x" * 5000, "a\0b"):
        with pytest.raises(UserError, match="There is nothing at"):
            list_pictures(nowhere)
    write(tmp_path / "a.txt", b"x")
    os.mkfifo(tmp_path / "a.npy")
    for foreign in ("a.txt", "a.npy"):
        with pytest.raises(
            UserError, match=r"neither a folder nor a zip of pictures, nor a .npy .* CIFAR-10 .*hf:NAME"
        ):
            list_pictures(tmp_path / foreign)
    (tmp_path / "empty").mkdir()
    for empty in (tmp_path / "empty", make_zip(tmp_path / "e.zip", {"a.txt": "x"})):
        with pytest.raises(UserError, match="No pictures in"):
            list_pictures(empty)


# Zips


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_gives_the_same_as_the_folder(tmp_path, method):
    contents = {f"{kind}/{i}.png": np.random.default_rng(i).bytes(50_000) for kind in ("cat", "dog") for i in range(3)}
    for name, content in contents.items():
        write(tmp_path / "set" / name, content)
    path = make_zip(tmp_path / "set.data", contents, compression=method)  # known by its content
    assert names(path) == names(tmp_path / "set")
    assert {p.name: p.read() for p in list_pictures(path)} == contents
    assert [p.class_name for p in list_pictures(path)] == ["cat"] * 3 + ["dog"] * 3


def test_zip_is_read_from_many_threads_at_once(tmp_path):
    contents = {f"{i:03d}.png": np.random.default_rng(i).bytes(20_000) for i in range(100)}
    pictures = list_pictures(make_zip(tmp_path / "a.zip", contents, compression=zipfile.ZIP_DEFLATED)) * 4
    with ThreadPoolExecutor(8) as pool:
        for picture, content in zip(pictures, pool.map(lambda p: p.read(), pictures), strict=True):
            assert content == contents[picture.name]


@pytest.mark.parametrize("name", ["/a.png", "../a.png", "x/../../a.png", "C:\\a.png", "x\\..\\..\\a.png", "\\a.png"])
def test_path_that_leads_outside_is_refused_when_read(tmp_path, name):
    path = make_zip(tmp_path / "a.zip", {name: png(), "good.png": b"x"})
    with pytest.raises(ValueError, match="leads outside"):
        one(path, name).read()
    assert one(path, "good.png").read() == b"x"


def test_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("a.png")
    link.external_attr = 0o120777 << 16
    path = make_zip(tmp_path / "a.zip", {link: "/etc/passwd"})
    with pytest.raises(ValueError, match="it is a link"):
        list_pictures(path)[0].read()


def central(content, entry=0):
    """Where the central header of an entry starts, in the bytes of a zip."""
    position = -1
    for _ in range(entry + 1):
        position = content.index(b"PK\1\2", position + 1)
    return position


def patched(path, offset, value, entry=0):
    """Write bytes into the central header of an entry."""
    content = bytearray(path.read_bytes())
    start = central(content, entry) + offset
    content[start : start + len(value)] = value
    path.write_bytes(content)
    return path


def test_entry_that_declares_too_much_is_refused_unread(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "a.zip", {"a.png": bytes(2**20)}, compression=zipfile.ZIP_DEFLATED)
    patched(path, 24, struct.pack("<I", MAX_BYTES + 1))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("opened"))
    with pytest.raises(ValueError, match=f"{MAX_BYTES + 1:,} bytes are more"):
        list_pictures(path)[0].read()


def test_entry_that_holds_more_than_it_declares_is_not_expanded(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a.png": bytes(50 * 2**20)}, compression=zipfile.ZIP_DEFLATED)
    picture = list_pictures(patched(path, 24, struct.pack("<I", 1000)))[0]
    tracemalloc.start()
    with pytest.raises(ValueError, match="CRC"):
        picture.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_without_a_bound_is_refused(tmp_path, method):
    path = make_zip(tmp_path / "a.zip", {"a.png": png()}, compression=method)
    with pytest.raises(ValueError, match="compression method"):
        list_pictures(path)[0].read()


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (8, b"\1\0", "encrypted"),
        (10, b"\x63\0", "compression method"),
        (16, b"\0\0\0\0", "CRC"),
        (42, b"\x05\0\0\0", "magic number"),
    ],
)
def test_damaged_entry_is_named_and_the_others_are_read(tmp_path, offset, value, message):
    path = make_zip(tmp_path / "a.zip", {"a.png": b"x" * 99, "b.png": b"y"}, compression=zipfile.ZIP_DEFLATED)
    patched(path, offset, value)
    with pytest.raises(ValueError, match=message):
        one(path, "a.png").read()
    assert one(path, "b.png").read() == b"y"


def test_damaged_compressed_data_is_a_value_error(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a.png": b"xyz" * 5000}, compression=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    content[40:50] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(ValueError, match="decompressing"):
        list_pictures(path)[0].read()


def test_entries_on_the_same_bytes_are_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a.png": b"x" * 500, "b.png": b"x" * 500, "c.png": b"z"})
    patched(path, 42, b"\0\0\0\0", entry=1)  # b points at a's data
    with pytest.raises(ValueError, match="overlaps another"):
        one(path, "a.png").read()
    assert one(path, "c.png").read() == b"z"


def test_of_entries_with_one_name_the_last_counts_once(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"first")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"last")
    assert [(p.name, p.read()) for p in list_pictures(tmp_path / "a.zip")] == [("a.png", b"last")]


def test_damaged_zip_is_refused_as_a_whole(tmp_path):
    whole = make_zip(tmp_path / "a.zip", {"a.png": png(), "b.png": png()}).read_bytes()
    start = central(whole)
    for damaged in (b"", b"no zip", whole[:-30], whole[:start] + b"XXXX" + whole[start + 4 :]):
        (tmp_path / "b.zip").write_bytes(damaged)
        with pytest.raises(UserError, match=r"b\.zip is damaged: "):
            list_pictures(tmp_path / "b.zip")


# dataset.json


@pytest.fixture(params=["folder", "zip"])
def pack(request, tmp_path):
    """Writes files as a folder or a zip."""

    def pack(files):
        if request.param == "zip":
            return make_zip(tmp_path / "set.zip", files)
        for name, content in files.items():
            write(tmp_path / "set" / name, content.encode() if isinstance(content, str) else content)
        return tmp_path / "set"

    return pack


FILES = {"00000/img0.png": b"a", "00000/img1.png": b"b", "00001/img2.png": b"c"}


def test_labels_of_dataset_json_win_over_folders(pack):
    labels = [["00000/img0.png", 6], ["00000/img1.png", 10], ["00001/img2.png", 6], ["00001/not there.png", 3]]
    data = pack({**FILES, "dataset.json": json.dumps({"labels": labels})})
    assert [(p.name, p.label, p.class_name) for p in list_pictures(data)] == [
        ("00000/img0.png", "6", "6"),
        ("00000/img1.png", "10", "10"),
        ("00001/img2.png", "6", "6"),
    ]


def test_without_labels_the_folders_count(pack):
    data = pack({**FILES, "dataset.json": '{"labels": null}'})
    assert [(p.label, p.class_name) for p in list_pictures(data)] == [(None, "00000"), (None, "00000"), (None, "00001")]


def test_pictures_without_a_label_are_counted_and_no_label_is_used(pack):
    data = pack({**FILES, "dataset.json": '{"labels": [["00000/img0.png", 1], ["00001/img2.png", 1]]}'})
    found = list_pictures(data)
    assert [picture.class_name for picture in found] == ["00000", "00000", "00001"]
    assert found.fault == f"1 of 3 pictures has no label in dataset.json of {data} (00000/img1.png)"
    assert found.notes == (f"labels are not used: {found.fault}",)
    all_of_them = list_pictures(data, "*[02].png")  # the other one is not asked for
    assert ([picture.label for picture in all_of_them], all_of_them.fault) == (["1", "1"], None)


@pytest.mark.parametrize(
    ("label", "other", "classes"),
    [
        ([0, 1], [1, 0], ["1", "1", "0"]),
        ([0.0, 0.0, 1.0], [1, 0, 0], ["2", "2", "0"]),
        ("cat", "dog", ["cat", "cat", "dog"]),
        (3.0, [7], ["3", "3", "7"]),
    ],
)
def test_one_hot_vectors_names_and_whole_numbers_are_classes(pack, label, other, classes):
    labels = [["00000/img0.png", label], ["00000/img1.png", label], ["00001/img2.png", other]]
    found = list_pictures(pack({**FILES, "dataset.json": json.dumps({"labels": labels})}))
    assert ([picture.label for picture in found], found.fault, found.notes) == (classes, None, ())


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ([0.5, 0.5], "3 of 3 labels .* are no class .*00000/img0.png: .0.5, 0.5.*one-hot vector"),
        ([0.0, 0.0], "are no class"),
        ([1, 1], "are no class"),
        ([], "are no class"),
        ([True, False], "are no class"),
        (1.5, "are no class"),
        (True, "are no class"),
        ("", "are no class"),
        ({"class": 1}, "are no class"),
        (None, "3 of 3 pictures have no label"),
    ],
)
def test_labels_that_are_no_classes_are_told_and_not_used(pack, label, words):
    labels = [[name, label] for name in FILES]
    found = list_pictures(pack({**FILES, "dataset.json": json.dumps({"labels": labels})}))
    assert [picture.class_name for picture in found] == ["00000", "00000", "00001"]
    assert re.search(words, found.fault)
    assert found.notes == (f"labels are not used: {found.fault}",)


def test_vectors_of_several_lengths_are_no_classes(pack):
    labels = [["00000/img0.png", [0, 1]], ["00000/img1.png", [0, 1, 0]], ["00001/img2.png", [1, 0]]]
    found = list_pictures(pack({**FILES, "dataset.json": json.dumps({"labels": labels})}))
    assert "vectors of several lengths" in found.fault


@pytest.mark.parametrize(
    "content", ["", "{", b"\xff\xfe\x00", "[" * 100_000, '{"labels": [["a", ' + "1" * 10_000 + "]]}"]
)
def test_damaged_dataset_json_is_told_and_not_used(pack, content):
    found = list_pictures(pack({**FILES, "dataset.json": content}))
    assert [picture.class_name for picture in found] == ["00000", "00000", "00001"]
    assert re.match(r"dataset\.json of .* cannot be read: ", found.fault)


@pytest.mark.parametrize(
    "content",
    [
        *("[]", '["labels"]', '{"labels": 3}', '{"images": 3}', '{"labels": {"background": 0, "organ": 1}}'),
        *('{"labels": [["00000/img0.png"]]}', '{"labels": [[3, 1]]}'),
    ],
)
def test_dataset_json_of_another_program_is_no_fault(pack, content):
    found = list_pictures(pack({**FILES, "dataset.json": content}))
    assert [picture.class_name for picture in found] == ["00000", "00000", "00001"]
    assert found.fault is None
    assert re.match(r"dataset\.json of .* has no pairs of a file name and a label", found.notes[0])


def test_dataset_json_that_is_too_large_is_not_loaded(tmp_path, monkeypatch):
    write(tmp_path / "a.png")
    write(tmp_path / "dataset.json", b'{"labels": null}' + b" " * 1000)
    monkeypatch.setattr("rggan.data.picture.MAX_BYTES", 1000)
    assert "1,016 bytes are more" in list_pictures(tmp_path).fault


def test_a_table_with_back_slashes_or_taken_apart_accents_names_the_same_files(pack):
    files = {"Caf\u00e9/1.png": b"a", "the\u0301/2.png": b"b"}
    labels = [["Cafe\u0301\\1.png", 5], ["./th\u00e9/2.png", 6]]
    found = list_pictures(pack({**files, "dataset.json": json.dumps({"labels": labels})}))
    assert [(picture.name, picture.label) for picture in found] == [("Caf\u00e9/1.png", "5"), ("the\u0301/2.png", "6")]


# Folders around everything, names of Windows and macOS


def test_folders_around_everything_are_stepped_into(pack):
    files = {f"photos/mine/{name}": png(i) for i, name in enumerate(("cats/1.png", "cats/x/2.png", "dogs/1.png"))}
    extra = {"photos/notes.txt": b"x", "__MACOSX/photos/._1.png": b"x", "photos/.DS_Store": b"x"}
    found = list_pictures(pack({**files, **extra}))
    assert [picture.class_name for picture in found] == ["cats", "cats", "dogs"]
    assert [picture.name for picture in found] == list(files)
    assert [picture.class_name for picture in list_pictures(pack(files), "2.png")] == ["cats"]


def test_a_single_folder_of_pictures_has_no_classes(pack):
    found = list_pictures(pack({"photos/1.png": png(), "photos/2.png": png()}))
    assert [picture.class_name for picture in found] == ["", ""]
    mixed = list_pictures(pack({"photos/1.png": png(), "photos/2.png": png(), "photos/cats/2.png": png()}))
    assert [picture.class_name for picture in mixed] == ["", "", "cats"]


@pytest.mark.parametrize("inner", ["", "mine/"])
def test_the_table_in_the_folder_around_everything_counts(pack, inner):
    files = {"mine/cats/1.png": png(), "mine/dogs/1.png": png(1)}
    table = {"mine/dataset.json": json.dumps({"labels": [[f"{inner}cats/1.png", 8], [f"{inner}dogs/1.png", 9]]})}
    assert [picture.label for picture in list_pictures(pack({**files, **table}))] == ["8", "9"]


def test_a_table_deeper_than_the_folders_around_everything_is_no_table(pack):
    files = {"cats/1.png": png(), "dogs/1.png": png(1)}
    table = {"cats/dataset.json": json.dumps({"labels": [["1.png", 8]]})}
    found = list_pictures(pack({**files, **table}))
    assert [picture.class_name for picture in found] == ["cats", "dogs"]
    assert found.notes == ("passed over: 1 .json",)


def test_back_slashes_separate_folders(pack):
    found = list_pictures(pack({"cats\\1.png": png(), "dogs\\x\\2.png": png(1), "dogs\\.hidden.png": png(2)}))
    assert [(picture.name, picture.class_name) for picture in found] == [
        ("cats\\1.png", "cats"),
        ("dogs\\x\\2.png", "dogs"),
    ]
    assert len(list_pictures(pack({"cats\\1.png": png()}), "1.*")) == 1


def test_class_names_that_look_alike_are_one_class(pack):
    found = list_pictures(pack({"caf\u00e9/1.png": png(), "cafe\u0301/2.png": png(1), "tea/3.png": png(2)}))
    assert sorted(picture.class_name for picture in found) == ["caf\u00e9", "caf\u00e9", "tea"]


def test_a_class_name_alone_keeps_its_spelling(pack):
    found = list_pictures(pack({"cafe\u0301/2.png": png(1), "tea/3.png": png(2)}))
    assert [picture.class_name for picture in found] == ["cafe\u0301", "tea"]


@pytest.mark.parametrize("parts", [("train", "val"), ("Train", "Test", "valid")])
def test_classes_that_are_parts_of_a_split_are_told(pack, parts):
    found = list_pictures(pack({f"{part}/cats/1.png": png(i) for i, part in enumerate(parts)}))
    (note,) = found.notes
    assert "like the parts of a split" in note
    assert all(part in note for part in parts)


def test_a_class_called_test_among_others_is_not_told(pack):
    assert list_pictures(pack({"test/1.png": png(), "cats/1.png": png(1)})).notes == ()


def test_entry_without_a_name_is_no_picture(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b.png", b"y")
        nameless = zipfile.ZipInfo("x")
        nameless.filename = ""
        archive.writestr(nameless, b"x")
    assert [picture.name for picture in list_pictures(tmp_path / "a.zip")] == ["b.png"]
