"""onnxruntime-web, which draws in a browser: from a file or folder that is there, or from npm's registry, once."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from rggan.data.store import cache_folder
from rggan.errors import UserError, make_folder, reason
from rggan.files import write_file

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"  # the version that was tried
ARCHIVE = f"{PACKAGE}-{VERSION}.tgz"
LONGEST = 600  # seconds for fetching 33 MB


class Files(NamedTuple):
    """Where the two files of a runtime lie in the package: a module of JavaScript, and its WebAssembly."""

    module: str
    binary: str


RUNTIMES = {
    "wasm": Files("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"),
    "webgpu": Files("dist/ort.webgpu.bundle.min.mjs", "dist/ort-wasm-simd-threaded.asyncify.wasm"),
}


def runtime_files(source: Path | None = None) -> dict[str, bytes]:
    """The content of the files in `RUNTIMES`, by name.

    Args:
        source: the package, as npm's .tgz or unpacked; None: npm fetches it into the cache ($RGGAN_CACHE), once.

    Raises:
        UserError: it is not there, lacks a file, or cannot be fetched.
    """
    source = source or fetched()
    wanted = [name for files in RUNTIMES.values() for name in files]
    try:
        if source.is_dir():
            return {name: (source / name).read_bytes() for name in wanted}
        with tarfile.open(source) as archive:
            return {name: member(archive, f"package/{name}") for name in wanted}
    except (OSError, KeyError, tarfile.TarError, EOFError) as error:
        told = getattr(error, "strerror", None) or reason(error)
        raise UserError(f"{source} is not {PACKAGE} as npm packs it (tried: {VERSION}): {told}.") from error


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """A file of an archive; raises KeyError where it is none."""
    opened = archive.extractfile(name)
    if opened is None:
        raise KeyError(f"{name} is no file")
    return opened.read()


def fetched() -> Path:
    """The package's archive in the cache, where npm puts it if it is not there yet.

    Raises:
        UserError: there is no npm, or it cannot fetch the package.
    """
    archive = cache_folder() / ARCHIVE
    if archive.is_file():
        return archive
    if (npm := shutil.which("npm")) is None:
        raise UserError(
            f"The page draws with {PACKAGE}, which npm fetches, and there is no npm: install it, or fetch the package "
            f"elsewhere (`npm pack {PACKAGE}@{VERSION}`) and give it as `runtime`."
        )
    with tempfile.TemporaryDirectory() as folder:
        quiet = {**os.environ, "npm_config_loglevel": "error", "npm_config_update_notifier": "false"}
        words = [npm, "pack", f"{PACKAGE}@{VERSION}"]
        try:
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=LONGEST, env=quiet)
            told = "" if done.returncode == 0 else cause(done.stderr) or f"it ended with {done.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            told = reason(error)
        path = Path(folder, ARCHIVE)
        if told or not path.is_file():
            raise UserError(f"npm cannot fetch {PACKAGE}@{VERSION}: {told or 'it wrote no file'}.")
        make_folder(archive.parent)
        write_file(path.read_bytes(), archive)
    return archive


def cause(told: str) -> str:
    """The line of npm's errors that says why.

    >>> cause("npm error code E404\\nnpm error 404 No match found for it.\\nnpm error A complete log is in ...")
    '404 No match found for it'
    """
    lines = [line.removeprefix("npm error").strip() for line in told.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("code ", "errno ", "syscall ", "A complete log"))]
    return lines[0].rstrip(".") if lines else ""
