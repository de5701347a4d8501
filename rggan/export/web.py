"""A folder that is a page: it draws with the generator in any browser, from a server or from a disk, offline.

The network is in it as ONNX, and onnxruntime-web, both as scripts that hold base64: pages that are opened from a disk
may load scripts and nothing else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rggan.errors import make_folder
from rggan.export.onnx import to_onnx
from rggan.export.runtime import PACKAGE, RUNTIMES, VERSION, runtime_files
from rggan.export.traced import in_two, whole
from rggan.files import write_file
from rggan.generation.display import about
from rggan.generation.generator import Generator

PAGE = Path(__file__).parent / "page"  # what is the same for all generators
STATIC = ("page.css", "page.js", "engine.js", "sampling.js", "THIRD-PARTY.txt", "index.html")
PARTS = ("styles", "images")  # by what they give: of a style-based network both, of others the second
GENERATED = ("generator.js", *(f"model-{part}.js" for part in PARTS), *(f"runtime-{kind}.js" for kind in RUNTIMES))
NAMES = (*STATIC, *GENERATED)
SEED = 0  # of the picture that the page compares


class Page(NamedTuple):
    """What was written: all bytes, and the largest difference of the networks' output from PyTorch's."""

    size: int
    difference: float


def write_web(generator: Generator, folder: str | Path, runtime: Path | None = None, name: str = "") -> Page:
    """Writes the page into a folder: index.html and what it needs.

    Args:
        runtime: onnxruntime-web, as npm's .tgz or unpacked; None: npm fetches it once.
        name: the page's heading; "": the network's.

    Raises:
        UserError: as `write_onnx`; onnxruntime-web is not there and cannot be fetched; a file cannot be written.
    """
    runtimes = runtime_files(runtime)
    parts = in_two(generator) if generator.style_network is not None else (whole(generator),)
    exported = {part.output: to_onnx(part) for part in parts}
    told = described(generator, list(exported), name)
    if generator.style_network is not None:
        told["styles"] = generator.style_network.style_count
    files = {f"model-{part}.js": script("MODELS", part, encoded(found.content)) for part, found in exported.items()}
    for kind, places in RUNTIMES.items():
        both = {"module": encoded(runtimes[places.module]), "binary": encoded(runtimes[places.binary])}
        files[f"runtime-{kind}.js"] = script("RUNTIMES", kind, both)
    files["generator.js"] = f'"use strict";\nconst GENERATOR = {plain(told)};\n'.encode()
    files |= {each: (PAGE / each).read_bytes() for each in STATIC}  # index.html last: before it there is no page
    folder = Path(folder)
    make_folder(folder)
    for each, content in files.items():
        write_file(content, folder / each)
    size = sum(len(content) for content in files.values())
    return Page(size, max(found.difference for found in exported.values()))


def described(generator: Generator, parts: list[str], name: str) -> dict[str, Any]:
    """What the page knows of the generator, and a picture to compare with."""
    network = generator.config["network"]
    height, width = network["resolution"]
    classes = generator.classes if network["classes"] else []
    counts = generator.config.get("class_counts") or [1] * len(classes)
    return {
        "name": name or f"A generator: {network['name']}",
        "about": about({**generator.config, "trained": {}}, generator.parameters),
        "size": network["z_dim"],
        "classes": classes,
        "counts": counts,
        "channels": network["channels"],
        "height": height,
        "width": width,
        "styled": generator.style_network is not None,
        "parts": parts,
        "check": {"seed": SEED, "pixels": encoded(generator.images([SEED]).numpy().tobytes())},
        "runtime": f"{PACKAGE} {VERSION}",
    }


def script(table: str, key: str, value: str | Mapping[str, str]) -> bytes:
    """
    >>> script("MODELS", "images", "AA==")
    b'"use strict";\\nMODELS["images"] = "AA==";\\n'
    """
    return f'"use strict";\n{table}[{plain(key)}] = {plain(value)};\n'.encode()


def plain(value: Any) -> str:
    """JSON in ASCII: no text in it ends a script or a line."""
    return json.dumps(value).replace("<", "\\u003c")


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
