"""What of a folder or zip is a picture, and what is told of the files that are none."""

import io
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from rggan import UserError
from rggan.cli.main import main
from rggan.data import load_images
from rggan.data.decode import BadPicture, open_picture
from rggan.data.picture import Picture, endings_of, every_format, picture_formats
from rggan.data.source import list_pictures

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"  # its first bytes


def picture(form="png", seed=0):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(stream, form)
    return stream.getvalue()


@pytest.fixture(params=["folder", "zip"])
def pack(request, tmp_path):
    """Writes files as a folder or a zip."""

    def pack(files):
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
            return tmp_path / "set.zip"
        for name, content in files.items():
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "set"

    return pack


def forget_formats():
    for known in (every_format, picture_formats, endings_of):
        known.cache_clear()


@pytest.fixture
def without_heif(monkeypatch):
    """As if pillow-heif were not installed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for table in (Image.OPEN, Image.EXTENSION):
        for key in [key for key, value in table.items() if "HEIF" in (key, value)]:
            monkeypatch.delitem(table, key)
    forget_formats()
    yield
    monkeypatch.undo()
    forget_formats()


PHONE = {f"{i}.png": picture(seed=i) for i in range(3)} | {f"IMG_{i}.HEIC": HEIC for i in range(4)}
OVER = 'passed over: 4 .HEIC (convert them to JPEG, or pip install "rggan[heif]")'


def test_pictures_passed_over_are_counted_by_ending(pack, without_heif):
    found = list_pictures(pack({**PHONE, "a.txt": b"x", "b.TXT": b"x", "LICENSE": b"x", "scan.dcm": b"x"}))
    assert [each.name for each in found] == ["0.png", "1.png", "2.png"]
    (note,) = found.notes
    assert note.startswith(f"{OVER}, 2 ")
    assert "1 without an ending" in note
    assert "1 .dcm (convert" in note


def test_hidden_files_and_those_of_a_system_are_not_told(pack):
    files = {name: b"x" for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", "__MACOSX/._0.png", ".git/x")}
    found = list_pictures(pack({"0.png": picture(), **files}))
    assert ([each.name for each in found], found.notes) == (["0.png"], ())


def test_only_files_that_the_pattern_asks_for_are_told(pack, without_heif):
    data = pack(PHONE)
    assert list_pictures(data, "*.png").notes == ()
    assert list_pictures(data, "*[01].*").notes[0].startswith("passed over: 2 .HEIC (")


def test_train_check_and_the_error_tell_what_was_passed_over(tmp_path, monkeypatch, capsys, without_heif):
    monkeypatch.chdir(tmp_path)
    for folder, names in (("phone", PHONE), ("only", [name for name in PHONE if "HEIC" in name])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(PHONE[name])
    small = ["--width-g", "2", "--width-d", "2", "--batch", "2"]
    assert main(["train", "-n", "--data", "phone", *small]) == 0
    assert f"note       {OVER}\n" in capsys.readouterr().out
    assert main(["check", "phone", "--no-measure", "--fix", "clean"]) == 0
    assert f"note       {OVER}\n" in capsys.readouterr().out
    assert main(["check", "phone", "--no-measure", "--json"]) == 0
    assert '"passed over: 4 .HEIC' in capsys.readouterr().out
    for command in (["train", "-n", "--data", "only"], ["check", "only"]):
        assert main(command) == 2
        assert f"other common formats); {OVER}." in capsys.readouterr().err


@pytest.mark.parametrize("form", ["png", "jpeg", "gif", "webp", "tiff", "jpeg2000", "avif"])
@pytest.mark.parametrize("name", ["IMG_0001", "photo 3.5 of 9", "a.jpg?width=9", "frame.0001"])
def test_a_picture_without_an_ending_is_known_by_its_content(pack, form, name):
    if form.upper() not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")
    found = list_pictures(pack({name: picture(form), "LICENSE": b"GIF is no signature", "empty": b""}))
    assert [each.name for each in found] == [name]
    assert open_picture(found[0]).size == (20, 20)
    assert found.notes == ("passed over: 2 without an ending",)


def test_a_raw_photograph_is_no_tiff(pack):
    """Its signature is that of a TIFF, whose first picture is a preview."""
    found = list_pictures(pack({"0.png": picture(), "1.NEF": picture("tiff"), "2.dng": picture("tiff")}))
    assert [each.name for each in found] == ["0.png"]


def test_a_heic_with_another_ending_says_what_it_is(without_heif):
    with pytest.raises(BadPicture, match=r"HEIC, by its content: convert it to JPEG, or pip install"):
        open_picture(Picture("a.jpg", lambda: HEIC))


def test_heic_is_read_where_its_library_is_installed(pack):
    heif = pytest.importorskip("pillow_heif")
    forget_formats()
    picture_formats()
    left = Image.new("RGB", (64, 32), "blue")
    left.paste("red", (0, 0, 32, 32))
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise: the left side is on top
    heif.from_pillow(left).save(stream, quality=90, exif=exif.tobytes())
    data = pack({"a/1.HEIC": stream.getvalue(), "a/2.jpg": stream.getvalue(), "b/IMG": stream.getvalue()})
    images = load_images(data, 16, resize="stretch")
    assert images.names == ("a/1.HEIC", "a/2.jpg", "b/IMG")
    assert images.classes == ("a", "b")
    assert (images.notes, images.skipped) == ((), ())
    top, bottom = images.images[:, :, 3].float().mean((0, 2)), images.images[:, :, -4].float().mean((0, 2))
    assert top[0] > 200 > 60 > top[2]
    assert bottom[2] > 200 > 60 > bottom[0]


def test_nothing_to_pass_over_in_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match=r"No pictures in .*common formats\)\.$"):
        list_pictures(tmp_path)
