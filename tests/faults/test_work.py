"""Pictures that are much work: each is named as unreadable within the bounds, and the others are read."""

import pytest
from PIL import Image

from rggan.data.picture import MAX_BYTES
from tests.faults.bounds import rggan
from tests.faults.work import LIGHT, WORKS


def folder_of(path, work, count):
    path.mkdir()
    Image.linear_gradient("L").save(path / "good.png")
    (path / f"work{work.ending}").write_bytes(work.make(count))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_long_work_ends_within_the_bounds_and_is_named(name, tmp_path):
    work = WORKS[name]
    others = ("--formats", work.format) if work.format else ()
    ended = rggan("check", folder_of(tmp_path / "set", work, work.count), *others, cwd=tmp_path)
    ended.within_bounds()
    assert f"unreadable 1: work{work.ending}" in ended.said


@pytest.mark.parametrize("name", WORKS | LIGHT)
def test_the_files_are_none_that_are_refused_for_their_bytes_alone(name):
    work = (WORKS | LIGHT)[name]
    half, whole = (len(work.make(count)) for count in (work.few // 2, work.few))
    each = (whole - half) / (work.few - work.few // 2)
    assert whole + each * (work.count - work.few) <= MAX_BYTES
