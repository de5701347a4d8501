"""Presets are valid and can be built; the command line takes them, and what it gives besides overrides them."""

import dataclasses
import io
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from rggan import TrainConfig, UserError, train
from rggan.cli.main import main, parse
from rggan.generation.build import build
from rggan.networks import FAMILIES, check_resolution
from rggan.presets import PRESETS, Found, choose, pruning, settings
from rggan.pretrained import Pretrained
from rggan.run.folder import Run
from rggan.run.outdir import find_run
from rggan.training.checkpoint import checkpoints
from rggan.training.setup import make_steps
from tests.conftest import folders

pytestmark = pytest.mark.slow  # all together they take seconds

SMALL = [
    *("--max-images", "60", "--width-g", "8", "--width-d", "8", "--z-dim", "8", "--batch", "8"),
    *("--score-samples", "16", "--precision", "fp32", "--device", "cpu"),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """A dry run measures what a step takes; here it is one."""
    monkeypatch.setattr("rggan.cli.train.MEASURED", 0.0)


def networks(config, side, classes=0):
    """On no device where that is fast; a spectral norm is slower there than on the CPU."""
    description = {"name": config.network, "resolution": [side, side], "channels": 3, "width": config.width_g}
    description |= {"z_dim": config.z_dim, "classes": classes}
    if config.network == "stylegan2":
        description["mapping_layers"] = config.mapping_layers
    with torch.device("meta" if config.network == "stylegan2" else "cpu"):
        return build(description), FAMILIES.get(config.network).discriminator(side, 3, config.width_d, classes=classes)


@pytest.mark.parametrize("name", [*PRESETS, *FAMILIES.builtin])
def test_presets_and_families_are_valid_and_can_be_built(name):
    config = TrainConfig.of(name)
    assert config == TrainConfig(**settings(name), **pruning({}))
    side = config.resolution or 64
    narrow = config if config.network == "stylegan2" else dataclasses.replace(config, width_g=16, width_d=16)
    for network in networks(narrow, side, classes=3 if config.cond else 0):
        assert sum(p.numel() for p in network.parameters()) > 10_000
    assert make_steps(config, side * side, torch.device("cpu")).gamma >= 0


def test_every_file_of_networks_is_a_family_by_its_name_or_shared():
    assert set(FAMILIES.builtin) == {"biggan", "fastgan", "projected", "projected-stylegan2", "sngan", "stylegan2"}
    assert all(FAMILIES.get(name).sizes.title.lower().replace(" ", "-") == name for name in FAMILIES.builtin)
    assert not set(PRESETS) & set(FAMILIES.builtin)
    assert TrainConfig.of("sngan", networks="both") == TrainConfig()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_family_with_its_own_options(name):
    config, family = TrainConfig.of(name), TrainConfig.of(PRESETS[name]["network"])
    changed = {f.name for f in dataclasses.fields(config) if getattr(config, f.name) != getattr(family, f.name)}
    assert changed <= set(PRESETS[name])
    assert all(getattr(config, option) == value for option, value in PRESETS[name].items())


def test_options_given_override_a_preset():
    config = TrainConfig.of("stylegan2-256", batch=4, lr=0.1, resolution=128)
    assert (config.batch, config.lr, config.resolution, config.mapping_layers) == (4, 0.1, 128, 8)
    assert PRESETS["stylegan2-256"]["batch"] == 64  # the table is not changed
    assert TrainConfig.of("stylegan2-256").batch == 64


def test_what_a_family_brings_for_densities_is_not_asked_for():
    """Without a density that follows D it means nothing, and is no reason to refuse a baseline."""
    assert TrainConfig.of("projected", rule="none").set_point == TrainConfig.of("projected").set_point == 0.9
    with pytest.raises(UserError, match="`set_point` goes with"):
        TrainConfig.of("projected", rule="none", set_point=0.8)
    with pytest.raises(UserError, match="`set_point` goes with"):
        TrainConfig.of("fastgan", rule="none", set_point=0.9)


def test_unknown_names_are_refused(capsys):
    with pytest.raises(UserError, match=r"Unknown `cfg` stylegan3; there are auto, sngan-cifar, .*biggan"):
        TrainConfig.of("stylegan3")
    assert main(["train", "digits", "-n", "--cfg", "stylegan3"]) == 2
    assert "Unknown --cfg stylegan3" in capsys.readouterr().err
    assert main(["train", "digits", "-n", "--network", "stylegan3"]) == 2
    assert "--network stylegan3: there are biggan" in capsys.readouterr().err


@pytest.mark.parametrize("name", FAMILIES.builtin)
@pytest.mark.parametrize("form", ["{} {}", "{}={}"])
def test_network_on_the_command_line_brings_its_familys_settings(name, form):
    words = form.format("--network", name).split()
    assert parse(["train", "digits", *words]) == TrainConfig.of(name)
    given = parse(["train", "digits", "--lr", "0.001", *words, "--batch", "4"])
    assert given == TrainConfig.of(name, lr=0.001, batch=4)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("form", ["{} {}", "{}={}"])
def test_cfg_on_the_command_line_brings_its_settings(name, form):
    words = form.format("--cfg", name).split()
    assert parse(["train", "digits", *words]) == TrainConfig.of(name, cfg=name)
    assert parse(["train", "digits", *words, "--batch", "4"]) == TrainConfig.of(name, cfg=name, batch=4)
    assert parse(["train", "digits", "--batch", "4", *words]) == TrainConfig.of(name, cfg=name, batch=4)


def test_command_lines_of_the_documents():
    config = parse(["train", "digits", "--network", "stylegan2", "--lr", "0.001"])
    assert (config.loss, config.z_dim, config.beta2, config.d_steps) == ("nonsaturating", 256, 0.99, 1)
    assert config.lr == 0.001
    config = parse(["train", "digits", "--cfg", "fastgan-128", "--batch", "4"])
    assert (config.network, config.resolution, config.batch, config.mirror) == ("fastgan", 128, 4, True)
    config = parse(["train", "digits", "--cfg=biggan-cifar"])
    assert (config.network, config.d_steps, config.cond) == ("biggan", 4, True)


# Chosen by what is there


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("cond", [False, True])
def test_choices_are_valid_and_say_what_was_chosen(cuda, cond, pretrained):
    sides = (16, 32, 64, 128, 256)  # what `natural_resolution` gives
    seen = set()
    for images, side, classes in itertools.product((2, 1999, 2000, 4999, 5000), sides, (0, 10)):
        options, why = choose(Found(images, side, classes, cuda, pretrained), {"cond": cond})
        config = TrainConfig(**options)
        seen.add((config.network, config.aug, side))
        assert check_resolution(side, FAMILIES.get(config.network).sizes) == (side, side)
        lines = dict(line.split(maxsplit=1) for line in why)
        names = ["network", "width", "length", "augment"]
        faster = not cuda and config.network in ("fastgan", "projected")
        more = [*(["gamma"] if config.network == "stylegan2" else []), *(["rate"] if faster else [])]
        assert sorted(lines) == sorted([*names, *more])
        assert (config.lr == 1e-3) == faster
        assert lines["network"].startswith(f"{config.network}: ")
        assert config.width_g == config.width_d
        assert lines["width"].startswith(f"{config.width_g}, batch {config.batch}: ")
        assert ("GPU" if cuda else "CPU") in lines["width"]
        assert lines["length"].startswith(f"{config.kimg:g} kimg, looked at every {config.snap:g}: ")
        assert lines["augment"].startswith(f"{config.aug}: {images:,} pictures")
        if config.network == "stylegan2":
            assert config.gamma is None  # the run's own rule of thumb
            assert lines["gamma"].startswith(f"0.0002 x pixels / batch: {0.0002 * side * side / config.batch:.3g} ")
        if config.network == "biggan":
            assert cond
            assert classes
    for name, side in {(network, side) for network, _, side in seen}:
        networks(TrainConfig(network=name, width_g=4, width_d=4), side)
    families = {network for network, _, _ in seen}
    large = {"fastgan"} if not cuda else {"projected"} if pretrained else {"fastgan", "stylegan2"}
    assert {network for network, _, side in seen if side >= 64} - {"biggan"} == large
    assert families - large == {"sngan"} | ({"stylegan2"} if cuda else set()) - large | ({"biggan"} & families)
    assert ("biggan" in families) == (cond and cuda)
    assert ("projected", "ada") not in {(network, aug) for network, aug, _ in seen}
    assert {aug for _, aug, _ in seen} == {"ada", "diff"}


def test_auto_says_a_line_for_each_choice(capsys, tmp_path):
    assert main(["train", "digits", "--device", "cpu", "--outdir", str(tmp_path / "runs"), "-n"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("network", "width", "length", "augment", "sparsity"):
        assert sum(line.startswith(f"{name} ") for line in lines) == 1, name
    options, _ = choose(Found(1797, 16, 10, False), {"device": "cpu"})
    expected = TrainConfig(**options, **pruning({}))
    assert parse(["train", "digits", "--device", "cpu"]) == expected
    assert parse(["train", "--cfg", "auto", "--data", "digits", "--device", "cpu"]) == dataclasses.replace(
        expected, cfg="auto"
    )
    assert TrainConfig.of("auto", data="digits", device="cpu") == expected
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("installed", [False, True])
def test_auto_looks_at_the_data_that_the_other_options_name(tmp_path, monkeypatch, installed):
    monkeypatch.setattr(Pretrained, "installed", lambda self: installed)
    for i in range(6):
        Image.fromarray(np.full((70, 90, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    line = ["train", "--data", str(tmp_path), "--device", "cpu"]
    assert parse([*line, "--cfg", "auto"]).network == "fastgan"
    assert parse(["train", "--cfg=auto", *line[1:]]).network == "fastgan"
    assert parse([*line, "--cfg", "auto", "--resolution", "32"]).network == "sngan"
    config = parse([*line, "--cfg", "auto", "--batch", "3", "--kimg", "7"])
    assert (config.network, config.batch, config.kimg) == ("fastgan", 3, 7)
    many = ["train", "digits", "--device", "cpu"]
    assert parse([*many, "--max-images", "100"]).aug == "diff"


BY_DEFAULT, PAPER = ("d", None, "auto"), ("both", None, None)
ASKED = {
    "": BY_DEFAULT,
    "--data rule": BY_DEFAULT,
    "--network stylegan2 --resolution 32": BY_DEFAULT,
    "--set-point 0.3": BY_DEFAULT,
    "--networks d": BY_DEFAULT,
    "--target-d auto": BY_DEFAULT,
    "--networks d --target-d auto": BY_DEFAULT,
    "--finale 0.2": BY_DEFAULT,
    "--target-d 0.3": ("d", None, 0.3),
    "--target_d 0.3 --schedule always": ("d", None, 0.3),
    "--target-g 0.3": ("both", 0.3, "auto"),
    "--target-g=0.3": ("both", 0.3, "auto"),
    "--target-g 0.3 --schedule always": ("both", 0.3, "auto"),
    "--target-g 0.3 --fade 5 --lr-dense 0.5": ("both", 0.3, "auto"),
    "--target-g 0.3 --rewind 5": ("both", 0.3, "auto"),
    "--target-g 0.3 --target-d 0.2": ("both", 0.3, 0.2),
    "--schedule-g periodic --period 3": ("both", None, "auto"),
    "--fade 5": ("both", None, "auto"),
    "--networks both --target-d auto": ("both", None, "auto"),
    "--rule none": PAPER,
    "--rule published": PAPER,
    "--rule=threshold": PAPER,
    "--penalty 0.5": PAPER,
    "--networks both": PAPER,
    "--schedule overfit": PAPER,
    "--rule set --balance": PAPER,
    "--networks g": ("g", None, None),
    "--networks g --target-g 0.5": ("g", 0.5, None),
}


@pytest.mark.parametrize("cfg", [["--network", "sngan"], []])
@pytest.mark.parametrize("line", ASKED)
def test_what_is_pruned_is_left_to_whom_decides_it(line, cfg, tmp_path, monkeypatch):
    """D as far as it overfits; any option that decides it leaves the paper's own way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule").mkdir()
    for i in range(3):
        Image.fromarray(np.full((16, 16, 3), 50 * i, np.uint8)).save(tmp_path / "rule" / f"{i}.png")
    data = [] if "--data" in line else ["digits"]
    config = parse(["train", *data, "--device", "cpu", "--max-images", "50", *cfg, *line.split()])
    assert (config.networks, config.target_g, config.target_d) == ASKED[line]
    if "--network" in line.split():
        assert (config.network, config.loss, config.beta2) == ("stylegan2", "nonsaturating", 0.99)


@pytest.mark.parametrize("line", ["--rule none", "--rule published", "--penalty 0.5", "--target-g 0.5", "--networks g"])
def test_a_run_like_another_leaves_open_what_that_one_left_open(line, tmp_path):
    """The dense twin of a default run, say; one that named its target keeps it."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(parse(["train", "digits", "--network", "sngan", "--lr", "0.001"]).to_json()))
    again = parse(["train", "--config", str(path), *line.split()])
    assert dataclasses.replace(again, config=None) == parse(
        ["train", "digits", "--network", "sngan", "--lr", "0.001", *line.split()]
    )
    path.write_text(json.dumps(parse(["train", "digits", "--target-d", "0.3"]).to_json()))
    assert parse(["train", "--config", str(path), "--lr", "0.1"]).target_d == 0.3


def test_a_run_says_what_is_pruned(capsys):
    for line, told in {
        "": "G stays dense, D as far as D overfits (auto); rule threshold",
        "--target-g 0.5": "G to 0.5, D as far as D overfits (auto); rule threshold",
        "--networks both": "G by a penalty, D by a penalty; rule threshold",
        "--rule set": "G to a half, D to a half; rule set",
        "--rule none": "none: dense training",
    }.items():
        assert main(["train", "digits", "-n", *line.split()]) == 0
        assert f"\nsparsity   {told}\n" in capsys.readouterr().out


def test_a_preset_in_python_prunes_as_the_command_does():
    assert TrainConfig.of("sngan", data="x") == parse(["train", "x", "--network", "sngan"])
    assert TrainConfig.of("biggan", target_g=0.3) == parse(
        ["train", "digits", "--network", "biggan", "--target-g", "0.3"]
    )
    assert TrainConfig.of("fastgan", rule="none").networks == "both"


def test_the_same_command_with_auto_continues_its_run(tmp_path, capsys):
    line = ["train", "digits", "--kimg", "0.096", "--snap", "0.032", *SMALL, "--outdir", str(tmp_path)]
    assert main(line) == 0
    (run,) = folders(tmp_path)
    assert find_run(parse(line)).path == run
    before = Run(run).rows()
    # As if it had been stopped before its last evaluation.
    checkpoints(run / "checkpoints")[-1].unlink()
    (run / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in before[:-1]))
    capsys.readouterr()
    assert main(line) == 0
    assert f"continuing {run}" in capsys.readouterr().out
    assert folders(tmp_path) == [run]
    assert Run(run).rows() == before
    assert main(line) == 0
    assert "is finished" in capsys.readouterr().out
    assert folders(tmp_path) == [run]


def test_a_runs_options_are_what_auto_chose_but_not_that_it_chose(tmp_path):
    line = ["train", "digits", "--kimg", "0.008", *SMALL, "--outdir", str(tmp_path)]
    config = parse(line)
    run = train(config, Console(file=io.StringIO()))
    saved = json.loads((run / "config.json").read_text())
    assert "cfg" not in saved
    options, _ = choose(Found(60, 16, 10, False), {})
    given = {"kimg": 0.008, "width_g": 8, "width_d": 8, "batch": 8}
    given["snap"] = 0.0004
    assert {name: saved[name] for name in options} == {**options, **given}
    again = TrainConfig.from_json(run / "config.json")
    assert again == dataclasses.replace(config, cfg=None)
    shutil.rmtree(run)


# What is refused

REFUSED = {
    "--network stylegan2 --compile": "--compile and a gradient penalty exclude each other",
    "--gamma 1 --compile": "--compile and a gradient penalty exclude each other",
    "--network stylegan2 --gamma 0 --path-length 2 --compile": "--compile and a gradient penalty exclude each other",
    "--style-mixing 0.5 --network sngan": "--style-mixing means nothing with --network sngan",
    "--style-mixing 0.5": "--style-mixing means nothing with --network sngan",
    "--network fastgan --path-length 2": "--path-length means nothing with --network fastgan",
    "--finale 0.2 --fade 10": "--fade means nothing with --schedule always",
    "--network biggan --mapping-layers 8": "--mapping-layers means nothing with --network biggan",
    "--ada-kimg 10 --aug diff": "--ada-kimg means nothing with --aug diff",
    "--ada-target 0.3": "--ada-target means nothing with --aug diff",
    "--aug ada --ada-target 1": "--ada-target is a mean of signs",
    "--network stylegan2 --style-mixing 1.5": "--style-mixing is a probability",
    "--gamma -1": "--gamma must not be negative",
    "--lecam -1": "--lecam must not be negative",
    "--resolution 16 --network biggan": "--resolution 16x16 does not fit BigGAN",
    "--cfg stylegan2-32 --resolution 16": "--resolution 16x16 does not fit StyleGAN2",
    "--z-dim 3 --network biggan": "--z-dim 3: BigGAN gives each",
    "--freeze-d 1": "--init-d (the run that D starts from)",
    "--cfg nothing": "Unknown --cfg nothing",
    "--cfg fastgan-128 --network sngan": "--cfg names a network already",
    "--network fastgan --rule published": "--rule published masks behind the spectral norm",
    "--network biggan --rule published": "--rule published masks behind the spectral norm",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_contradicts_is_refused_in_one_sentence(line, tmp_path, capsys):
    assert main(["train", "digits", "-n", "--outdir", str(tmp_path / "runs"), *line.split()]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"rggan: {REFUSED[line]}")
    assert told.count("\n") == 1
    assert told.endswith(".\n")
    assert not (tmp_path / "runs").exists()


def test_what_only_seems_to_contradict_is_taken():
    parse(["train", "digits", "--network", "stylegan2", "--compile", "--gamma", "0"])
    parse(["train", "digits", "--network", "stylegan2", "--style-mixing", "1"])
    parse(["train", "digits", "--aug", "ada", "--ada-kimg", "10"])
    parse(["train", "digits", "--network", "biggan", "--z-dim", "7"])


@pytest.mark.parametrize("options", [[], ["--network", "biggan"], ["--cfg", "auto"]])
def test_classes_of_data_without_any_are_refused(options, tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        Image.fromarray(np.full((32, 32, 3), 50 * i, np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    line = ["train", "-n", "--data", str(tmp_path / "pictures"), "--outdir", str(tmp_path / "runs"), "--cond", *options]
    assert main(line) == 2
    assert capsys.readouterr().err.startswith("rggan: --cond needs classes in ")
    assert not list((tmp_path / "runs").glob("0*"))
