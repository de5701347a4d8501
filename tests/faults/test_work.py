"""Pictures that are much work: each ends its decoding process within the limits, and the others are read."""

import pytest
from PIL import Image

from rggan.data import workers as workers_module
from rggan.data.picture import MAX_BYTES, Picture, every_format
from rggan.data.workers import Asked, Workers
from tests.faults.bounds import rggan
from tests.faults.work import LIGHT, WORKS


@pytest.fixture(scope="module")
def pool():
    found = Workers(1)
    yield found
    found.close()


# Their pixels are many, and have seconds for that: the campaign of `tests.faults` tries them at their largest.
BY_PIXELS = {"JPEG, scans", "JPEG 2000, precincts", "PPM, numbers", "PPM, scaled", "DDS, masks", "QOI, indices"}
BY_PIXELS |= {"BLP, blocks", "FITS, packed"}


@pytest.mark.parametrize("name", [name for name in WORKS if name not in BY_PIXELS])
def test_long_work_is_ended(name, pool, monkeypatch):
    """With limits of a twentieth of what the file takes."""
    monkeypatch.setattr(workers_module, "TO_OPEN", 0.05)
    monkeypatch.setattr(workers_module, "TO_DECODE", 0.05)
    work = WORKS[name]
    content = work.make(work.few)
    asked = Asked(Picture(f"work{work.ending}", lambda: content, formats=every_format()), content)
    (found,) = pool.answers("record", [asked])
    assert isinstance(found, str)
    monkeypatch.undo()
    (good,) = pool.answers("size", [Asked(Picture("good", bytes), LIGHT["PNG, empty pixels"].make(1))])
    assert good == ({"size": [8, 8]}, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["JPEG, fill bytes", "TIFF, entries"])
def test_at_its_largest_it_is_named_within_the_bounds(name, tmp_path):
    work = WORKS[name]
    (tmp_path / "set").mkdir()
    Image.linear_gradient("L").save(tmp_path / "set" / "good.png")
    (tmp_path / "set" / f"work{work.ending}").write_bytes(work.make(work.count))
    ended = rggan("check", "--no-measure", tmp_path / "set", cwd=tmp_path)
    ended.within_bounds()
    assert f"unreadable 1: work{work.ending}" in ended.said


@pytest.mark.parametrize("name", WORKS | LIGHT)
def test_the_files_are_none_that_are_refused_for_their_bytes_alone(name):
    work = (WORKS | LIGHT)[name]
    half, whole = (len(work.make(count)) for count in (work.few // 2, work.few))
    each = (whole - half) / (work.few - work.few // 2)
    assert whole + each * (work.count - work.few) <= MAX_BYTES
