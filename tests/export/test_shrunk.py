"""A shrunk generator is a generator folder like any other."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from rggan.cli.main import main
from rggan.errors import UserError
from rggan.export.shrunk import shrunk
from rggan.generation.build import build
from rggan.generation.generator import Generator
from rggan.networks import FAMILIES

FAMILY_NAMES = ("sngan", "biggan", "stylegan2", "fastgan")


@torch.no_grad()
def pruned(name, classes=0, rows=True):
    """A generator of which every other pair of rows and of the columns that read them is zero."""
    torch.manual_seed(0)
    network = {"name": name, "resolution": [32, 32], "channels": 3, "width": 4, "z_dim": 16, "classes": classes}
    if name == "stylegan2":
        network["mapping_layers"] = 2
    built = build(network)
    for path, m in built.named_modules():
        if not isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) or "rgb" in path or not rows:
            continue
        weight = m.parametrizations.weight.original if hasattr(m, "parametrizations") else m.weight
        if path == "linear":
            weight.view(-1, 16, weight.shape[1])[torch.arange(weight.shape[0] // 16) % 4 < 2] = 0
            continue
        for dim in (0, 1):
            weight.movedim(dim, 0)[torch.arange(weight.shape[dim]) % 4 < 2] = 0
    for _ in range(8):  # statistics and spectral norms are those of its weights
        built(torch.randn(16, 16), torch.arange(16) % classes if classes else None)
    names = [f"c{i}" for i in range(classes)]
    return Generator(built, {"network": network, "classes": names, "trained": {"kimg": 1.0}})


def differ(one, other):
    return int((one.int() - other.int()).abs().max())


@pytest.mark.parametrize(("name", "classes"), [(name, 0) for name in FAMILY_NAMES] + [("biggan", 3), ("stylegan2", 3)])
def test_it_is_saved_and_read_like_any_other(name, classes, tmp_path):
    whole = pruned(name, classes)
    small = shrunk(whole)
    assert small.parameters < 0.8 * whole.parameters
    small.save(tmp_path)
    read = Generator.from_pretrained(tmp_path)
    assert read.parameters == small.parameters
    assert read.config == small.config | {"format": 3}
    assert differ(read.images(range(6)), whole.images(range(6))) <= 1
    assert differ(read.images(range(2), truncation=0.5), whole.images(range(2), truncation=0.5)) <= 1


def test_whole_generators_stay_of_the_format_that_earlier_versions_read(tmp_path):
    pruned("sngan").save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["format"] == 2


def test_it_is_shrunk_again(tmp_path):
    small = shrunk(pruned("sngan"))
    with torch.no_grad():
        small.network.blocks[2].conv1.weight[:1] = 0
        small.network.blocks[2].norm2.bias[:1] = 0
        small.network.blocks[2].norm2.weight[:1] = 0
    smaller = shrunk(small)
    smaller.save(tmp_path)
    assert Generator.from_pretrained(tmp_path).parameters < small.parameters


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ({"linear.weight": [8, -1]}, "its shapes are none"),
        ({"linear.weight": "wide"}, "its shapes are none"),
        ({"nothing.weight": [8, 1]}, "it has no nothing.weight, whose shape is told"),
        ({"linear.weight": [100000, 16]}, "linear.weight of .* does not become .* by rows that leave"),
        ({}, "its config describes F32"),
    ],
)
def test_shapes_that_are_none_are_refused(shapes, told, tmp_path):
    small = shrunk(pruned("sngan"))
    small.config["network"]["shapes"] = shapes
    small.save(tmp_path)
    with pytest.raises(UserError, match=told):
        Generator.from_pretrained(tmp_path)


def test_by_the_command_line(tmp_path, capsys):
    whole = pruned("sngan")
    whole.save(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--shrink", str(tmp_path / "small")]) == 0
    assert "parameters are left, the pictures are the same" in " ".join(capsys.readouterr().out.split())
    assert main(["generate", str(tmp_path / "small"), "--seeds", "0-1", "--outdir", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) >= 2
    capsys.readouterr()
    assert main(["export", str(tmp_path / "run"), "--shrink", str(tmp_path / "small")]) == 2
    told = f"{tmp_path / 'small'} is not empty: give another folder, or --overwrite to replace what is there."
    assert capsys.readouterr().err == f"rggan: {told}\n"
    before = (tmp_path / "run" / "generator.safetensors").read_bytes()
    assert main(["export", str(tmp_path / "run"), "--shrink", str(tmp_path / "run"), "--overwrite"]) == 2
    assert "is the folder of the generator itself: give another." in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "run" / "generator.safetensors").read_bytes() == before
    assert main(["export", str(tmp_path / "run"), "--shrink", str(tmp_path / "small"), "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("rows", "told"),
    [(False, "it was trained without masks"), (True, "of its weights are zero, but no row")],
)
def test_nothing_silent_is_told_and_nothing_written(rows, told, tmp_path, capsys):
    whole = pruned("sngan", rows=False)
    if rows:
        with torch.no_grad():
            for p in whole.network.parameters():
                p.view(-1)[::2] = 0 if p.dim() > 1 else p.view(-1)[::2]
    whole.save(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--shrink", str(tmp_path / "small")]) == 2
    error = capsys.readouterr().err
    assert "rggan: There is nothing silent to remove in this generator: " in error
    assert told in error
    assert error.endswith("; --granularity row prunes whole rows.\n")
    assert not (tmp_path / "small").exists()


def test_families_of_others_are_shrunk_too():
    """No family is told apart: all that is known of one is how its network computes."""
    assert set(FAMILY_NAMES) < set(FAMILIES.builtin)


@pytest.mark.slow
def test_it_is_exported_further(tmp_path):
    """As ONNX, which is compared with PyTorch there."""
    pytest.importorskip("onnxruntime")
    shrunk(pruned("sngan")).save(tmp_path / "small")
    assert main(["export", str(tmp_path / "small"), "--onnx", str(tmp_path / "small.onnx")]) == 0


def test_the_blocks_of_the_page_run(capsys):
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    blocks = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "shrink(" in block]
    exec("\n".join(blocks), {"__name__": "a_file"})
    told = re.findall(r"out_features\)  # (\d+)", page)
    assert capsys.readouterr().out.split() == told
    assert len(told) == 2
