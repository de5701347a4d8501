"""Input forms: the built-in ones never raise when asked, and those of others are read, or refused in one sentence."""

import json
import os
import re
import sqlite3
import sys
import tomllib
from importlib.metadata import EntryPoint
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rggan import TrainConfig, UserError
from rggan.data import load_images
from rggan.data.audit.doctor import inspect
from rggan.data.decode import open_picture
from rggan.data.source import FORMS, list_pictures, named_form
from rggan.registry import trust
from rggan.training.reading import refuse_inside

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
NUMBER = count()
DOTS = """
from functools import partial

from rggan import UserError
from rggan.data import Form, Picture


def opens(data):
    return data.endswith(".dots")


def pixels(value):
    return bytes([value]) * 256


def pictures(data, pattern):
    return [Picture(f"{i}.dot", partial(pixels, i), str(i % 2), (16, 16, 1)) for i in (2, 0, 1)]
"""


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """Nobody asked for a form of others before."""
    monkeypatch.setattr(FORMS, "found", {})


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A module of that content outside the package, with the form that an expression makes; its place."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(form='Form("dots", opens, pictures)', content=DOTS):
        name = f"dot_forms_{next(NUMBER)}"
        (tmp_path / f"{name}.py").write_text(f"{content}\nDOTS = {form}\n")
        return f"{name}:DOTS"

    return write


@pytest.fixture
def installed(monkeypatch):
    points = []
    monkeypatch.setattr("rggan.registry.entry_points", lambda group: [p for p in points if p.group == group])
    return lambda name, value: points.append(EntryPoint(name, value, "rggan.sources"))


def refused(data, pattern="*"):
    with pytest.raises(UserError) as error:
        list_pictures(data, pattern)
    return str(error.value)


def names(data, pattern="*"):
    return [picture.name for picture in list_pictures(data, pattern)]


# Built-in forms


@pytest.mark.parametrize(
    "data",
    ["", ".", "nowhere", "x" * 5000, "a\0b", "\ud800", "hf:", "C:\\x", "//", "a:b:c", "nul", "\n", "pipe.npy"],
)
def test_no_form_raises_when_it_is_asked(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipe.npy").symlink_to("pipe.npy")  # a link to itself
    for name in FORMS.builtin:
        assert isinstance(FORMS.get(name).opens(data), bool)


def test_a_zip_with_a_damaged_end_is_told(tmp_path, monkeypatch):
    (tmp_path / "set.data").write_bytes(b"x")

    def fail(path):
        raise ValueError("spans disks")

    monkeypatch.setattr("zipfile.is_zipfile", fail)
    assert "set.data is damaged" in refused(tmp_path / "set.data")


def test_digits_keep_their_order_whatever_the_pattern():
    assert names("digits")[:3] == names("digits", "*.gif")[:3] == ["0/0000.png", "1/0001.png", "2/0002.png"]
    assert len(names("digits")) == 1797


# Forms of others


def test_a_form_that_is_named_reads_its_place(written):
    place = written()
    assert names(f"{place}:anywhere") == ["0.dot", "1.dot", "2.dot"]
    assert names(f"{place}:anywhere", "[12].*") == ["1.dot", "2.dot"]
    images = load_images(f"{place}:anywhere", 16)
    assert images.classes == ("0", "1")
    assert images.images[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_what_it_is_given_is_the_rest(written):
    place = written('Form("echo", opens, lambda data, pattern: [Picture(data + pattern, bytes)])')
    for rest in ("", "a/b.dots", "https://a.org/b/", "C:\\x:y", "two\nlines"):
        assert names(f"{place}:{rest}") == [f"{rest}*"]


def test_a_form_may_keep_its_order_and_all_pictures(written):
    assert names(written('Form("dots", opens, pictures, as_given=True)') + ":x", "0*") == ["2.dot", "0.dot", "1.dot"]


def test_a_form_that_is_installed_is_asked_after_the_built_in_ones(written, installed, tmp_path):
    (tmp_path / "folder.dots").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "folder.dots/a.png")
    installed("dots", written())
    assert names("some.dots") == ["0.dot", "1.dot", "2.dot"]
    assert names(tmp_path / "folder.dots") == ["a.png"]
    assert "There is nothing at nowhere" in refused("nowhere")
    (tmp_path / "a.txt").write_text("x")
    assert "neither a folder nor a zip" in refused(tmp_path / "a.txt")


def test_a_form_that_is_installed_and_broken_hurts_nobody_who_does_not_need_it(installed, tmp_path):
    installed("broken", "no_such_module:FORM")
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert names(tmp_path) == ["a.png"]
    assert refused("nowhere") == "`data` broken: No module named 'no_such_module'."


def test_a_pipe_is_refused_before_an_installed_form_may_open_it(written, installed, tmp_path):
    os.mkfifo(tmp_path / "a.dots")
    installed("dots", written())
    assert "neither a folder nor a zip" in refused(tmp_path / "a.dots")


def test_what_exists_under_that_name_wins(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = written("1 / 0")
    (tmp_path / f"{place}:set").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / f"{place}:set/a.png")
    (tmp_path / f"{place}:text").write_text("x")
    assert names(f"{place}:set") == ["a.png"]
    assert "neither a folder nor a zip" in refused(f"{place}:text")
    assert "division by zero" in refused(f"{place}:other")


def test_hf_is_always_the_hub(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hf.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "one more library" in refused("hf:user:train")
    assert named_form("hf:user:train") is None


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ("3", "it is no input form (rggan.data.Form)."),
        ("Form", "it is no input form (rggan.data.Form)."),
        ("1 / 0", "division by zero."),
        ('Form("dots", opens, lambda *_: 1 / 0)', "the form dots fails on x: division by zero."),
        ('Form("dots", opens, lambda: [])', "the form dots fails on x: <lambda>() takes 0 positional arguments but 2"),
        ('Form("dots", opens, None)', "the form dots fails on x: 'NoneType' object is not callable."),
        ('Form("dots", opens, lambda *_: None)', "the form dots fails on x: 'NoneType' object is not iterable."),
        ('Form("dots", opens, lambda *_: (1 / 0 for _ in "x"))', "the form dots fails on x: division by zero."),
        ('Form("dots", opens, lambda *_: [])', "the form dots finds no pictures in x."),
        ('Form("dots", opens, lambda *_: ["a.png"])', "the form dots gives a str where a Picture should be."),
        ('Form("dots", opens, lambda *_: [Picture(3, bytes)])', "the form dots gives the name 3; it must be text."),
        ('Form("dots", opens, lambda *_: [Picture("a", bytes, 3)])', "the form dots gives the label 3 of a; it must"),
        ('Form("dots", opens, lambda *_: [Picture("a", bytes, None, (2, 2))])', "the form dots gives the shape (2, 2)"),
        ('Form("dots", opens, lambda *_: [Picture("a", bytes, None, (2, 2, 2))])', "the form dots gives the shape (2,"),
    ],
)
def test_a_form_that_is_none_or_fails_is_named(written, form, sentence):
    place = written(form)
    told = refused(f"{place}:x")
    assert told.startswith(f"`data` {place}: {sentence}")
    assert told.count(". ") == 0


def test_what_cannot_be_imported_is_named(written):
    assert refused("no_such_forms:DOTS:x") == "`data` no_such_forms:DOTS: No module named 'no_such_forms'."
    place = written().replace("DOTS", "NONE")
    assert "has no attribute 'NONE'" in refused(f"{place}:x")


def test_an_installed_form_that_fails_when_asked_is_named(written, installed):
    installed("dots", written('Form("dots", lambda data: 1 / 0, pictures)'))
    assert refused("nowhere") == "`data` dots: the form dots fails on nowhere: division by zero."


def test_a_user_error_of_a_form_is_its_own_sentence(written):
    content = f"{DOTS}\ndef refuse(data, pattern):\n    raise UserError(f'{{data}} is locked; close it.')\n"
    assert refused(written('Form("dots", opens, refuse)', content) + ":x") == "x is locked; close it."


def test_no_picture_that_fits_is_told(written):
    assert "No pictures named *.gif in" in refused(f"{written()}:x", "*.gif")


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        ('lambda: "text"', "its form gives a str, not bytes"),
        ("lambda: {}[3]", "3"),
        ("lambda: bytes(3)", "cannot reshape"),
    ],
)
def test_a_picture_that_cannot_be_read_is_an_unreadable_one(written, read, reason):
    data = written(f'Form("dots", opens, lambda *_: [Picture("a", {read}, None, (2, 2, 1))])') + ":x"
    with pytest.raises(UserError, match=f"None of the 1 pictures can be read; the first: a: {reason}"):
        load_images(data, 16)
    ((name, told),) = inspect(list_pictures(data)).unreadable
    assert name == "a"
    assert reason in told


@pytest.mark.parametrize("data", ["PLACE:set/", "PLACE:https://a.org/b/", "web://a.org/b/", "hf:user/set/"])
def test_a_saved_config_keeps_the_data_as_it_was_and_imports_nothing(written, tmp_path, data):
    place = written("1 / 0")
    data = data.replace("PLACE", place)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**TrainConfig().to_json(), "data": data}))
    if place in data:
        with pytest.raises(UserError, match="it names code, which runs only where you name it too: give `data`"):
            TrainConfig.from_json(path)
        trust(place)
    config = TrainConfig.from_json(path)
    assert config.data == config.to_json()["data"] == data
    assert place.split(":")[0] not in sys.modules


def test_a_run_inside_the_place_that_a_form_reads_is_refused(tmp_path):
    with pytest.raises(UserError, match="lies inside the data forms:X:"):
        refuse_inside("--outdir", tmp_path / "runs", f"forms:X:{tmp_path}")
    refuse_inside("--outdir", Path("runs"), "forms:X:")
    refuse_inside("--outdir", tmp_path.parent / "runs", f"forms:X:{tmp_path}")


# The page


def test_the_form_of_the_page_works(tmp_path, monkeypatch, installed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    (module,) = re.findall(r"```python\n(# my_forms.*?)```", PAGE, re.S)
    Path("my_forms.py").write_text(module)
    with sqlite3.connect("faces.sqlite") as table:
        table.execute("CREATE TABLE pictures (name TEXT, class TEXT, content BLOB)")
        for i, kind in enumerate(("sad", "glad", "sad")):
            Image.new("RGB", (16, 16), (i, 0, 0)).save("face.png")
            row = (f"{i}.png", kind, Path("face.png").read_bytes())
            table.execute("INSERT INTO pictures VALUES (?, ?, ?)", row)
    table.close()

    (data,) = re.findall(r"^rggan train (my_forms\S+)$", PAGE, re.M)
    images = load_images(data, 16)
    assert images.classes == ("glad", "sad")
    assert images.labels.tolist() == [1, 0, 1]
    assert np.array_equal(images.images[:, 0, 0, 0], [0, 1, 2])
    assert [open_picture(picture).size for picture in list_pictures(data, "[01].png")] == [(16, 16)] * 2

    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    for name, value in tomllib.loads(block)["project"]["entry-points"]["rggan.sources"].items():
        installed(name, value)
    assert names("faces.sqlite") == [*images.names] == ["0.png", "1.png", "2.png"]
    assert "unable to open" in refused("my_forms:SQLITE:nowhere.sqlite")
