"""The folder of a page: what is in it, that it asks nobody for anything, where its runtime comes from."""

import base64
import json
import os
import re
import tarfile

import pytest

from rggan.cli.main import main
from rggan.export import runtime
from rggan.export.runtime import ARCHIVE, RUNTIMES, VERSION, runtime_files
from rggan.export.web import NAMES, PAGE, STATIC
from tests.export.networks import small
from tests.export.test_onnx import needs_onnx

FILES = {name: f"// {name}".encode() for files in RUNTIMES.values() for name in files}


@pytest.fixture
def package(tmp_path):
    """A folder like the unpacked package; its files are only told apart by their names."""
    for name, content in FILES.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "package"


@pytest.fixture
def saved(tmp_path):
    generator = small("sngan", classes=2, side=(16, 16), channels=1)
    generator.config["classes"][1] = "</script><script>alert(1)</script>"
    generator.config["trained"] = {"data": "/home/me/private/leaves", "kimg": 3.0, "score": 0.5}
    generator.save(tmp_path / "run")
    return tmp_path / "run"


def refused(capsys, *words):
    assert main(["export", *map(str, words)]) == 2
    return capsys.readouterr().err.removeprefix("rggan: ").strip()


def table(path):
    """The value that a script puts into a table."""
    return json.loads(path.read_text().partition("] = ")[2].rstrip(";\n"))


@needs_onnx
def test_a_folder_holds_all_that_the_page_needs(saved, package, tmp_path, capsys):
    folder = tmp_path / "page"
    words = ["export", str(saved), "--web", str(folder), "--runtime", str(package)]
    assert main(words) == 0
    assert str(folder / "index.html") in capsys.readouterr().out.replace("\n", "")
    there = {path.name for path in folder.iterdir()}
    assert there == {*STATIC, "generator.js", "model-images.js", "runtime-wasm.js", "runtime-webgpu.js"} <= set(NAMES)
    for kind, files in RUNTIMES.items():
        found = {key: base64.b64decode(text) for key, text in table(folder / f"runtime-{kind}.js").items()}
        assert found == {"module": FILES[files.module], "binary": FILES[files.binary]}
    told = (folder / "generator.js").read_text()
    assert "</script" not in told
    assert "private" not in told
    assert "trained on" not in told  # a title hides what the data are called
    assert json.loads(told.partition("= ")[2].rstrip(";\n"))["classes"][1] == "</script><script>alert(1)</script>"
    assert '"leaves"' in told
    assert refused(capsys, *words[1:]).startswith(f"{folder} is not empty: give another folder, or --overwrite")
    assert main([*words, "--title", "Trees", "--overwrite"]) == 0
    assert '"Trees"' in (folder / "generator.js").read_text()


def test_no_file_of_the_page_names_another_place():
    for path in PAGE.iterdir():
        if path.suffix != ".txt":
            assert not re.search(r"(https?:)?//\w+\.\w", path.read_text()), path.name
    assert {path.name for path in PAGE.iterdir()} == set(STATIC)


@needs_onnx
def test_bad_input_is_one_sentence_and_nothing_is_written(saved, package, tmp_path, capsys, monkeypatch):
    folder, other = tmp_path / "page", tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    told = f"There are other things in {other}, as mine.txt: give an empty folder."
    assert refused(capsys, saved, "--web", other, "--overwrite") == told
    assert refused(capsys, saved, "--title", "x", "--onnx", "a.onnx") == "--title belongs to --web."
    assert refused(capsys, saved, "--runtime", package, "--onnx", "a.onnx") == "--runtime belongs to --web."
    (package / RUNTIMES["wasm"].binary).unlink()
    for source in (package, tmp_path / "no.tgz"):
        told = f"{source} is not onnxruntime-web as npm packs it (tried: {VERSION}): No such file or directory."
        assert refused(capsys, saved, "--web", folder, "--runtime", source) == told
    (tmp_path / "bad.tgz").write_text("no archive")
    told = refused(capsys, saved, "--web", folder, "--runtime", tmp_path / "bad.tgz")
    assert told.startswith(f"{tmp_path / 'bad.tgz'} is not onnxruntime-web as npm packs it")
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    assert refused(capsys, saved, "--web", folder) == (
        "The page draws with onnxruntime-web, which npm fetches, and there is no npm: install it, or fetch the package "
        f"elsewhere (`npm pack onnxruntime-web@{VERSION}`) and give it as --runtime."
    )
    assert not folder.exists()
    assert (other / "mine.txt").read_text() == "mine"


def packed(package, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(package, "package")
    return path


def test_an_archive_is_read_like_a_folder(package, tmp_path):
    assert runtime_files(package) == runtime_files(packed(package, tmp_path / "any.tgz")) == FILES


def fake_npm(folder, script, monkeypatch):
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_npm_is_asked_once(package, tmp_path, monkeypatch):
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path / "cache"))
    packed(package, tmp_path / "packed.tgz")
    script = f'echo "$@" >> {tmp_path}/asked; cp {tmp_path}/packed.tgz {ARCHIVE}'
    fake_npm(tmp_path / "bin", script, monkeypatch)
    assert runtime_files() == runtime_files() == FILES
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked == f"pack onnxruntime-web@{VERSION}"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [ARCHIVE]


@needs_onnx
def test_what_npm_says_is_told(saved, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path / "cache"))
    fake_npm(tmp_path / "bin", "echo npm error code 3 >&2; echo npm error no network. >&2; exit 3", monkeypatch)
    told = f"npm cannot fetch onnxruntime-web@{VERSION}: no network."
    assert refused(capsys, saved, "--web", tmp_path / "page") == told
    assert not (tmp_path / "page").exists()
    assert not (tmp_path / "cache").exists()
