"""The copy holds what is good, changed only where it must be, and nothing is ever written beside it."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from rggan import UserError
from rggan.data.audit import mend
from rggan.data.audit.doctor import inspect
from rggan.data.audit.mend import write_copy
from rggan.data.decode import open_picture
from rggan.data.picture import Picture
from rggan.data.source import list_pictures

from .test_doctor import encoded, noise, picture, srgb_profile, swapped_profile

HOSTILE = [
    "../evil.png",
    "../../evil.png",
    "/etc/x.png",
    "a\x00b.png",
    "C:\\x.png",
    "C:\\y\\..\\z.png",
    "n" * 300 + ".png",
    "A.png",
    "a.png",
    ".hidden.png",
    "..",
    ".",
    "",
    "cat/../../up.png",
    "cat/./1.png",
    "Cat/1.png",
    "con\nrol\x1b[2J.png",
    "été.png",
    "cat.png/1.png",
    "cat.png",
    "__MACOSX/1.png",
]


def copy(pictures, out, near=False):
    return write_copy(pictures, inspect(pictures), out, near)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_good_ones_are_copied_and_bad_ones_left_out(tmp_path):
    pictures = [
        picture("cat/1.png", noise(0)),
        picture("cat/2.png", b"bad"),
        picture("dog/1.png", noise(0)),
        picture("dog/2.png", noise(0).point(lambda value: min(255, value + 3))),
        picture("dog/3.png", Image.new("L", (32, 32), 7)),
        picture("dog/4.png", noise(4)),
        picture("5.png", noise(5), label="bird"),
        picture("6.png", noise(6)),
    ]
    result = copy(pictures, tmp_path / "out")
    assert files(tmp_path) == ["out/6.png", "out/bird/5.png", "out/cat/1.png", "out/dog/2.png", "out/dog/4.png"]
    assert result["written"] == 5
    assert result["left_out"] == {
        "cat/2.png": "cannot be read: no picture, by its content",
        "dog/1.png": "the same as cat/1.png",
        "dog/3.png": "of one colour only",
    }
    assert np.array_equal(pixels(tmp_path / "out/dog/4.png"), np.asarray(noise(4)))
    result = copy(pictures, tmp_path / "far", near=True)
    assert result["left_out"]["dog/2.png"] == "nearly the same as cat/1.png"
    assert "far/dog/2.png" not in files(tmp_path)


def test_the_copy_is_healthy(tmp_path):
    pictures = [picture(f"{i % 2}/{i}.png", noise(i % 5)) for i in range(9)]
    pictures[3] = picture("1/3.jpg", encoded(noise(3, mode="CMYK"), "jpeg"))
    copy(pictures, tmp_path / "out", near=True)
    health = inspect(list_pictures(tmp_path / "out"))
    assert health.count == 5
    assert health.readable == 5
    assert [health.same, health.near, health.uniform, health.turned, health.foreign] == [[], [], [], 0, {}]
    assert health.modes == {"RGB": 5}


def test_jpegs_without_need_of_change_stay_byte_for_byte(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    plain = encoded(noise(0), "jpeg")
    srgb = encoded(noise(1), "jpeg", icc_profile=srgb_profile())
    pictures = [
        picture("a.JPEG", plain),
        picture("b.png", srgb),  # by its name a PNG
        picture("c.jpg", encoded(noise(2, (40, 32)), "jpeg", exif=turned)),
        picture("d.jpg", encoded(noise(3), "jpeg", icc_profile=swapped_profile())),
        picture("e.jpg", encoded(noise(4, mode="CMYK"), "jpeg")),
    ]
    copy(pictures, tmp_path / "out")
    assert files(tmp_path / "out") == ["a.jpeg", "b.jpg", "c.png", "d.png", "e.png"]
    assert (tmp_path / "out/a.jpeg").read_bytes() == plain
    assert (tmp_path / "out/b.jpg").read_bytes() == srgb
    assert np.array_equal(pixels(tmp_path / "out/c.png"), np.asarray(open_picture(pictures[2])))
    assert pixels(tmp_path / "out/c.png").shape == (40, 32, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_other_profiles_are_converted_and_dropped(tmp_path, mode):
    image = noise(1)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((32, 32)))
    if mode == "P":
        image = image.quantize(16)
    stored = encoded(image, icc_profile=swapped_profile())
    copy([picture("a.png", stored)], tmp_path / "out")
    with Image.open(tmp_path / "out/a.png") as mended:
        assert "icc_profile" not in mended.info
        assert mended.mode == ("RGBA" if mode == "RGBA" else "RGB")
        ours = np.asarray(mended).astype(int)
    before = np.asarray(image.convert("RGBA" if mode == "RGBA" else "RGB")).astype(int)
    assert abs(ours[..., :3] - before[..., [1, 0, 2]]).max() <= 3  # red and green exchanged
    assert np.array_equal(ours[..., 3:], before[..., 3:])


def test_a_profile_that_does_not_fit_changes_nothing(tmp_path):
    copy([picture("a.png", encoded(noise(0, mode="L"), icc_profile=swapped_profile()))], tmp_path / "out")
    assert np.array_equal(pixels(tmp_path / "out/a.png"), np.asarray(noise(0, mode="L")))


def test_depth_frames_and_raw_pixels(tmp_path):
    deep = Image.fromarray((np.arange(1024).reshape(32, 32) * 64).astype(np.uint16))
    raw = np.asarray(noise(8))
    pictures = [
        picture("a.png", deep),
        picture("b.gif", encoded(noise(0), "gif", save_all=True, append_images=[noise(1)])),
        Picture("00002", raw.tobytes, "9", raw.shape),
    ]
    copy(pictures, tmp_path / "out")
    assert files(tmp_path / "out") == ["9/00002.png", "a.png", "b.png"]
    assert np.array_equal(pixels(tmp_path / "out/a.png"), np.arange(1024).reshape(32, 32) * 64 // 257)
    assert np.array_equal(pixels(tmp_path / "out/9/00002.png"), raw)
    with Image.open(tmp_path / "out/b.png") as image:
        assert getattr(image, "n_frames", 1) == 1


def test_hostile_names_become_harmless_ones(tmp_path):
    pictures = [picture(name, noise(i)) for i, name in enumerate(HOSTILE)]
    pictures += [picture("x.png", noise(100 + i), label) for i, label in enumerate(HOSTILE)]
    below = tmp_path / "a" / "b"
    result = copy(pictures, below / "out")
    written = files(tmp_path)
    assert result == {"written": len(pictures), "left_out": {}}
    assert len(written) == len(pictures) == len({name.lower() for name in written})
    for name in written:
        parts = name.split("/")
        assert parts[:3] == ["a", "b", "out"]
        assert len(parts) in (4, 5)
        assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", part) for part in parts)
    assert len(list_pictures(below / "out")) == len(pictures)  # none is hidden from us
    contents = {encoded(noise(i + more)) for i in range(len(HOSTILE)) for more in (0, 100)}
    assert {(tmp_path / name).read_bytes() for name in written} == contents


def test_many_of_one_name_are_numbered(tmp_path):
    pictures = [picture(f"a/{i}/same.png", noise(i, (4, 4))) for i in range(300)]
    copy(pictures, tmp_path / "out")
    assert files(tmp_path / "out") == sorted(["a/same.png", *(f"a/same-{i}.png" for i in range(2, 301))])


def test_classes_that_differ_only_in_their_letters_case_stay_apart(tmp_path):
    pictures = [picture(f"{folder}/1.png", noise(i)) for i, folder in enumerate(("cat", "Cat", "c at", "c+at"))]
    copy(pictures, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Cat-2", "c-at", "c-at-2", "cat"]


def test_a_target_outside_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mend, "safe", lambda name, otherwise: "../evil")
    with pytest.raises(UserError, match="outside of the copy"):
        copy([picture("a.png", noise(0))], tmp_path / "out")
    assert files(tmp_path) == []


@pytest.mark.parametrize("there", ["folder", "file"])
def test_what_is_there_is_never_written_over(tmp_path, there):
    out = tmp_path / "out"
    precious = out / "precious.txt" if there == "folder" else out
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("mine")
    with pytest.raises(UserError, match="already there"):
        copy([picture("a.png", noise(0))], out)
    assert precious.read_text() == "mine"
    assert files(tmp_path) == [precious.relative_to(tmp_path).as_posix()]


def test_a_part_that_was_left_is_not_touched(tmp_path):
    (tmp_path / ".out.rggan.part").mkdir()
    (tmp_path / ".out.rggan.part" / "old.png").write_text("old")
    with pytest.raises(UserError, match="interrupted"):
        copy([picture("a.png", noise(0))], tmp_path / "out")
    assert files(tmp_path) == [".out.rggan.part/old.png"]


@pytest.mark.parametrize("where", [".out.rggan.part", ".out.rggan.part/a"])
def test_what_somebody_put_into_the_part_meanwhile_stays(tmp_path, monkeypatch, where):
    count = iter(range(10))

    def fail(name, otherwise):
        if next(count) == 3:
            (tmp_path / where / "theirs.txt").write_text("theirs")
            raise RuntimeError("no more")
        return name

    monkeypatch.setattr(mend, "safe", fail)
    with pytest.raises(RuntimeError):
        copy([picture(f"a/{i}.png", noise(i)) for i in range(5)], tmp_path / "out")
    assert files(tmp_path) == [f"{where}/theirs.txt"]


def test_an_empty_folder_and_missing_parents_will_do(tmp_path):
    (tmp_path / "empty").mkdir()
    assert copy([picture("a.png", noise(0))], tmp_path / "empty")["written"] == 1
    assert copy([picture("a.png", noise(0))], tmp_path / "x" / "y")["written"] == 1
    assert files(tmp_path) == ["empty/a.png", "x/y/a.png"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_nothing_half_written_stays(tmp_path, monkeypatch, error):
    count = iter(range(10))

    def fail(name, otherwise):
        if next(count) == 2:
            raise error("no more")
        return name

    monkeypatch.setattr(mend, "safe", fail)
    with pytest.raises(UserError if error is OSError else error):
        copy([picture(f"{i}.png", noise(i)) for i in range(5)], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_files_that_went_bad_since_are_left_out_and_counted(tmp_path):
    state = {"content": encoded(noise(1))}
    pictures = [picture("a.png", noise(0)), Picture("b.png", lambda: state["content"])]
    health = inspect(pictures)
    state["content"] = b"gone"
    result = write_copy(pictures, health, tmp_path / "out")
    assert result == {"written": 1, "left_out": {"b.png": "cannot be read: no picture, by its content"}}


def test_nothing_left_is_refused(tmp_path):
    with pytest.raises(UserError, match="No picture is left"):
        copy([picture("a.png", b"bad")], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_an_archive_holds_twice_loses_only_the_bad_one(tmp_path):
    stream = io.BytesIO()
    noise(1).save(stream, "png")
    pictures = [picture("a.png", noise(0)), picture("a.png", b"bad"), picture("a.png", stream.getvalue())]
    result = copy(pictures, tmp_path / "out")
    assert list(result["left_out"]) == ["a.png (2)"]
    assert files(tmp_path / "out") == ["a-2.png", "a.png"]
