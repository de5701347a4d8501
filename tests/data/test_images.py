"""Folders and zips of all sorts become one tensor; bad ones are named."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from rggan import UserError
from rggan.data import load_images
from rggan.data.classes import balanced_subset, class_names
from rggan.data.images import identity_of
from rggan.data.picture import Picture


def picture(folder, name, size=(32, 32), mode="RGB", color=None, ending=".png"):
    path = folder / (name + ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(name))
    image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
    if color is not None:
        image = Image.new(mode, size, color)
    image.save(path)
    return path


def test_digits_are_the_real_ones():
    ours = load_images("digits", 8)
    bunch = load_digits()
    assert ours.images.dtype == torch.uint8
    assert ours.classes == tuple("0123456789")
    order = np.argsort([f"{label}/{i:04d}" for i, label in enumerate(bunch.target)])
    by_name = {name: image for name, image in zip(ours.names, ours.images, strict=True)}
    for i in order[:50]:
        image = by_name[f"{bunch.target[i]}/{i:04d}.png"]
        assert np.array_equal(image[0].numpy(), np.round(bunch.images[i] * 255 / 16))


def test_folder_is_read_sorted_and_cropped_to_the_centre(tmp_path):
    picture(tmp_path, "b", color=(255, 0, 0))
    picture(tmp_path, "sub/c", color=(0, 0, 255), ending=".JPG")
    wide = Image.new("RGB", (96, 32), "black")
    wide.paste((255, 255, 255), (32, 0, 64, 32))
    wide.save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    picture(tmp_path, ".hidden")
    data = load_images(tmp_path)
    assert data.names == ("a.png", "b.png", "sub/c.JPG")
    assert data.images.shape == (3, 3, 32, 32)
    assert data.images[0].min() == 255  # only the white middle is left
    assert data.images[1, :, 5, 5].tolist() == [255, 0, 0]
    assert data.labels is None


def test_zip_gives_the_same_as_the_folder(tmp_path):
    folder = tmp_path / "pictures"
    for name in ("cat/1", "cat/2", "dog/1"):
        picture(folder, name)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    a, b = load_images(folder, 16), load_images(tmp_path / "p.zip", 16)
    assert torch.equal(a.images, b.images)
    assert a.names == b.names
    assert a.classes == b.classes == ("cat", "dog")
    assert a.labels.tolist() == b.labels.tolist() == [0, 0, 1]


def test_channels_alpha_and_orientation(tmp_path):
    picture(tmp_path / "grey", "a", mode="L")
    picture(tmp_path / "grey", "b", mode="1")
    assert load_images(tmp_path / "grey", 16).images.shape[1] == 1
    picture(tmp_path / "grey", "c", mode="RGB")
    assert load_images(tmp_path / "grey", 16).images.shape[1] == 3

    picture(tmp_path / "alpha", "a", mode="RGBA", color=(255, 0, 0, 0))
    assert load_images(tmp_path / "alpha", 16).images.min() == 255  # transparent is white

    upright = Image.new("L", (32, 32), 0)
    upright.paste(255, (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    (tmp_path / "turned").mkdir()
    upright.save(tmp_path / "turned" / "a.png", exif=exif)
    turned = load_images(tmp_path / "turned", 32).images[0, 0]
    assert turned[:, 20:].min() == 255
    assert turned[:, :12].max() == 0


def test_sixteen_bit_grey_is_scaled(tmp_path):
    Image.fromarray((np.arange(1024).reshape(32, 32) * 64).astype(np.uint16)).save(tmp_path / "a.png")
    image = load_images(tmp_path).images[0]
    assert image.shape == (1, 32, 32)
    assert np.array_equal(image[0].numpy(), np.arange(1024).reshape(32, 32) * 64 // 257)


def test_linked_class_folders_are_followed(tmp_path):
    picture(tmp_path / "elsewhere", "1")
    picture(tmp_path / "set", "dog/1")
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "elsewhere")
    assert load_images(tmp_path / "set").classes == ("cat", "dog")


def test_pattern_takes_the_even_numbers(tmp_path):
    for i in range(6):
        picture(tmp_path, f"{i:04d}")
    assert load_images(tmp_path, 16, pattern="*[02468].png").names == ("0000.png", "0002.png", "0004.png")
    with pytest.raises(UserError, match=r"No pictures named \*\.gif"):
        load_images(tmp_path, 16, pattern="*.gif")


def test_subset_is_seeded_and_balanced():
    labels = np.repeat([0, 1, 2], [500, 300, 20])
    subset = balanced_subset(labels, 90, seed=1)
    assert np.bincount(labels[subset]).tolist() == [35, 35, 20]
    assert np.array_equal(subset, balanced_subset(labels, 90, seed=1))
    assert not np.array_equal(subset, balanced_subset(labels, 90, seed=2))
    assert len(set(subset.tolist())) == 90
    firsts = [labels[balanced_subset(labels, 1, seed)][0] for seed in range(60)]
    assert set(firsts) == {0, 1, 2}  # which class gets the odd one is drawn too


def test_max_images_and_fraction_take_the_smaller():
    assert len(load_images("digits", 8, max_images=100)) == 100
    assert len(load_images("digits", 8, max_images=100, fraction=0.01)) == 18
    assert torch.bincount(load_images("digits", 8, max_images=100).labels).tolist() == [10] * 10


def test_held_out_tenth_is_disjoint_and_by_class():
    data = load_images("digits", 8)
    train, held_out = data.split(seed=3)
    assert set(train.names).isdisjoint(held_out.names)
    assert set(train.names) | set(held_out.names) == set(data.names)
    counts, all_counts = torch.bincount(held_out.labels), torch.bincount(data.labels)
    assert ((counts - all_counts / 10).abs() <= 1).all()
    assert held_out.names == data.split(seed=3)[1].names != data.split(seed=4)[1].names
    small = data.take(np.arange(999))
    assert small.split(0) == (small, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resolution": 0}, "`resolution`"),
        ({"max_images": 0}, "`max_images`"),
        ({"max_images": np.int64(0)}, "`max_images` must be at least 1, not 0"),
        ({"fraction": 0.0}, "`fraction`"),
        ({"fraction": 1.5}, "`fraction`"),
    ],
)
def test_bad_counts_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        load_images("digits", **arguments)


def test_missing_empty_and_foreign_sources_are_told_apart(tmp_path):
    with pytest.raises(UserError, match="nothing at"):
        load_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match="No pictures in"):
        load_images(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="neither a folder nor a zip"):
        load_images(tmp_path / "a.txt")


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_unreadable_file_is_named_or_skipped_and_counted(tmp_path, damage):
    for i in range(5):
        picture(tmp_path, f"{i}")
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(stream, "png")
    content = {"truncated": stream.getvalue()[:2000], "empty": b"", "text": b"no picture at all"}[damage]
    (tmp_path / "3bad.png").write_bytes(content)
    with pytest.raises(UserError, match=r"Cannot read 3bad\.png: .*`skip_bad`"):
        load_images(tmp_path, 16)
    data = load_images(tmp_path, 16, skip_bad=True)
    assert data.skipped == ("3bad.png",)
    assert len(data) == 5
    assert load_images(tmp_path, skip_bad=True).images.shape[2] == 32  # its size does not count


def test_nothing_readable_at_all(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UserError, match="None of the 1 pictures can be read"):
        load_images(tmp_path, skip_bad=True)


def test_channels_are_chosen_by_name(tmp_path):
    picture(tmp_path, "a", mode="L")
    picture(tmp_path, "b", mode="L")
    assert load_images(tmp_path, 16, channels="rgb").shape == (3, 16, 16)
    assert load_images(tmp_path, 16, channels="rgba").images[:, 3].min() == 255
    picture(tmp_path, "c", mode="RGB")
    assert load_images(tmp_path, 16, channels="grey").shape == (1, 16, 16)
    with pytest.raises(UserError, match="`channels` is one of"):
        load_images(tmp_path, 16, channels="cmyk")


def test_rectangles_are_height_by_width(tmp_path):
    picture(tmp_path, "a", size=(48, 32))
    assert load_images(tmp_path, "32x48").shape == (3, 32, 48)
    assert load_images(tmp_path, (16, 24), resize="stretch").shape == (3, 16, 24)


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("10/a", "9/a", "1/a"):
        picture(tmp_path, name)
    data = load_images(tmp_path, 16)
    assert data.classes == ("1", "9", "10")
    assert [data.classes[i] for i in data.labels] == ["1", "10", "9"]  # names are sorted as text


def test_hashes_are_of_the_files_and_the_key_is_of_everything(tmp_path):
    path = picture(tmp_path, "a")
    picture(tmp_path, "b")
    data = load_images(tmp_path, 16)
    assert data.hashes[0] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert data.key == load_images(tmp_path, 16).key
    others = [load_images(tmp_path, 32), load_images(tmp_path, 16, background="black"), load_images(tmp_path, "16x32")]
    assert len({data.key, *(other.key for other in others)}) == 4


def test_progress_is_told_to_the_end(tmp_path):
    seen = []
    load_images("digits", 8, max_images=300, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(256, 300), (300, 300)]


def test_class_names_of_endless_digits_are_text(tmp_path):
    pictures = [Picture("a", bytes, label="1" * 5000), Picture("b", bytes, label="2" * 5000)]
    assert class_names(pictures) == ("1" * 5000, "2" * 5000)


def test_classes_without_a_picture_are_left_out_and_the_others_numbered_anew(tmp_path):
    for name in ("ant", "bee", "cow"):
        for i in range(4):
            picture(tmp_path, f"{name}/{i}")
    for path in (tmp_path / "bee").iterdir():
        path.write_bytes(b"x")
    data = load_images(tmp_path, 16, skip_bad=True)
    assert (data.classes, data.labels.tolist()) == (("ant", "cow"), [0] * 4 + [1] * 4)
    assert data.notes == ("classes without a picture are left out: bee",)
    for seed in range(6):
        few = load_images(tmp_path, 16, skip_bad=True, max_images=2, seed=seed)
        assert few.classes in ((), ("ant", "cow"))  # one alone is none
        assert (few.labels is None) == (few.classes == ())


def test_the_identity_that_earlier_versions_gave_is_known(tmp_path):
    """Where classes do not matter, runs go on though their classes are found now, or left out."""
    for name in ("ant", "bee"):
        picture(tmp_path, f"around/{name}/0")
    data = load_images(tmp_path, 16)
    assert data.classes == ("ant", "bee")
    assert identity_of(data.key, (), None) in data.aliases
    (tmp_path / "around/cow").mkdir()
    (tmp_path / "around/cow/0.png").write_bytes(b"x")
    data = load_images(tmp_path, 16, skip_bad=True)
    assert identity_of(data.key, ("ant", "bee", "cow"), [0, 1]) in data.aliases
    assert load_images("digits", 16).aliases == ()  # here classes decide which images are held out
