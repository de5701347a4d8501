"""Every mode, depth and orientation becomes the same 8-bit pixels, whole, cut, fitted or stretched."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from rggan import UserError
from rggan.data import decode
from rggan.data.decode import BadPicture, open_picture, parse_color, parse_size, to_pixels
from rggan.data.picture import Picture


def encoded(image, form="png", **how):
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return Picture(f"a.{form}", stream.getvalue)


def noise(width=40, height=24, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_palette_cmyk_bilevel_and_colour_spaces_become_what_they_show():
    rgb = Image.fromarray(noise())
    palette = rgb.quantize(16)
    assert np.array_equal(open_picture(encoded(palette)), palette.convert("RGB"))
    cmyk = rgb.convert("CMYK")
    assert np.array_equal(open_picture(encoded(cmyk, "tiff")), cmyk.convert("RGB"))
    bilevel = rgb.convert("1")
    assert open_picture(encoded(bilevel)).mode == "L"
    assert set(np.unique(open_picture(encoded(bilevel)))) == {0, 255}
    lab = Image.merge("LAB", Image.fromarray(np.full((8, 8, 3), (128, 0, 0), dtype=np.uint8)).split())
    assert open_picture(encoded(lab, "tiff")).mode == "RGB"


def test_palette_with_a_transparent_colour_keeps_the_hole():
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.paste(1, (0, 0, 4, 8))
    image = open_picture(encoded(palette, transparency=1))
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0))[3] == 0
    assert image.getpixel((7, 0)) == (255, 0, 0, 255)


def test_sixteen_bits_are_scaled_and_unknown_ranges_refused():
    values = np.array([[0, 257, 65535]], dtype=np.uint16)
    assert np.asarray(open_picture(encoded(Image.fromarray(values)))).tolist() == [[0, 1, 255]]
    with pytest.raises(BadPicture, match="32-bit"):
        open_picture(encoded(Image.fromarray(np.array([[-1, 70000]], dtype=np.int32)), "tiff"))
    with pytest.raises(BadPicture, match="floating-point"):
        open_picture(encoded(Image.fromarray(np.array([[0.5]], dtype=np.float32)), "tiff"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    """Against the definition: how row 0 and column 0 of the file lie in the upright picture."""
    pixels = noise(3, 2, 1)[:, :, 0]
    upright = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.T, 6: pixels.T[:, ::-1], 7: pixels.T[::-1, ::-1], 8: pixels.T[::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(open_picture(encoded(Image.fromarray(pixels), exif=exif)), upright)


def test_raw_pixels_need_no_file():
    for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        pixels = noise(5, 4, channels)
        image = open_picture(Picture("a", pixels.tobytes, shape=pixels.shape))
        assert image.mode == mode
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(decode, "eight_bit", lambda *_: pytest.fail("decoded"))
    with pytest.raises(BadPicture, match=r"40x24 pixels are more than `max_pixels` \(959\)"):
        open_picture(replace(encoded(Image.fromarray(noise())), max_pixels=959))


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_picture_says_so_in_one_line(content):
    with pytest.raises(BadPicture) as error:
        open_picture(Picture("a.png", lambda: content))
    assert str(error.value)
    assert "0x" not in str(error.value)  # of Pillow's <BytesIO object at 0x...>


def test_crop_fit_and_stretch():
    left_red = Image.new("RGB", (64, 32), "blue")
    left_red.paste("red", (0, 0, 32, 32))
    crop = to_pixels(left_red, (16, 16), 3, "crop")
    assert crop[8, 1].tolist() == [255, 0, 0]
    assert crop[8, 14].tolist() == [0, 0, 255]
    fit = to_pixels(left_red, (16, 16), 3, "fit", (0, 255, 0))
    assert (fit[:3] == (0, 255, 0)).all()
    assert (fit[-3:] == (0, 255, 0)).all()
    assert fit[8, 1].tolist() == [255, 0, 0]
    tall = to_pixels(left_red, (32, 16), 3, "stretch")
    assert tall.shape == (32, 16, 3)
    assert tall[31, 2].tolist() == [255, 0, 0]
    assert to_pixels(left_red, (16, 32), 1, "fit").shape == (16, 32, 1)


def test_alpha_is_laid_on_the_background_or_kept():
    half = Image.new("RGBA", (32, 32), (255, 0, 0, 128))
    assert to_pixels(half, (16, 16), 3, background=(0, 0, 255))[3, 3].tolist() == pytest.approx([128, 0, 127], abs=1)
    assert to_pixels(half, (16, 16), 4)[3, 3].tolist() == [255, 0, 0, 128]
    grey = Image.new("LA", (32, 32), (0, 0))
    assert to_pixels(grey, (16, 16), 1, background=(200, 200, 200))[0, 0].tolist() == [200]
    assert to_pixels(Image.new("RGB", (32, 32), "red"), (16, 16), 4)[0, 0].tolist() == [255, 0, 0, 255]
    framed = to_pixels(Image.new("RGB", (32, 16), "red"), (16, 16), 4, "fit")
    assert framed[0, 0].tolist() == [255, 255, 255, 0]
    assert framed[8, 8].tolist() == [255, 0, 0, 255]


@pytest.mark.parametrize("size", [(32, 32), (16, 16)])
def test_hidden_colours_of_transparent_pixels_are_not_learnt(size):
    hidden = np.zeros((32, 32, 4), dtype=np.uint8)
    hidden[..., :3] = noise(32, 32)
    pixels = to_pixels(Image.fromarray(hidden), size, 4, background=(1, 2, 3))
    assert (pixels == (1, 2, 3, 0)).all()


def test_resizing_does_not_bleed_hidden_colours_into_the_edge():
    """A red disc on transparent green: no pixel with any opacity may look green."""
    pixels = np.zeros((64, 64, 4), dtype=np.uint8)
    pixels[..., 1] = 255
    y, x = np.mgrid[:64, :64] - 31.5
    pixels[x**2 + y**2 < 400] = (255, 0, 0, 255)
    small = to_pixels(Image.fromarray(pixels), (16, 16), 4)
    assert small[small[..., 3] > 16][:, 1].max() < 16


def test_sizes_and_colours_are_read_or_refused():
    assert parse_size(64) == parse_size("64") == (64, 64)
    assert parse_size("64x96") == parse_size([64, 96]) == (64, 96)
    for bad in ("", "x", "64x", "axb", "0", 0, -1, "64x96x3", "6.4", "9" * 30, "٦٤"):
        with pytest.raises(UserError, match="`resolution`"):
            parse_size(bad)
    assert parse_color("black") == (0, 0, 0)
    with pytest.raises(UserError, match="`background`"):
        parse_color("no such colour")


def test_no_program_is_started_for_a_picture(monkeypatch):
    """Pillow hands EPS to Ghostscript, whatever the file is called."""
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: pytest.fail("started a program"))
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"
    with pytest.raises(BadPicture, match="no picture"):
        open_picture(Picture("a.png", lambda: content))


# Good pictures with something odd beside their pixels


def chunks(png):
    """(kind, start, end) of each chunk of a PNG."""
    place = 8
    while place < len(png):
        end = place + 12 + int.from_bytes(png[place : place + 4], "big")
        yield png[place + 4 : place + 8], place, end
        place = end


@pytest.mark.parametrize("behind", [False, True])
def test_a_png_with_long_texts_is_read(behind):
    image, texts = Image.fromarray(noise()), PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * 3_000_000, zip=True)
    png = encoded(image, pnginfo=texts).read()
    if behind:  # the pixels
        found = {kind: png[start:end] for kind, start, end in chunks(png)}
        png = png[:8] + found[b"IHDR"] + found[b"IDAT"] + found[b"zTXt"] + found[b"IEND"]
    assert np.array_equal(open_picture(Picture("a.png", lambda: png)), image)


def test_a_png_with_a_wrong_checksum_beside_its_pixels_is_read():
    image, exif = Image.fromarray(noise()), Image.Exif()
    exif[0x0112] = 6
    png = bytearray(encoded(image, exif=exif).read())
    png[png.find(b"eXIf") + 6] ^= 255
    assert np.array_equal(open_picture(Picture("a.png", lambda: bytes(png))), image)


def test_a_png_with_a_wrong_checksum_of_its_pixels_or_header_is_damaged():
    for kind in (b"IHDR", b"IDAT"):
        png = bytearray(encoded(Image.fromarray(noise())).read())
        png[png.find(kind) + 7] ^= 255
        with pytest.raises(BadPicture) as error:
            open_picture(Picture("a.png", lambda content=bytes(png): content))
        assert "no picture" not in str(error.value)
        assert kind != b"IHDR" or str(error.value) == "a damaged part of the file (checksum)"


@pytest.mark.parametrize("form", ["jpeg", "webp", "png"])
def test_damaged_exif_does_not_matter(form):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03\0\0\xff\xff\0\x06"
    image = Image.fromarray(noise())
    assert open_picture(encoded(image, form, exif=exif)).size == image.size


def test_a_jpeg_over_the_limit_is_read_smaller():
    image = Image.new("RGB", (160, 96), "navy")
    jpeg = encoded(image, "jpeg")
    for most, size in ((15360, (160, 96)), (15359, (80, 48)), (1000, (40, 24)), (240, (20, 12))):
        found = open_picture(replace(jpeg, max_pixels=most))
        assert found.size == size
        assert np.abs(np.asarray(found).astype(int) - (0, 0, 128)).max() < 8
    with pytest.raises(BadPicture, match=r"160x96 pixels are more than `max_pixels` \(239\)"):
        open_picture(replace(jpeg, max_pixels=239))


def test_the_limit_is_an_option_and_comes_before_pillows_own(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)  # refuses twice as many
    for form in ("png", "jpeg"):
        picture = encoded(Image.new("L", (40, 24), 90), form)
        assert open_picture(picture).size == (40, 24)
        with pytest.raises(BadPicture, match="max_pixels"):
            open_picture(replace(picture, max_pixels=10))
