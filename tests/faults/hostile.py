"""Damaged and hostile input for everything that is read, made from valid seeds; the same again from the same numbers.

The seeds and the ways to spoil them; `tests.faults.inputs` makes whole inputs of them.
"""

from __future__ import annotations

import copy
import io
import json
import math
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from rggan.data.picture import MAX_PIXELS
from rggan.generation.build import build
from rggan.generation.generator import Generator
from rggan.run.places import CONFIG, WEIGHTS

NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 60000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1]
CLAIMS = {  # where a format says how wide and high it is
    **{"PNG": (16, ">II"), "GIF": (6, "<HH"), "BMP": (18, "<ii"), "PCX": (8, "<HH"), "DDS": (12, "<II")},
    **{"TGA": (12, "<HH"), "SGI": (6, ">HH"), "QOI": (4, ">II")},
}
MAGICS = [  # how foreign formats begin
    b"8BPS\0\1" + b"\0" * 7 + b"\3\0\0\0\x08\0\0\0\x08\0\x08\0\3", b"SIMPLE  =                    T",
    b"\x59\xa6\x6a\x95", b"/* XPM */\nstatic char *x[] = {\n", b"\0\0\2\0\1\0\x10\x10\0\0\1\0",
    b"P7 332\n#END_OF_COMMENTS\n8 8 255\n", b"FTEX", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    b"\x1c\x03\x3c\0\1\1", b"\xb1\x68\xde\x3a", b"\0\0\0\x14ftypavif", b"\xd7\xcd\xc6\x9a\0\0\0\0\0\0\x10\0\x10\0",
    b"GRIB\0\0\0\1", b"BUFR\0\0\0\4", b"\x89HDF\r\n\x1a\n", b"\0\0\0\0\0\0\0\4AREA",
]  # fmt: skip
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I;16B", "I", "F")
COMPRESSIONS = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4")
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "TIFF": [{}, *({"compression": name} for name in COMPRESSIONS)],
    "JPEG": [{}, {"quality": 40, "progressive": True}],
    "PNG": [{}, {"transparency": 3}],
    "WEBP": [{}, {"lossless": True}],
}
ODD_VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2**31, 2**63, -(2**64), 10**400, 0.5, -0.0, 1e308, 5e-324, math.nan, math.inf,
    -math.inf, "", " ", "\0", "\n", "a\nb", "\ud800", "x" * 5000, "0", "1", "NaN", "../..", "/", "64x96", "0x0",
    "9" * 400, "hard", "#ff", "cuda:99", [], {}, [[]], [{}], {"": None}, {"a": 1}, [0] * 1000, [16, 16], [1e9, 1e9],
]  # fmt: skip
ODD_TEXTS = [
    b"", b"null", b"[]", b"{}", b"3", b'"a"', b"NaN", b"{" * 10, b"\0" * 40, b"\xff\xfe{}", b"\xef\xbb\xbf{}",
    b'{"a": 1e999}', b"[" * 200_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900, b"9" * 5000,
    b'{"lr": ' + b"9" * 4000 + b"}", b"\xd8\x00", b'{"seed": 1, "seed": "a", "outdir": 3}', b'{"seed": 1}{"seed": 2}',
    b'"\xc3\x28"', b'{"data": "\\u0000", "outdir": "\\u0000"}',
]  # fmt: skip


@dataclass(frozen=True)
class Seeds:
    """Valid inputs and drawn values, from which the kinds are made.

    pictures: by format. values: of JSON. arrays: of any type and shape. pictured: arrays of pictures.
    generators: the files of saved ones. states: files of training states, by the rule that trains.
    """

    pictures: dict[str, list[bytes]]
    values: list[Any]
    arrays: list[NDArray[Any]]
    pictured: list[NDArray[Any]]
    generators: list[dict[str, bytes]]
    states: dict[str, bytes]

    def odd(self, random: Random) -> Any:
        return copy.deepcopy(random.choice(random.choice((ODD_VALUES, self.values))))

    def picture(self, random: Random) -> tuple[str, bytes]:
        """(format, content)"""
        kind = random.choice(("PNG", "JPEG", random.choice(sorted(self.pictures))))
        return kind, random.choice(self.pictures[kind])


def make_seeds(seed: int, count: int, folder: Path, states: dict[str, bytes]) -> Seeds:
    """Hypothesis draws `count` values of each sort; generators are saved in `folder`."""
    set_hypothesis_home_dir(folder / "hypothesis")
    text = st.text(st.characters(), max_size=20)
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
    values = st.recursive(
        scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(text, v, max_size=4), max_leaves=6
    )
    any_array = hnp.arrays(
        hnp.scalar_dtypes() | hnp.array_dtypes(), hnp.array_shapes(min_dims=0, max_dims=5, max_side=5)
    )
    kinds = st.sampled_from(["u1", "<u2", ">u2", "?", "<f2", ">f4", "<f8"])
    shapes = st.tuples(*[st.integers(1, 9)] * 3) | st.tuples(*[st.integers(1, 9)] * 3, st.sampled_from([1, 3, 4]))
    planned = st.tuples(kinds, shapes).flatmap(
        lambda plan: hnp.arrays(*plan, elements={"min_value": 0, "max_value": 1})
    )
    torch.manual_seed(seed)
    generators = []
    for number, (size, channels, classes) in enumerate((([16, 16], 1, 0), ([16, 24], 3, 2), ([32, 32], 4, 0))):
        network = {
            "name": "sngan",
            "resolution": size,
            "channels": channels,
            "width": 8,
            "z_dim": 8,
            "classes": classes,
        }
        names = ["cat", "dog"][:classes]
        at = folder / f"generator{number}"
        Generator(build(network), {"network": network, "classes": names, "trained": {"kimg": 1.0}}).save(at)
        generators.append({name: (at / name).read_bytes() for name in (WEIGHTS, CONFIG)})
    return Seeds(
        picture_seeds(Random(seed)),
        examples(values, count, seed),
        examples(any_array, count, seed),
        examples(planned, count, seed),
        generators,
        states,
    )


def examples(strategy: st.SearchStrategy[Any], count: int, seed: int) -> list[Any]:
    """What Hypothesis draws: the same for the same seed."""
    found: list[Any] = []

    @seeded(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


# Compressions of TIFF that take some modes only; Pillow 12 corrupts its memory where it refuses others.
FITS = {"jpeg": ("L", "RGB", "CMYK"), "group4": ("1",)}
ONE_MODE = {"AVIF", "EPS", "HEIF"}  # slow, or a library that odd modes may bring down


def picture_seeds(random: Random) -> dict[str, list[bytes]]:
    """Every format and mode that this Pillow both writes and reads; PNGs of 16 bits and interlaced; EXIF."""
    Image.init()
    noise = np.random.default_rng(random.getrandbits(32))
    pixels = noise.integers(0, 256, (21, 18, 4), dtype=np.uint8)
    found: dict[str, list[bytes]] = {"PNG": [], "JPEG": []}
    for mode in MODES:
        plain = Image.fromarray(pixels).convert("RGB")
        image = Image.new(mode, plain.size, 77) if mode in ("I;16", "I;16B", "I", "F") else None
        if image is None:
            with_alpha = {"LA", "RGBA", "PA"}
            image = (Image.fromarray(pixels) if mode in with_alpha else plain).convert("RGB" if mode == "LAB" else mode)
        for kind in sorted(set(Image.SAVE) & set(Image.OPEN) - ONE_MODE):
            for options in OPTIONS.get(kind, [{}]):
                if mode in FITS.get(options.get("compression", ""), MODES):
                    save(found, image, kind, options)
    small = Image.fromarray(pixels)
    for kind in sorted(ONE_MODE & set(Image.SAVE)):
        save(found, small.convert("RGB"), kind, {})
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        save(found, small, kind, {"save_all": True, "append_images": [small.rotate(90 * i) for i in range(3)]})
    for orientation in (*range(10), -1, 70000, "a", (1, 2)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            save(found, small.convert("RGB"), kind, {"exif": exif})
        broken = mutated(random, b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0", b"")
        save(found, small.convert("RGB"), "JPEG", {"exif": broken})
    for values in (pixels, pixels[:, :, :3], pixels[:, :, :1], pixels[:, :, :2], pixels.astype(np.uint16) * 257):
        found["PNG"] += [png(values), png(values, interlaced=True)]
    return found


def save(found: dict[str, list[bytes]], image: Image.Image, kind: str, options: dict[str, Any]) -> None:
    stream = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.save(stream, kind, **options)
    except Exception:  # this format has no such mode or option
        return
    found.setdefault(kind, []).append(stream.getvalue())


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png(values: NDArray[Any], interlaced: bool = False) -> bytes:
    """uint8 or uint16 [H, W, C] -> a PNG; Pillow writes neither interlaced ones nor 16 bits of colour."""
    height, width, channels = values.shape
    color, depth = {1: 0, 2: 4, 3: 2, 4: 6}[channels], 8 * values.dtype.itemsize
    parts = [values[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [values]
    lines = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for part in parts for row in part if row.size)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@cache
def large_png(channels: int, depth: int) -> bytes:
    """Black, and as large as a picture may be, in a small file."""
    side, packer = math.isqrt(MAX_PIXELS), zlib.compressobj(1)
    lines = b"".join(packer.compress(bytes(1 + side * channels * depth // 8)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, depth, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def checked(content: bytes) -> bytes:
    """A damaged PNG with right checksums, so that the damage gets further."""
    out, at = content[:8], 8
    while at + 12 <= len(content):
        length = min(struct.unpack_from(">I", content, at)[0], len(content) - at - 12)
        out += chunk(content[at + 4 : at + 8], content[at + 8 : at + 8 + length])
        at += 12 + length
    return out


def mutated(random: Random, content: bytes, other: bytes) -> bytes:
    """Bits flipped, bytes overwritten, parts cut, doubled, inserted or taken from another file; more often near the
    beginning, where headers are."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        at = int(random.random() ** random.choice((1, 3)) * len(data))
        length = int(random.expovariate(1 / random.choice((4, 40, 400)))) + 1
        act = random.choice(("flip", "flip", "number", "number", "random", "cut", "end", "double", "insert", "splice"))
        if act == "flip" and data:
            data[at] ^= 1 << random.randrange(8)
        elif act == "number":
            size = random.choice((1, 2, 4, 8))
            value = random.choice(NUMBERS) % 256**size
            data[at : at + size] = value.to_bytes(size, random.choice(("big", "little")))
        elif act == "random":
            data[at : at + length] = random.randbytes(length)
        elif act == "cut":
            del data[at : at + length]
        elif act == "end":
            del data[at:]
        elif act == "double":
            data[at:at] = data[at : at + length]
        elif act == "insert":
            data[at:at] = random.choice((b"\0", b"\xff", b"\n", b"-", b"{", b"9")) * length
        elif act == "splice" and other:
            start = random.randrange(len(other))
            data[at : at + length] = other[start : start + length]
    return bytes(data)


def altered(random: Random, value: Any, odd: Callable[[], Any]) -> Any:
    """A copy of nested dicts and lists in which a few places hold something else, or are gone."""
    value = copy.deepcopy(value)
    for _ in range(random.choice((1, 1, 1, 2, 6))):
        places = list(slots(value))
        if not places:
            return odd()
        holder, key = random.choice(places)
        act = random.random()
        if act < 0.15:
            del holder[key]
        elif act < 0.25 and isinstance(holder, dict):
            holder[random.choice(("", "name", "format", "x", "__class__"))] = holder.pop(key)
        elif act < 0.35:
            holder[key] = copy.deepcopy(random.choice(places)[0])
        else:
            holder[key] = odd()
    return value


def slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (holder, key) in nested dicts and lists."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from slots(value[key])


def one_picture(random: Random, seeds: Seeds) -> tuple[str, bytes]:
    """(format, a picture that is damaged, claims to be huge, is of a foreign format, or is whole)."""
    kind, content = seeds.picture(random)
    act = random.random()
    if act < 0.07:
        return kind, content
    if act < 0.12:
        return kind, random.choice(MAGICS) + random.randbytes(random.choice((0, 10, 3000)))
    if act < 0.17 and (kind in CLAIMS or kind == "JPEG"):
        place, how = CLAIMS.get(kind) or (max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) + 5, ">HH")
        data = bytearray(content.ljust(place + struct.calcsize(how), b"\0"))
        struct.pack_into(
            how, data, place, *random.choice(((60000, 60000), (9000, 10001), (1, 60000), (65535, 1), (0, 9)))
        )
        return kind, checked(bytes(data)) if kind == "PNG" else bytes(data)
    damaged = mutated(random, content, seeds.picture(random)[1])
    return kind, checked(damaged) if kind == "PNG" and random.random() < 0.7 else damaged


def text_of(random: Random, value: Any, seeds: Seeds) -> bytes:
    """JSON of an altered value; or damaged, odd, deeply nested or not JSON at all."""
    act = random.random()
    if act < 0.1:
        return random.choice(ODD_TEXTS)
    content = json.dumps(altered(random, value, lambda: seeds.odd(random)) if act < 0.7 else value).encode()
    if act > 0.85:
        return mutated(random, content, random.choice(ODD_TEXTS)[:5000])
    if act > 0.7:  # a value in the middle is replaced by what json.dumps does not write
        holes = [i for i, byte in enumerate(content) if byte == ord(":")]
        at = random.choice(holes) + 1 if holes else 0
        return content[:at] + random.choice(ODD_TEXTS) + content[at:].partition(b",")[2]
    return content


class Evil:
    """Unpickled, it would make a file."""

    def __init__(self, random: Random, marker: Path) -> None:
        text = f"open({str(marker)!r}, 'w').close()"
        self.calls = random.choice(((os.mkdir, (str(marker),)), (eval, (text,)), (os.system, (f"touch '{marker}'",))))

    def __reduce__(self) -> Any:
        return self.calls
