"""A tar is read as `tarfile` reads it."""

import bz2
import gzip
import io
import lzma
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from rggan.data.streams.tars import key_of
from rggan.data.tar import LONGEST, members, skip, unpacked

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300)
KINDS = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, b"Z"]
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@st.composite
def tars(draw):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=draw(st.sampled_from(FORMATS))) as tar:
        for name, content in draw(st.lists(st.tuples(NAMES, st.binary(max_size=1100)), max_size=6)):
            name = name.rstrip("/") or "a"  # that of a folder ends in one
            info = tarfile.TarInfo(name if tar.format != tarfile.USTAR_FORMAT else name[:30].rstrip("/"))
            info.type, info.mtime = draw(st.sampled_from(KINDS)), draw(st.sampled_from([0, 1.5]))
            info.linkname = draw(st.sampled_from(["", "x", "y" * 200 if tar.format != tarfile.USTAR_FORMAT else "y"]))
            with_content = info.isreg() or info.type == b"Z"
            info.size = len(content) if with_content else 0
            tar.addfile(info, io.BytesIO(content) if with_content else None)
    return stream.getvalue()


def read(content, wrap=io.BufferedReader):
    return [(each.name, each.read()) for each in members(unpacked(wrap(io.BytesIO(content)))) if each.regular]


@given(tars(), st.booleans())
@settings(deadline=None)
def test_members_are_those_that_python_reads(content, cut):
    content = content.rstrip(b"\0") if cut else content
    content += bytes(-len(content) % 512)
    with tarfile.open(fileobj=io.BytesIO(content or bytes(1024))) as tar:
        expected = [(each.name, tar.extractfile(each).read()) for each in tar if each.isreg()]
    for pack in (bytes, gzip.compress, bz2.compress, lzma.compress):
        assert read(pack(content or bytes(1024))) == expected


@given(tars(), st.data())
@settings(deadline=None)
def test_a_tar_that_is_cut_off_gives_its_first_members_or_is_refused(content, data):
    whole, found = read(content), []
    cut = content[: data.draw(st.integers(0, len(content)))]
    with suppress(tarfile.ReadError):
        found.extend((each.name, each.read()) for each in members(io.BytesIO(cut)) if each.regular)
    assert found == whole[: len(found)]


def test_contents_that_nobody_reads_are_skipped_by_a_seek(tmp_path):
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        for name in ("a.png", "b.png"):
            info = tarfile.TarInfo(name)
            info.size = 100 * 2**20
            file.write(info.tobuf(tarfile.PAX_FORMAT))
            file.seek(info.size, io.SEEK_CUR)
        file.write(bytes(1024))
    with path.open("rb") as file:
        reads = []
        raw = file.raw

        class Counted(io.RawIOBase):
            readable = seekable = lambda self: True
            seek = raw.seek
            tell = raw.tell

            def readinto(self, buffer):
                reads.append(count := raw.readinto(buffer))
                return count

        assert [each.name for each in members(io.BufferedReader(Counted()))] == ["a.png", "b.png"]
        assert sum(reads) < 2**20


def extended(size, kind=tarfile.XHDTYPE):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT) + b"1" * size + bytes(-size % 512)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, b"X"])
def test_what_extends_a_header_is_bounded(kind):
    end = tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(ValueError, match=r"a header has an extension of 16,385 bytes, more than this reads \(16,384\)"):
        read(extended(LONGEST + 1, kind) + end)
    with pytest.raises(ValueError, match="a header is extended more than 4 times"):
        read(extended(0, kind) * 5 + end)
    assert [name for name, _ in read(extended(0, kind) * 4 + end)] == ["a"]


@pytest.mark.parametrize(
    "content", [b"1" * 20, b"9 path=a\n\n", b"0 path=a\n", b"99 path=a\n", b"8 path=a", b"9 path a\n", b"-9 path=\n"]
)
def test_damaged_records_are_refused(content):
    block = tarfile.TarInfo("x")
    block.type, block.size = tarfile.XHDTYPE, len(content)
    with pytest.raises(ValueError, match="an extended header is damaged"):
        read(block.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512) + tarfile.TarInfo("a").tobuf())


def test_skipping_beyond_the_end_is_seen():
    for stream in (io.BufferedReader(io.BytesIO(b"1234")), io.BytesIO(b"1234")):
        with pytest.raises(tarfile.ReadError, match="unexpected end"):
            skip(stream, 5)


@given(st.text("ab./", max_size=12))
def test_samples_are_named_as_webdataset_names_them_but_for_hidden_files(path):
    if not path.rpartition("/")[2].startswith("."):
        assert key_of(path) == base_plus_ext(path)
