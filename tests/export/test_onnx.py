"""ONNX files of every family: onnxruntime draws what PyTorch draws, in any batch; what cannot be is one sentence."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from torch import nn

from rggan import UserError
from rggan.cli.main import main
from rggan.export.onnx import LIBRARIES, metadata, to_onnx, write_onnx
from rggan.export.traced import Part, whole
from rggan.networks import FAMILIES
from tests.export.networks import small

there = all(importlib.util.find_spec(name) for name in LIBRARIES)
needs_onnx = pytest.mark.skipif(not there, reason="needs onnx, onnxscript and onnxruntime")
OTHERS = [name for name in FAMILIES.builtin if name != "sngan"]


def run(file, **inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (images,) = session.run(["images"], {name: np.asarray(value) for name, value in inputs.items()})
    return torch.from_numpy(images)


def close(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max().clamp(min=1)


@needs_onnx
@pytest.mark.parametrize("name", ["sngan", *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)])
def test_a_file_draws_what_the_network_draws(name, tmp_path, capsys):
    generator = small(name)
    generator.save(tmp_path)
    file = tmp_path / "new" / "g.onnx"
    assert main(["export", str(tmp_path), "--onnx", str(file)]) == 0
    assert str(file) in capsys.readouterr().out.replace("\n", "")
    assert [path.name for path in file.parent.iterdir()] == ["g.onnx"]
    styled = generator.style_network is not None
    for rows in (1, 3, 5):
        z, labels = torch.randn(rows, 16), torch.randint(3, (rows,))
        for truncation in (1.0, 0.3) if styled else (1.0,):
            given = {"truncation": np.float32(truncation)} if styled else {}
            with torch.no_grad():
                expected = generator.network(z, labels, **({"truncation": truncation} if styled else {}))
            found = run(file, z=z, labels=labels, **given)
            close(found, expected)
            assert rows == 1 or expected.std(dim=0).mean() > 0.01  # there is something to tell apart


@needs_onnx
@pytest.mark.slow
def test_noise_is_an_input_that_may_be_left_out(tmp_path):
    generator = small("stylegan2", classes=0)
    write_onnx(generator, tmp_path / "g.onnx")
    holders = [module for module in generator.network.modules() if "noise" in dict(module.named_buffers(recurse=False))]
    z, one = torch.randn(3, 16), np.float32(1)
    given = {f"noise_{i}": torch.randn(module.noise.shape) for i, module in enumerate(holders)}
    own = run(tmp_path / "g.onnx", z=z, truncation=one)
    other = run(tmp_path / "g.onnx", z=z, truncation=one, **given)
    assert (own - other).abs().max() > 0.01
    for module, noise in zip(holders, given.values(), strict=True):
        module.noise.copy_(noise)
    with torch.no_grad():
        close(other, generator.network(z))


@needs_onnx
@pytest.mark.parametrize(("channels", "word"), [(1, "grey"), pytest.param(4, "rgba", marks=pytest.mark.slow)])
def test_a_file_tells_what_it_is(channels, word, tmp_path):
    import onnx

    generator = small("sngan", classes=2, side=(16, 24), channels=channels)
    generator.config["class_counts"] = [3, 5]
    generator.config["trained"] = {"data": "/home/me/private"}
    write_onnx(generator, tmp_path / "g.onnx", opset=20)
    model = onnx.load(str(tmp_path / "g.onnx"))
    onnx.checker.check_model(model, full_check=True)
    told = {each.key: each.value for each in model.metadata_props}
    assert told == metadata(generator)
    assert (told["channels"], told["latent_size"], told["pixel_range"]) == (word, "16", "-1..1")
    assert (told["height"], told["width"]) == ("16", "24")
    assert json.loads(told["classes"]) == ["class 0", "class 1"]
    assert json.loads(told["class_counts"]) == [3, 5]
    assert b"private" not in (tmp_path / "g.onnx").read_bytes()
    assert [each.version for each in model.opset_import if not each.domain] == [20]
    shape = [each.dim_param or each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", 16]


@needs_onnx
def test_a_module_of_anybodys():
    network = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Unflatten(1, (3, 2, 2)))
    exported = to_onnx(Part(network, {"input": torch.randn(2, 4)}, ("input",)), told={"author": "me"})
    assert exported.difference < 1e-5
    assert b"author" in exported.content


class Random(nn.Module):
    """Draws other pictures each time, so no file can draw them."""

    def forward(self, input):
        return input + torch.rand_like(input)


class Branching(nn.Module):
    """A branch that depends on values, which no trace follows."""

    def forward(self, input):
        return input if input.sum() > 0 else -input


@needs_onnx
def test_other_pictures_than_pytorchs_are_refused():
    with pytest.raises(UserError, match=r"onnxruntime's pictures differ from PyTorch's by 0\.\d+: nothing is written"):
        to_onnx(Part(Random(), {"input": torch.randn(2, 4)}, ("input",)))


@needs_onnx
def test_what_cannot_be_traced_is_told():
    with pytest.raises(UserError, match=r"^This network cannot be traced for ONNX: .+\.$"):
        to_onnx(Part(Branching(), {"input": torch.randn(2, 4)}, ("input",)))


def refused(capsys, *words):
    assert main(["export", *map(str, words)]) == 2
    return capsys.readouterr().err.removeprefix("rggan: ").strip()


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "run"
    small("sngan", side=(16, 16)).save(folder)
    return folder


@needs_onnx
def test_bad_input_is_one_sentence_and_nothing_is_written(saved, tmp_path, capsys):
    from onnx.defs import onnx_opset_version

    new, old = tmp_path / "new.onnx", tmp_path / "old.onnx"
    old.write_text("mine")
    between = f"--opset is a number from 18 to {onnx_opset_version()}, not"
    assert refused(capsys, saved, "--onnx", new, "--opset", 17) == f"{between} 17."
    assert refused(capsys, saved, "--onnx", new, "--opset", 99) == f"{between} 99."
    there = f"{old} is there already: give another name, or --overwrite to replace it."
    assert refused(capsys, saved, "--onnx", old) == there
    named = f"--onnx is a file whose name ends in .onnx, not {tmp_path / 'g.pt'}."
    assert refused(capsys, saved, "--onnx", tmp_path / "g.pt") == named
    assert refused(capsys, saved, "--opset", 20).startswith("Say what to write, one at a time: --onnx")
    assert refused(capsys, tmp_path / "no", "--onnx", new).startswith(f"There is nothing at {tmp_path / 'no'}")
    assert old.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.onnx", "run"]


def test_a_missing_library_is_named(saved, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in LIBRARIES[:2] else find(name))
    told = refused(capsys, saved, "--onnx", tmp_path / "g.onnx")
    assert told.startswith("ONNX needs onnx and onnxscript") or "onnxruntime" in told
    assert told.endswith('pip install "rggan[onnx]".')
    assert not (tmp_path / "g.onnx").exists()


@needs_onnx
@pytest.mark.slow
def test_a_shape_with_an_odd_base_and_excitations():
    """96 x 64 pixels begin with maps of 6 x 4, which FastGAN pools to 4 x 4."""
    assert to_onnx(whole(small("fastgan", classes=0, side=(96, 64)))).difference <= 1e-4
