"""The page of `rggan demo`: what it draws is what the generator draws, and it answers on this machine alone."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rggan import Generator, UserError
from rggan.cli.main import main
from rggan.data.pictures import grid
from rggan.export.demo import DRAWN, Studio, page, start
from rggan.generation.walks import walk
from tests.test_generator import apart, tiny

needs_gradio = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs gradio")


@pytest.fixture
def generator():
    return tiny("sngan", classes=3)


@pytest.fixture
def studio(generator):
    return Studio(generator)


def pixels(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@pytest.mark.parametrize("label", [DRAWN, 2])
def test_a_sheet_is_the_grid_of_the_generators_pictures(studio, generator, label):
    images = generator.images(range(7, 16), None if label == DRAWN else label, 0.6)
    expected = pixels(grid(images)).repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)  # 104 pixels, 512 at most
    assert apart(pixels(studio.sheet(7.0, 9.0, 0.6, label)), expected) <= 1


@pytest.mark.parametrize(("channels", "ending", "kind"), [(3, ".gif", "GIF"), (4, ".webp", "WEBP")])
def test_a_film_is_the_walk_through_the_seeds(channels, ending, kind):
    studio = Studio(tiny("sngan", channels=channels))
    path = Path(studio.film(3, 2, 4, 0.7))
    with Image.open(path) as film:
        assert (film.format, film.n_frames, film.size) == (kind, 10, (256, 256))
        first = pixels(film.convert("RGBA" if channels == 4 else "RGB"))
    expected = next(walk(studio.generator, [3, 4], 4, truncation=0.7))
    near = (first[:, ::8, ::8].float() - expected.float()).abs().mean()
    assert near < (12 if channels == 3 else 6)  # a GIF has 256 colours, and WebP is compressed
    assert path.suffix == ending
    folder = Path(studio.folder.name)
    studio.folder.cleanup()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda studio: studio.sheet(-1, 4), "The seed is a whole number from 0 on, not -1"),
        (lambda studio: studio.sheet(None, 4), "The seed is a whole number from 0 on, not None"),
        (lambda studio: studio.sheet(1.5, 4), "The seed is a whole number from 0 on, not 1.5"),
        (lambda studio: studio.sheet(float("nan"), 4), "The seed is a whole number"),
        (lambda studio: studio.sheet(0, 65), "The page shows 1 to 64 pictures at once, not 65"),
        (lambda studio: studio.sheet(0, 0), "The page shows 1 to 64 pictures at once, not 0"),
        (lambda studio: studio.sheet(0, 4, 0.0), "The truncation is a number above 0"),
        (lambda studio: studio.sheet(0, 4, 1, 3), "There is no class 3"),
        (lambda studio: studio.film(0, 1, 4), "A walk of the page has 2 to 12 seeds"),
        (lambda studio: studio.film(0, 13, 4), "A walk of the page has 2 to 12 seeds"),
        (lambda studio: studio.film(0, 2, 0), "and 1 to 48 pictures between two"),
        (lambda studio: studio.film(0, 2, 49), "and 1 to 48 pictures between two"),
    ],
)
def test_what_the_page_cannot_draw_is_one_sentence(studio, ask, sentence):
    with pytest.raises(UserError, match=sentence):
        ask(studio)


def test_without_gradio_the_sentence_names_the_extra(generator, tmp_path, monkeypatch, capsys):
    generator.save(tmp_path)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", str(tmp_path)]) == 2
    assert capsys.readouterr().err == 'rggan: The demo needs one more library: pip install "rggan[demo]".\n'


@needs_gradio
@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(generator, tmp_path, capsys, port):
    generator.save(tmp_path)
    assert main(["demo", str(tmp_path), f"--port={port}"]) == 2
    assert capsys.readouterr().err == f"rggan: --port is a number from 1 to 65535, not {port}.\n"


def functions(made):
    """The page's functions that answer under a name, and how many there are in all."""
    named = {each.api_name: each for each in made.fns.values() if each.api_visibility == "public"}
    return named, len(made.fns)


@needs_gradio
@pytest.mark.parametrize("name", ["sngan", "stylegan2"])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_page_is_built_without_a_browser(name, classes):
    studio = Studio(tiny(name, classes))
    made = page(studio)
    named, count = functions(made)
    assert set(named) == {"sheet", "film"}
    assert count > 2
    assert named["sheet"].fn(5, 4, 1.0, DRAWN).size == studio.sheet(5, 4).size
    with pytest.raises(Exception, match="The seed is a whole number") as told:
        named["sheet"].fn(-1, 4, 1.0, DRAWN)
    assert type(told.value).__module__.startswith("gradio")
    controls = {block.label: block for block in made.blocks.values() if getattr(block, "label", None)}
    assert controls["truncation"].minimum == (0 if name == "stylegan2" else 0.05)
    assert controls["class"].visible == bool(classes)
    assert [value for _, value in controls["class"].choices] == [DRAWN, *range(classes)]
    assert not made.analytics_enabled


def ask(address, name, *controls):
    """What the page answers over HTTP: (event, data)."""
    body = json.dumps({"data": controls}).encode()
    request = urllib.request.Request(f"{address}gradio_api/call/{name}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{address}gradio_api/call/{name}/{event}") as answer:
        found = re.search(r"event: (\w+)\ndata: (.*)", answer.read().decode())
    return found[1], json.loads(found[2])


@needs_gradio
@pytest.mark.slow
def test_the_page_answers_over_http(studio, tmp_path):
    made = page(studio)
    address = start(made)
    try:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address) as answer:
            html = answer.read().decode()
        loaded = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?:[^"]*)"', html)
        assert [each for each in loaded if not each.startswith(address)] == []
        event, (told,) = ask(address, "sheet", 7, 9, 0.6, 2)
        assert event == "complete"
        with urllib.request.urlopen(told["url"]) as answer, Image.open(answer) as picture:
            assert apart(pixels(picture), pixels(studio.sheet(7, 9, 0.6, 2))) <= 1
        event, (told,) = ask(address, "film", 7, 2, 3, 0.6, DRAWN)
        assert event == "complete"
        with urllib.request.urlopen(told["url"]) as answer, Image.open(answer) as film:
            assert film.n_frames == 8
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(UserError, match=f"^The page cannot be started on the port {port}: it is taken"):
            start(page(studio), port)
    finally:
        made.close(verbose=False)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)


@needs_gradio
@pytest.mark.slow
def test_command_line(generator, tmp_path, signals_are_heard):
    """Started, asked, and ended by Ctrl-C."""
    generator.save(tmp_path / "g")
    words = [sys.executable, "-m", "rggan", "demo", str(tmp_path / "g"), "--no-open", "--device", "cpu"]
    run = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "500"}
    )
    try:
        line = run.stdout.readline()
        address = re.match(r"(http://127\.0\.0\.1:\d+/) draws with .*; Ctrl-C ends it\.$", line)
        assert address, line + (run.stderr.read() if run.poll() is not None else "")
        assert ask(address[1], "sheet", 0, 1, 1, DRAWN)[0] == "complete"
        time.sleep(0.1)
        run.send_signal(2)
        assert run.wait(60) == 130
        assert run.stderr.read() == "rggan: stopped.\n"
    finally:
        run.kill()
    assert Generator.from_pretrained(tmp_path / "g").classes == generator.classes
