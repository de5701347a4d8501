"""Pictures that are small, or of few pixels, and much work to read: by description, of any size.

Each is a well-formed beginning, many times the same unit, and a well-formed end; `count` says how many units. What it
costs is Python's work in the parsers of Pillow, work that grows with the square of the file, or memory.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from PIL import Image

from tests.faults.hostile import chunk

SIDE = 8  # pixels, of those whose pixels are not the work
WIDE = 8000  # of those whose pixels are: as many as a picture may have


@dataclass(frozen=True)
class Work:
    """A kind of long work: make(count) -> the file. count: so many that it was seen to take over 20 seconds or 1 GB
    where nothing bounds it, in a file of at most 128 MiB; few: so many that it takes a second, about. format: as Pillow
    names it, where it is not among those that are always read."""

    ending: str
    make: Callable[[int], bytes]
    count: int
    few: int
    format: str = ""


@cache
def saved(kind: str, side: int = SIDE, **options: object) -> bytes:
    """A grey picture as Pillow writes it."""
    stream = io.BytesIO()
    Image.new("L", (side, side), 77).save(stream, kind, **options)
    return stream.getvalue()


def jpeg(segment: bytes) -> Callable[[int], bytes]:
    """Segments behind the first mark of a JPEG."""
    content = saved("JPEG")
    return lambda count: content[:2] + segment * count + content[2:]


def jpeg_scans(count: int) -> bytes:
    """The last scan of a progressive JPEG again and again: each goes over 64 million pixels, in some hundred bytes."""
    content = saved("JPEG", WIDE, progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + scan * count + content[-2:]


def png_chunks(kind: bytes, data: bytes = b"") -> Callable[[int], bytes]:
    """Chunks behind the header of a PNG."""
    content, part = saved("PNG"), chunk(kind, data)
    return lambda count: content[:33] + part * count + content[33:]


def png_empty_pixels(count: int) -> bytes:
    """Empty parts of the pixels before the pixels."""
    content = saved("PNG")
    at = content.index(b"IDAT") - 4
    return content[:at] + chunk(b"IDAT", b"") * count + content[at:]


def ppm_comment(count: int) -> bytes:
    """One comment in the header."""
    return b"P5\n#" + b"a" * count + b"\n8 8\n255\n" + bytes(64)


def ppm_comments(count: int) -> bytes:
    """Short comments between the numbers of a plain PPM."""
    return b"P2\n8 8\n255\n" + b"#\n" * count + b"1 " * 64


def ppm_numbers(count: int) -> bytes:
    """A number for each pixel."""
    return b"P2\n%d 8000\n255\n" % (count // 8000) + b"1 " * (count // 8000 * 8000)


def ppm_scaled(count: int) -> bytes:
    """Pixels whose largest value is 254, so that each is scaled."""
    return b"P6\n%d 8000\n254\n" % (count // 24000) + bytes(count // 24000 * 24000)


def gif(block: bytes, before: bytes = b"", after: bytes = b"") -> Callable[[int], bytes]:
    """Blocks before the picture of a GIF."""
    content = saved("GIF")
    at = 13 + (3 << (content[10] & 7) + 1) * (content[10] >> 7)
    return lambda count: content[:at] + before + block * count + after + content[at:]


def tiff(entries: bytes, number: int, data: bytes = b"") -> bytes:
    """A BigTIFF of 20-byte entries; their data lies behind the header, from 16 on."""
    return b"II+\0" + struct.pack("<HHQ", 8, 0, 16 + len(data)) + data + struct.pack("<Q", number) + entries + bytes(8)


def field(tag: int, kind: int, number: int, value: int) -> bytes:
    return struct.pack("<HHQQ", tag, kind, number, value)


def tiff_basics(side: int) -> bytes:
    """Size, 8 bits, not compressed, grey."""
    return b"".join(field(tag, 3, 1, value) for tag, value in ((256, side), (257, side), (258, 8), (259, 1), (262, 1)))


def tiff_entries(count: int) -> bytes:
    """Entries of private tags."""
    strip = field(273, 4, 1, 16) + field(278, 4, 1, SIDE) + field(279, 4, 1, SIDE**2)
    many = field(65000, 4, 1, 0) * count
    return tiff(tiff_basics(SIDE) + strip + many, 8 + count, bytes(SIDE**2))


def tiff_tiles(count: int) -> bytes:
    """Tiles of one pixel."""
    tiles = field(322, 3, 1, 1) + field(323, 3, 1, 1) + field(324, 4, count, 16) + field(325, 4, 1, 1)
    return tiff(tiff_basics(WIDE) + tiles, 9, bytes(4 * count))


def tiff_pages(count: int) -> bytes:
    """Empty pages, each with the place of the next, behind a page without pixels."""
    pages = b"".join(struct.pack("<QQ", 0, 16 * (number + 2)) for number in range(count))
    return b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + pages


def riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def webp_chunks(count: int) -> bytes:
    """Unknown chunks behind an extended header."""
    pixels = saved("WEBP", lossless=True)[12:]
    header = b"VP8X" + struct.pack("<IIHBHB", 10, 0, SIDE - 1, 0, SIDE - 1, 0)
    return riff(header + pixels + b"abcd\0\0\0\0" * count)


def webp_frames(count: int) -> bytes:
    """The same frame again and again."""
    pixels = saved("WEBP", lossless=True)[12:]
    header = b"VP8X" + struct.pack("<IIHBHB", 10, 2, SIDE - 1, 0, SIDE - 1, 0) + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    frame = bytes(6) + struct.pack("<HBHB", SIDE - 1, 0, SIDE - 1, 0) + b"\x01\0\0\0" + pixels
    return riff(header + (b"ANMF" + struct.pack("<I", len(frame)) + frame) * count)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def avif_items(count: int) -> bytes:
    """Items that are told of and lie nowhere; each is looked for among all before it."""
    items = b"".join(box(b"infe", struct.pack(">IIH", 3 << 24, number + 1, 0) + b"av01\0") for number in range(count))
    kinds = box(b"hdlr", bytes(8) + b"pict" + bytes(13)) + box(b"pitm", struct.pack(">IH", 0, 1))
    places = box(b"iloc", struct.pack(">IHH", 0, 0x4400, 0))
    meta = box(b"meta", bytes(4) + kinds + places + box(b"iinf", struct.pack(">II", 1 << 24, count) + items))
    return box(b"ftyp", b"avif\0\0\0\0avifmif1miaf") + meta + box(b"mdat", b"")


def j2k_precincts(count: int) -> bytes:
    """A JPEG 2000 of `count` x `count` pixels, each in a precinct of its own."""
    size = struct.pack(">HHIIIIIIIIHBBB", 41, 0, count, count, 0, 0, count, count, 0, 0, 1, 7, 1, 1)
    coding = struct.pack(">HBBHBBBBBBB", 13, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0)
    quantization = struct.pack(">HBB", 4, 0x40, 0x40)
    tile = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 14, 0, 1) + b"\xff\x93"
    return b"\xff\x4f\xff\x51" + size + b"\xff\x52" + coding + b"\xff\x5c" + quantization + tile + b"\xff\xd9"


def jp2_boxes(count: int) -> bytes:
    """Empty boxes before the header of a JPEG 2000."""
    content = saved("JPEG2000")
    return content[:12] + box(b"free", b"") * count + content[12:]


def dds(count: int) -> bytes:
    """A byte for each pixel, which is parted by masks."""
    layout = struct.pack("<8I", 32, 0x41, 0, 8, 0xC0, 0x30, 0x0C, 0x03)
    header = struct.pack("<7I", 124, 0x1007, WIDE, count // WIDE, 0, 0, 0) + bytes(44) + layout
    return b"DDS " + header.ljust(124, b"\0") + bytes(count)


def qoi(count: int) -> bytes:
    """A byte for each pixel: the colour of index 0."""
    return b"qoif" + struct.pack(">IIBB", count // WIDE, WIDE, 4, 0) + bytes(count)


def blp(count: int) -> bytes:
    """Compressed blocks of 4 x 4 pixels; count: pixels."""
    width = count // WIDE
    at, size = 20 + 128, -(-width // 4) * 8 * (WIDE // 4)
    places = struct.pack("<16I", at, *[0] * 15) + struct.pack("<16I", size, *[0] * 15)
    return b"BLP2" + struct.pack("<IBBBBII", 1, 2, 0, 0, 0, width, WIDE) + places + bytes(size)


def card(key: str, value: str) -> bytes:
    return f"{key:8}= {value:>20}".ljust(80).encode()


def fits(cards: list[bytes]) -> bytes:
    content = b"".join(cards)
    return content + b" " * (-len(content) % 2880)


def fits_cards(count: int) -> bytes:
    """Cards of a header, all of other names."""
    many = [b"A%07d= 0".ljust(80) % number for number in range(count)]
    sizes = [card("BITPIX", "8"), card("NAXIS", "2"), card("NAXIS1", "8"), card("NAXIS2", "8"), b"END".ljust(80)]
    return fits([card("SIMPLE", "T"), *many, *sizes]) + bytes(2880)


def fits_packed(count: int) -> bytes:
    """Pixels in a compressed table: a thousandth of their bytes."""
    first = fits([card("SIMPLE", "T"), card("BITPIX", "8"), card("NAXIS", "0"), b"END".ljust(80)])
    table = [b"XTENSION= 'BINTABLE'".ljust(80), card("BITPIX", "8"), card("NAXIS", "2")]
    table += [card("NAXIS1", "0"), card("NAXIS2", "0"), card("ZIMAGE", "T"), b"ZCMPTYPE= 'GZIP_1  '".ljust(80)]
    table += [card("ZBITPIX", "8"), card("ZNAXIS", "2"), card("ZNAXIS1", str(count // WIDE))]
    table += [card("ZNAXIS2", str(WIDE)), b"END".ljust(80)]
    return first + fits(table) + gzip.compress(bytes(count * 4), 1, mtime=0)


def ico(count: int) -> bytes:
    """Entries of the same picture."""
    content = saved("PNG")
    entry = struct.pack("<BBBBHHII", SIDE, SIDE, 0, 0, 1, 8, len(content), 6 + 16 * count)
    return struct.pack("<HHH", 0, 1, count) + entry * count + content


def icns(count: int) -> bytes:
    """Empty blocks."""
    return b"icns" + struct.pack(">I", 8 + 8 * count) + b"abcd\0\0\0\x08" * count


def psd_resources(count: int) -> bytes:
    """Empty resources."""
    header = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 1, SIDE, SIDE, 8, 1)
    resources = b"8BIM\3\xe8\0\0\0\0\0\0" * count
    return header + bytes(4) + struct.pack(">I", len(resources)) + resources + bytes(6) + bytes(SIDE**2)


def psd_layers(count: int) -> bytes:
    """Layers of no pixels (at most 32,767)."""
    header = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 1, SIDE, SIDE, 8, 1)
    layer = bytes(16) + struct.pack(">H", 0) + b"8BIMnorm\xff\0\0\0" + struct.pack(">I", 12) + bytes(12)
    layers = struct.pack(">h", count) + layer * count
    return header + bytes(8) + struct.pack(">II", len(layers) + 4, len(layers)) + layers + bytes(2) + bytes(SIDE**2)


def iptc(count: int) -> bytes:
    """Empty fields."""
    return b"\x1c\1\0\0\0" * count


def im(count: int) -> bytes:
    """Fields of a header."""
    return b"Image type: Greyscale image\r\n" + b"A:\n" * count + b"\x1a"


def xv(count: int) -> bytes:
    """Comments of a header."""
    return b"P7 332\n" + b"#\n" * count + b"8 8 255\n" + bytes(64)


def tga(count: int) -> bytes:
    """Runs of 128 pixels."""
    return struct.pack("<BBBHHBHHHHBB", 0, 0, 11, 0, 0, 0, 0, 0, WIDE, count * 128 // WIDE, 8, 0) + b"\xff\0" * count


WORKS = {
    "JPEG, empty segments": Work(".jpg", jpeg(b"\xff\xe5\0\2"), 24_000_000, 1_000_000),
    "JPEG, comments": Work(".jpg", jpeg(b"\xff\xfe\0\2"), 32_000_000, 1_000_000),
    "JPEG, fill bytes": Work(".jpg", jpeg(b"\xff"), 128_000_000, 4_000_000),
    "JPEG, EXIF in pieces": Work(".jpg", jpeg(b"\xff\xe1\0\x09Exif\0\0a"), 2_000_000, 200_000),
    "JPEG, scans": Work(".jpg", jpeg_scans, 1000, 10),
    "PNG, empty chunks": Work(".png", png_chunks(b"abCd"), 11_000_000, 400_000),
    "PNG, texts": Work(".png", png_chunks(b"zTXt", b"a\0\0" + zlib.compress(b"")), 5_500_000, 200_000),
    "GIF, a comment in pieces": Work(".gif", gif(b"\1a", b"\x21\xfe", b"\0"), 3_000_000, 200_000),
    "GIF, comments": Work(".gif", gif(b"\x21\xfe\1a\0"), 2_000_000, 100_000),
    "TIFF, entries": Work(".tif", tiff_entries, 6_000_000, 200_000),
    "TIFF, tiles": Work(".tif", tiff_tiles, 8_000_000, 100_000),
    "AVIF, items": Work(".avif", avif_items, 250_000, 30_000),
    "JPEG 2000, precincts": Work(".j2k", j2k_precincts, 8000, 500),
    "PPM, a comment": Work(".pgm", ppm_comment, 128_000_000, 4_000_000),
    "PPM, comments": Work(".pgm", ppm_comments, 4_000_000, 200_000),
    "PPM, numbers": Work(".pgm", ppm_numbers, 64_000_000, 1_000_000),
    "PPM, scaled": Work(".ppm", ppm_scaled, 128_000_000, 1_000_000),
    "DDS, masks": Work(".dds", dds, 64_000_000, 500_000, "DDS"),
    "QOI, indices": Work(".qoi", qoi, 64_000_000, 1_000_000, "QOI"),
    "BLP, blocks": Work(".blp", blp, 64_000_000, 1_000_000, "BLP"),
    "FITS, packed": Work(".fits", fits_packed, 64_000_000, 1_000_000, "FITS"),
    "PSD, resources": Work(".psd", psd_resources, 11_100_000, 500_000, "PSD"),
    "IM, fields": Work(".im", im, 44_000_000, 500_000, "IM"),
}
LIGHT = {  # at their largest they take some seconds
    "PNG, empty pixels": Work(".png", png_empty_pixels, 11_000_000, 500_000),
    "GIF, extensions": Work(".gif", gif(b"\x21\1\1a\0"), 25_000_000, 500_000),
    "TIFF, pages": Work(".tif", tiff_pages, 8_000_000, 100_000),
    "WEBP, chunks": Work(".webp", webp_chunks, 16_000_000, 500_000),
    "WEBP, frames": Work(".webp", webp_frames, 2_600_000, 100_000),
    "JPEG 2000, boxes": Work(".jp2", jp2_boxes, 16_000_000, 500_000),
    "FITS, cards": Work(".fits", fits_cards, 1_600_000, 30_000, "FITS"),
    "ICO, entries": Work(".ico", ico, 65_535, 65_535, "ICO"),
    "ICNS, blocks": Work(".icns", icns, 16_000_000, 500_000, "ICNS"),
    "PSD, layers": Work(".psd", psd_layers, 32_767, 32_767, "PSD"),
    "IPTC, fields": Work(".iim", iptc, 26_000_000, 500_000, "IPTC"),
    "XV, comments": Work(".xv", xv, 64_000_000, 1_000_000, "XVThumb"),
    "TGA, runs": Work(".tga", tga, 500_000, 500_000, "TGA"),
}
