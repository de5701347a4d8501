"""Pictures of more than 8 bits: the white level, the same in every form, and what is told of their range."""

import json

import numpy as np
import pytest
from PIL import Image

from rggan import TrainConfig, UserError
from rggan.cli.main import main
from rggan.data import load_images
from rggan.data.audit.doctor import advice, inspect
from rggan.data.depth import parse_white, with_limits
from rggan.data.source import list_pictures
from rggan.training.reading import read_data

VALUES = np.random.default_rng(0).integers(0, 4096, (3, 16, 16)).astype(np.uint16)  # 12 bits
VALUES[0, 0, 0] = 4095


def written(folder, form):
    """The values in 16 bits, as PNG, TIFF or an array."""
    if form == "npy":
        np.save(folder / "set.npy", VALUES)
        return folder / "set.npy"
    for i, values in enumerate(VALUES):
        Image.fromarray(values).save(folder / f"{i}.{form}")
    return folder


def expected(white):
    return np.round(np.minimum(VALUES, white) * (255 / white)).astype(int)


@pytest.mark.parametrize("form", ["png", "tiff", "npy"])
def test_the_white_level_is_the_same_in_every_form(tmp_path, form):
    data = written(tmp_path, form)
    dark = load_images(data, 16)
    assert np.array_equal(dark.images[:, 0], VALUES // 257)
    assert "6 % of their range (up to 4,095) and would be dark: `white_level` 4095, or auto" in dark.notes[0]
    for asked, white in (("auto", 4095), (4095, 4095), (2000, 2000)):
        bright = load_images(data, 16, white_level=asked)
        assert np.abs(bright.images[:, 0].numpy().astype(int) - expected(white)).max() <= 1
        assert bright.white_level == white
        assert len({bright.key, dark.key, load_images(data, 16, white_level=3000).key}) == 3
        assert ("become white (the largest is 4,095)" in "".join(bright.notes)) == (white == 2000)


def test_mapped_sets_tell_their_range_too(tmp_path, monkeypatch):
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    data = written(tmp_path / "set", "png")
    for _ in range(2):  # decoded, and from the cache
        assert "6 % of their range" in load_images(data, 16, memory_share=1e-12).notes[0]


@pytest.mark.parametrize("form", ["png", "npy"])
def test_check_tells_it_and_fix_writes_it_scaled(tmp_path, capsys, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    data = str(written(tmp_path / "set", form))
    assert main(["check", data, "--no-measure"]) == 0
    assert "advice     16-bit pictures use 6 % of their range (up to 4,095)" in capsys.readouterr().out
    assert main(["check", data, "--no-measure", "--white-level", "auto", "--fix", "clean"]) == 0
    assert "would be dark" not in capsys.readouterr().out
    found = load_images(tmp_path / "clean", 16)
    assert np.abs(found.images[:, 0].numpy().astype(int) - expected(4095)).max() <= 1


def test_a_full_range_is_not_told(tmp_path):
    Image.fromarray(VALUES[0] * 16).save(tmp_path / "a.png")
    assert load_images(tmp_path, 16).notes == ()
    assert not any("range" in sentence for sentence in advice(inspect(list_pictures(tmp_path))))


def test_unknown_ranges_are_read_with_a_white_level(tmp_path):
    Image.fromarray(VALUES[0].astype(np.int32) * 100).save(tmp_path / "a.tiff")
    Image.fromarray(VALUES[0].astype(np.float32) * 100).save(tmp_path / "b.tiff")
    with pytest.raises(UserError, match="no known range; give `white_level`"):
        load_images(tmp_path, 16)
    found = load_images(tmp_path, 16, white_level="auto")
    assert found.white_level == 409500
    assert np.abs(found.images[:, 0].numpy().astype(int) - expected(4095)[0]).max() <= 1
    Image.fromarray(np.full((16, 16), -1, np.int32)).save(tmp_path / "c.tiff")
    with pytest.raises(UserError, match=r"Cannot read c\.tiff: its values are not all numbers from 0 on"):
        load_images(tmp_path, 16, white_level=9)


def test_16_bit_colours_are_told_but_not_scaled(tmp_path):
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + np.repeat(row[:, None], 3, 1).astype(">u2").tobytes() for row in VALUES[0])
    head = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    (note,) = load_images(tmp_path, 16).notes
    assert "6 % of their range" in note
    assert "scale them with another program" in note


def test_eight_bits_are_left_as_they_are(tmp_path):
    Image.fromarray(VALUES[0].astype(np.uint8)).save(tmp_path / "a.png")
    plain, auto = load_images(tmp_path, 16), load_images(tmp_path, 16, white_level="auto")
    assert plain.images.equal(auto.images)
    assert (auto.white_level, auto.key, auto.notes) == (None, plain.key, ())


@pytest.mark.parametrize("bad", ["bright", "0", "-4", "nan", "inf", 0])
def test_what_is_no_white_level_is_refused(bad):
    for read in (parse_white, lambda level: TrainConfig(white_level=level)):
        with pytest.raises(UserError, match="`white_level` is a value above 0"):
            read(bad)


def test_the_level_is_an_option_of_a_run(tmp_path):
    data = read_data(TrainConfig(data=written(tmp_path, "png"), outdir=tmp_path.parent / "runs", white_level="4095"))
    assert data.white_level == 4095
    assert TrainConfig(white_level="4095") == TrainConfig(white_level=4095)


def test_of_several_pages_or_frames_the_first_is_used_and_told(tmp_path):
    pages = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    for name in ("a.tiff", "b.gif", "c.webp", "d.png"):
        how = {"lossless": True} if name == "c.webp" else {}
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], **how)
    pages[0].save(tmp_path / "e.png")
    data = load_images(tmp_path, 16)
    assert (data.images[:, 0] > 200).all()
    assert (data.images[:, 2] < 60).all()
    assert data.notes == ("4 pictures have several frames or pages: the first of each is used",)
    assert inspect(list_pictures(tmp_path)).animated == ["a.tiff", "b.gif", "c.webp", "d.png"]


def test_limits_keep_notes_and_faults(tmp_path):
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", 0.5]]}))
    listing = list_pictures(tmp_path)
    found, white = with_limits(listing, None, 100)
    assert (found.notes, found.fault, white, found[0].max_pixels) == (listing.notes, listing.fault, None, 100)
    Image.new("L", (16, 16)).save(tmp_path / "b.png")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", 0.5], ["b.png", 1]]}))
    options = {"data": tmp_path, "outdir": tmp_path.parent / "runs"}
    assert len(read_data(TrainConfig(**options))) == 2
    with pytest.raises(UserError, match="`cond` needs a class for each picture, and 1 of 2 labels"):
        read_data(TrainConfig(**options, cond=True))
