"""Arrays in .npy and .npz: layouts, value ranges, labels, and headers that lie."""

import io
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest

from rggan import UserError
from rggan.data.forms import arrays
from rggan.data.source import list_pictures


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def saved(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    return tmp_path / "a.npy"


def pixels(data):
    return np.stack([np.frombuffer(p.read(), dtype=np.uint8).reshape(p.shape) for p in list_pictures(data)])


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((5, 6, 7), None),
        ((5, 6, 7, 1), None),
        ((5, 6, 7, 3), None),
        ((5, 6, 7, 4), None),
        ((5, 3, 6, 4), None),  # ambiguous: the last axis wins
        ((5, 1, 6, 7), (0, 2, 3, 1)),
        ((5, 3, 6, 7), (0, 2, 3, 1)),
        ((5, 4, 6, 7), (0, 2, 3, 1)),
    ],
)
def test_every_layout_gives_the_same_pixels(tmp_path, ending, shape, axes):
    array = noise(*shape)
    for order in ("C", "F"):
        ordered = np.asarray(array, order=order)
        path = tmp_path / f"a.{ending}"
        np.save(path, ordered) if ending == "npy" else np.savez_compressed(path, ordered)
        expected = array[..., None] if array.ndim == 3 else array if axes is None else array.transpose(axes)
        assert np.array_equal(pixels(path), expected)
    assert [p.name for p in list_pictures(path)] == [f"0000000{i}" for i in range(5)]
    assert {p.class_name for p in list_pictures(path)} == {""}
    assert [p.name for p in list_pictures(path, "*[024]")] == ["00000000", "00000002", "00000004"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_floats_within_zero_and_one_are_scaled(tmp_path, dtype):
    array = noise(4, 6, 7, 3)
    assert np.array_equal(pixels(saved(tmp_path, (array / 255).astype(dtype))), array)


@pytest.mark.parametrize("bad", [1.01, -0.01, np.nan, np.inf])
def test_float_outside_is_an_error_of_its_picture_alone(tmp_path, bad):
    array = np.zeros((3, 6, 7), dtype=np.float32)
    array[1, 2, 3] = bad
    pictures = list_pictures(saved(tmp_path, array))
    assert pictures[0].read() == pictures[2].read() == bytes(42)
    with pytest.raises(ValueError, match="do not lie within 0 to 1"):
        pictures[1].read()


def test_sixteen_bits_and_bools_are_scaled(tmp_path):
    wide = np.arange(0, 65536, 13, dtype=np.uint16)[:5040].reshape(2, 40, 63)
    assert np.array_equal(pixels(saved(tmp_path, wide))[..., 0], wide // 257)
    assert np.array_equal(pixels(saved(tmp_path, wide.astype(">u2")))[..., 0], wide // 257)
    assert pixels(saved(tmp_path, np.full((1, 6, 7), 65535, dtype=np.uint16))).min() == 255
    flags = noise(2, 6, 7) > 99
    assert np.array_equal(pixels(saved(tmp_path, flags))[..., 0], flags * 255)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (noise(5, 3072), "reshape it"),
        (noise(5), "reshape it"),
        (noise(32, 32, 3), "reshape it"),  # a single picture, not 32 of 32x3
        (noise(5, 6, 7, 2), "reshape it"),
        (noise(5, 2, 6, 7), "reshape it"),
        (noise(2, 5, 6, 7, 3), "reshape it"),
        (noise(0, 6, 7), "no pictures"),
        (noise(5, 0, 7), "no pictures"),
        (noise(5, 6, 7).astype(np.int64), "convert them to uint8"),
        (noise(5, 6, 7).astype(np.uint32), "convert them to uint8"),
        (noise(5, 6, 7).astype(np.complex64), "convert them to uint8"),
        (noise(5, 6, 7).astype(str), "convert them to uint8"),
    ],
)
def test_what_is_no_array_of_pictures_is_refused(tmp_path, array, message):
    np.savez(tmp_path / "a.npz", array)
    with pytest.raises(UserError, match=message):
        list_pictures(saved(tmp_path, array))
    if array.ndim in (3, 4):
        with pytest.raises(UserError, match=message):
            list_pictures(tmp_path / "a.npz")


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_nothing_is_unpickled(tmp_path):
    array = np.empty((1, 6, 7), dtype=object)
    array[:] = Bomb()
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "images.npz", images=array)
    np.savez(tmp_path / "labels.npz", images=noise(1, 6, 7), labels=array[0, 0, :1])
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb()))
    for name in ("a.npy", "b.npy", "images.npz"):
        with pytest.raises(UserError):
            list_pictures(tmp_path / name)
    assert list_pictures(tmp_path / "labels.npz").fault


def header(shape, version=(1, 0)):
    stream = io.BytesIO()
    write = np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0
    write(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


HUGE = [(10, 100, 101), (2**32, 2**32, 7), (2**62, 2, 2), (2**70, 6, 7), (-1, 6, 7), (-10, -6, 7), (-10, -5, 2)]


@pytest.mark.parametrize("shape", HUGE)
def test_header_that_declares_more_than_there_is_is_refused(tmp_path, shape):
    (tmp_path / "a.npy").write_bytes(header(shape) + bytes(100))
    with pytest.raises(UserError, match=r"cut short|negative|more than this reads"):
        list_pictures(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header(shape) + bytes(100))
    with pytest.raises(UserError, match=r"does not fit its size|negative|more than this reads"):
        list_pictures(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\7\0" + bytes(200),
        header((5, 6, 7))[:40],
        b"\x93NUMPY\1\0\x10\0" + b"{'shape': (1, 2," + bytes(99),
        b"\x93NUMPY\1\0\x10\0" + b"\xff" * 99,
        b"\x93NUMPY\2\0\xff\xff\xff\x7f" + b"(" * 20_000,
        b"no array at all",
    ],
)
def test_damaged_header_is_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"Cannot read .*a\.npy: \S.*; save it again"):
        list_pictures(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", content)
    with pytest.raises(UserError, match=r"Cannot read .*a\.npz: \S.*; save it again"):
        list_pictures(tmp_path / "a.npz")


def test_second_header_version_is_read(tmp_path):
    array = noise(2, 6, 7)
    (tmp_path / "a.npy").write_bytes(header(array.shape, (2, 0)) + array.tobytes())
    assert np.array_equal(pixels(tmp_path / "a.npy")[..., 0], array)


def test_npy_is_mapped_not_loaded(tmp_path):
    with (tmp_path / "a.npy").open("wb") as stream:
        stream.write(header((2**16, 1024, 1024)))
        stream.truncate(stream.tell() + 2**36)  # 64 GiB, none of them on disk
    assert arrays.map_npy(tmp_path / "a.npy")[2**15].max() == 0


# .npz


@pytest.mark.parametrize("names", [("images", "labels"), ("X", "y"), ("data", "targets"), ("arr_0", "label")])
def test_labels_of_an_npz(tmp_path, names):
    array, labels = noise(4, 6, 7, 3), np.array([3, 10, 3, -1], dtype=np.int16)
    for shape in (4, (4, 1)):
        np.savez(tmp_path / "a.npz", **{names[0]: array, names[1]: labels.reshape(shape), "other": noise(2)})
        assert [p.label for p in list_pictures(tmp_path / "a.npz")] == ["3", "10", "3", "-1"]
        assert np.array_equal(pixels(tmp_path / "a.npz"), array)


def test_images_are_the_only_array_that_can_be_or_the_one_called_so(tmp_path):
    array = noise(4, 6, 7)
    np.savez(tmp_path / "a.npz", photos=array, table=noise(4, 9))
    assert np.array_equal(pixels(tmp_path / "a.npz")[..., 0], array)
    np.savez(tmp_path / "a.npz", x_test=noise(2, 6, 7), x_train=array, y_test=noise(2), y_train=np.arange(4))
    assert np.array_equal(pixels(tmp_path / "a.npz")[..., 0], array)
    assert [p.label for p in list_pictures(tmp_path / "a.npz")] == list("0123")
    for unclear in ({"photos": array, "masks": array}, {"table": noise(4, 9)}, {}):
        np.savez(tmp_path / "a.npz", **unclear)
        with pytest.raises(UserError, match="must hold one array of pictures, called images; it holds"):
            list_pictures(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "labels",
    [
        *(np.array([2, 0, 1, 2], dtype) for dtype in ("uint8", "int64", "float32", "<U3")),
        np.eye(3, dtype=int)[[2, 0, 1, 2]],
        np.eye(3)[[2, 0, 1, 2]],
        np.eye(3, dtype=bool)[[2, 0, 1, 2]],
        np.array([[2], [0], [1], [2]]),
    ],
)
def test_whole_numbers_names_and_one_hot_vectors_are_classes(tmp_path, labels):
    np.savez(tmp_path / "a.npz", images=noise(4, 6, 7), labels=labels)
    pictures = list_pictures(tmp_path / "a.npz")
    assert ([picture.label for picture in pictures], pictures.notes, pictures.fault) == (list("2012"), (), None)


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (np.arange(3), "labels in .*a.npz has the shape \\[3\\] of int64 for 4 pictures"),
        (np.array(1), "labels in .*a.npz has the shape \\[\\] of int64 for 4 pictures"),
        (np.arange(8).reshape(4, 2), r"3 of 4 labels in .*a.npz are no class \(the first: 00000001: \[2, 3\]\)"),
        (np.arange(4) + 0.5, r"4 of 4 labels in .*a.npz are no class \(the first: 00000000: 0.5\)"),
        (np.array([1, np.nan, 1, np.inf]), r"2 of 4 labels in .*a.npz are no class \(the first: 00000001: NaN\)"),
        (np.array([{}] * 4), "labels in .*a.npz has the shape \\[4\\] of object for 4 pictures"),
    ],
)
def test_labels_that_are_no_classes_are_told_and_not_used(tmp_path, labels, fault):
    np.savez(tmp_path / "a.npz", images=noise(4, 6, 7), labels=labels)
    pictures = list_pictures(tmp_path / "a.npz")
    assert [picture.class_name for picture in pictures] == [""] * 4
    assert re.match(fault, pictures.fault)
    assert pictures.notes == (f"labels are not used: {pictures.fault}",)


def test_array_over_the_bound_is_refused_unread(tmp_path, monkeypatch):
    array = noise(4, 6, 7)
    np.savez(tmp_path / "a.npz", array)
    size = array.nbytes + 128  # with its header
    monkeypatch.setattr(arrays, "MAX_ARRAY", size)
    assert len(list_pictures(tmp_path / "a.npz")) == 4
    monkeypatch.setattr(arrays, "MAX_ARRAY", size - 1)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(UserError, match=r"save it as \.npy"):
        list_pictures(tmp_path / "a.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_member_compressed_without_a_bound_is_not_opened(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", compression=method) as archive:
        archive.writestr("images.npy", header((1, 6, 7)) + bytes(42))
    with pytest.raises(UserError, match="it holds nothing"):
        list_pictures(tmp_path / "a.npz")


def test_damaged_npz_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=noise(4, 60, 70))
    whole = (tmp_path / "a.npz").read_bytes()
    start = whole.index(b"PK\1\2")
    flag = bytearray(whole)
    flag[start + 8] |= 1
    crc = bytearray(whole)
    crc[start + 16 : start + 20] = struct.pack("<I", 7)
    for damaged in (b"", whole[:-50], whole[:5000] + bytes(500) + whole[5500:], bytes(flag), bytes(crc)):
        (tmp_path / "b.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"b\.npz"):
            list_pictures(tmp_path / "b.npz")


def test_pictures_of_an_array_have_a_largest_size(tmp_path):
    """A sparse file of gigabytes takes no room on the disk, and would take it all in memory."""
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2, 20000, 20000)})
        file.truncate(file.tell() + 2 * 20000 * 20000)
    with pytest.raises(UserError, match="pictures of 400,000,000 bytes, more than this reads"):
        list_pictures(tmp_path / "a.npy")


@pytest.mark.slow
def test_array_that_unpacks_like_a_bomb_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((300, 1024, 1024), dtype=np.uint8))
    with pytest.raises(UserError, match="unpacks to over 200 times its size"):
        list_pictures(tmp_path / "a.npz")


def test_number_of_pictures_of_an_array_is_bounded(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((arrays.MAX_PICTURES + 1, 1, 2), dtype=np.uint8))
    with pytest.raises(UserError, match="1,000,001 pictures, more than this reads"):
        list_pictures(tmp_path / "a.npy")
