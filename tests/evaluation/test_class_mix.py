"""One sampler: steering, evaluation and generation draw classes as often as the data does, or evenly where asked."""

import shutil

import pytest
import torch
from rich.console import Console

from rggan import Generator, TrainConfig, train
from rggan.data import load_images
from rggan.evaluation.subject import Reading, open_subject
from rggan.run.folder import Run
from rggan.training.trainer import Training

pytestmark = pytest.mark.slow

DATA = "tests.extensions.stripes:FORM:100"  # 90 coarse, 10 fine
OPTIONS = {"data": DATA, "cond": True, "width_g": 4, "width_d": 4, "z_dim": 4, "kimg": 0.08, "snap": 0.08, "batch": 8}
OPTIONS |= {"score_samples": 16, "device": "cpu", "aug": "none"}
SAMPLES = 2000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(TrainConfig(**OPTIONS, outdir=tmp_path_factory.mktemp("unbalanced")), Console(quiet=True))


def share(labels):
    """Of class 1, which 10 % of the pictures have."""
    return labels.float().mean().item()


def test_steering_evaluation_and_generation_draw_the_same_mix(run):
    data = load_images(DATA)
    training = Training(TrainConfig(**{**OPTIONS, "score_samples": 1000}), data, data)
    steering = torch.cat([labels for _, labels in training.evaluator.latents])
    generator = Generator.from_pretrained(run)
    (_, judged), (_, drawn) = generator.latents(range(SAMPLES), None), generator.points(range(SAMPLES))
    assert share(steering) == pytest.approx(0.1, abs=0.02)
    assert share(judged) == pytest.approx(0.1, abs=0.02)
    assert torch.equal(judged, drawn)
    assert share(torch.cat([training.gan.latents()[1] for _ in range(250)])) == pytest.approx(0.1, abs=0.02)


def test_even_is_even(run):
    generator = Generator.from_pretrained(run)
    assert share(generator.latents(range(SAMPLES), None, class_mix="even")[1]) == pytest.approx(0.5, abs=0.04)
    assert not torch.equal(generator.images(range(20)), generator.images(range(20), class_mix="even"))


def scores(told, run, *options):
    few = ("--samples", 60, "--replicates", 1, "--memorisation", "off")
    (found,) = told("evaluate", run, "--metrics", "kid", *few, *options)
    return found["kid"]["value"], found["kid"]["provenance"].get("class_mix"), found["notes"]


def test_evaluation_says_which_mix_it_took_and_scores_differ(run, told):
    data, mix, notes = scores(told, run)
    even, other, _ = scores(told, run, "--class-mix", "even")
    assert (mix, other) == ("data", "even")
    assert data != even
    assert notes == []


def forgetful(run, place):
    """The run as it was written before generators told their counts."""
    shutil.copytree(run, place)
    for name in ("best", "last"):
        generator = Generator.from_pretrained(place / name)
        del generator.config["class_counts"]
        generator.save(place / name)
    return place


def test_a_run_of_before_takes_the_mix_of_its_data_file(run, told, tmp_path):
    old = forgetful(run, tmp_path / "00000-old")
    assert Run(old).class_counts(["coarse", "fine"]) == [90, 10]
    assert scores(told, old)[:2] == scores(told, run)[:2]
    alone = shutil.copytree(old / "best", tmp_path / "alone")
    _, mix, notes = scores(told, alone, "--reference", DATA)
    assert mix == "even"
    assert "How often its classes are in the data is not told" in notes[0]


def test_generators_of_before_make_the_pictures_that_they_made(run, tmp_path):
    old = Generator.from_pretrained(forgetful(run, tmp_path / "old"))
    assert torch.equal(old.images(range(9)), Generator.from_pretrained(run).images(range(9), class_mix="even"))


def test_a_mix_that_cannot_be_is_refused(run, generator, refused, tmp_path):
    alone = shutil.copytree(forgetful(run, tmp_path / "old") / "best", tmp_path / "alone")
    judged = ("--samples", "20", "--reference", DATA)
    assert "take --class-mix even" in refused("evaluate", alone, *judged, "--class-mix", "data")
    assert "without classes" in refused("evaluate", generator, "--reference", "digits", "--class-mix", "even")
    assert "how a generator's classes are drawn" in refused("evaluate", "digits", "--class-mix", "even")
    words = ("generate", run, "--outdir", tmp_path / "out", "--class-mix", "even")
    assert "and here none are" in refused(*words, "--class", "fine")
    assert not (tmp_path / "out").exists()


def test_numbers_of_different_mixes_do_not_compare(run, told, refused, tmp_path):
    folders = [[shutil.copytree(run, tmp_path / f"{side}{seed}") for seed in (0, 1)] for side in "ab"]
    for side, mix in zip(folders, ("data", "even"), strict=True):
        for seed, folder in enumerate(side):
            options = (folder / "config.json").read_text().replace('"seed": 0', f'"seed": {seed}')
            (folder / "config.json").write_text(options)
            scores(told, folder, "--class-mix", mix)
    said = refused("compare", *folders[0], "--metric", "kid", "--", *folders[1])
    assert "they differ in mix of classes (data and even)" in said


@pytest.mark.parametrize("counts", [[1], [90, -1], [0, 0], "90", [90, "10"], [1 << 61, 1]])
def test_counts_that_are_none_are_refused(run, counts, refused, tmp_path):
    place = shutil.copytree(run / "best", tmp_path / "best")
    made = Generator.from_pretrained(place)
    made.config["class_counts"] = counts
    made.save(place)
    assert "class_counts are no numbers of images" in refused("generate", place, "--outdir", tmp_path / "out")


def test_a_subject_knows_its_mix(run, generator):
    assert open_subject(str(run), Reading(), "cpu").class_mix == "data"
    assert open_subject(generator, Reading(), "cpu").class_mix is None
