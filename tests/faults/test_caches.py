"""No cache is trusted half: what is not as it was written is made anew, with a line, and the images are the same."""

import json
import math
import os

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from rggan import UserError, train
from rggan.cli.main import main
from rggan.data import Batches, depth, load_images
from rggan.data import images as images_module
from rggan.data import parallel as parallel_module
from rggan.data.batches import placed
from rggan.data.pixels import Pixels
from rggan.data.source import list_pictures
from rggan.data.store import in_cache
from rggan.data.workers import Limited, answers, no_memory
from rggan.evaluation.features import collect_cached
from rggan.evaluation.saved import read_statistics
from rggan.files import json_text
from rggan.metrics import feature_network, frechet_distance
from rggan.training.evaluator import real_diversity
from tests.faults.caches import COVARIANCES, DECODED, FEATURES, REFUSED, STATISTICS, one_byte


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


def mapped(folder, **options):
    return load_images(folder, 16, memory_share=1e-12, **options)


def files(folder):
    (pixels,) = (folder.parent / "cache").glob("*.u8")
    return pixels, pixels.with_suffix(".json")


@pytest.mark.parametrize("fault", DECODED.values(), ids=DECODED)
def test_a_decoding_cache_that_is_not_as_it_was_written_is_made_anew(pictures, fault):
    expected = load_images(pictures, 16)
    assert mapped(pictures).notes == ()
    fault(*files(pictures))
    found = mapped(pictures)
    assert torch.equal(found.images, expected.images)
    assert (found.hashes, found.skipped, found.shape) == (expected.hashes, (), expected.shape)
    (note,) = found.notes
    assert note.startswith("the cache of decoded images ")
    assert note.endswith(": it is made anew")
    again = mapped(pictures)
    assert (again.notes, torch.equal(again.images, expected.images)) == ((), True)


@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED)
def test_what_stands_in_the_place_of_a_cache_is_not_removed(pictures, fault):
    mapped(pictures)
    fault(*files(pictures))
    before = sorted(path for path in (pictures.parent / "cache").iterdir() if path.is_dir())
    with pytest.raises(UserError, match=r"Cannot keep the decoded images in .*: .*; name another folder"):
        mapped(pictures)
    assert before
    assert sorted(path for path in (pictures.parent / "cache").iterdir() if path.is_dir()) == before
    assert not list((pictures.parent / "cache").glob("*.part"))


def test_a_link_in_the_place_of_the_unfinished_cache_is_not_followed(pictures):
    mapped(pictures)
    pixels, about = files(pictures)
    about.unlink()
    own = pictures.parent / "own.txt"
    own.write_text("mine")
    pixels.with_name(f".{pixels.stem}.part").symlink_to(own)
    assert torch.equal(mapped(pictures).images, load_images(pictures, 16).images)
    assert own.read_text() == "mine"


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_picture_that_memory_did_not_suffice_for_is_not_remembered_as_bad(pictures, monkeypatch, skip_bad):
    expected = load_images(pictures, 16)

    def starved(task, asked, **how):
        if task == "pixels" and any(each.picture.name == "3.png" for each in asked):
            raise no_memory(asked[0].picture)
        return answers(task, asked, **how)

    monkeypatch.setattr(parallel_module, "answers", starved)
    with pytest.raises(UserError, match=r"Cannot decode .* now: there is no memory left"):
        mapped(pictures, skip_bad=skip_bad)
    assert not list((pictures.parent / "cache").glob("*.u8"))
    monkeypatch.setattr(parallel_module, "answers", answers)
    found = mapped(pictures)
    assert (found.skipped, found.notes, torch.equal(found.images, expected.images)) == ((), (), True)


def test_a_damaged_picture_is_remembered(tmp_path):
    results = ["it is damaged"]
    assert in_cache(lambda: iter(results), "k", (2, 2, 1), tmp_path).bad == {0: "it is damaged"}
    results.clear()
    found = in_cache(lambda: pytest.fail("decoded again"), "k", (2, 2, 1), tmp_path)
    assert (found.bad, found.notes, len(found.pixels)) == ({0: "it is damaged"}, (), 0)


def test_a_limit_that_a_faster_machine_may_not_meet_is_not_remembered(tmp_path):
    row = np.ones((2, 2, 1), dtype=np.uint8)
    first = in_cache(lambda: iter([Limited("it takes too long"), Pixels(row, True)]), "k", (2, 2, 1), tmp_path)
    assert (first.bad, len(first.pixels)) == ({0: "it takes too long"}, 1)
    again = in_cache(lambda: iter([Pixels(row, True), Pixels(row, True)]), "k", (2, 2, 1), tmp_path)
    assert (again.bad, len(again.pixels), again.notes) == ({}, 2, ())
    assert len(in_cache(lambda: pytest.fail("decoded again"), "k", (2, 2, 1), tmp_path).pixels) == 2


# What is mapped and cut in these tests ends the process by SIGBUS, if nothing looks at its size before.


@pytest.mark.parametrize(
    "read",
    {
        "at": lambda data: data.at(torch.tensor([5])),
        "parts": lambda data: list(data.parts(2)),
        "images": lambda data: data.take(np.array([5, 3])).images,
        "placed": lambda data: placed(data, torch.device("cpu")),
        "batches": lambda data: Batches(data, batch=2).next(),
        "the score": real_diversity,
    }.values(),
)
def test_a_decoding_cache_that_is_cut_while_it_is_mapped_is_a_sentence(pictures, read):
    data = mapped(pictures)
    read(data)
    os.truncate(files(pictures)[0], 0)
    with pytest.raises(UserError, match=r"The cache of decoded images was cut while it was read; start again"):
        read(data)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(9, 64, 64, 3), (9, 3, 64, 64), (9, 64, 64)])
def test_an_array_that_is_cut_while_it_is_mapped_is_a_sentence(tmp_path, kind, shape):
    values = np.zeros(shape, dtype=kind)
    np.save(tmp_path / "a.npy", values)
    listed = list_pictures(str(tmp_path / "a.npy"), "*")
    assert listed[8].read() == bytes(values[8].size)
    os.truncate(tmp_path / "a.npy", 4096)
    for read in (listed[8].read, *([listed[8].levels] if listed[8].levels else [])):
        with pytest.raises(UserError, match="its file was cut while it was read"):
            read()


def test_an_array_that_is_cut_while_it_is_decoded_is_one_sentence(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((9, 64, 64), dtype=np.uint8))

    def limits(pictures, *given):
        os.truncate(tmp_path / "a.npy", 4096)
        return depth.with_limits(pictures, *given)

    monkeypatch.setattr(images_module, "with_limits", limits)
    with pytest.raises(UserError, match="None of the 9 pictures can be read; the first: 00000000: its file was cut"):
        load_images(tmp_path / "a.npy", 16)


@pytest.mark.parametrize("fault", FEATURES.values(), ids=FEATURES)
def test_cached_features_that_are_not_as_they_were_written_are_made_anew(tmp_path, monkeypatch, digits, fault):
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path))
    network, few = feature_network("reporting"), digits.take(np.arange(6))
    notes = []
    expected = collect_cached(network, few, 4, "few", notes=notes)["whole"]
    (path,) = tmp_path.glob("features/*.safetensors")
    whole = path.read_bytes()
    assert notes == []
    fault(path)
    found = collect_cached(network, few, 4, "few", notes=notes)["whole"]
    assert torch.equal(found.rows, expected.rows)
    assert torch.equal(found.statistics.covariance, expected.statistics.covariance)
    (note,) = notes
    assert note.startswith("The cached features of few are made anew: ")
    assert path.read_bytes() == whole
    again = collect_cached(network, few, 4, "few", notes=notes)["whole"]
    assert torch.equal(again.rows, expected.rows)
    assert len(notes) == 1


@pytest.mark.parametrize(("arrays", "words"), STATISTICS.values(), ids=STATISTICS)
def test_statistics_that_no_features_have_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(UserError) as found:
        read_statistics(tmp_path / "other.npz")
    assert words in str(found.value)
    assert str(tmp_path / "other.npz") in str(found.value)


@pytest.mark.parametrize("arrays", COVARIANCES.values(), ids=COVARIANCES)
def test_covariances_of_any_rounding_are_taken(tmp_path, arrays):
    np.savez(tmp_path / "other.npz", **arrays)
    found = read_statistics(tmp_path / "other.npz").statistics
    assert torch.equal(found.covariance, torch.from_numpy(arrays["sigma"].astype(np.float64)))
    moved = found._replace(mean=found.mean + 1)
    scale = float(found.covariance.trace())
    assert frechet_distance(found, moved) == pytest.approx(len(found.mean), abs=1e-3 * scale + 1e-9)


def test_rounding_did_make_eigenvalues_negative():
    for name in ("float32", "float16"):
        assert np.linalg.eigvalsh(COVARIANCES[name]["sigma"].astype(np.float64))[0] < 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_has_words_for_all_numbers_in_it(value):
    def refused(word):
        raise AssertionError(f"{word} is no JSON")

    told = {"a": [1.5, value, {"b": (value, 2)}], "c": None, "d": "NaN", "e": True}
    assert json.loads(json_text(told), parse_constant=refused) == {
        "a": [1.5, None, {"b": [None, 2]}],
        **{"c": None, "d": "NaN", "e": True},
    }


def test_an_evaluation_tells_of_caches_that_are_made_anew(pictures, monkeypatch, capfd):
    words = [
        "evaluate",
        str(pictures),
        "--reference",
        str(pictures),
        "--metrics",
        "kid",
        "--memorisation",
        "off",
        "--json",
    ]

    def notes():
        assert main(words) == 0
        return json.loads(capfd.readouterr().out)["notes"]

    assert notes() == []
    FEATURES["one byte"](next((pictures.parent / "cache" / "features").iterdir()))
    (note,) = notes()
    assert note.startswith("The cached features of ")
    assert notes() == []


@pytest.mark.slow
def test_a_run_that_goes_on_tells_of_a_cache_that_is_made_anew(pictures):
    options = {"width_g": 2, "width_d": 2, "z_dim": 2, "batch": 2, "score_samples": 4, "device": "cpu"}
    options |= {"memory_share": 1e-12, "snap": 0.002, "outdir": pictures.parent / "runs"}
    run = train(str(pictures), Console(quiet=True), kimg=0.002, **options)
    one_byte(*files(pictures))
    train(None, Console(quiet=True), resume=run, kimg=0.008, **options, data=str(pictures))
    log = (run / "log.txt").read_text()
    assert log.count("is made anew") == 1
    assert log.index("is made anew") < log.index("continuing")
