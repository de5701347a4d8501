"""A tar, read from its beginning to its end: `tarfile` decodes each header, and what extends one is bounded here.

`tarfile.TarFile` itself reads extended headers of any length, some in quadratic time (CVE-2024-6232).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rggan.data.picture import MAX_BYTES

BLOCK = 512  # bytes: headers and contents fill whole ones
LONGEST = 16 << 10  # bytes that extend a header: paths have 4096 at most
MOST_EXTENDED = 4  # of them before one member
LONG_NAME, LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
RECORDS = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
EXTENDED = (LONG_NAME, LONG_LINK, *RECORDS, tarfile.XGLTYPE)
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
WITHOUT_CONTENT = set(tarfile.SUPPORTED_TYPES) - {*REGULAR, *EXTENDED, tarfile.GNUTYPE_SPARSE}
SPARSE = "it has sparse files, which this does not read: pack it as whole ones"
PIECE = 1 << 20  # bytes that are skipped at a time


@dataclass
class Member:
    """One member of a tar. size: bytes of its content, which `read` returns until the next member is asked for."""

    name: str
    regular: bool
    size: int
    stream: io.BufferedIOBase
    left: int  # bytes of its blocks that nobody has read

    def read(self) -> bytes:
        content = exactly(self.stream, self.size)
        self.left -= self.size
        return content


def members(stream: io.BufferedIOBase, largest: int = MAX_BYTES, most: int | None = None) -> Iterator[Member]:
    """Yields the members of an unpacked tar, up to the first empty block or its end.

    largest: bytes of a member. most: bytes of the tar, unless None.

    Raises:
        tarfile.ReadError: it is none, or cut off. ValueError: more than is read: the whole, a member, or what extends
            a header; sparse files.

    >>> packed = io.BytesIO()
    >>> with tarfile.open(fileobj=packed, mode="w") as tar:
    ...     tar.addfile(tarfile.TarInfo("a/1.png"))
    >>> [(member.name, member.read()) for member in members(io.BytesIO(packed.getvalue()))]
    [('a/1.png', b'')]
    """
    done, first = 0, True
    while (found := next_header(stream, first)) is not None:
        member, header = found
        if not 0 <= member.size <= largest:
            raise ValueError(f"its {member.size:,} bytes are more than this reads ({largest:,})")
        done, first = done + header + member.left, False
        if most is not None and done > most:
            raise ValueError(f"unpacked it has over {most:,} bytes, more than this reads")
        yield member
        skip(stream, member.left)


def next_header(stream: io.BufferedIOBase, first: bool) -> tuple[Member, int] | None:
    """(the next member, bytes of its headers); None at the end. first: whether it is the beginning of the tar."""
    name, size, length = "", -1, 0
    for _ in range(MOST_EXTENDED + 1):
        block = stream.read(BLOCK)
        if not block.strip(b"\0") and (block or not first) and not length:
            return None
        try:
            found = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        length += BLOCK
        if found.type not in EXTENDED:
            name, size = name or found.name, found.size if size < 0 else size
            if found.type == tarfile.GNUTYPE_SPARSE:
                raise ValueError(SPARSE)
            size = 0 if found.type in WITHOUT_CONTENT else size
            return Member(name, found.type in REGULAR, size, stream, whole_blocks(size)), length
        if not 0 <= found.size <= LONGEST:
            raise ValueError(f"a header has an extension of {found.size:,} bytes, more than this reads ({LONGEST:,})")
        content = exactly(stream, whole_blocks(found.size))[: found.size]
        length += whole_blocks(found.size)
        if found.type == LONG_NAME:
            name = text(content.partition(b"\0")[0])
        elif found.type in RECORDS:
            told = records(content)
            name = text(told[b"path"]).rstrip("/") if b"path" in told else name
            size = int(told[b"size"]) if told.get(b"size", b"").isdigit() else size
    raise ValueError(f"a header is extended more than {MOST_EXTENDED} times")


def records(content: bytes) -> dict[bytes, bytes]:
    """The records of an extended header.

    >>> records(b"16 path=a/1.png\\n9 size=7\\n")
    {b'path': b'a/1.png', b'size': b'7'}
    """
    found, at = dict[bytes, bytes](), 0
    while at < len(content):
        length, space, _ = content[at : at + 8].partition(b" ")
        end = at + (int(length) if length.isdigit() else 0)
        key, equals, value = content[at + len(length) + 1 : end].partition(b"=")
        if not (space and equals and value.endswith(b"\n") and end <= len(content)):
            raise ValueError("an extended header is damaged")
        found[key], at = value[:-1], end
    if any(key.startswith(b"GNU.sparse.") for key in found):
        raise ValueError(SPARSE)
    return found


def text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def whole_blocks(size: int) -> int:
    """
    >>> whole_blocks(0), whole_blocks(1), whole_blocks(512)
    (0, 512, 512)
    """
    return -(-size // BLOCK) * BLOCK


def exactly(stream: io.BufferedIOBase, size: int) -> bytes:
    """So many bytes; raises tarfile.ReadError where there are fewer."""
    content = stream.read(size)
    if len(content) < size:
        raise tarfile.ReadError("unexpected end of data")
    return content


def skip(stream: io.BufferedIOBase, size: int) -> None:
    if size and isinstance(stream, io.BufferedReader) and stream.seekable():
        stream.seek(size - 1, io.SEEK_CUR)
        exactly(stream, 1)
        return
    for done in range(0, size, PIECE):
        exactly(stream, min(PIECE, size - done))


def unpacked(stream: io.BufferedReader[Any]) -> io.BufferedIOBase:
    """What a gzip, bzip2 or xz holds, by its first bytes; else the stream itself."""
    head = stream.peek(8)
    if head.startswith(b"\x1f\x8b\x08"):
        return gzip.open(stream)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(stream)
    return lzma.LZMAFile(stream) if head.startswith(b"\xfd7zXZ") else stream
