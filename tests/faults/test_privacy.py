"""What goes to others names no place, user or host; what others hand over opens nothing that was not named here."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import socket
import sys
from pathlib import Path

import pytest
import torch

from rggan import Generator, UserError, train
from rggan.cli.main import main
from rggan.data.named import remember
from rggan.export.onnx import LIBRARIES
from rggan.export.runtime import RUNTIMES
from rggan.generation.discreet import shown
from rggan.generation.published import published
from tests.faults import privacy

ONNX = all(importlib.util.find_spec(name) for name in LIBRARIES)
ROOT = str(Path(__file__).parents[2])
USER, HOST, ABOVE = "alice-secret", "host-secret", "faces-secret"
TINY = ["--network", "sngan", "--resolution", "16", "--width-g", "8", "--width-d", "4", "--z-dim", "8", "--batch", "4"]
TINY += ["--score-samples", "8", "--kimg", "0.016", "--snap", "0.008", "--device", "cpu"]


def rggan(*words: object) -> None:
    assert main([*map(str, words)]) == 0


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The sentence with which a command refuses its words."""
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    return capsys.readouterr().err.strip().removeprefix("rggan: ")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody, on a machine with a name."""
    folder = tmp_path / "home" / USER
    folder.mkdir(parents=True)
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    for name in ("HOSTNAME", "HOST"):
        monkeypatch.setenv(name, HOST)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("RGGAN_CACHE", str(folder / "cache"))
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr(platform, "node", lambda: HOST)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_nothing_that_is_shared_names_a_place(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = privacy.pictures(home / ABOVE / "pictures")
    study, out = home / ABOVE / "study", home / "out"
    rggan("train", pictures, "--outdir", study, *TINY)
    first = next(study.glob("00000-*"))
    small = ("--samples", 20, "--replicates", 2)
    rggan("evaluate", first, "--reference", pictures, "--save-statistics", out / "a.npz", "--metrics", "kid", *small)
    rggan("train", pictures, "--outdir", study, *TINY, "--seed", 1, "--init", first)
    second = next(study.glob("00001-*"))
    rggan("show", first, "--film")
    rggan("show", second)
    rggan("show", first, second, "--out", out / "comparison.html")
    rggan("plot", first)
    rggan("plot", first, second, "--out", out / "plot.png")
    rggan("generate", first, "--seeds", "0-2", "--outdir", out / "pictures")
    rggan("generate", first, "--seeds", "0-1", "--walk", 2, "--outdir", out / "film")
    rggan("generate", first, "--seeds", "0-3", "--grid", "--outdir", out / "grid")
    rggan("export", first, "--sparse", out / "sparse", "--weights", "int8")
    rggan("ladder", first, "--outdir", out / "ladder", "--targets", 0.5, "--recover", 0.64, *small)
    scored = ("--seconds", 0, "--batch", 1, "--reference", pictures, *small)
    rggan("receipt", first, out / "ladder" / "0.5", "--out", out / "receipt.json", *scored)
    if ONNX:
        rggan("export", first, "--onnx", out / "a.onnx")
        package = home / "package" / "dist"
        package.mkdir(parents=True)
        for name in {name for files in RUNTIMES.values() for name in (files.module, files.binary)}:
            (package / Path(name).name).write_text("runtime")
        rggan("export", first, "--web", out / "web", "--runtime", package.parent)
    for name, content in published(Generator.from_pretrained(first), "ada/faces").items():
        (out / "hub").mkdir(exist_ok=True)
        (out / "hub" / name).write_bytes(content)

    made = [path for folder in (first, second) for path in folder.glob("*.png")]
    made += [path for folder in (first, second) for each in ("best", "last") for path in (folder / each).iterdir()]
    made += [first / "page.html", second / "page.html", first / "training.webp"]
    made += [path for path in out.rglob("*") if path.is_file() and "runs" not in path.relative_to(out).parts]
    endings = {path.suffix for path in made}
    assert endings >= {".png", ".html", ".safetensors", ".json", ".webp", ".gif", ".npz", ".md"}
    assert not ONNX or endings >= {".onnx", ".js"}
    secrets = [each.encode() for each in (USER, HOST, ABOVE, str(home), ROOT, sys.prefix)]
    found = [
        (str(path.relative_to(home)), secret.decode())
        for path in made
        for content in privacy.layers(path.read_bytes())
        for secret in secrets
        if secret in content
    ]
    assert not found, dict(found)
    assert b"pictures" in (first / "best" / "generator.safetensors").read_bytes()  # the last part stays
    assert str(pictures) in (first / "config.json").read_text()  # the run's own


def test_secrets_are_found_wherever_they_are_packed(tmp_path: Path) -> None:
    """What the test above looks with sees what it should."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    told = PngInfo()
    told.add_text("a", "alice-secret", zip=True)
    Image.new("L", (4, 4)).save(tmp_path / "a.png", pnginfo=told)
    import base64
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.png")
    page = b'src="data:image/png;base64,' + base64.b64encode((tmp_path / "a.zip").read_bytes()) + b'"'
    assert b"alice-secret" not in page
    assert any(b"alice-secret" in layer for layer in privacy.layers(page))


@pytest.mark.parametrize(
    ("place", "left"),
    [
        ("/home/alice-secret/faces", "faces"),
        ("alice-secret/faces/", "faces"),
        ("C:\\Users\\alice-secret\\faces", "faces"),
        ("\\\\host-secret\\share\\faces.zip", "faces.zip"),
        ("my_forms:LMDB:/home/alice-secret/faces.lmdb", "faces.lmdb"),
        ("/home/alice-secret/shards-{00..09}.tar", "shards-{00..09}.tar"),
        ("https://alice-secret:key@host-secret/faces.tar?sig=alice-secret#alice-secret", "faces.tar"),
        ("pipe:ssh alice-secret@host-secret cat faces.tar", "pipe"),
        ("hf:/home/alice-secret/faces", "faces"),
        ("hf:ada/faces:train", "hf:ada/faces:train"),
        ("hf-stream:ada/faces", "hf-stream:ada/faces"),
        ("digits", "digits"),
    ],
)
def test_what_is_left_of_a_place(place: str, left: str) -> None:
    assert shown(place) == left


def test_a_generator_that_holds_its_place_is_read_and_written_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = privacy.of_before(tmp_path / "old", "/home/alice-secret/faces")
    generator = Generator.from_pretrained(old)
    assert generator.config["trained"]["data"] == "/home/alice-secret/faces"
    assert USER not in repr(generator)
    rggan("info", old)
    assert "the file holds data /home/alice-secret/faces: an older rggan wrote it" in capsys.readouterr().out
    generator.save(tmp_path / "new")
    for path in (tmp_path / "new").iterdir():
        assert USER.encode() not in path.read_bytes()
    capsys.readouterr()
    rggan("info", tmp_path / "new")
    told = capsys.readouterr().out
    assert "an older rggan" not in told
    assert "data        faces" in told
    assert torch.equal(Generator.from_pretrained(tmp_path / "new").images(range(3)), generator.images(range(3)))


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account on which nothing was named yet."""
    monkeypatch.setattr("rggan.data.named.folder", lambda: tmp_path / "named")
    monkeypatch.setattr("rggan.data.named.KNOWN", set())


PLACES = [
    "{folder}/pictures",
    "{folder}/pictures.tar",
    "hf:alice-secret/faces",
    "hf-stream:alice-secret/faces",
    "https://example.org/faces.tar",
    "{folder}/shards-{{0..3}}.tar",
]
NAMES = (
    "names its data as {data}, and nothing on this account tells that you trained on them (earlier versions noted "
    "nothing): "
)


@pytest.mark.parametrize("place", PLACES)
def test_a_strangers_run_opens_nothing(
    place: str, named: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = privacy.pictures(tmp_path / "secret" / "pictures", 4)
    (tmp_path / "secret" / "pictures.tar").write_bytes(b"no tar")
    data = place.format(folder=secret.parent)
    run = privacy.stranger(tmp_path / "run", data)
    told = NAMES.format(data=data)
    by_name = "name it yourself if it shall be read, as PICTURES (--data)."
    with privacy.seen(*privacy.ASKED, *privacy.LOOKED) as events:
        for subject in (run, run / "best", run / "best" / "generator.safetensors"):
            sentence = refused(capsys, "evaluate", subject, "--samples", 8, "--replicates", 2)
            assert sentence == f"{run} {told}pass --trust-data to let it be read, or name pictures with --reference."
        sentence = refused(capsys, "ladder", run, "--outdir", tmp_path / "ladder")
        assert sentence == f"{run} {told}pass --trust-data to let it be read."
        assert refused(capsys, "train", "--resume", run, "--kimg", 9) == f"{run} {told}{by_name}"
        file = run / "config.json"
        assert refused(capsys, "train", "--config", file, "--outdir", tmp_path / "o") == f"{file} {told}{by_name}"
        rggan("show", run)
        for command in ("plot", "info"):
            rggan(command, run)
        rggan("evaluate", run, "--reference", "digits", "--max-images", 8, "--samples", 8, "--replicates", 2)
        shown = capsys.readouterr().out
        assert "Memorisation was not looked for: " in shown
        assert "or name pictures with --training." in " ".join(shown.split())
    opened = [arguments[0] for event, arguments in events if event in privacy.LOOKED]
    assert not [each for each in opened if isinstance(each, str | os.PathLike) and str(secret.parent) in str(each)]
    assert not [event for event, _ in events if event in privacy.ASKED]
    assert not (tmp_path / "o").exists()
    page = (run / "page.html").read_text()
    assert "nothing here tells that you named them" in page
    assert str(secret.parent) not in page


def test_trusted_once_it_is_read_and_asked_no_more(
    named: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = privacy.pictures(tmp_path / "pictures", 6)
    run = privacy.stranger(tmp_path / "run", str(data))
    words = ("evaluate", run, "--samples", 8, "--replicates", 2, "--metrics", "kid", "--memorisation", "off")
    assert "pass --trust-data" in refused(capsys, *words)
    rggan(*words, "--trust-data")
    rggan(*words)
    (tmp_path / "others").mkdir()
    other = privacy.stranger(tmp_path / "other", str(tmp_path / "others"))
    assert "pass --trust-data" in refused(capsys, "evaluate", other)


@pytest.mark.slow
def test_runs_of_ones_own_are_read_wherever_they_lie(
    named: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Moved, renamed, named through a link, from another folder, by another process."""
    data = privacy.pictures(tmp_path / "pictures", 8)
    monkeypatch.chdir(tmp_path)
    rggan("train", "pictures", "--outdir", "runs", *TINY)
    monkeypatch.setattr("rggan.data.named.KNOWN", set())  # as another process
    words = ("--samples", 8, "--replicates", 2, "--metrics", "kid", "--memorisation", "off")
    rggan("evaluate", "runs/latest", *words)
    shutil.move(next((tmp_path / "runs").glob("00000-*")), tmp_path / "mine")
    rggan("evaluate", "mine", *words)
    rggan("train", "--resume", "mine", "--kimg", 0.024)
    shutil.rmtree(data)
    assert "There is nothing at pictures" in refused(capsys, "evaluate", "mine", *words)


def test_who_names_the_data_of_a_file_is_asked_nothing(named: None, tmp_path: Path) -> None:
    from rggan.training.asked import asked

    data = str(privacy.pictures(tmp_path / "pictures", 4))
    run = privacy.stranger(tmp_path / "run", data)
    for option in ({"resume": run}, {"config": run / "config.json"}):
        with pytest.raises(UserError, match="name it yourself"):
            asked(option)
        assert asked({**option, "data": data})[0].data == data
    remember(data)
    assert asked({"resume": run})[0].data == data


def test_where_nothing_can_be_kept_the_process_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("rggan.data.named.folder", lambda: tmp_path / "file" / "named")
    monkeypatch.setattr("rggan.data.named.KNOWN", set())
    data = privacy.pictures(tmp_path / "pictures", 6)
    run = privacy.stranger(tmp_path / "run", str(data))
    words = ("evaluate", run, "--samples", 8, "--replicates", 2, "--metrics", "kid", "--memorisation", "off")
    assert "pass --trust-data" in refused(capsys, *words)
    rggan(*words, "--trust-data")


@pytest.mark.parametrize("kind", ["function", "TorchScript"])
def test_features_say_that_they_are_code(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    privacy.generator().save(tmp_path / "g")
    spec = "tests.faults.test_privacy:seen_by"
    if kind == "TorchScript":

        class Means(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.float().mean(dim=(2, 3))

        torch.jit.script(Means()).save(spec := str(tmp_path / "means.pt"))
    words = ["evaluate", str(tmp_path / "g"), "--reference", "digits", "--max-images", "8", "--samples", "8"]
    words += ["--replicates", "2", "--metrics", "kid", "--json"]
    capsys.readouterr()
    assert main([*words, "--features", spec]) == 0
    told = capsys.readouterr()
    assert told.err.count(f"note: --features {spec} is code, and runs here; take only such as you trust.") == 1
    assert json.loads(told.out)
    assert main(words) == 0
    assert "is code" not in capsys.readouterr().err


def seen_by(images: torch.Tensor) -> torch.Tensor:
    return images.float().mean(dim=(2, 3))


def test_training_names_its_data(named: None, tmp_path: Path) -> None:
    """By whichever way it is begun, before anything is read."""
    from rggan.data.named import named as is_named

    with pytest.raises(UserError):
        train(str(tmp_path / "shards-{0..3}.tar"), network="sngan", outdir=tmp_path / "runs", device="cpu")
    assert is_named(str(tmp_path / "shards-{0..3}.tar"))
