"""rggan evaluate on generators, pictures, arrays and statistics: numbers, intervals, provenance, what is refused."""

import json
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from rggan import Generator
from rggan.cli.main import main
from rggan.data import load_images
from rggan.data.pictures import save_picture, to_pil
from rggan.evaluation.features import collect, collect_cached, views_of
from rggan.evaluation.subject import Reading, open_subject
from rggan.metrics import Balls, extract, feature_network, frechet_distance, kernel_distance, prdc, statistics
from rggan.metrics.features import features_of
from rggan.metrics.uncertainty import mean_interval, share_interval

pytestmark = pytest.mark.slow  # all together they take seconds

NUMBERS = ("fd-small", "kid", "precision", "recall", "density", "coverage")
FEW = ("--samples", "300", "--replicates", "3")


def write_pictures(images, folder):
    folder.mkdir()
    for index, image in enumerate(images):
        save_picture(to_pil(image), folder / f"{index:04d}.png")
    return folder


def test_a_generators_numbers_are_those_of_its_pictures(generator, told, digits):
    (found,) = told("evaluate", generator, "--reference", "digits", *FEW)
    network = feature_network("reporting")
    real = extract(network, digits.images)
    source = Generator.from_pretrained(generator)
    values = {name: [] for name in NUMBERS}
    for replicate in range(3):
        fake = extract(network, torch.cat(list(source.parts(range(300 * replicate, 300 * (replicate + 1))))))
        values["fd-small"].append(frechet_distance(statistics(fake), statistics(real)))
        values["kid"].append(kernel_distance(fake, real).value)
        for name, share in prdc(Balls(real), Balls(fake))._asdict().items():
            values[name].append(share)
    images = {"precision": (300, False), "recall": (1797, True), "coverage": (1797, True)}
    for name in NUMBERS:
        assert found[name]["value"] == pytest.approx(np.mean(values[name]), rel=1e-9)
        drawn = values[name]
        interval = share_interval(drawn, *images[name]) if name in images else mean_interval(drawn)
        assert found[name]["interval"] == pytest.approx(list(interval), rel=1e-9)
    assert found["kid"]["standard_error"] > 0
    assert found["fd-small"]["standard_error"] is None
    where = found["fd-small"]["provenance"]
    assert where["extractor_hash"] == network.hash
    assert (where["samples"], where["seeds"], where["ema"], where["size"]) == (300, "0-899", True, "16x16")
    assert (where["reference"], where["reference_images"], where["reference_split"]) == ("digits", 1797, "all images")


def test_streamed_pictures_are_those_of_generate(generator):
    source = Generator.from_pretrained(generator)
    streamed = torch.cat(list(source.parts(range(5, 45), batch=15)))
    exact = source.images(range(5, 45))
    assert streamed.shape == exact.shape
    apart = (streamed.int() - exact.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 1e-3


def test_every_form_of_the_same_pictures_has_the_same_numbers(tmp_path, told, digits):
    images = digits.images[:400]
    folder = write_pictures(images, tmp_path / "folder")
    np.save(tmp_path / "array.npy", images.permute(0, 2, 3, 1).numpy())
    import zipfile

    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    forms = [folder, tmp_path / "array.npy", tmp_path / "pictures.zip"]
    found = told("evaluate", *forms, "--reference", "digits", "--memorisation", "off")
    assert [row["subject"] for row in found] == list(map(str, forms))
    for row in found:
        assert {name: row[name]["value"] for name in NUMBERS} == {name: found[0][name]["value"] for name in NUMBERS}
        assert row["fd-small"]["interval"] is None
        assert row["fd-small"]["provenance"]["seeds"] == ""


def test_saved_statistics_stand_for_the_pictures(tmp_path, told, generator):
    saved = tmp_path / "digits.npz"
    (first,) = told("evaluate", generator, "--reference", "digits", *FEW, "--save-statistics", saved)
    (again,) = told("evaluate", generator, "--reference", saved, *FEW)
    assert again["fd-small"]["value"] == pytest.approx(first["fd-small"]["value"], rel=1e-9)
    assert again["fd-small"]["provenance"] == first["fd-small"]["provenance"]
    assert "kid" not in again
    assert any("mu and sigma only" in note and "digits.npz" in note for note in again["notes"])
    with np.load(saved) as arrays:  # what other programs read
        real = statistics(extract(feature_network("reporting"), load_images("digits", 16).images))
        np.testing.assert_allclose(arrays["mu"], real.mean.numpy(), rtol=1e-9)
        np.testing.assert_allclose(arrays["sigma"], real.covariance.numpy(), rtol=1e-6, atol=1e-9)
        np.savez(tmp_path / "foreign.npz", mu=arrays["mu"], sigma=arrays["sigma"])
    (foreign,) = told("evaluate", generator, "--reference", tmp_path / "foreign.npz", *FEW)
    assert foreign["fd-small"]["value"] == pytest.approx(first["fd-small"]["value"], rel=1e-9)
    assert any("taken on trust" in note for note in foreign["notes"])
    (both,) = told("evaluate", saved, "--reference", saved)
    assert both["fd-small"]["value"] == pytest.approx(0, abs=1e-6)


def test_a_run_is_compared_with_its_training_images_and_keeps_its_numbers(runs, told):
    run = runs["threshold", 0]
    with (run / "metrics.jsonl").open("a") as file:
        file.write("a note of mine, without an end of line")
    before = (run / "metrics.jsonl").read_text() + "\n"
    (found,) = told("evaluate", run, *FEW)
    where = found["kid"]["provenance"]
    assert (where["reference"], where["reference_images"]) == ("digits", 300)
    assert where["reference_split"] == "the images that the run was trained on"
    assert found["memorisation"]["training_count"] == 300
    assert (run / "replays.png").is_file()
    assert (run / "metrics.jsonl").read_text().startswith(before)
    rows = (run / "metrics.jsonl").read_text().removeprefix(before).splitlines()
    assert len(rows) == 1
    kept = json.loads(rows[0])
    assert kept["kid"] == found["kid"]
    assert (kept["seed"], kept["snapshot"]) == (0, "best")
    told("evaluate", run / "last", *FEW, "--memorisation", "off")
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["snapshot"] == "last"


def test_a_generator_that_replays_its_training_images_is_flagged(tmp_path, told, digits, capfd):
    replayed = write_pictures(digits.images[:100].repeat(2, 1, 1, 1), tmp_path / "replayed")
    fresh = write_pictures(digits.images[700:900], tmp_path / "fresh")
    training = write_pictures(digits.images[:100], tmp_path / "training")
    found = told("evaluate", replayed, fresh, "--reference", training)
    assert [row["memorisation"]["replays"] for row in found] == [True, False]
    assert not list(tmp_path.glob("*.png"))
    sheet = tmp_path / "new" / "sheet.png"
    (alone,) = told("evaluate", replayed, "--reference", training, "--sheet", sheet)
    assert alone["memorisation"]["sheet"] == str(sheet)
    assert sheet.is_file()
    against = told("evaluate", replayed, "--reference", "digits", "--training", training, "--held-out", fresh)
    assert against[0]["memorisation"]["yardstick"] == "held-out"
    assert main(["evaluate", str(replayed), "--reference", str(training)]) == 0
    assert "The generator replays training images." in capfd.readouterr().out


def test_large_images_are_seen_by_patches_too(tmp_path, told, digits):
    large = digits.images.repeat_interleave(3, 2).repeat_interleave(3, 3)
    np.save(tmp_path / "a.npy", large[:40, 0].numpy())
    np.save(tmp_path / "b.npy", large[40:80, 0].numpy())
    (found,) = told("evaluate", tmp_path / "a.npy", "--reference", tmp_path / "b.npy", "--resolution", "48")
    assert found["patch_kid"]["provenance"]["view"] == "patches"
    assert {"kid", "patch_kid", "precision", "patch_coverage"} <= set(found)
    assert "fd-small" not in found
    assert any(note.startswith("fd needs more images") for note in found["notes"])


def test_features_come_from_the_cache_and_the_cache_is_by_content(digits, monkeypatch):
    network = feature_network("reporting")
    few, other = digits.take(np.arange(60)), digits.take(np.arange(1, 61))
    first = collect_cached(network, few, 20, "few")["whole"]
    with monkeypatch.context() as patched:
        patched.setattr("rggan.evaluation.features.collect", lambda *_: pytest.fail("it was not cached"))
        again = collect_cached(network, few, 20, "few")["whole"]
    assert torch.equal(first.rows, again.rows)
    assert torch.equal(first.statistics.covariance, again.statistics.covariance)
    assert (again.count, len(again.rows)) == (60, 20)
    assert not torch.equal(collect_cached(network, other, 20, "other")["whole"].rows, first.rows)


def test_a_damaged_cache_is_made_anew(digits, monkeypatch, tmp_path):
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path / "own"))
    network, few = feature_network("reporting"), digits.take(np.arange(30))
    first = collect_cached(network, few, 20, "few")["whole"]
    (path,) = (tmp_path / "own" / "features").glob("*.safetensors")
    whole = path.read_bytes()
    for damage in (b"", whole[:100], b"x" * len(whole)):
        path.write_bytes(damage)
        assert torch.equal(collect_cached(network, few, 20, "few")["whole"].rows, first.rows)
        assert path.read_bytes() == whole


def test_kept_features_are_evenly_spaced_over_any_batches(digits):
    network = feature_network("reporting")
    found = collect(network, digits.take(np.arange(0, 700)), views_of(network, digits.shape), 70, "x")["whole"]
    expected = extract(network, digits.images[0:700:10])
    torch.testing.assert_close(found.rows, expected, rtol=1e-4, atol=1e-4)
    assert found.count == 700


def test_features_of_past_batches_are_let_go(digits, monkeypatch):
    """So that memory does not grow with the samples: of all batches, at most the last two are alive at any time."""
    alive, most = [], 0

    def watched(*arguments):
        nonlocal most, alive
        alive = [reference for reference in alive if reference() is not None]
        most = max(most, len(alive))
        features = features_of(*arguments)
        alive.append(weakref.ref(features))
        return features

    monkeypatch.setattr("rggan.evaluation.features.features_of", watched)
    monkeypatch.setattr("rggan.evaluation.features.BATCH", 20)
    found = collect(feature_network("reporting"), digits.take(np.arange(400)), ["whole"], 100, "x")["whole"]
    assert (found.count, len(found.rows)) == (400, 100)
    assert most <= 2


def test_too_few_images_for_fid_say_what_that_means(tmp_path, refused, digits):
    folder = write_pictures(digits.images[:30], tmp_path / "few")
    sentence = refused("evaluate", folder, "--reference", "digits", "--metrics", "fid")
    assert "fd needs more images on each side than there are features (256), and there are 30" in sentence
    assert "kid suits few" in sentence
    few = ("--metrics", "prdc", "--subset", "3")
    assert "prdc needs at least 6 images on each side, and it has 3" in refused(
        "evaluate", folder, "--reference", "digits", *few
    )
    three = write_pictures(digits.images[:3], tmp_path / "three")
    assert "prdc needs at least 6 images" in refused("evaluate", three, "--reference", "digits", "--metrics", "prdc")


def test_images_that_are_all_the_same_are_refused(tmp_path, refused, digits):
    folder = write_pictures(digits.images[:1].repeat(20, 1, 1, 1), tmp_path / "same")
    assert "All 20 images of" in refused("evaluate", folder, "--reference", "digits", "--metrics", "kid")
    assert "All 20 images of" in refused("evaluate", "digits", "--reference", folder, "--metrics", "kid")


def test_grey_pictures_are_not_compared_with_coloured_ones(tmp_path, refused, told, digits):
    coloured = digits.images[:40].repeat(1, 3, 1, 1)
    coloured[:, 0] = 0
    folder = write_pictures(coloured, tmp_path / "coloured")
    sentence = refused("evaluate", "digits", "--reference", folder)
    assert "digits is grey (1 channels) and" in sentence
    assert "--channels rgb reads both alike" in sentence
    (found,) = told("evaluate", folder, "--reference", "digits", "--channels", "grey", "--metrics", "kid")
    assert found["kid"]["provenance"]["channels"] == 1


def test_statistics_of_another_extractor_are_refused(tmp_path, refused, told, digits):
    folder = write_pictures(digits.images[:40], tmp_path / "few")
    saved = tmp_path / "digits.npz"
    told("evaluate", folder, "--reference", "digits", "--features", "steering", "--metrics", "kid",
         "--save-statistics", saved)  # fmt: skip
    sentence = refused("evaluate", folder, "--reference", saved)
    assert "holds statistics of the extractor steering" in sentence
    assert "--features" in sentence
    np.savez(tmp_path / "inception.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    sentence = refused("evaluate", folder, "--reference", tmp_path / "inception.npz")
    assert "holds statistics of 2048 features, and reporting has 256" in sentence
    sentence = refused("evaluate", folder, "--resolution", "32", "--features", "steering", "--reference", saved)
    assert "is of images of size 16x16, and the other side has 32x32" in sentence
    other = ("--features", "steering", "--precision", "bf16")
    assert "--precision fp32" in refused("evaluate", folder, *other, "--reference", saved)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"mu": np.zeros(4), "sigma": np.zeros((4, 5))}, "must hold mu [D] and sigma [D, D], not [4] and [4, 5]"),
        ({"mu": np.full(4, np.nan), "sigma": np.eye(4)}, "NaN or infinite"),
        ({"mu": np.zeros(4), "sigma": np.triu(np.ones((4, 4)))}, "it is not symmetric"),
        ({"mu": np.zeros(4, dtype=int), "sigma": np.eye(4)}, "mu holds int64"),
        ({"mu": np.zeros(4), "sigma": np.eye(4), "rggan": np.array("[")}, "Cannot read the statistics"),
        ({"mu": np.zeros(4), "sigma": np.eye(4), "rggan": np.array("[]")}, "is no JSON object"),
        ({"mu": np.array([{}], dtype=object), "sigma": np.eye(1)}, "mu holds object"),
    ],
)
def test_damaged_statistics_are_refused(tmp_path, refused, arrays, sentence):
    np.savez(tmp_path / "bad.npz", **arrays)
    assert sentence in refused("evaluate", tmp_path / "bad.npz", "--reference", "digits")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["nothing there"], "There is nothing at nothing there"),
        (["x" * 5000, "--reference", "digits"], "There is nothing at xxx"),
        (["digits", "--reference", "x" * 5000 + ".npz"], "There is nothing at xxx"),
        (
            ["digits", "--reference", "digits", "--features", "x" * 5000],
            "(5,000 letters): there are reporting, steering",
        ),
        (["generator.safetensors", "--reference", "digits"], "There is nothing at generator.safetensors"),
        (["digits"], "digits is no run: say with --reference"),
        (["digits", "--reference", "nowhere"], "There is nothing at nowhere"),
        (
            ["digits", "--reference", "digits", "--features", "nowhere.pt"],
            "nowhere.pt: there is no such file",
        ),
        (["digits", "--reference", "digits", "--samples", "1"], "--samples must be at least 2"),
        (["digits", "--reference", "digits", "--replicates", "0"], "--replicates must be at least 1"),
        (["digits", "--reference", "digits", "--held-out", "digits"], "give that too"),
        (["digits", "--reference", "digits", "--device", "toaster"], "--device toaster"),
        (["--reference", "digits"], "Say what to evaluate"),
        (["digits", "digits", "--reference", "digits", "--sheet", "x.png"], "--sheet is one picture"),
    ],
)
def test_bad_options_are_one_sentence(refused, options, sentence):
    assert sentence in refused("evaluate", *options)


def test_memorisation_needs_images_on_both_sides(tmp_path, refused, told, generator, digits):
    folder = write_pictures(digits.images[:300], tmp_path / "few")
    saved = tmp_path / "saved.npz"
    told("evaluate", folder, "--reference", folder, "--memorisation", "off", "--save-statistics", saved)
    few = ("--samples", "300", "--replicates", "1", "--memorisation", "on")
    assert "say with --training what" in refused("evaluate", generator, "--reference", saved, *few)
    assert "holds mu and sigma only" in refused("evaluate", saved, "--reference", folder, *few)


def test_a_read_only_run_is_evaluated_and_a_note_says_that_nothing_is_kept(runs, told, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("rggan.run.folder.write_whole", full)
    (found,) = told("evaluate", runs["none", 0], *FEW, "--memorisation", "off")
    assert any("are not kept in" in note and "No space left" in note for note in found["notes"])


def test_a_run_whose_pictures_are_gone_is_judged_without_memorisation(tmp_path, told, refused, digits):
    from rggan import TrainConfig, train
    from tests.evaluation.conftest import TINY

    folder = write_pictures(digits.images[:50], tmp_path / "pictures")
    options = {**TINY, "max_images": None, "data": str(folder), "outdir": tmp_path / "runs"}
    run = train(TrainConfig(**options), Console(quiet=True))
    folder.rename(tmp_path / "moved")
    (found,) = told("evaluate", run, "--reference", "digits", *FEW)
    assert any("Memorisation was not looked for: There is nothing at" in note for note in found["notes"])
    assert "There is nothing at" in refused("evaluate", run)
    assert "There is nothing at" in refused("evaluate", run, "--reference", "digits", *FEW, "--memorisation", "on")


def test_a_subject_is_what_lies_there(tmp_path, generator):
    assert open_subject(generator, Reading(), "cpu").generator is not None
    assert open_subject(str(Path(generator) / "generator.safetensors"), Reading(), "cpu").generator is not None
    assert len(open_subject("digits", Reading(resolution=16), "cpu").images) == 1797


def test_statistics_as_subject_are_checked_like_a_reference(tmp_path, refused, told, digits):
    """Each of several, also where another one was fine."""
    saved, folder = tmp_path / "digits.npz", write_pictures(digits.images[:60], tmp_path / "few")
    told("evaluate", folder, "--reference", "digits", "--metrics", "kid", "--save-statistics", saved)
    with np.load(saved) as arrays:
        mu, sigma, known = arrays["mu"], arrays["sigma"], json.loads(str(arrays["rggan"]))

    def other(name, mu=mu, sigma=sigma, **changed):
        np.savez(tmp_path / name, mu=mu, sigma=sigma, rggan=np.array(json.dumps({**known, **changed})))
        return tmp_path / name

    (fine,) = told("evaluate", saved, "--reference", "digits")
    assert fine["fd-small"]["value"] == pytest.approx(0, abs=1e-6)
    for bad, sentence in (
        (other("a.npz", extractor="mine", extractor_hash="a" * 64), "statistics of the extractor mine"),
        (other("b.npz", size="64x64"), "images of size 64x64"),
        (other("c.npz", channels=3), "images of channels 3"),
        (other("d.npz", precision="bf16"), "--precision bf16"),
        (other("e.npz", mu=mu[:9], sigma=sigma[:9, :9]), "statistics of 9 features"),
    ):
        assert sentence in refused("evaluate", bad, "--reference", saved)
        assert sentence in refused("evaluate", saved, bad, "--reference", "digits", "--resolution", "16")
        assert sentence in refused("evaluate", folder, "--reference", bad)
    np.savez(tmp_path / "foreign.npz", mu=mu, sigma=sigma)
    (foreign,) = told("evaluate", tmp_path / "foreign.npz", "--reference", "digits", "--resolution", "16")
    assert any("foreign.npz says which extractor made it" in note for note in foreign["notes"])
    again = ("--save-statistics", tmp_path / "again.npz")
    assert "holds statistics already" in refused("evaluate", folder, "--reference", tmp_path / "foreign.npz", *again)
    assert "ends in .npz" in refused("evaluate", folder, "--reference", "digits", "--save-statistics", "plain")


def test_other_training_images_than_those_of_the_run_are_refused(tmp_path, told, refused, digits):
    from rggan import TrainConfig, train
    from tests.evaluation.conftest import TINY

    folder = write_pictures(digits.images[:50], tmp_path / "pictures")
    options = {**TINY, "max_images": None, "data": str(folder), "outdir": tmp_path / "runs"}
    run = train(TrainConfig(**options), Console(quiet=True))
    assert "memorisation" in told("evaluate", run, *FEW)[0]
    save_picture(to_pil(digits.images[50]), folder / "one more.png")
    assert "are not those that" in refused("evaluate", run, *FEW)
    (found,) = told("evaluate", run, "--reference", "digits", *FEW)
    assert any("are not those that" in note for note in found["notes"])


def test_a_run_is_not_taken_for_pictures(runs, refused, tmp_path):
    run = tmp_path / "00000-killed"
    run.mkdir()
    for name in ("config.json", "stats.jsonl", "reals.png"):
        (run / name).write_bytes((runs["none", 0] / name).read_bytes())
    assert "is a run without a snapshot" in refused("evaluate", run, "--reference", "digits")
    assert "is a run without a snapshot" in refused("evaluate", "digits", "--reference", run)


def test_numbers_of_weights_that_were_trained_on_since_are_not_compared(runs, refused, capfd):
    few = ("--samples", "60", "--replicates", "1", "--memorisation", "off", "--metrics", "kid")
    sides = [[str(runs[rule, seed]) for seed in (0, 1)] for rule in ("threshold", "none")]
    assert main(["evaluate", *sides[0], *sides[1], "--reference", "digits", *few]) == 0
    weights = runs["threshold", 1] / "best" / "generator.safetensors"
    before = weights.read_bytes()
    weights.write_bytes((runs["none", 1] / "best" / "generator.safetensors").read_bytes())
    sentence = refused("compare", *sides[0], "--", *sides[1], "--metric", "kid")
    weights.write_bytes(before)
    assert "was trained on since its kid was taken: evaluate it again" in sentence


def test_a_sheet_that_cannot_be_written(runs, refused, told, monkeypatch, tmp_path):
    """Where it was asked for that ends the command; into the run it is a note."""
    few = ("--samples", "60", "--replicates", "1", "--metrics", "kid")

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("rggan.evaluation.replays.save_picture", full)
    (found,) = told("evaluate", runs["none", 2], *few)
    assert any("Cannot write" in note and "replays.png" in note for note in found["notes"])
    assert found["memorisation"]["sheet"] is None
    assert "Cannot write" in refused("evaluate", runs["none", 2], *few, "--sheet", tmp_path / "sheet.png")


def test_transparency_is_judged_on_both_grounds(tmp_path, told, digits):
    """Black ink as transparent as the digit is light, and opaque grey: the same on white, but not on black."""
    ink = 255 - digits.images[:80]
    full = torch.full_like(ink, 255)
    clear = write_pictures(torch.cat([torch.zeros_like(ink).repeat(1, 3, 1, 1), 255 - ink], 1), tmp_path / "clear")
    solid = write_pictures(torch.cat([ink.repeat(1, 3, 1, 1), full], 1), tmp_path / "solid")
    rgba, rgb = (
        told("evaluate", clear, "--reference", solid, "--channels", channels, "--metrics", "kid",
             "--memorisation", "off")[0]["kid"]
        for channels in ("rgba", "rgb")
    )  # fmt: skip
    assert (rgba["provenance"]["channels"], rgb["provenance"]["channels"]) == (4, 3)
    assert rgba["value"] > 1
    assert abs(rgb["value"]) < 0.5
