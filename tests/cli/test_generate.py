"""What `rggan generate` writes, where, and what it leaves alone."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from rggan import Generator, TrainConfig
from rggan.cli.main import main
from rggan.data.pictures import grid
from rggan.generation.generator import BATCH
from rggan.generation.outputs import class_part
from rggan.generation.sheets import labelled_rows
from rggan.run.folder import Run
from tests.faults.privacy import of_before
from tests.test_generator import apart, tiny

CLASSES = ["cats", "dogs/large", "Dogs large"]


@pytest.fixture
def run(tmp_path):
    """A run with three classes, trained on the folder `data`."""
    (tmp_path / "data").mkdir()
    generator = tiny("sngan", classes=3)
    generator.config["classes"] = CLASSES
    generator.save(tmp_path / "runs" / "00000-data" / "best")
    run = Run(tmp_path / "runs" / "00000-data")
    run.write_options(TrainConfig(data=str(tmp_path / "data"), outdir=tmp_path / "runs", cond=True))
    return run.path


@pytest.fixture
def generate(run, tmp_path, capsys):
    """Runs the command into the folder `out`: (exit code, what it said)."""

    def told(*words, of=run, outdir=tmp_path / "out"):
        code = main(["generate", str(of), *words, "--outdir", str(outdir), "--device", "cpu"])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return told


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def pixels(path):
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def test_class_and_truncation_are_in_the_names(run, generate, tmp_path):
    """So two commands into one folder do not meet: each picture is that of its own command."""
    for words in ([], ["--class", "cats"], ["--class", "1"], ["--class=Dogs large", "--trunc", "0.7"]):
        assert generate(*words, "--seeds", "0-1")[0] == 0
    ends = ["", "-cats", "-dogs_large-1", "-Dogs_large-2-trunc0.7"]
    assert set(content(tmp_path / "out")) == {f"seed000{seed}{end}.png" for seed in (0, 1) for end in ends}
    generator = Generator.from_pretrained(run)
    for end, label, truncation in zip(ends, (None, 0, 1, 2), (1, 1, 1, 0.7), strict=True):
        expected = generator.images([0, 1], label, truncation)
        for seed in (0, 1):
            assert apart(pixels(tmp_path / "out" / f"seed000{seed}{end}.png"), expected[seed]) <= 1
    for words, name in (
        (["--grid", "--class", "cats"], "grid-cats.png"),
        (["--grid", "--trunc", "0.5"], "grid-trunc0.5.png"),
        (["--grid", "--class-mix", "even"], "grid-classes_even.png"),
        (["--walk", "1", "--class", "cats"], "walk-cats.gif"),
    ):
        assert generate(*words, "--seeds", "0-1")[0] == 0
        assert name in content(tmp_path / "out")


@pytest.mark.parametrize("name", ["a/b\\c", "..", "CON:", "x" * 300, "caf\u0065\u0301", "tab\there", "", " ", "\u732b"])
def test_a_class_of_any_name_makes_a_file_name(name, tmp_path):
    part = class_part([name, "other"], 0)
    assert not set(part) & set('/\\:*?"<>|\t\n')
    (tmp_path / f"seed0000-{part}.png").write_bytes(b"")  # the system takes it
    assert [path.parent for path in tmp_path.iterdir()] == [tmp_path]
    assert len({class_part([name, name.upper(), "_"], number).casefold() for number in range(3)}) == 3


def test_repeated_seeds_are_one_file_and_counted_once(generate, tmp_path):
    code, told = generate("--seeds", "37,3,37")
    assert (code, set(content(tmp_path / "out"))) == (0, {"seed0003.png", "seed0037.png"})
    assert told.startswith("2 pictures in ")


def test_the_same_command_again_changes_nothing_and_goes_on_where_it_stopped(generate, tmp_path, monkeypatch):
    seeds = ("--seeds", f"0-{3 * BATCH - 1}")
    drawn, made = Generator.drawn, []

    def stopped(self, points, labels):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(len(points))
        return drawn(self, points, labels)

    with monkeypatch.context() as patched:
        patched.setattr(Generator, "drawn", stopped)
        assert generate(*seeds)[0] == 130
    before = content(tmp_path / "out")
    assert len(before) == 2 * BATCH  # as they were made, and whole
    assert all(pixels(tmp_path / "out" / name).shape == (3, 32, 32) for name in before)
    made.clear()
    code, told = generate(*seeds)
    assert (code, made) == (0, [])
    assert f"{3 * BATCH} pictures in {tmp_path / 'out'} ({2 * BATCH} there before)" in told
    after = content(tmp_path / "out")
    assert len(after) == 3 * BATCH
    assert {name: after[name] for name in before} == before

    def none(self, points, labels):
        raise AssertionError("nothing is left to make")

    monkeypatch.setattr(Generator, "drawn", none)
    assert generate(*seeds)[0] == 0
    assert content(tmp_path / "out") == after


@pytest.mark.parametrize("words", [[], ["--grid"], ["--grid", "--per-class"], ["--walk", "2"]])
def test_another_picture_is_not_written_over(run, generate, tmp_path, words):
    """Of another generator, or somebody's own; unless that is asked for."""
    words = [*words, "--seeds", "0-1"]
    assert generate(*words)[0] == 0
    first = content(tmp_path / "out")
    assert generate(*words)[0] == 0  # the same: nothing to do
    other = tiny("sngan", classes=3)
    torch.nn.init.normal_(other.network.to_rgb.weight)
    other.config["classes"] = CLASSES
    other.save(tmp_path / "other")
    code, told = generate(*words, of=tmp_path / "other")
    assert code == 2
    assert "is there already" in told
    assert "--overwrite" in told
    assert len(told.strip().splitlines()) == 1
    assert content(tmp_path / "out") == first
    assert generate(*words, "--overwrite", of=tmp_path / "other")[0] == 0
    assert content(tmp_path / "out").keys() == first.keys()
    assert all(content(tmp_path / "out")[name] != first[name] for name in first)


@pytest.mark.parametrize("as_folder", [False, True])
def test_nothing_is_made_where_one_file_stands_in_the_way(generate, tmp_path, as_folder):
    (tmp_path / "out").mkdir()
    own = tmp_path / "out" / "seed0063.png"
    own.mkdir() if as_folder else own.write_bytes(b"my own picture")
    code, told = generate()
    assert code == 2
    assert "seed0063.png is there already" in told
    assert list((tmp_path / "out").iterdir()) == [own]


def test_other_seeds_of_a_film_or_a_grid_are_another_one(generate, tmp_path):
    for words in (["--grid"], ["--walk", "2"]):
        assert generate(*words, "--seeds", "0-1")[0] == 0
        assert generate(*words, "--seeds", "2-3")[0] == 2


@pytest.mark.parametrize("of", ["", "best", "best/generator.safetensors"])
def test_the_training_pictures_are_left_alone(run, generate, tmp_path, of):
    for outdir in (tmp_path / "data", tmp_path / "data" / "fakes", tmp_path / "out" / ".." / "data"):
        code, told = generate("--seeds", "0", of=run / of, outdir=outdir)
        assert code == 2
        assert f"lies inside the data {tmp_path / 'data'}" in told
        assert content(tmp_path / "data") == {}
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert generate("--seeds", "0", of=run / of, outdir=tmp_path / "link")[0] == 2
    assert generate("--seeds", "0", of=run / of, outdir=tmp_path / "database")[0] == 0


def test_a_generator_of_before_knows_its_data_without_its_run(generate, tmp_path):
    """Those that are written now do not tell where their data lie."""
    old = of_before(tmp_path / "old", str(tmp_path / "data"))
    assert generate("--seeds", "0", of=old, outdir=tmp_path / "data")[0] == 2
    generator = tiny("sngan")
    for odd in (3, "x" * 5000, "a\0b", ["data"]):
        generator.config["trained"] = {"data": odd}
        generator.save(tmp_path / "sent")
        assert generate("--seeds", "0", "--overwrite", of=tmp_path / "sent")[0] == 0


@pytest.mark.parametrize("name", ["best", "last", "checkpoints", "best/more"])
def test_what_the_run_writes_is_left_to_it(run, generate, name):
    before = content(run / "best")
    code, told = generate("--seeds", "0", outdir=run / name)
    assert code == 2
    assert "is written by the run" in told
    assert content(run / "best") == before
    assert generate("--seeds", "0", outdir=run / "pictures")[0] == 0


@pytest.mark.slow
def test_it_ends_with_a_command_that_runs(run, generate, tmp_path, capsys):
    import shlex

    _, told = generate("--class", "Dogs large", "--trunc", "0.7", "--seeds", "0-9", outdir=tmp_path / "my pictures")
    command = shlex.split(told.strip().splitlines()[-1].partition(": ")[2])
    assert command[:3] == ["rggan", "generate", str(run)]
    assert main(command[1:]) == 0
    with Image.open(tmp_path / "my pictures" / "walk-Dogs_large-2-trunc0.7.gif") as film:
        assert film.n_frames == 6 * 25


def test_too_many_seeds_are_refused_at_once(generate):
    for seeds in ("0-1000000", "0-9223372036854775806", "0-700000,5-700000"):
        code, told = generate("--seeds", seeds)
        assert code == 2
        assert "more than 1,000,000 at once" in told


@pytest.mark.parametrize("with_av", [True, False])
def test_films_of_transparent_pictures_keep_their_alpha(generate, tmp_path, monkeypatch, with_av):
    if with_av:
        pytest.importorskip("av")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    generator = tiny("stylegan2", channels=4)
    generator.save(tmp_path / "rgba")
    code, told = generate("--walk", "3", "--seeds", "1-2", of=tmp_path / "rgba")
    assert code == 0
    assert set(content(tmp_path / "out")) == {"walk.webp", *(["walk.mp4"] if with_av else [])}
    assert ("on white: MP4 has no transparency" in told) == with_av
    with Image.open(tmp_path / "out" / "walk.webp") as film:
        alphas = [np.asarray(frame.convert("RGBA"))[..., 3] for frame in ImageSequence.Iterator(film)]
    for place, seed in ((0, 1), (4, 2)):
        expected = generator.images([seed])[0, 3].numpy()
        assert np.abs(alphas[place].astype(int) - expected).max() <= 1
        assert expected.std() > 5


def test_names_beside_the_rows_are_where_their_rows_are():
    """In every mode, at every size; what the font cannot write is numbered."""
    for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        for side in (16, 64, 256):
            images = torch.zeros(6, channels, side, side, dtype=torch.uint8)
            sheet = labelled_rows(images, ["K\u00e4uze", "\u732b" * 9, "a name that is far too long to stand beside"])
            assert sheet.mode == mode
            margin = np.asarray(sheet.convert("L"))[:, : -grid(images, 2).width]
            inked = np.flatnonzero((margin < 128).any(axis=1))
            centres = [part.mean() for part in np.split(inked, np.flatnonzero(np.diff(inked) > 3) + 1)]
            assert len(centres) == 3
            assert np.diff(centres) == pytest.approx([sheet.height / 3] * 2, abs=4)


def test_mps_is_said_to_be_missing_in_one_sentence(generate, run, tmp_path, capsys):
    if torch.backends.mps.is_available():
        pytest.skip("there is one")
    assert main(["generate", str(run), "--outdir", str(tmp_path / "out"), "--device", "mps"]) == 2
    assert "no Apple GPU (MPS)" in capsys.readouterr().err
    assert replace(TrainConfig(), device="mps").device == "mps"


def test_what_mps_cannot_do_is_a_sentence(generate, monkeypatch):
    def missing(self, points, labels):
        raise NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device. If you want")

    monkeypatch.setattr(Generator, "drawn", missing)
    code, told = generate()
    assert code == 2
    assert "--device mps cannot do a step of this (The operator 'aten::x' is not currently implemented" in told
    assert len(told.strip().splitlines()) == 1
