"""Files and JSON of others, with limits that hold before they are read."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MOST_BYTES = 16 << 20  # of a file of JSON, unless its reader says otherwise
MOST_VALUES = 1_000_000  # of a JSON text: each takes about 60 bytes of memory, though two or three of the text
MOST_LEVELS = 64  # of lists and objects within each other
MOST_IN_LINES = 1 << 30  # bytes of a file with JSON in each line
MOST_VALUES_IN_LINES = 15_000_000  # of 30,000 ticks with all layers of large networks, or 1,000,000 images
LINE = 8  # values that each line counts as, which takes about as long
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.S)  # one that does not end reaches to the end
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
TURNS = np.zeros(256, dtype=np.int8)
TURNS[list(b"[{")], TURNS[list(b"]}")] = 1, -1


def read_regular(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """Returns the content of a regular file of at most `most` bytes; links are followed.

    Raises:
        OSError: it cannot be read, or is a pipe, a device or a folder, which may block or have no end.
        ValueError: it is larger.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a")
    ...     length = path.write_bytes(b"four")
    ...     read_regular(path, 4)
    b'four'
    """
    size = regular_size(path)
    if size > most:
        raise ValueError(f"its {size:,} bytes are more than this reads ({most:,})")
    with open(path, "rb") as file:
        content = file.read(most + 1)  # it may grow meanwhile
    if len(content) > most:
        raise ValueError(f"it has more bytes than this reads ({most:,})")
    return content


def regular_size(path: str | Path) -> int:
    """Returns the size of a regular file in bytes.

    Raises:
        OSError: it cannot be looked at, or is a pipe, a device or a folder.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(None, "it is no regular file")
    return status.st_size


def read_json(path: str | Path, most: int = MOST_BYTES, values: int = MOST_VALUES) -> Any:
    """`parse_json` of a regular file. Raises OSError, ValueError."""
    return parse_json(read_regular(path, most), most, values)


def parse_json(text: bytes | str, most: int = MOST_BYTES, values: int = MOST_VALUES, levels: int = MOST_LEVELS) -> Any:
    """Parses JSON that is not above these limits: bytes, values, and lists and objects within each other.

    What has values counts as two, since only commas and brackets are counted.

    Raises:
        ValueError: it is above one of them, or no JSON.

    >>> parse_json('{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> parse_json("[[], [], []]", values=3)
    Traceback (most recent call last):
    ValueError: its JSON has more than 3 values
    """
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if len(content) > most:
        raise ValueError(f"its JSON has {len(content):,} bytes, more than this reads ({most:,})")
    if content.count(b"[") + content.count(b"{") <= levels and values_of(content) <= values:  # strings among them
        return json.loads(content)
    bare = STRING.sub(b"", content)
    if values_of(bare) > values:
        raise ValueError(f"its JSON has more than {values:,} values")
    brackets = np.frombuffer(bare.translate(None, NO_BRACKETS), dtype=np.uint8)
    if len(brackets) and int(np.cumsum(TURNS[brackets], dtype=np.int32).max()) > levels:
        raise ValueError(f"its JSON has more than {levels} levels")
    try:
        return json.loads(content)
    except RecursionError as error:  # brackets in text that is none
        raise ValueError("its JSON has too many levels") from error


def values_of(bare: bytes) -> int:
    """At least as many as there are values in JSON without its strings."""
    return bare.count(b",") + bare.count(b"[") + bare.count(b"{")


def json_lines(
    path: str | Path, most: int = MOST_IN_LINES, values: int = MOST_VALUES_IN_LINES, line: int = MOST_BYTES
) -> Iterator[dict[str, Any]]:
    """Yields the JSON objects of a regular file with one in each line; other lines are left out.

    most: bytes of the file. values: of all lines, each of which counts as `LINE` more. line: bytes of a line.

    Raises:
        OSError: it cannot be read, or is no regular file. ValueError: it has more.
    """
    size, left = regular_size(path), values
    if size > most:
        raise ValueError(f"its {size:,} bytes are more than this reads ({most:,})")
    with open(path, "rb") as file:
        while text := file.readline(line):
            left -= LINE + values_of(text)
            if left < 0:
                raise ValueError(f"it has more than {values:,} lines and values")
            if text.isspace():
                continue
            try:
                found = parse_json(text, line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found
