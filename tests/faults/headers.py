"""Small files that ask for much: headers, counts, names and JSON that take long to parse, each made by what it says."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tests.faults.archives import Entry, entry, zipped

MIB = 2**20
PIXEL = b"\x89PNG\r\n\x1a\n"  # how a picture begins


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    """One member of a tar, of any type; size: what its header tells, unless that of its content."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def digits(count: int, name: str = "cifar/train.bin") -> bytes:
    """A pax header that is one long number, in which tarfile looks for a keyword behind each of its digits."""
    return member("x", b"1" * count, tarfile.XHDTYPE) + member(name)


def numbers(count: int) -> bytes:
    """A pax header of short records that all lack their end: each is looked for in all that is left."""
    return member("x", b"2 " * count, tarfile.XHDTYPE) + member("cifar/train.bin")


def tars(short: bool = False) -> dict[str, bytes]:
    """Tars that are no CIFAR and no shard, before they are packed; short: what can be tried without any bound."""
    much = 1 if short else 64
    return {
        "digits in an extended header": digits(MIB),
        "digits in a global header": member("x", b"1" * MIB, tarfile.XGLTYPE) + member("train"),
        "digits in each of many headers": digits(12_000) * much,
        "numbers in an extended header": numbers(MIB),
        "a long name": member("x", b"a/" * (much * MIB), tarfile.GNUTYPE_LONGNAME) + member("train"),
        "many extended headers": member("x", b"", tarfile.XHDTYPE) * 500 + member("train"),
        "a sparse map of digits": member("x", b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n", tarfile.XHDTYPE)
        + member("train", b"9" * (much * MIB)),
        "many members": member("a") * (1000 * much),
        "members that are none of a sample": member("folder/", b"", tarfile.DIRTYPE) * 20_000,
        "a huge member": member("a/1.png", PIXEL, size=2**40),
    }


def gzipped(*parts: bytes | int) -> bytes:
    """A gzip of these; a number: so many MiB of zeros, which take a thousandth, and without its checksum."""
    known = [part for part in parts if not isinstance(part, int)]
    check = zlib.crc32(b"".join(known)) if len(known) == len(parts) else 0
    end = struct.pack("<II", check, sum(map(len, known)) % 2**32)
    return b"\x1f\x8b\x08\0\0\0\0\0\2\3" + deflated(*parts) + end


def deflated(*parts: bytes | int, zeros: bytes = b"\0") -> bytes:
    """zeros: what stands for them."""
    packed = b""
    for part in parts:
        packer = zlib.compressobj(9, wbits=-15)
        block = packer.compress(zeros * MIB if isinstance(part, int) else part) + packer.flush(zlib.Z_FULL_FLUSH)
        packed += block * (part if isinstance(part, int) else 1)
    return packed + packer.flush()


def samples_of_zeros(mib: int, count: int = 1) -> bytes:
    """A packed shard of samples, each of which is a picture of so many MiB of zeros."""
    return gzipped(*(part for i in range(count) for part in (member(f"{i}.png", size=mib * MIB), mib)))


def pickle_of_opcodes(count: int) -> bytes:
    return b"\x80\2" + b"N" * count + b"."


def pickle_of_text(size: int) -> bytes:
    """A pickled text whose last letter makes each of the others take four bytes."""
    text = b"a" * size + "\U0001f600".encode()
    return b"\x80\2}(X\4\0\0\0dataX" + len(text).to_bytes(4, "little") + text + b"u."


def with_dataset(text: bytes, name: str = "a.png") -> bytes:
    """A zip of a picture and a dataset.json, which is packed well."""
    return zipped([entry(name, PIXEL), entry("dataset.json", text, deflated=True)])


def empty_lists(count: int) -> bytes:
    """JSON of so many empty lists."""
    return b'{"labels": [' + b"[]," * (count - 1) + b"[]]}"


def accents(count: int) -> str:
    """A letter with so many accents, which take quadratic time to be sorted."""
    return "a" + "\u0301\u0323" * (count // 2)


def npz_of_blanks(mib: int) -> bytes:
    """An .npz of an array whose header is filled up with so many MiB of blanks."""
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 4), }"
    head = b"\x93NUMPY\2\0" + (len(text) + mib * MIB).to_bytes(4, "little") + text
    stored = deflated(head, mib, bytes(32), zeros=b" ")
    return zipped([Entry(b"images.npy", stored, 8, 0, len(stored), len(head) + mib * MIB + 32)])


def npz(arrays: Mapping[str, bytes]) -> bytes:
    return zipped([entry(f"{name}.npy", content, deflated=True) for name, content in arrays.items()])


def array(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values)
    return stream.getvalue()


def npz_of_labels(classes: int, count: int) -> bytes:
    """An .npz of few small pictures with one-hot labels of so many classes."""
    return npz(
        {
            "images": array(np.zeros((count, 6, 6), dtype=np.uint8)),
            "labels": array(np.random.default_rng(0).integers(0, 2, (count, classes), dtype=np.uint8)),
        }
    )


def safetensors(length: int) -> bytes:
    """A generator's file that is a header of so many bytes, of many empty tensors."""
    tensor = '"%08d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    count = (length - 40) // len(tensor % 0 + ",")
    text = '{"__metadata__":{"rggan":"{}"},' + ",".join(tensor % i for i in range(count)) + "}"
    return length.to_bytes(8, "little") + text.encode().ljust(length)


def sparse_file(path: Path, size: int) -> Path:
    """A file of so many bytes that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


LINES: dict[str, Callable[[], bytes]] = {
    "newlines": lambda: b"\n" * (90 * MIB),
    "empty lists": lambda: (b"[" + b"[]," * 999_999 + b"[]]\n") * 30,
    "one line": lambda: b"[" * (64 * MIB),
}
PICKLES: dict[str, Callable[[], bytes]] = {
    "opcodes": lambda: pickle_of_opcodes(100 * MIB),
    "text": lambda: pickle_of_text(130 * MIB),
    "larger than any": lambda: pickle.dumps(bytes(170 * MIB)),
}
