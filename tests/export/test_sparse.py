"""Sparse files: as small as they should be, read back exactly, taken by every command; damaged ones are refused."""

import json

import pytest
import torch
from PIL import Image, ImageChops
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from rggan import Generator, UserError
from rggan.cli.main import main
from rggan.export.sparse import density, write_sparse
from rggan.generation import packed
from rggan.networks import FAMILIES
from tests.export.networks import small


def thinned(generator, kept=0.3):
    """Of each weight of a layer this share is left, as a mask does it."""
    for value in generator.network.parameters():
        if value.dim() > 1:
            with torch.no_grad():
                value[torch.rand(value.shape) >= kept] = 0
    return generator


def same(some, others):
    some, others = some.network.state_dict(), others.network.state_dict()
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


def file(folder):
    return folder / "generator.safetensors"


@pytest.fixture
def saved(tmp_path):
    """A generator at 30 % of its weights, in a folder."""
    generator = thinned(small("sngan", side=(16, 16), width=24))
    generator.save(tmp_path / "dense")
    return generator


OTHERS = [name for name in FAMILIES.builtin if name != "sngan"]


@pytest.mark.parametrize("name", ["sngan", *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)])
def test_every_family_at_30_percent_takes_at_most_40_percent_and_loads_exactly(name, tmp_path):
    widths = {"biggan": 8, "fastgan": 8, "projected": 8}
    generator = thinned(small(name, width=widths.get(name, 64), z_dim=64))
    generator.save(tmp_path / "dense")
    told = write_sparse(generator, tmp_path / "sparse")
    assert told.size == file(tmp_path / "sparse").stat().st_size
    assert told.size <= 0.4 * file(tmp_path / "dense").stat().st_size == 0.4 * told.dense
    assert told.density == pytest.approx(0.3, abs=0.02)
    assert (told.mean, told.largest) == (0, 0)
    found = Generator.from_pretrained(tmp_path / "sparse")
    assert same(found, generator)
    assert torch.equal(found.images(range(3)), generator.images(range(3)))


def test_a_loaded_one_is_saved_dense_again_as_the_same_file(saved, tmp_path):
    write_sparse(saved, tmp_path / "sparse")
    Generator.from_pretrained(tmp_path / "sparse").save(tmp_path / "again")
    assert file(tmp_path / "again").read_bytes() == file(tmp_path / "dense").read_bytes()


def test_the_commands_take_it(saved, tmp_path, capsys):
    dense, sparse = tmp_path / "dense", tmp_path / "sparse"
    assert main(["export", str(dense), "--sparse", str(sparse)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"of {file(dense).stat().st_size / 1e6:.2f} MB" in told
    assert "read back, every value is the same" in told
    assert sorted(path.name for path in sparse.iterdir()) == ["config.json", "generator.safetensors"]
    for folder in (dense, sparse):
        out = tmp_path / "out" / folder.name
        assert main(["generate", str(folder), "--seeds", "0-3", "--grid", "--outdir", str(out)]) == 0
    grids = [Image.open(tmp_path / "out" / folder.name / "grid.png") for folder in (dense, sparse)]
    assert ImageChops.difference(*grids).getbbox() is None


@pytest.mark.parametrize(("kind", "bits"), [("fp16", 16), ("int8", 8)])
def test_rounding_is_as_small_as_it_says_and_its_loss_is_told(kind, bits, saved, tmp_path, capsys):
    folder = tmp_path / kind
    assert main(["export", str(tmp_path / "dense"), "--sparse", str(folder), "--weights", kind]) == 0
    told = " ".join(capsys.readouterr().out.split())
    found = Generator.from_pretrained(folder)
    apart = (found.images(range(64)).int() - saved.images(range(64)).int()).abs()
    mean, largest = apart.float().mean().item(), apart.max().item()
    assert f"differ by {mean:.2g} grey levels (0 to 255) on average, by {largest} at most" in told
    assert 0 < mean < 3
    own, rounded = saved.network.state_dict(), found.network.state_dict()
    kept = {name for name, value in saved.network.named_parameters() if value.dim() > 1}
    assert all(torch.equal(own[name], rounded[name]) for name in own if name not in kept)
    for name in kept:
        assert torch.equal(rounded[name][own[name] == 0], torch.zeros_like(own[name])[own[name] == 0])  # masks stay
        rows = own[name].flatten(1)
        step = rows.abs().amax(dim=1, keepdim=True) / 127 if kind == "int8" else rows.abs() * 2**-10 + 2**-24
        assert ((rounded[name].flatten(1) - rows).abs() <= step / 2 * 1.001).all()
    # A bit for each weight, and the values.
    size = sum(own[name].numel() * (1 + 0.3 * bits) / 8 for name in kept)
    assert file(folder).stat().st_size < 1.3 * size + 30_000


def test_a_negative_zero_becomes_zero(saved, tmp_path):
    """A mask times a negative weight is one; nothing else about it differs."""
    weight = saved.network.to_rgb.weight
    with torch.no_grad():
        weight[weight == 0] = -0.0
    write_sparse(saved, tmp_path / "sparse")
    found = Generator.from_pretrained(tmp_path / "sparse").network.to_rgb.weight
    assert torch.equal(found, weight)
    assert not found[found == 0].signbit().any()


def test_what_is_read_back_differently_is_not_written(saved, tmp_path, monkeypatch):
    pack = packed.pack

    def spoilt(state, weights, kind):
        return pack(state | {"norm.bias": state["norm.bias"] + 1}, weights, kind)

    monkeypatch.setattr(packed, "pack", spoilt)
    for kind in ("fp32", "int8"):
        with pytest.raises(UserError, match=r"^norm\.bias was read back differently from what was written"):
            write_sparse(saved, tmp_path / "new", kind)
    assert not (tmp_path / "new").exists()


def test_fp16_leaves_values_that_it_cannot_hold(saved, tmp_path):
    weight = saved.network.to_rgb.weight
    with torch.no_grad():
        weight.view(-1)[0] = 1e5
    write_sparse(saved, tmp_path / "half", "fp16")
    assert torch.equal(Generator.from_pretrained(tmp_path / "half").network.to_rgb.weight, weight)


def refused(capsys, *words):
    assert main(["export", *map(str, words)]) == 2
    return capsys.readouterr().err.removeprefix("rggan: ").strip()


def test_a_dense_generator_is_told_so_but_may_be_rounded(tmp_path, capsys):
    generator = small("sngan", side=(16, 16))
    generator.save(tmp_path / "dense")
    told = refused(capsys, tmp_path / "dense", "--sparse", tmp_path / "new")
    assert told == (
        "Too few weights of this generator are 0 for a smaller file: prune G (--target-g), or round its weights "
        "(--weights fp16 or int8)."
    )
    assert not (tmp_path / "new").exists()
    assert write_sparse(generator, tmp_path / "new", "int8").size < file(tmp_path / "dense").stat().st_size


def test_folders_with_something_in_them_are_refused(saved, tmp_path, capsys):
    dense, other, new = tmp_path / "dense", tmp_path / "other", tmp_path / "new"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    told = f"There are other things in {other}, as mine.txt: give an empty folder."
    assert refused(capsys, dense, "--sparse", other) == told
    assert refused(capsys, dense, "--sparse", other, "--overwrite") == told
    assert refused(capsys, dense, "--sparse", other / "mine.txt") == f"{other / 'mine.txt'} is a file: give a folder."
    itself = f"{dense} is the folder of the generator itself: give another."
    assert refused(capsys, dense, "--sparse", dense, "--overwrite") == itself
    assert refused(capsys, dense, "--weights", "int8", "--onnx", "a.onnx") == "--weights belongs to --sparse."
    assert main(["export", str(dense), "--sparse", str(new)]) == 0
    told = f"{new} is not empty: give another folder, or --overwrite to replace what is there."
    assert refused(capsys, dense, "--sparse", new) == told
    assert main(["export", str(dense), "--sparse", str(new), "--weights", "fp16", "--overwrite"]) == 0
    assert (other / "mine.txt").read_text() == "mine"


NAME = "blocks.0.conv1.weight"


def spoilt(folder, change):
    """The file with other tensors."""
    path = file(folder)
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop(f"{NAME}:kept"), "parts that do not belong together"),
        (lambda t: t.pop(f"{NAME}:values"), "parts that do not belong together"),
        (lambda t: t.update({NAME: torch.zeros(24, 24, 3, 3)}), "parts that do not belong together"),
        (lambda t: t.update({f"{NAME}:kept": t[f"{NAME}:kept"][1:]}), "is not stored as a tensor of [24, 24, 3, 3]"),
        (lambda t: t.update({f"{NAME}:values": torch.zeros(10**6)}), "is not stored as a tensor of [24, 24, 3, 3]"),
        (lambda t: t.update({f"{NAME}:values": t[f"{NAME}:values"][1:]}), "values for"),
        (lambda t: t.update({f"{NAME}:values": t[f"{NAME}:values"].double()}), "is stored as F64, which it cannot be"),
        (lambda t: t.update({f"{NAME}:scale": torch.ones(24)}), "is stored as F32, which it cannot be"),
        (lambda t: t[f"{NAME}:values"].fill_(float("nan")), "has NaN or infinite values"),
        (lambda t: t.update({"more:kept": torch.zeros(1)}), "its tensors are not those of the sngan network"),
    ],
)
def test_a_damaged_file_is_refused(change, reason, saved, tmp_path):
    write_sparse(saved, tmp_path / "sparse")
    spoilt(tmp_path / "sparse", change)
    with pytest.raises(UserError) as error:
        Generator.from_pretrained(tmp_path / "sparse")
    assert "is damaged or foreign" in str(error.value)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop(f"{NAME}:scale"), "is stored as I8, which it cannot be"),
        (lambda t: t.update({f"{NAME}:scale": torch.ones(23)}), "is not stored as a tensor of [24, 24, 3, 3]"),
        (lambda t: t[f"{NAME}:scale"].fill_(float("inf")), "has NaN or infinite values"),
    ],
)
def test_a_damaged_factor_is_refused(change, reason, saved, tmp_path):
    write_sparse(saved, tmp_path / "sparse", "int8")
    spoilt(tmp_path / "sparse", change)
    with pytest.raises(UserError, match="is damaged or foreign") as error:
        Generator.from_pretrained(tmp_path / "sparse")
    assert reason in str(error.value)


def test_a_dense_file_takes_no_parts(saved, tmp_path):
    """Only a file that says so is read as packed."""
    write_sparse(saved, tmp_path / "sparse")
    path = file(tmp_path / "sparse")
    with safe_open(path, "pt") as opened:
        config = json.loads(opened.metadata()["rggan"])
    assert config["format"] == 4
    save_file(load_file(path), path, {"rggan": json.dumps(config | {"format": 2})})
    with pytest.raises(UserError, match="its tensors are not those of the sngan network"):
        Generator.from_pretrained(tmp_path / "sparse")


def test_density_counts_weights_of_layers_alone():
    network = nn.Sequential(nn.Linear(4, 4))
    nn.init.zeros_(network[0].bias)
    with torch.no_grad():
        network[0].weight[:2] = 0
    config = {"network": {"resolution": [16, 16], "classes": 0}, "classes": []}
    assert density(Generator(network, config)) == 0.5
