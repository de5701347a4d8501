"""Zips with any header: what they tell of a file need not be so."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache


@dataclass(frozen=True)
class Entry:
    """One file of a zip, as its headers tell it; same_as: number of the entry whose place it points to."""

    name: bytes
    stored: bytes = b""
    method: int = 0
    crc: int = 0
    packed: int = 0
    size: int = 0
    flags: int = 0x800
    attributes: int = 0
    extra: bytes = b""
    same_as: int | None = None

    def fields(self) -> bytes:
        sizes = (number % 2**32 for number in (self.crc, self.packed, self.size))
        lengths = (len(self.name), len(self.extra))
        return struct.pack("<HHHHHIIIHH", 20, self.flags, self.method, 0, 0x21, *sizes, *lengths)


def entry(name: str, content: bytes, deflated: bool = False) -> Entry:
    stored = zlib.compress(content, wbits=-15) if deflated else content
    coded = name.encode(errors="surrogatepass")[:65535]
    return Entry(coded, stored, 8 * deflated, zlib.crc32(content), len(stored), len(content))


@cache
def deflated_zeros(mib: int) -> bytes:
    """So many MiB of zeros: a thousandth of that, for each block repeats the first."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * mib + packer.flush()


def zipped(entries: Sequence[Entry], quoted: bool = False) -> bytes:
    """quoted: each file lies within the one before, which so holds them all."""
    body, offsets, ends = bytearray(), list[int](), list[Entry]()
    if quoted:
        for each in reversed(entries):
            stored = each.stored + bytes(body)
            each = replace(each, stored=stored, method=0, crc=zlib.crc32(stored), packed=len(stored), size=len(stored))
            body = bytearray(b"PK\3\4" + each.fields() + each.name + each.extra + stored)
            ends.insert(0, each)
        for each in ends:
            offsets.append(len(body) - 30 - len(each.name) - len(each.extra) - len(each.stored))
    for each in [] if quoted else entries:
        offsets.append(len(body) if each.same_as is None else offsets[each.same_as])
        if each.same_as is None:
            body += b"PK\3\4" + each.fields() + each.name + each.extra + each.stored
    central = bytearray()
    for each, offset in zip(ends or entries, offsets, strict=True):
        rest = struct.pack("<HHHII", 0, 0, 0, each.attributes, offset)
        central += b"PK\1\2" + b"\x14\3" + each.fields() + rest + each.name + each.extra
    return bytes(body + central + end(len(offsets), len(central), len(body)))


def end(count: int, central: int, body: int) -> bytes:
    """The end of a zip of so many entries, which need not be so, and with so many bytes of directory and files."""
    return b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count % 2**16, count % 2**16, central, body, 0)


def many_entries(count: int, ending: str = ".png", extra: bytes = b"") -> bytes:
    """A zip of so many entries that share one place, so that it is as small as it can be."""
    first = Entry(b"%07d" % 0 + ending.encode(), extra=extra)
    body = b"PK\3\4" + first.fields() + first.name + extra
    header = b"PK\1\2\x14\3" + first.fields() + struct.pack("<HHHII", 0, 0, 0, 0, 0)
    central = b"".join(header + b"%07d" % i + ending.encode() + extra for i in range(count))
    return body + central + end(count, len(central), len(body))
