"""The published Inception network, found and fetched, and FID as papers take it."""

import hashlib
import io
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from rggan.evaluation.protocol import PROTOCOLS, Protocol
from rggan.metrics import inception
from rggan.run import naming
from tests.evaluation.test_distance_names import Inception

FEW = ("--replicates", "1", "--memorisation", "off")


@pytest.fixture(autouse=True)
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(inception.PLACE, raising=False)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "theirs" / inception.FILE
    path.parent.mkdir()
    torch.jit.script(Inception()).save(path)
    return path


@pytest.fixture
def known(program: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program stands for the published one."""
    monkeypatch.setattr(naming, "INCEPTION", hashlib.sha256(program.read_bytes()).hexdigest())
    return program


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are opened; each gives the text 'other'."""
    opened: list[str] = []

    def urlopen(url: str, timeout: float) -> io.BytesIO:
        opened.append(url)
        return io.BytesIO(b"other")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return opened


@pytest.mark.parametrize("place", ["file", "folder", "cache"])
def test_inception_is_found_by_the_variable_or_in_the_cache(place, generator, known, told, monkeypatch) -> None:
    if place == "cache":
        monkeypatch.setenv("RGGAN_CACHE", str(known.parent))
    else:
        monkeypatch.setenv(inception.PLACE, str(known if place == "file" else known.parent))
    (found,) = told("evaluate", generator, "--reference", "digits", "--features", "inception", "--samples", "8", *FEW)
    assert found["fid"]["provenance"]["extractor_hash"] == naming.INCEPTION


def test_another_file_and_none_are_one_sentence_and_nothing_is_fetched(
    generator, program, refused, monkeypatch, asked_for
) -> None:
    given = ("evaluate", generator, "--reference", "digits", "--features", "inception")
    err = refused(*given)
    assert inception.URL in err
    assert "--download" in err
    monkeypatch.setenv(inception.PLACE, str(program))
    assert "is not the published Inception network" in refused(*given)
    assert asked_for == []
    assert "--download fetches" in refused(*given[:4], "--download")


def test_download_shows_the_address_first_and_keeps_no_other_file(
    generator, refused, capfd, asked_for, monkeypatch
) -> None:
    given = ("evaluate", generator, "--reference", "digits", "--features", "inception", "--download")
    assert "is not the published Inception network" in refused(*given)
    assert asked_for == [inception.URL]
    assert not inception.inception_place().exists()
    shown: list[str] = []
    monkeypatch.setattr(naming, "INCEPTION", hashlib.sha256(b"other").hexdigest())

    def urlopen(url: str, timeout: float) -> io.BytesIO:
        assert inception.URL in shown[0]
        return io.BytesIO(b"other")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    inception.fetch_inception(shown.append)
    assert inception.inception_place().read_bytes() == b"other"
    monkeypatch.setattr(urllib.request, "urlopen", None)  # what is there is not fetched again
    inception.fetch_inception(shown.append)


def test_no_answer_is_one_sentence(generator, refused, monkeypatch) -> None:
    def urlopen(url: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    err = refused("evaluate", generator, "--reference", "digits", "--features", "inception", "--download")
    assert "cannot be fetched: no route to host" in err


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protocols with few samples, for the time that they take."""
    for one in list(PROTOCOLS.values()):
        monkeypatch.setitem(PROTOCOLS, one.name, Protocol(one.name, 8, one.training))


def test_protocols_have_the_papers_numbers_of_samples() -> None:
    assert {name: (one.samples, one.training) for name, one in PROTOCOLS.items()} == {
        "fid50k_train": (50_000, True),
        "fid10k_test": (10_000, False),
        "fid5k_fewshot": (5_000, True),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_a_number_compares_with_papers_by_extractor_and_protocol_only(
    runs, known, told, monkeypatch, tmp_path, digits
) -> None:
    run = runs["none", 0]
    monkeypatch.setenv(inception.PLACE, str(known))
    theirs = ("--features", "inception")

    def says(*words: str) -> str:
        (found,) = told("evaluate", run, *words, "--memorisation", "off")
        name = "fid" if "inception" in words else "fd-small"
        assert list(found) == ["subject", name, "notes"]
        assert found[name]["provenance"]["samples"] == 8
        assert found[name]["replicates"] == 1
        return found["notes"][0]

    for name in ("fid50k_train", "fid5k_fewshot"):
        assert says("--protocol", name, *theirs).startswith(f"comparable with papers: protocol {name} (8 ")
    np.save(tmp_path / "test.npy", digits.images[300:330].permute(0, 2, 3, 1).numpy())
    said = says("--protocol", "fid10k_test", "--reference", str(tmp_path / "test.npy"), *theirs)
    assert said.startswith("comparable with papers: protocol fid10k_test (8 samples against 30 images: ")
    assert "not the published" in says("--protocol", "fid5k_fewshot")
    assert "are the training images" in says("--protocol", "fid5k_fewshot", "--reference", "digits", *theirs)
    assert "are the training images" in says("--protocol", "fid10k_test", "--reference", "digits", *theirs)
    assert "bf16" in says("--protocol", "fid5k_fewshot", "--precision", "bf16", *theirs)


def test_what_contradicts_a_protocol_is_refused(generator, refused) -> None:
    given = ("evaluate", generator, "--protocol")
    assert "name them with --reference" in refused(*given, "fid10k_test")
    assert "leave --samples out" in refused(*given, "fid50k_train", "--samples", "100")
    assert "leave --metrics out" in refused(*given, "fid50k_train", "--metrics", "kid")
