"""WebDataset shards: `.tar` files on this disk or at an address, and commands that write one to their output."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from itertools import islice
from typing import Any
from urllib.parse import urlparse

from rggan.bounded import parse_json, regular_size
from rggan.data.forms.labels import class_of
from rggan.data.picture import MAX_BYTES, Picture, endings_of, every_format
from rggan.data.source import named_form
from rggan.data.tar import PIECE, Member, members, unpacked
from rggan.errors import UserError, reason
from rggan.registry import COMMAND, TRUSTED

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.I)
BRACES = re.compile(r".*\{.+\}.*", re.S)
LABELS = (".cls", ".json")
META = re.compile(r"__[^/]*__($|/)")  # members that are about the shard
END = 1024  # zero bytes at the end of a tar
STOPPED = (0, None, 141, -13)  # exit codes of a command that we read no further
ENDINGS = endings_of(every_format())  # of a sample's picture, whether it is read or not
FIRST = 20  # members of a .tar among which a picture is looked for
FIRST_BYTES = 256 * 2**20  # of a .tar, within which these are
MOST_MEMBERS, MOST_BYTES = 10_000, 4 * MAX_BYTES  # of a sample, with what is none before the next


def runs_command(data: str) -> bool:
    """Whether these data are what a command writes, which runs where they are read."""
    return data.startswith(COMMAND)


def is_shards(data: str) -> bool:
    """Whether these data are WebDataset shards; opens at most the beginning of a single .tar, and runs nothing.

    >>> is_shards("shards/train-{0000..0099}.tar"), is_shards("https://a.org/1.tar"), is_shards("pipe:cat 1.tar")
    (True, True, True)
    >>> is_shards("digits"), is_shards("pictures.zip")
    (False, False)
    """
    if runs_command(data) or ADDRESS.match(data):
        return True
    if os.path.isdir(data):
        return bool(shards_in(data))
    if os.path.exists(data):
        return data.lower().endswith(".tar") and has_pictures(data)  # CIFAR is published as a .tar, too
    if named_form(data) is not None:
        return False
    return data.lower().endswith(".tar") or (bool(BRACES.fullmatch(data)) and ".tar" in data.lower())


def shards_in(folder: str) -> list[str]:
    """The .tar files of a folder that holds neither pictures nor folders beside them; [] otherwise."""
    found = []
    try:
        with os.scandir(folder) as inside:
            for entry in inside:
                ending = os.path.splitext(entry.name)[1].lower()
                if not entry.name.startswith(".") and (entry.is_dir() or ending in ENDINGS):
                    return []
                if ending == ".tar" and not entry.name.startswith("."):
                    found.append(entry.path)
    except OSError:
        return []
    return found


def has_pictures(path: str) -> bool:
    """Whether there is a picture among the first members of a .tar."""
    try:
        regular_size(path)
        with open(path, "rb") as file:
            found = (
                member.name for member in islice(members(unpacked(file), most=FIRST_BYTES), FIRST) if member.regular
            )
            return any(os.path.splitext(name)[1].lower() in ENDINGS for name in found)
    except Exception:  # tarfile, zlib and lzma raise many types: reading it reports the error
        return False


def library(name: str) -> Any:
    """A module of webdataset, by name: it is optional.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError('Shards need one more library: pip install "rggan[shards]".') from error


class TarShards:
    """WebDataset shards (see `Shards`).

    A sample is the members with one name before the first dot: one picture, and its class as the text of `.cls`, or
    'label' or 'class' in `.json`.

    Raises:
        UserError: webdataset is not installed, or there is no shard at these addresses.
    """

    def __init__(self, data: str) -> None:
        self.data = data
        self.gopen, self.tar = library("webdataset.gopen"), library("webdataset.tariterators")
        addresses = shards_in(data) if os.path.isdir(data) else [data]
        if not os.path.exists(data):
            try:
                addresses = list(library("braceexpand").braceexpand(data))
            except ValueError as error:
                raise UserError(f"`data` {data} is no pattern of shards: {reason(error)}.") from error
        commands = [address for address in addresses if urlparse(address).scheme.lower() == "pipe"]
        if commands and not runs_command(data):  # else options that are read from a file could hide one
            raise UserError(f"`data` {data} runs a command: let it begin with {COMMAND}.")
        if commands:
            TRUSTED.add(data)  # whoever gave it, gave it here: see `rggan.config.refuse_code`
        local = [a for a in addresses if not runs_command(a) and not ADDRESS.match(a)]
        missing = sorted(address for address in local if not os.path.isfile(address))
        if missing:
            more = f" ({len(missing) - 1:,} more of its {len(addresses):,} are missing too)" if len(missing) > 1 else ""
            raise UserError(f"There is no shard at {missing[0]}{more}.")
        self.names = tuple(sorted(addresses))
        self.keys = tuple(a if runs_command(a) else os.path.basename(urlparse(a).path) for a in self.names)

    def pictures(self, index: int, labels: bool) -> Generator[Picture, None, None]:
        shard = self.names[index]
        for sample in self.samples(shard, partial(self.streamed, shard)):
            name, content = picture_of(sample, shard)
            yield Picture(name, partial(bytes, content), label_of(sample, shard) if labels else "")

    def labels(self, index: int) -> Iterator[tuple[str, str]]:
        shard = self.names[index]
        local = os.path.isfile(shard) and shard.lower().endswith(".tar")
        for sample in self.samples(shard, partial(headers, shard) if local else partial(self.streamed, shard)):
            yield picture_of(sample, shard)[0], label_of(sample, shard)

    def samples(
        self, shard: str, files: Callable[[Callable[[str], None]], Iterable[dict[str, Any]]]
    ) -> Iterator[dict[str, Any]]:
        """Yields the samples of one shard, as webdataset groups its members; whatever fails names shard and member."""
        last = deque[str](maxlen=1)
        try:
            named = ({**member, "__url__": shard} for member in files(last.append))
            yield from self.tar.group_by_keys(named, keys=key_of)
        except UserError:
            raise
        except Exception as error:  # tarfile, zlib, urllib and the library itself raise many types
            why = "it is no tar" if not last and isinstance(error, tarfile.ReadError) else what_failed(error)
            where = f", at its member {last[0]}" if last else ""
            raise UserError(f"Cannot read the shard {shard}{where}: {why}.") from error

    def streamed(self, shard: str, seen: Callable[[str], None]) -> Iterator[dict[str, Any]]:
        """Yields {"fname": name, "data": content} for each file of a sample, as webdataset opens it.

        seen: is told the name of each before its content is read.
        """
        stream = self.gopen.gopen(shard)
        known = Remembered(stream)
        raw = io.BufferedReader(known, PIECE)
        try:
            tar = unpacked(raw)
            for member in of_samples(members(tar)):
                seen(member.name)
                yield {"fname": member.name, "data": member.read()}
            while raw.read(PIECE):  # what stands behind it, so that its command ends
                pass
            stream.close()  # raises where its command failed
            if tar is raw and known.tail.strip(b"\0"):
                raise ValueError("it is cut off: the end of a tar is missing")
        except Exception as error:
            if (code := exit_code(stream)) not in STOPPED:
                raise ValueError(f"what it is read with ended with exit code {code}") from error
            raise
        finally:
            with suppress(Exception):  # a command that is not read to its end complains
                stream.close()


class Remembered(io.RawIOBase):
    """A stream of bytes whose last ones are remembered."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.tail = stream, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part: bytes = self.stream.read(len(buffer))
        buffer[: len(part)] = part
        self.tail = (self.tail + part[-END:])[-END:]
        return len(part)


def headers(path: str, seen: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Like `TarShards.streamed`, for a file; skips the contents of all members but those that tell classes."""
    with open(path, "rb") as file:
        for member in of_samples(members(unpacked(file))):
            seen(member.name)
            yield {"fname": member.name, "data": member.read() if member.name.lower().endswith(LABELS) else b""}


def of_samples(found: Iterable[Member]) -> Iterator[Member]:
    """Yields the files that belong to samples. Raises ValueError where more is between two samples than this reads."""
    last, count, size = "", 0, 0
    for member in found:
        sample = key_of(member.name)[0] if member.regular and not META.match(member.name) else None
        if sample is not None and sample != last:
            last, count, size = sample, 0, 0
        count, size = count + 1, size + member.size
        if count > MOST_MEMBERS or size > MOST_BYTES:
            raise ValueError(f"over {MOST_MEMBERS:,} members or {MOST_BYTES:,} bytes without another sample")
        if sample is not None:
            yield member


def key_of(path: str) -> tuple[str, str] | tuple[None, None]:
    """What names the sample of a member, and what names the member in it: all before and behind the first dot.

    >>> key_of("a/7.seg.png"), key_of("a/.7.png"), key_of("a/7")
    (('a/7', 'seg.png'), (None, None), (None, None))
    """
    folder, slash, name = path.rpartition("/")
    stem, dot, ending = name.partition(".")
    return (folder + slash + stem, ending) if stem and dot else (None, None)


def exit_code(stream: Any) -> int | None:
    """Of the command that a stream is read from; None where there is none."""
    process = getattr(stream, "proc", None)
    if process is None:
        return None
    with suppress(Exception):
        stream.close()
    code: int | None = process.poll()
    return code


def what_failed(error: Exception) -> str:
    """Without the object that webdataset names behind it."""
    if "no gopen handler" in str(error):
        return "webdataset opens no such address; `data` pipe:COMMAND reads what a command writes"
    return reason(error).partition(" @ <")[0]


def picture_of(sample: dict[str, Any], shard: str) -> tuple[str, bytes]:
    """Returns (name, content) of a sample's picture.

    Raises:
        UserError: it has none, or several.

    >>> picture_of({"__key__": "a/7", "jpg": b"..", "seg.png": b"..", "cls": b"3"}, "1.tar")[0]
    'a/7.jpg'
    """
    members = [name for name in sample if not name.startswith("__")]
    exact = [name for name in members if f".{name}" in ENDINGS]
    found = exact or [name for name in members if os.path.splitext(f".{name}")[1] in ENDINGS]
    if len(found) != 1:
        told = f"{len(found)} pictures" if found else "no picture"
        raise UserError(
            f"The sample {sample['__key__']} of the shard {shard} has {told} ({', '.join(members)}); each needs one."
        )
    return f"{sample['__key__']}.{found[0]}", sample[found[0]]


def label_of(sample: dict[str, Any], shard: str) -> str:
    """Returns the class of a sample; '' if it has none.

    Raises:
        UserError: what tells it cannot be read.

    >>> label_of({"cls": b"3"}, "1.tar"), label_of({"json": b'{"label": "cat"}'}, "1.tar"), label_of({}, "1.tar")
    ('3', 'cat', '')
    """
    try:
        if "cls" in sample:
            return str(sample["cls"].decode().strip())
        told = parse_json(sample["json"]) if "json" in sample else None
    except ValueError as error:
        raise UserError(
            f"The class of the sample {sample['__key__']} of the shard {shard} cannot be read: {reason(error)}."
        ) from error
    known = told if isinstance(told, dict) else {}
    return class_of(known.get("label", known.get("class"))) or ""
