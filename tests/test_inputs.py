"""Training from end to end, to pictures, on every form of input."""

import itertools
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from rggan import Generator
from rggan.cli.main import main
from rggan.data import load_images
from rggan.run.folder import Run
from tests.conftest import folders

pytestmark = pytest.mark.slow

TINY = [
    *("--width-g", "8", "--width-d", "8", "--z-dim", "8", "--batch", "8", "--score-samples", "20", "--d-steps", "1"),
    *("--kimg", "0.064", "--snap", "0.032"),
]
COUNT = 20


def pixels(seed=0, size=(32, 32), channels=3, count=COUNT):
    shape = (count, *size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def folder(path, images=None, classes=("",), ending=".png"):
    for index, image in enumerate(pixels() if images is None else images):
        place = path / classes[index % len(classes)] / f"{index:04d}{ending}"
        place.parent.mkdir(parents=True, exist_ok=True)
        image = image if isinstance(image, Image.Image) else Image.fromarray(image.squeeze())
        image.save(place)
    return path


def as_folder(path):
    return folder(path / "nested", classes=("a/b", "c"))


def as_upper_case_jpegs(path):
    return folder(path / "camera", ending=".JPG")


def as_mixed_formats(path):
    images = [Image.fromarray(image) for image in pixels()]
    modes = ["RGB", "L", "CMYK", "P", "1"]
    for index, image in enumerate(images):
        mode = modes[index % len(modes)]
        converted = image.quantize() if mode == "P" else image.convert(mode)
        (path / "mixed").mkdir(exist_ok=True)
        ending = {"CMYK": "jpg", "P": "gif", "1": "bmp", "L": "tiff", "RGB": "webp"}[mode]
        converted.save(path / "mixed" / f"{index}.{ending}")
    return path / "mixed"


def as_sixteen_bit(path):
    (path / "deep").mkdir()
    for index in range(COUNT):
        values = np.random.default_rng(index).integers(0, 65536, (32, 32), dtype=np.uint16)
        Image.fromarray(values).save(path / "deep" / f"{index}.png")
    return path / "deep"


def as_zip(path):
    source = folder(path / "source", classes=("cat", "dog"))
    with zipfile.ZipFile(path / "set.zip", "w") as archive:
        for file in sorted(source.rglob("*.png")):
            archive.write(file, file.relative_to(source))
    return path / "set.zip"


def as_labelled_folder(path):
    source = folder(path / "stylegan", classes=("00000",))
    names = sorted(file.relative_to(source).as_posix() for file in source.rglob("*.png"))
    labels = [[name, index % 3] for index, name in enumerate(names)]
    (source / "dataset.json").write_text(json.dumps({"labels": labels}))
    return source


def as_npy(path):
    np.save(path / "set.npy", pixels())
    return path / "set.npy"


def as_npz(path):
    np.savez_compressed(path / "set.npz", images=pixels().transpose(0, 3, 1, 2), labels=np.arange(COUNT) % 2)
    return path / "set.npz"


def as_cifar_binary(path):
    (path / "cifar-10-batches-bin").mkdir()
    for batch in range(1, 6):
        records = np.concatenate(
            [np.arange(4)[:, None], pixels(batch, count=4).transpose(0, 3, 1, 2).reshape(4, -1)], 1
        )
        (path / "cifar-10-batches-bin" / f"data_batch_{batch}.bin").write_bytes(records.astype(np.uint8).tobytes())
    return path / "cifar-10-batches-bin"


def as_cifar_python(path):
    """As a .tar.gz; pickled by Python 3 at protocol 2, which the reader knows as well as Python 2's."""
    inside = path / "cifar-10-batches-py"
    inside.mkdir()
    for batch in range(1, 6):
        data = pixels(batch, count=4).transpose(0, 3, 1, 2).reshape(4, -1)
        content = {"labels": [0, 1, 2, 3], "data": np.ascontiguousarray(data)}
        (inside / f"data_batch_{batch}").write_bytes(pickle.dumps(content, protocol=2))
    with tarfile.open(path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(inside, inside.name)
    return path / "cifar-10-python.tar.gz"


def as_hugging_face(path):
    import datasets

    images = [Image.fromarray(image) for image in pixels()]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    table = datasets.Dataset.from_dict({"image": images, "label": [i % 2 for i in range(COUNT)]}, features=features)
    table.save_to_disk(str(path / "saved"))
    return f"hf:{path / 'saved'}"


PLAIN = [as_folder, as_upper_case_jpegs, as_mixed_formats, as_sixteen_bit, as_npy]
LABELLED = [as_zip, as_labelled_folder, as_npz, as_cifar_binary, as_cifar_python, as_hugging_face]


def trained(data, tmp_path, *options):
    """A finished run, and the pictures of its seeds 0 to 3 from files."""
    assert main(["train", str(data), "--network", "sngan", "--outdir", str(tmp_path / "runs"), *TINY, *options]) == 0
    (run,) = folders(tmp_path / "runs")
    assert len(Run(run).rows()) == 2
    assert main(["generate", str(run), "--seeds", "0-3", "--outdir", str(tmp_path / "out")]) == 0
    pictures = [Image.open(path) for path in sorted((tmp_path / "out").iterdir())]
    assert len(pictures) == 4
    assert np.asarray(pictures[0]).std() > 0
    for name in ("reals.png", "fakes000000.png"):
        assert Image.open(run / name).mode == pictures[0].mode
    return run, pictures


@pytest.mark.parametrize("make", PLAIN, ids=lambda make: make.__name__)
def test_plain_sets(tmp_path, make):
    run, pictures = trained(make(tmp_path), tmp_path)
    assert {picture.size for picture in pictures} == {(32, 32)}
    assert pictures[0].mode == ("L" if make is as_sixteen_bit else "RGB")
    head, *lines = [json.loads(line) for line in (run / "data.jsonl").read_text().splitlines()]
    assert head["images"] == len(lines) == COUNT


@pytest.mark.parametrize("make", LABELLED, ids=lambda make: make.__name__)
def test_labelled_sets_with_cond(tmp_path, make):
    run, pictures = trained(make(tmp_path), tmp_path, "--cond")
    assert {(picture.size, picture.mode) for picture in pictures} == {((32, 32), "RGB")}
    classes = Generator.from_pretrained(run).classes
    expected = {as_labelled_folder: 3, as_cifar_binary: 4, as_cifar_python: 4}.get(make, 2)
    assert len(classes) == expected
    assert main(["generate", str(run), "--class", classes[-1], "--seeds", "5", "--outdir", str(tmp_path / "one")]) == 0


MODES = {"grey": "L", "rgb": "RGB", "rgba": "RGBA"}


def test_every_channels_and_resize_are_read_in_the_shape_asked_for(tmp_path):
    data = folder(tmp_path / "clear", pixels(size=(40, 48), channels=4))
    for channels, resize in itertools.product(MODES, ("crop", "fit", "stretch")):
        found = load_images(data, "24x32", channels=channels, resize=resize, background="#203040")
        assert found.images.shape == (COUNT, len(MODES[channels]), 24, 32)


@pytest.mark.parametrize(("channels", "resize"), [("grey", "crop"), ("rgb", "fit"), ("rgba", "stretch")])
def test_channels_and_rectangles_of_transparent_pictures(tmp_path, channels, resize):
    """What resizes knows nothing of what trains: the other six pairs are read above."""
    mode = MODES[channels]
    data = folder(tmp_path / "clear", pixels(size=(40, 48), channels=4))
    options = ["--channels", channels, "--resize", resize, "--resolution", "24x32", "--background", "#203040"]
    run, pictures = trained(data, tmp_path, *options)
    assert {(picture.size, picture.mode) for picture in pictures} == {((32, 24), mode)}
    assert run.name == "00000-clear-24x32-sngan-d_steps1-threshold"


def test_memory_mapped_set_trains_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path / "cache"))
    data = folder(tmp_path / "pictures")
    rows = []
    for share in ("0.5", "1e-12"):
        outdir = tmp_path / share
        line = ["train", str(data), "--network", "sngan", "--outdir", str(outdir), *TINY, "--memory-share", share]
        assert main(line) == 0
        rows.append(Run(folders(outdir)[0]).rows())
    assert rows[0] == rows[1]
    assert [path.suffix for path in (tmp_path / "cache").iterdir()].count(".u8") == 1
