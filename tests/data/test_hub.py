"""Hugging Face datasets, written here and read back: bytes as they are, classes by name, errors in one line."""

import io
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rggan import UserError
from rggan.data.forms import hub
from rggan.data.source import list_pictures

COUNT = 12


def png(value):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(stream, "png")
    return stream.getvalue()


CONTENTS = [png(i) for i in range(COUNT)]


def table(datasets, images="image", labels="label", values=None, **more):
    """A dataset with a column of images and one of classes; more: {column: (feature, values)}."""
    features = {images: datasets.Image(), labels: datasets.ClassLabel(names=["cat", "dog"])}
    rows = {
        images: [{"bytes": content, "path": f"d/{i}.png"} for i, content in enumerate(CONTENTS)],
        labels: [i % 2 for i in range(COUNT)] if values is None else values,
    }
    for name, (feature, column) in more.items():
        features[name], rows[name] = feature, column
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def parquet(folder, dataset, split="train"):
    folder.mkdir(exist_ok=True)
    dataset.to_parquet(folder / f"{split}.parquet")
    return folder


def check(pictures, contents=CONTENTS, classes=("cat", "dog")):
    assert [picture.read() for picture in pictures] == contents
    assert [picture.class_name for picture in pictures] == [classes[i % len(classes)] for i in range(len(contents))]
    assert {picture.shape for picture in pictures} == {None}


def test_parquet_gives_the_bytes_and_class_names(datasets, tmp_path):
    folder = parquet(tmp_path / "set", table(datasets))
    pictures = list_pictures(f"hf:{folder}")
    check(pictures)
    assert [picture.name for picture in pictures[:2]] == ["00000000-0.png", "00000001-1.png"]
    assert [picture.name for picture in list_pictures(f"hf:{folder}", "*-1?.png")] == [
        "00000010-10.png",
        "00000011-11.png",
    ]


def test_splits_are_taken_by_name(datasets, tmp_path):
    folder = parquet(tmp_path / "set", table(datasets))
    parquet(folder, table(datasets).select(range(4)), "test")
    assert len(list_pictures(f"hf:{folder}")) == COUNT
    check(list_pictures(f"hf:{folder}:test"), CONTENTS[:4])
    check(list_pictures(f"hf:{folder}:train[2:6]"), CONTENTS[2:6])
    with pytest.raises(UserError, match=r'Cannot load hf:.*:tset: Unknown split "tset"\. .*train'):
        list_pictures(f"hf:{folder}:tset")


def test_saved_to_disk_with_and_without_splits(datasets, tmp_path):
    part = table(datasets).filter(
        lambda row: row["label"] == 1, load_from_cache_file=False
    )  # by an index, not in order
    part.save_to_disk(tmp_path / "one")
    check(list_pictures(f"hf:{tmp_path}/one"), CONTENTS[1::2], ("dog",))
    with pytest.raises(UserError, match="saved as a single split"):
        list_pictures(f"hf:{tmp_path}/one:test")
    datasets.DatasetDict(train=table(datasets), test=part).save_to_disk(tmp_path / "both")
    check(list_pictures(f"hf:{tmp_path}/both"))
    check(list_pictures(f"hf:{tmp_path}/both:test"), CONTENTS[1::2], ("dog",))
    with pytest.raises(UserError, match=r"no split valid; .*one of train, test"):
        list_pictures(f"hf:{tmp_path}/both:valid")


def test_folder_of_pictures_is_read_from_its_files(datasets, tmp_path):
    for i, content in enumerate(CONTENTS):
        folder = tmp_path / "set" / "train" / ("dog" if i >= 6 else "cat")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:02d}.png").write_bytes(content)
    pictures = list_pictures(f"hf:{tmp_path}/set")
    assert [(p.read(), p.class_name) for p in pictures] == [
        (content, "dog" if i >= 6 else "cat") for i, content in enumerate(CONTENTS)
    ]
    (tmp_path / "set/train/cat/03.png").unlink()
    with pytest.raises(OSError, match="No such file"):
        pictures[3].read()


def test_column_without_a_type_is_taken_by_its_name(datasets, tmp_path):
    (tmp_path / "set").mkdir()
    plain = pa.table({"img": CONTENTS, "label": ["ü", "b"] * (COUNT // 2), "n": list(range(COUNT))})
    pq.write_table(plain, tmp_path / "set/train.parquet")
    pictures = list_pictures(f"hf:{tmp_path}/set")
    check(pictures, classes=("ü", "b"))
    assert pictures[1].name == "00000001"


def test_among_several_columns_the_name_decides(datasets, tmp_path):
    extra = {
        "mask": (datasets.Image(), [{"bytes": png(99), "path": None}] * COUNT),
        "coarse_label": (datasets.ClassLabel(names=["x"]), [0] * COUNT),
    }
    check(list_pictures(f"hf:{parquet(tmp_path / 'a', table(datasets, 'img', 'fine_label', **extra))}"))
    pictures = list_pictures(f"hf:{parquet(tmp_path / 'b', table(datasets, labels='kind', **extra))}")
    check(pictures, classes=("",))
    with pytest.raises(UserError, match="one column of images, called image; it has photo, label, mask"):
        list_pictures(f"hf:{parquet(tmp_path / 'c', table(datasets, 'photo', **extra))}")
    with pytest.raises(UserError, match="one column of images"):
        list_pictures(f"hf:{parquet(tmp_path / 'd', table(datasets).remove_columns('image'))}")


def test_a_single_typed_column_needs_no_name(datasets, tmp_path):
    check(list_pictures(f"hf:{parquet(tmp_path / 'a', table(datasets, 'photo', 'kind'))}"))


def test_rows_without_a_class_are_all_or_none(datasets, tmp_path):
    check(list_pictures(f"hf:{parquet(tmp_path / 'a', table(datasets, values=[-1] * COUNT))}"), classes=("",))
    folder = parquet(tmp_path / "b", table(datasets, values=[0, -1, None] * (COUNT // 3)))
    some = list_pictures(f"hf:{folder}")
    check(some, classes=("",))
    assert re.fullmatch(r"8 of 12 pictures have no label in hf:.* \(the first: 00000001-1\.png\)", some.fault)


def test_empty_row_fails_alone(datasets, tmp_path):
    dataset = datasets.Dataset.from_dict(
        {"image": [{"bytes": CONTENTS[0], "path": "../a b\n.png"}, None]},
        features=datasets.Features({"image": datasets.Image()}),
    )
    pictures = list_pictures(f"hf:{parquet(tmp_path / 'a', dataset)}")
    assert [picture.name for picture in pictures] == ["00000000-a_b_.png", "00000001"]
    assert pictures[0].read() == CONTENTS[0]
    with pytest.raises(ValueError, match="it is empty"):
        pictures[1].read()


def test_row_of_a_damaged_file_is_a_value_error():
    class Damaged:
        def __getitem__(self, index):
            raise pa.ArrowException("offset out of bounds")  # no ValueError

    with pytest.raises(ValueError, match="offset out of bounds"):
        hub.read_cell(Damaged(), "image", 0)


def test_rows_are_read_from_many_threads_at_once(datasets, tmp_path):
    pictures = list_pictures(f"hf:{parquet(tmp_path / 'a', table(datasets))}") * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda picture: picture.read(), pictures)) == CONTENTS * 20


def test_what_cannot_be_loaded_is_one_line(datasets, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/train.parquet").write_bytes(b"no parquet")
    for name in ("nobody/nothing", f"{tmp_path}/nowhere", f"{tmp_path}/empty", f"{tmp_path}/damaged"):
        with pytest.raises(UserError, match=r"\ACannot load hf:.*: .*\S\.\Z"):
            list_pictures(f"hf:{name}")
    with pytest.raises(UserError, match="names no dataset"):
        list_pictures("hf:")


def test_missing_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r'pip install "rggan\[huggingface\]"'):
        list_pictures("hf:anything")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("hf:mnist", ("mnist", None)),
        ("hf:a/b:test", ("a/b", "test")),
        ("hf:a/b:train[10:20]", ("a/b", "train[10:20]")),
        ("hf:a/b:my-split_2", ("a/b", "my-split_2")),
        (r"hf:C:\data\flowers", (r"C:\data\flowers", None)),
        (r"hf:C:\data\flowers:test", (r"C:\data\flowers", "test")),
        ("hf:C:/data/flowers", ("C:/data/flowers", None)),
        ("hf:/data/a:b/flowers", ("/data/a:b/flowers", None)),
    ],
)
def test_split_is_told_from_a_path(data, expected):
    assert hub.parse_hub(data) == expected
