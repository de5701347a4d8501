"""The doctor finds every planted defect, tells it in JSON, and says what to do."""

import io
import json
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageCms

from rggan.data.audit import doctor
from rggan.data.audit.doctor import Health, advice, inspect, kept_whole, read_profile, told_names
from rggan.data.decode import BadPicture
from rggan.data.picture import Picture


def encoded(image, kind="png", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(seed=0, size=(32, 32), mode="RGB"):
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


def picture(name, content, label=None):
    if isinstance(content, Image.Image):
        content = encoded(content)
    return Picture(name, lambda: content, label)


def good(count, size=(32, 32), folder=""):
    return [picture(f"{folder}{i:04d}.png", noise(i + 100, size)) for i in range(count)]


def swapped_profile():
    """sRGB with red and green exchanged: converting exchanges the channels."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(struct.unpack(">I", profile[128:132])[0]):
        entry = slice(132 + 12 * i, 136 + 12 * i)
        profile[entry] = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}.get(bytes(profile[entry]), profile[entry])
    return bytes(profile)


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def broken():
    def read():
        raise OSError("the disk says no")

    return read


def test_a_good_set_needs_nothing():
    health = inspect(good(600))
    assert health.count == health.readable == health.coloured == 600
    assert health.sizes == {"32x32": 600}
    assert health.shortest == (32, 32, 32)
    assert advice(health) == ["Nothing to mend: all 600 pictures can be read, and no two are alike."]


def test_every_defect_is_found_and_json_keeps_it():
    transparent = noise(1, mode="RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize((32, 32)))
    hardly = noise(2, mode="RGBA")
    hardly.putalpha(252)
    turned = Image.Exif()
    turned[0x0112] = 6
    grey = noise(3, mode="L")
    exif_size = noise(4, (40, 32))
    pictures = [
        picture("cat/1.png", noise(0)),
        picture("cat/2-empty.png", b""),
        picture("cat/3-text.png", b"no picture at all"),
        picture("cat/4-cut.png", encoded(noise(9))[:900]),
        Picture("cat/5-gone.png", broken()),
        picture("dog/1-same.png", noise(0)),
        picture("dog/2-transparent.png", transparent),
        picture("dog/3-opaque.png", hardly),
        picture("dog/4-grey.png", grey.convert("RGB")),
        picture("dog/5-turned.jpg", encoded(exif_size, "jpeg", exif=turned)),
        picture("dog/6-animated.gif", encoded(noise(5), "gif", save_all=True, append_images=[noise(6)])),
        picture("dog/7-red.png", Image.new("RGB", (32, 32), "red")),
        picture("dog/8-tiny.png", noise(7, (15, 15))),
        picture("dog/9-long.png", noise(8, (100, 32))),
        picture("dog/a-cmyk.jpg", encoded(noise(10, mode="CMYK"), "jpeg")),
        picture("dog/b-deep.png", Image.fromarray((np.arange(1024).reshape(32, 32) * 64).astype(np.uint16))),
        picture("dog/c-near.png", noise(0).point(lambda value: min(255, value + 3))),
        picture("dog/d-foreign.png", encoded(noise(11), icc_profile=swapped_profile())),
        picture("dog/e-srgb.png", encoded(noise(12), icc_profile=srgb_profile())),
        picture("dog/f-white.png", Image.merge("LA", (Image.new("L", (32, 32), 255), grey))),
    ]
    health = inspect(pictures)
    assert [name for name, _ in health.unreadable] == [p.name for p in pictures[1:5]]
    assert dict(health.unreadable)["cat/5-gone.png"] == "the disk says no"
    assert all(reason for _, reason in health.unreadable)
    assert health.same == [["cat/1.png", "dog/1-same.png"]]
    assert health.mixed == 1
    assert health.near == [["cat/1.png", "dog/c-near.png"]]
    assert health.uniform == ["dog/7-red.png"]  # a white drawing on nothing is none
    assert health.tiny == ["dog/8-tiny.png"]
    assert health.odd == ["dog/5-turned.jpg", "dog/9-long.png"]
    assert health.animated == ["dog/6-animated.gif"]
    assert (health.alpha, health.transparent) == (3, 2)
    assert (health.grey, health.turned) == (1, 1)
    assert health.modes == {"RGB": 10, "RGBA": 2, "P": 1, "CMYK": 1, "I;16": 1, "LA": 1}
    assert health.sizes["32x32"] == 13
    assert health.sizes["32x40"] == 1  # upright
    assert next(iter(health.sizes)) == "32x32"
    assert health.shortest == (15, 32, 32)
    assert (health.ratio, list(health.foreign.values())) == ("1:1", [1])
    assert health.profiles["none"] == 14
    assert health.classes == {"cat": 5, "dog": 15}
    assert health.balance == 3
    assert health.smaller_than((32, 32)) == 1
    assert health.smaller_than((40, 32)) == 15
    assert health.smaller_than((32, 40)) == 15
    assert health.total_bytes == sum(len(p.read()) for p in pictures if p.name != "cat/5-gone.png")
    told = json.loads(json.dumps(health.to_json()))
    assert told["unreadable"][3] == ["cat/5-gone.png", "the disk says no"]
    assert told["sizes"] == health.sizes


def test_odd_shapes_are_measured_against_the_commonest():
    wide = [picture(f"{i}.png", noise(i, (48, 32))) for i in range(3)]
    nearly = picture("nearly.png", noise(8, (51, 32)))
    square = picture("square.png", noise(9))
    health = inspect([*wide, nearly, square])
    assert (health.ratio, health.odd) == ("3:2", ["square.png"])
    assert len(inspect(good(3, (70, 32))).odd) == 3  # too long, even where all are


def test_foreign_profiles_are_those_with_other_colours():
    assert read_profile(srgb_profile())[1]
    name, srgb = read_profile(swapped_profile())
    assert name
    assert not srgb
    assert read_profile(b"nonsense") == ("damaged", True)


def test_raw_pixels_and_labels():
    raw = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    pictures = [Picture(f"{i}", lambda i=i: np.roll(raw, 5 * i).tobytes(), str(i % 2), raw.shape) for i in range(3)]
    health = inspect(pictures)
    assert health.sizes == {"24x20": 3}
    assert health.modes == {"RGB": 3}
    assert health.classes == {"0": 2, "1": 1}
    assert health.profiles == {"none": 3}


def test_names_that_an_archive_holds_twice_are_told_apart():
    pictures = [picture("a.png", noise(0)), picture("a.png", b"bad"), picture("a.png", noise(2))]
    assert told_names(pictures) == ["a.png", "a.png (2)", "a.png (3)"]
    assert [name for name, _ in inspect(pictures).unreadable] == ["a.png (2)"]


def test_progress_counts_up_to_all(monkeypatch):
    monkeypatch.setattr(doctor, "CHUNK", 4)
    seen = []
    inspect(good(10), seen.append)
    assert seen == [4, 8, 10]


def test_a_declared_size_beyond_the_limit_is_told_and_not_decoded():
    header = encoded(Image.new("L", (1, 1)))
    size = struct.pack(">II", 60000, 60000)
    chunk = b"IHDR" + size + header[24:29]
    content = header[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + header[33:]
    health = inspect([picture("bomb.png", content), *good(1)])
    assert [name for name, _ in health.unreadable] == ["bomb.png"]


def test_nothing_readable_says_so():
    health = inspect([picture("a.png", b"x")])
    assert health.shortest == (0, 0, 0)
    assert advice(health) == [
        "None of the 1 pictures can be read: look at the reasons, and at whether this is the right folder."
    ]


def sick(**changes):
    healthy = inspect(good(4, (96, 64)))
    return Health(**{**healthy.to_json(), "count": 1000, **changes})


@pytest.mark.parametrize(
    ("changes", "size", "words"),
    [
        ({"unreadable": [("a", "why")]}, None, ("1 of 1000 pictures is unreadable", "`skip_bad`", "`fix` OUT")),
        ({"mixed": 2}, None, ("2 files lie in several classes",)),
        ({"same": [["a", "b", "c"], ["d", "e"]]}, None, ("3 of 1000 pictures are an exact copy", "`fix` OUT")),
        ({"near": [["a", "b", "c"]]}, None, ("2 of 1000 pictures are nearly the same", "`near`")),
        ({"uniform": ["a"]}, None, ("of one colour only", "`fix` OUT")),
        ({"tiny": ["a"]}, None, ("below 16 pixels",)),
        ({"sizes": {"96x64": 900, "50x64": 100}}, (64, 96), ("100 of 1000 pictures are smaller than 64x96",)),
        ({"count": 80}, None, ("Only 80 pictures", "`aug` diff", "`mirror`")),
        ({"balance": 10.0}, None, ("unbalanced 10:1", "`max_images`")),
        ({"transparent": 120}, None, ("120 of 1000 pictures are transparent", "`channels` rgba", "`background` white")),
        ({}, None, ("Most pictures are 3:2: `resolution` 64x96", "a square cuts 33% off")),
        ({"odd": ["a"]}, None, ("is not 3:2 as the others", "`resize` fit")),
        ({"foreign": {"P3": 7}}, None, ("7 of 1000 pictures are in P3", "`fix` OUT")),
        ({"animated": ["a"]}, None, ("only the first one",)),
        ({"grey": 1000, "coloured": 0}, None, ("All 1000 pictures are grey", "`channels` grey")),
        ({"coloured": 990}, None, ("10 of 1000 pictures are grey among coloured ones",)),
    ],
)
def test_each_finding_has_its_advice(changes, size, words):
    told = advice(sick(**{"coloured": 1000, **changes}), size)
    assert sum(all(word in sentence for word in words) for sentence in told) == 1, told
    without = advice(sick(coloured=1000, ratio="1:1"), None)
    assert not any(all(word in sentence for word in words) for sentence in without)


def test_the_most_serious_comes_first():
    told = advice(sick(unreadable=[("a", "why")], same=[["a", "b"]], transparent=3))
    assert ["unreadable" in told[0], "copy" in told[1]] == [True, True]


@pytest.mark.parametrize("ratio", [(3, 2), (2, 3), (4, 3), (16, 9), (1, 1), (5, 1), (1, 2)])
@pytest.mark.parametrize("fill", [1, 16, 100, 300, 5000])
def test_sizes_that_keep_pictures_whole_are_sizes_for_networks(ratio, fill):
    height, width = kept_whole(Fraction(*ratio), fill)
    short = min(height, width)
    power = next(2**k for k in range(2, 7) if 4 <= short / 2**k < 8)
    assert short % power == height % power == width % power == 0
    assert 16 <= short <= max(16, min(256, fill))
    assert abs(width / height / (ratio[0] / ratio[1]) - 1) < 0.15
    assert short * 2 > min(fill, 256)


def test_header_errors_are_told_as_such():
    with pytest.raises(BadPicture, match="no picture, by its content"):
        doctor.header(Picture("a", bytes), b"text")
