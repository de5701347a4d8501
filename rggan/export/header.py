"""What an ONNX file says of itself, read without its graph: no library, and no more memory than its texts take."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rggan.bounded import regular_size

PRODUCER, OPSET, METADATA = 2, 8, 14  # fields of the ModelProto of onnx.proto, which says how they are numbered
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # how protocol buffers write a field
LONGEST, MOST = 1 << 20, 1000  # bytes of one text, and fields of a file
NOTES = b"pkg.torch.onnx.stack_trace"  # before lines of code, with their files' paths
CHUNK = 1 << 20


class Header(NamedTuple):
    """producer: the program. opset: of ONNX's own operators. metadata: its texts by name. traces: whether paths of the
    machine that wrote it stand beside its operations."""

    producer: str
    opset: int
    metadata: dict[str, str]
    traces: bool


def read_header(path: Path) -> Header:
    """
    Raises:
        OSError: it cannot be read. ValueError: it is no ONNX file.
    """
    size, metadata = regular_size(path), dict[str, str]()
    found: dict[str, Any] = {"producer": "", "opset": 0}
    with path.open("rb") as file:
        for number in range(MOST + 1):
            if file.tell() == size:
                break
            if number == MOST:
                raise ValueError(f"it has more than {MOST} parts")
            found |= field(file, size, metadata)
        if not found["opset"]:
            raise ValueError("it names no opset")
        return Header(**found, metadata=metadata, traces=holds(file, NOTES))


def field(file: BinaryIO, size: int, metadata: dict[str, str]) -> dict[str, Any]:
    """The next field, as an attribute of the header where it is one; others are passed over. `metadata` is added to."""
    key = varint(file)
    number, kind = key >> 3, key & 7
    if kind == VARINT:
        varint(file)
    elif kind in (FIXED64, FIXED32):
        file.seek(8 if kind == FIXED64 else 4, 1)
    elif kind == LENGTH:
        length = varint(file)
        end = file.tell() + length
        if end > size:
            raise ValueError("it ends too early")
        if number not in (PRODUCER, OPSET, METADATA):
            file.seek(end)
            return {}
        if length > LONGEST:
            raise ValueError(f"a text of it has {length:,} bytes")
        content = file.read(length)
        if number == PRODUCER:
            return {"producer": content.decode()}
        if number == OPSET:
            parts = dict(pairs(content))
            return {"opset": parts.get(2, 0)} if parts.get(1, b"") in (b"", b"ai.onnx") else {}
        parts = dict(pairs(content))
        metadata[text(parts.get(1))] = text(parts.get(2))
    else:
        raise ValueError("it is no ONNX file")
    return {}


def pairs(content: bytes) -> list[tuple[int, int | bytes]]:
    """(number, value) of the fields of a short message: numbers and texts."""
    file, found = BytesIO(content), list[tuple[int, int | bytes]]()
    while file.tell() < len(content):
        key = varint(file)
        if key & 7 == VARINT:
            found.append((key >> 3, varint(file)))
        elif key & 7 == LENGTH:
            found.append((key >> 3, file.read(varint(file))))
        else:
            raise ValueError("it is no ONNX file")
    return found


def text(value: int | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else ""


def varint(file: BinaryIO) -> int:
    """
    >>> from io import BytesIO
    >>> varint(BytesIO(bytes([0b10101100, 0b10])))
    300
    """
    value = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends too early")
        value |= (byte[0] & 127) << (7 * place)
        if byte[0] < 128:
            return value
    raise ValueError("it is no ONNX file")


def holds(file: BinaryIO, wanted: bytes) -> bool:
    """Whether these bytes are anywhere in the file; reads a part at a time."""
    file.seek(0)
    before = b""
    while part := file.read(CHUNK):
        if wanted in before + part:
            return True
        before = part[-len(wanted) :]
    return False
