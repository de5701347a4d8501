"""Pushed to the Hugging Face Hub and read back, against a hub on this machine; what goes wrong is one sentence."""

import builtins
import importlib
import json
import os
import subprocess
import sys

import pytest
import torch

from rggan import Generator, TrainConfig, UserError
from rggan.cli.main import main
from rggan.generation.card import card
from rggan.generation.hub import is_name
from rggan.generation.outputs import fingerprint
from rggan.generation.storage import write_packed
from rggan.run.folder import Run
from tests.export.hub_server import Hub, Repository
from tests.test_generator import tiny

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
PROVENANCE = {"extractor": "reporting", "extractor_hash": "ab" * 32, "view": "whole", "samples": 500, "seeds": "0-499"}
PROVENANCE |= {"reference_images": 40, "reference_hash": "cd" * 32, "reference_split": "all", "steered_by": "steering"}
COPIES = {"samples": 500, "copies": 3, "rate": 0.006, "expected": 0.02, "p_value": 0.9, "replays": False}
COPIES |= {"yardstick": "held-out", "yardstick_count": 50, "training_count": 40}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that the library takes for the real one, with a token that may write."""
    made = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", made.address)
    template = made.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setenv("HF_TOKEN", made.token)
    monkeypatch.chdir(tmp_path)
    yield made
    made.close()


@pytest.fixture
def run(tmp_path):
    """A run trained on tmp_path/my_faces, evaluated twice, once before its weights of now."""
    generator = tiny("sngan", classes=2, resolution=(16, 16))
    generator.config["classes"] = ["cats", "<b>|`x`"]
    data = str(tmp_path / "my_faces")
    provenance = {"extractor": "steering", "extractor_hash": "ef" * 32, "samples": 300, "reference": "held-out images"}
    trained = {"data": data, "seed": 4, "rule": "threshold", "kimg": 12.0, "score": 0.25, "density_g": 0.5}
    generator.config["trained"] = {**trained, "score_kind": "kernel", "score_provenance": provenance}
    run = Run(tmp_path / "runs" / "00000-my_faces")
    generator.save(run.best)
    run.write_options(TrainConfig(data=data, outdir=tmp_path / "runs", cond=True))
    run.write_data([{"data": data, "images": 40, "held_out": 10, "size": [16, 16], "channels": 3}])
    of_data = {**PROVENANCE, "reference": data}
    old = {"value": 99.25, "interval": [98.0, 100.0], "lower_is_better": True, "provenance": of_data}
    new = {"value": 41.5, "interval": [40.25, 42.75], "lower_is_better": True, "provenance": of_data}
    run.append_evaluation({"subject": "x", "snapshot": "best", "weights": "0" * 64, "fd-small": old, "kid": old})
    own = {"subject": "x", "snapshot": "best", "weights": fingerprint(run.best / "generator.safetensors")}
    run.append_evaluation({**own, "fd-small": new, "memorisation": COPIES})
    return run.path


def pushed(hub, name="ada/faces"):
    return hub.repositories[name].files


def readme(hub):
    """(its metadata, as the library reads it; the text below)"""
    read = huggingface_hub.ModelCard(pushed(hub)["README.md"].decode())
    return read.data, read.text


def test_pushed_and_read_back_it_draws_the_same_pictures(hub, run):
    generator = Generator.from_pretrained(run)
    address = generator.push_to_hub("ada/faces", private=True)
    assert address.startswith(f"{hub.address}/ada/faces/commit/")
    files = pushed(hub)
    assert set(files) == {".gitattributes", "generator.safetensors", "config.json", "samples.png", "README.md"}
    assert hub.repositories["ada/faces"].private
    assert len(hub.repositories["ada/faces"].commits) == 1
    again = Generator.from_pretrained("ada/faces")
    assert torch.equal(again.images(range(5)), generator.images(range(5)))
    assert again.classes == generator.classes


def test_no_folder_of_this_machine_is_told(hub, run, tmp_path):
    Generator.from_pretrained(run).push_to_hub("ada/faces")
    for name, content in pushed(hub).items():
        assert str(tmp_path).encode() not in content, name
    assert Generator.from_pretrained("ada/faces").config["trained"]["data"] == "my_faces"


def test_the_card_has_the_numbers_of_these_weights_with_where_they_come_from(hub, run):
    Generator.from_pretrained(run).push_to_hub("ada/faces", license="cc-by-4.0")
    data, text = readme(hub)
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("fd-small", 41.5, "my_faces")
    assert (data.license, data.library_name, data.model_name) == ("cc-by-4.0", "rggan", "faces")
    assert data.pipeline_tag == "unconditional-image-generation"
    row = next(line for line in text.splitlines() if line.startswith("| fd-small"))
    for told in ("41.5", "40.25 to 42.75", "500 (seeds 0-499)", "40 of my\\_faces", "reporting abababab"):
        assert told in row
    assert "99.25" not in text
    assert "0.6% of 500 samples look like copies" in text
    assert "judged by 50 held-out pictures" in text
    assert "In training its score was 0.25 (kernel distance of 300 samples" in text
    assert "40 of my\\_faces, and 10 held out" in text
    assert "50% of the prunable ones in use" in text
    assert "\ncc-by-4.0.\n" in text


def test_names_cannot_write_the_card(hub, run):
    Generator.from_pretrained(run).push_to_hub("ada/faces")
    _, text = readme(hub)
    assert "cats, \\<b\\>\\|\\`x\\`" in text
    assert "<b>" not in text


def test_the_card_says_what_is_not_known(hub, tmp_path):
    tiny("sngan").save(tmp_path / "alone")
    Generator.from_pretrained(tmp_path / "alone").push_to_hub("ada/faces")
    data, text = readme(hub)
    assert data.license is None
    assert data.eval_results is None
    for told in ("None is given", "It was not tested", "No number of `rggan evaluate`"):
        assert told in text


def test_changed_weights_take_no_number_of_the_run_along(hub, run):
    generator = Generator.from_pretrained(run)
    with torch.no_grad():
        next(generator.network.parameters()).mul_(0.5)
    generator.push_to_hub("ada/faces")
    data, text = readme(hub)
    assert data.eval_results is None
    assert "41.5" not in text
    assert "0.25" not in text
    assert "The weights were changed after the training" in text


def test_a_file_in_less_room_stays_so(hub, run, tmp_path):
    generator = Generator.from_pretrained(run)
    write_packed(generator.network, generator.config, tmp_path / "small", "int8")
    small = Generator.from_pretrained(tmp_path / "small")
    small.push_to_hub("ada/faces")
    size, own = (
        len(pushed(hub)["generator.safetensors"]),
        (tmp_path / "small" / "generator.safetensors").stat().st_size,
    )
    assert size == own
    assert torch.equal(Generator.from_pretrained("ada/faces").images(range(3)), small.images(range(3)))
    assert str(tmp_path).encode() not in pushed(hub)["generator.safetensors"]


def test_the_snippet_of_the_card_runs(hub, run, tmp_path):
    Generator.from_pretrained(run).push_to_hub("ada/faces")
    _, text = readme(hub)
    snippet = text.partition("```python\n")[2].partition("```")[0]
    assert len([line for line in snippet.splitlines() if line]) == 3
    exec(snippet, {})
    assert (tmp_path / "picture.png").is_file()


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        (
            lambda hub, patch: patch.delenv("HF_TOKEN"),
            "There is no token that may write to the Hugging Face Hub as ada/",
        ),
        (
            lambda hub, patch: patch.setenv("HF_TOKEN", "other"),
            "ada/faces cannot be written to: the token is not valid",
        ),
        (
            lambda hub, patch: setattr(hub, "refuses", 403),
            "cannot be written to: the token is not valid, or may not do",
        ),
        (lambda hub, patch: setattr(hub, "refuses", 400), r"ada/faces cannot be written to at http://127.*: "),
        (
            lambda hub, patch: hub.repositories.update({"ada/faces": Repository(files={"a.bin": b""})}),
            "holds files alr",
        ),
        (lambda hub, patch: hub.repositories.update({"ada/faces": Repository()}), "is there already, and public"),
    ],
)
def test_what_cannot_be_pushed_is_one_sentence_and_nothing_is_there(hub, run, monkeypatch, before, sentence):
    before(hub, monkeypatch)
    with pytest.raises(UserError, match=sentence):
        Generator.from_pretrained(run).push_to_hub("ada/faces", private="public" in sentence)
    assert not any(each.commits or "README.md" in each.files for each in hub.repositories.values())


@pytest.mark.parametrize("name", ["faces", "a/b/c", "ada/", "../faces", "ada/fa ces", "ada/\u732b"])
def test_a_name_that_is_none_asks_nobody(hub, run, name):
    with pytest.raises(UserError, match="A name on the Hugging Face Hub is USER/NAME"):
        Generator.from_pretrained(run).push_to_hub(name)
    assert hub.requests == []


def test_files_that_are_there_are_replaced_when_asked_for_and_others_stay(hub, run):
    hub.repositories["ada/faces"] = Repository(files={"README.md": b"mine", "notes.txt": b"mine"})
    generator = Generator.from_pretrained(run)
    with pytest.raises(UserError, match="ada/faces holds files already: give another name, or `overwrite`"):
        generator.push_to_hub("ada/faces")
    assert pushed(hub)["README.md"] == b"mine"
    generator.push_to_hub("ada/faces", overwrite=True)
    assert pushed(hub)["README.md"] != b"mine"
    assert pushed(hub)["notes.txt"] == b"mine"


def test_a_proposal_to_somebody_elses_repository_leaves_what_is_there(hub, run):
    hub.repositories["eve/faces"] = Repository(files={"README.md": b"hers"})
    assert (
        Generator.from_pretrained(run).push_to_hub("eve/faces", create_pr=True)
        == f"{hub.address}/eve/faces/discussions/2"
    )
    assert ("POST", "/api/models/eve/faces/commit/main?create_pr=1") in hub.requests
    assert ("POST", "/api/repos/create") not in hub.requests


def without(monkeypatch, module):
    """As if it were not installed."""
    real = importlib.import_module

    def refused(name, *words):
        if name.partition(".")[0] == module:
            raise ImportError(name)
        return real(name, *words)

    monkeypatch.setattr("rggan.generation.hub.import_module", refused)


def test_without_the_library_the_sentence_names_the_extra(hub, run, monkeypatch):
    without(monkeypatch, "huggingface_hub")
    with pytest.raises(UserError, match=r'^The Hugging Face Hub needs one more library: pip install "rggan\[hub\]"\.$'):
        Generator.from_pretrained(run).push_to_hub("ada/faces")
    with pytest.raises(UserError, match=r'^ada/faces is on no disk here, and .*pip install "rggan\[hub\]"\.$'):
        Generator.from_pretrained("ada/faces")


def test_a_generator_that_lies_here_is_read_without_the_library(run, monkeypatch):
    real = builtins.__import__

    def refused(name, *words, **more):
        if name.partition(".")[0] == "huggingface_hub":
            raise ImportError(name)
        return real(name, *words, **more)

    monkeypatch.setattr(builtins, "__import__", refused)
    without(monkeypatch, "huggingface_hub")
    assert Generator.from_pretrained(run).classes


def test_places_here_come_first_and_mistyped_ones_ask_nobody(hub, run, tmp_path):
    (tmp_path / "ada").mkdir()
    tiny("sngan").save(tmp_path / "ada" / "faces")
    assert Generator.from_pretrained("ada/faces").config["network"]["name"] == "sngan"
    for place in ("ada/fces", "runs/00001", "runs/nowhere", "a.safetensors", "eve/a.safetensors", "nowhere"):
        with pytest.raises(UserError, match="There is nothing at"):
            Generator.from_pretrained(place)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "how", "sentence"),
    [
        ("eve/none", {}, "There is no eve/none, neither here nor on the Hugging Face Hub; a private one needs a token"),
        ("eve/private", {"token": False}, "There is no eve/private, neither here nor on"),
        ("eve/other", {}, r"eve/other on the Hugging Face Hub has no generator\.safetensors: it is no generator of"),
        ("eve/other", {"revision": "v2"}, "eve/other on the Hugging Face Hub has no such revision"),
        ("eve/other", {"local_files_only": True}, "eve/other is neither a place here nor in the library's cache"),
        ("eve/broken", {}, "The generator in .* is damaged or foreign"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(hub, name, how, sentence):
    hub.repositories["eve/private"] = Repository(private=True)
    hub.repositories["eve/other"] = Repository(files={"model.bin": b""})
    hub.repositories["eve/broken"] = Repository(files={"generator.safetensors": b"no weights"})
    with pytest.raises(UserError, match=sentence):
        Generator.from_pretrained(name, **how)


def test_once_read_it_is_there_offline(hub, run, monkeypatch):
    Generator.from_pretrained(run).push_to_hub("ada/faces")
    first = Generator.from_pretrained("ada/faces").images([3])
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(Generator.from_pretrained("ada/faces").images([3]), first)
    with pytest.raises(
        UserError, match=r"^ada/others is neither a place here .*and the library is told to stay offline"
    ):
        Generator.from_pretrained("ada/others")
    with pytest.raises(UserError, match=r"^ada/others cannot be written to: the variable HF_HUB_OFFLINE says"):
        Generator.from_pretrained(run).push_to_hub("ada/others")
    assert hub.requests == []


def test_a_hub_out_of_reach_is_told(hub, run, monkeypatch):
    hub.close()
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # it tries several times
    with pytest.raises(UserError, match=r"^ada/faces is neither a place here .*, and http://127\S* is out of reach\.$"):
        Generator.from_pretrained("ada/faces")
    with pytest.raises(UserError, match=r"^ada/faces cannot be written to at http://127\S*: "):
        Generator.from_pretrained(run).push_to_hub("ada/faces")


def test_command_line(hub, run, tmp_path, capsys):
    assert main(["export", str(run), "--hub", "ada/faces", "--private", "--license", "apache-2.0"]) == 0
    assert (
        capsys.readouterr().out.replace("\n", " ").startswith("ada/faces is on the Hugging Face Hub, for its owner a")
    )
    assert readme(hub)[0].license == "apache-2.0"
    assert hub.repositories["ada/faces"].private
    assert main(["export", str(run), "--hub", "ada/faces"]) == 2
    assert "or --overwrite to replace" in capsys.readouterr().err
    assert main(["export", str(run), "--hub", "ada/faces", "--overwrite"]) == 0
    assert "It has no licence: --license gives it one." in capsys.readouterr().out
    for words, sentence in (
        (["--private", "--onnx", "a.onnx"], "rggan: --private belongs to --hub.\n"),
        (["--license", "mit", "--onnx", "a.onnx"], "rggan: --license belongs to --hub.\n"),
        (["--hub", "faces"], "rggan: A name on the Hugging Face Hub is USER/NAME, as ada/faces, not faces.\n"),
    ):
        assert main(["export", str(run), *words]) == 2
        assert capsys.readouterr().err == sentence
    outdir = tmp_path / "out"
    assert main(["generate", "ada/faces", "--outdir", str(outdir), "--seeds", "0-1", "--device", "cpu"]) == 0
    assert sorted(path.name for path in outdir.iterdir()) == ["seed0000.png", "seed0001.png"]


def test_a_name_is_told_from_a_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = ["ada/faces", "a.b/c-d_e", "faces", "a/b/c", "/ada/faces", "./ada", "~/faces", "ada/fa ces", "runs/00000-a"]
    assert [path for path in paths if is_name(type(tmp_path)(path))] == ["ada/faces", "a.b/c-d_e"]


@pytest.mark.parametrize("by", [None, [], "x", {"reference": None}])
def test_a_card_of_strange_evaluations_is_made(by):
    """What somebody else wrote into metrics.jsonl."""
    rows = [{"fd-small": {"value": 1.5, "interval": "wide", "provenance": by}, "memorisation": {"rate": 1}}]
    generator = tiny("sngan")
    assert "| fd-small | 1.5 |" in card("ada/faces", generator.config, 5, {}, rows)


@pytest.mark.slow
def test_the_address_of_the_hub_is_the_librarys_variable(run, tmp_path):
    """The whole way, in a process of its own."""
    hub = Hub()
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "home")}
    words = [sys.executable, "-m", "rggan", "export", str(run), "--hub", "ada/faces"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(pushed(hub)["config.json"])["network"]["name"] == "sngan"
    hub.close()
