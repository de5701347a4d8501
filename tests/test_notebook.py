"""In a notebook: what a generator and its pictures show, and the example, run whole."""

import base64
import io
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import rggan
from rggan import Generator
from rggan.generation.display import Pictures
from rggan.networks.sngan import SNGANGenerator
from rggan.training.progress import in_notebook, notebook_bar

ROOT = Path(rggan.__file__).parents[1]
EXAMPLE = ROOT / "examples" / "first_hour.ipynb"


def generator(channels=3, **more):
    network = {"name": "sngan", "resolution": [32, 48], "channels": channels, "width": 2, "z_dim": 8, "classes": 0}
    return Generator(SNGANGenerator((32, 48), channels, 2, 8), {"network": network, "classes": [], **more})


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_are_a_list_that_shows_as_a_sheet(channels):
    pictures = generator(channels)(5, seed=3)
    assert isinstance(pictures, list)
    sheet = np.asarray(Image.open(io.BytesIO(pictures._repr_png_())))
    assert sheet.shape[:2] == (2 * 32 + 3 * 2, 3 * 48 + 4 * 2)
    for i, picture in enumerate(pictures):
        top, left = 2 + i // 3 * 34, 2 + i % 3 * 50
        assert np.array_equal(sheet[top : top + 32, left : left + 48], np.asarray(picture))


def test_slices_show_too_and_what_makes_no_sheet_shows_as_a_list():
    pictures = generator()(3)
    assert pictures[1:]._repr_png_() is not None
    assert pictures[1:] == list(pictures)[1:]
    assert pictures[0].size == (48, 32)
    pictures.append(Image.new("RGB", (8, 8)))
    assert pictures._repr_png_() is None
    assert Pictures()._repr_png_() is None


def test_many_large_pictures_make_no_large_sheet():
    pictures = Pictures([Image.new("RGB", (256, 256))] * 100)
    assert max(Image.open(io.BytesIO(pictures._repr_png_())).size) == 1024


def test_a_generator_shows_samples_and_what_it_is():
    trained = {"data": "<b>leaves", "kimg": 12.0, "score": 0.25, "density_g": 0.5}
    made = generator(trained=trained)
    shown = made._repr_html_()
    picture = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", shown)[1])))
    assert np.array_equal(np.asarray(picture)[2:34, 2:50], np.asarray(made(1)[0]))
    assert picture.size == (4 * 48 + 5 * 2, 2 * 32 + 3 * 2)
    count = sum(p.numel() for p in made.network.parameters())
    assert f"48x32 RGB, {count:,} parameters, 50 % of the prunable ones kept" in shown
    assert "trained on &lt;b&gt;leaves for 12 kimg, score 0.25" in shown
    assert repr(generator()).endswith("parameters>")


def test_a_notebook_is_told_from_other_ways_to_run(monkeypatch):
    for shell, found in ((None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=1), True)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert in_notebook() is found
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()
    assert "IPython" not in sys.modules


def test_the_bar_of_a_notebook_moves_and_goes(monkeypatch):
    told = []

    def display(what, raw, display_id):
        assert raw
        assert display_id is True
        told.append(what)
        return SimpleNamespace(update=lambda what, raw: told.append(what))

    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    with notebook_bar("training") as move:
        move(30, 1200)
        move(31, 1200)  # too soon to be told
    first, second, last = told
    assert first["text/plain"] == "training"
    assert second["text/html"] == '<progress max="1200" value="30"></progress> training: 30 of 1,200 images'
    assert last == {"text/html": "", "text/plain": ""}


def outputs(notebook):
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def pictures_of(cell):
    return [output for output in cell["outputs"] if "image/png" in output.get("data", {})]


def test_the_example_is_stored_with_its_pictures_small_and_without_names_of_a_machine():
    text = EXAMPLE.read_text()
    assert len(text) < 300_000
    assert not re.search(r"/home/|/root|/tmp|/work", text)
    notebook = json.loads(text)
    assert not [
        output for output in outputs(notebook) if output["output_type"] == "error" or output.get("name") == "stderr"
    ]
    assert len([output for output in outputs(notebook) if "image/png" in output.get("data", {})]) >= 5


@pytest.mark.slow
def test_the_example_runs_and_shows_the_training_in_place(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLE, 4)
    (cell,) = (cell for cell in notebook.cells if "KIMG = 20" in cell.source)
    cell.source = cell.source.replace("KIMG = 20", "KIMG = 0.1")
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    (run,) = (tmp_path / "runs").glob("0*")
    rows = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert len(rows) > 1
    samples, curves = pictures_of(cell)  # one of each, and not for each evaluation
    assert (
        base64.b64decode(samples["data"]["image/png"]) == (run / f"fakes{round(rows[-1]['kimg']):06d}.png").read_bytes()
    )
    assert base64.b64decode(curves["data"]["image/png"]) == (run / "progress.png").read_bytes()
    bars = [output for output in cell.outputs if output.get("data", {}).get("text/html") == ""]
    assert len(bars) == 2  # reading and training
    said = "".join(output.get("text", "") for output in cell.outputs)
    assert all(f"tick {row['tick']} " in said for row in rows)
    assert len([o for o in outputs(notebook) if "image/png" in o.get("data", {})]) >= 5
    assert (tmp_path / "seed107.png").is_file()
