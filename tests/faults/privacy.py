"""Runs of strangers, generators of before, and what looks into files: for what is shared and what is opened unasked."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.torch import save

from rggan import Generator, TrainConfig
from rggan.data import load_images
from rggan.networks.sngan import SNGANGenerator
from rggan.run.folder import Run

BASE64 = re.compile(rb"[A-Za-z0-9+/]{64,}={0,2}")
ASKED = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
LOOKED = ("open", "os.listdir", "os.scandir")
HOOKS: list[Any] = []  # audit hooks stay for good: one for all, that calls whoever listens
STARTED: list[bool] = []


def pictures(folder: Path, count: int = 24) -> Path:
    """A folder of so many digits."""
    folder.mkdir(parents=True)
    digits = load_images("digits", 16, max_images=count)
    for number, row in enumerate(digits.rows):
        Image.fromarray(digits.store[row][0].numpy()).save(folder / f"{number:03d}.png")
    return folder


def generator(**trained: Any) -> Generator:
    """A small one for grey pictures of 16x16."""
    network = {"name": "sngan", "resolution": [16, 16], "channels": 1, "width": 2, "z_dim": 2, "classes": 0}
    made = SNGANGenerator((16, 16), 1, 2, z_dim=2)
    return Generator(made, {"network": network, "classes": [], "trained": {"kimg": 1.0, "score": 0.5, **trained}})


def stranger(folder: Path, data: str, **options: Any) -> Path:
    """A run as somebody else hands it over, whose config.json names these data."""
    run = Run(folder)
    generator(data="pictures").save(run.best)
    generator(data="pictures").save(run.last)
    config = TrainConfig(network="sngan", resolution=16, width_g=2, width_d=2, z_dim=2, device="cpu").to_json()
    (folder / "config.json").write_text(json.dumps({**config, "data": data, **options}))
    (folder / "data.jsonl").write_text(json.dumps({"data": data, "images": 24, "size": [16, 16], "channels": 1}) + "\n")
    row = {"tick": 0, "kimg": 1.0, "score": 0.5, "density_g": 1.0, "density_d": 1.0, "phase": "prune"}
    (folder / "stats.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def of_before(folder: Path, data: str) -> Path:
    """A generator whose file holds the place of its data whole, as earlier versions wrote it."""
    made = generator(data=data)
    folder.mkdir(parents=True)
    config = {"format": 2, **made.config}
    (folder / "generator.safetensors").write_bytes(save(made.network.state_dict(), {"rggan": json.dumps(config)}))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def layers(content: bytes, depth: int = 3) -> Iterator[bytes]:
    """The content, and what is packed in it: members of zips, texts of PNGs, base64 in pages and scripts."""
    yield content
    if depth == 0:
        return
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from layers(archive.read(name), depth - 1)
    if content.startswith(b"\x89PNG"):
        place = 8
        while place < len(content):
            length = int.from_bytes(content[place : place + 4], "big")
            kind, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
            place += 12 + length
            if kind in (b"zTXt", b"iTXt", b"iCCP"):
                for start in [match.start() + 1 for match in re.finditer(b"\0", body)][:6]:
                    try:
                        yield zlib.decompress(body[start:].lstrip(b"\0"))
                    except zlib.error:
                        continue
    elif content.startswith(b"\x93NUMPY"):  # four bytes a letter
        yield content.replace(b"\0", b"")
    elif not content.startswith((b"RIFF", b"GIF")):
        for found in BASE64.findall(content):
            yield from layers(base64.b64decode(found + b"=" * (-len(found) % 4)), depth - 1)


@contextmanager
def seen(*events: str) -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """Python's own audit events of these names, in all threads, as they come."""
    found: list[tuple[str, tuple[Any, ...]]] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in events:
            found.append((event, arguments))

    if not STARTED:
        STARTED.append(True)
        sys.addaudithook(lambda event, arguments: [each(event, arguments) for each in HOOKS] and None)
    HOOKS.append(hook)
    try:
        yield found
    finally:
        HOOKS.remove(hook)
