"""Training that begins with a shrunk generator: it stays small, and goes on where it was stopped."""

import functools
import io
import shutil

import pytest
import torch
from rich.console import Console

from rggan import Generator, TrainConfig, UserError, train
from rggan.export.shrunk import shrunk
from rggan.run.folder import Run
from rggan.training.checkpoint import readable
from rggan.training.reading import read_data
from rggan.training.trainer import Training
from rggan.training.transfer import begun_anew

pytestmark = pytest.mark.slow  # trains

TINY = {
    **{"resolution": 32, "max_images": 60, "width_g": 16, "width_d": 8, "z_dim": 8, "batch": 8, "score_samples": 16},
    **{"precision": "fp32", "device": "cpu", "kimg": 0.064, "snap": 0.032, "d_steps": 1},
}
NARROW = {"fastgan": {"width_g": 4, "width_d": 4}}  # whose channels are sixteen times as many
ROWS = {"kimg": 0.16, "networks": "g", "target_g": 0.5, "granularity": "row", "schedule": "always", "ramp": 0.016}
QUIET = Console(file=io.StringIO())


def training(**options):
    config = TrainConfig(**options)
    data = read_data(config)
    return Training(config, data, data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """network -> a folder with a run of it and its shrunk generator, made once."""

    @functools.cache
    def made(network):
        folder = tmp_path_factory.mktemp(network)
        run = train(
            TrainConfig(outdir=folder / "runs", network=network, **{**TINY, **ROWS, **NARROW.get(network, {})}), QUIET
        )
        shrunk(Generator.from_pretrained(Run(run).last)).save(folder / "small")
        return folder

    return made


@pytest.fixture
def small_of(trained, tmp_path):
    """network -> a shrunk generator of this test's own, beside its run."""

    def copied(network):
        shutil.copytree(trained(network), tmp_path, symlinks=True, dirs_exist_ok=True)
        return tmp_path / "small"

    return copied


@pytest.mark.parametrize("network", ["sngan", "stylegan2"])  # FastGAN: below
def test_it_stays_small_and_goes_on_where_it_was_stopped(network, small_of, tmp_path):
    small = small_of(network)
    before = Generator.from_pretrained(small)
    console = Console(file=io.StringIO(), width=200)
    options = {**TINY, "network": network, "init": small, "outdir": tmp_path / "on", "rule": "none"}
    run = train(TrainConfig(**options), console)
    assert f"G of {small}; D begins anew" in console.file.getvalue()
    after = Generator.from_pretrained(run)
    assert after.parameters == before.parameters
    assert after.config["network"]["shapes"] == before.config["network"]["shapes"]
    weights = [generator.network.state_dict() for generator in (before, after)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])  # it trained

    shutil.rmtree(small)
    train(TrainConfig(**{**options, "resume": run, "kimg": 0.096}), QUIET)
    assert Run(run).rows()[-1]["kimg"] == pytest.approx(0.096)
    assert Generator.from_pretrained(Run(run).last).parameters == before.parameters

    other = train(
        TrainConfig(**{**options, "init": run, "outdir": tmp_path / "further"} | ROWS | {"rule": "threshold"})
    )
    assert shrunk(Generator.from_pretrained(Run(other).last)).parameters < before.parameters


@pytest.mark.parametrize("network", ["sngan", "fastgan"])
def test_it_goes_on_whatever_became_of_its_files(network, small_of, tmp_path):
    """The state alone says how small G is."""
    small = small_of(network)
    own = NARROW.get(network, {})
    options = {**TINY, **own, "network": network, "init": small, "outdir": tmp_path / "on", "rule": "none"}
    run = train(TrainConfig(**options), QUIET)
    shutil.rmtree(small)
    (run / "best" / "generator.safetensors").write_bytes(b"damaged")
    (run / "last" / "generator.safetensors").unlink()
    train(TrainConfig(**{**options, "resume": run, "kimg": 0.096}), QUIET)
    assert Run(run).rows()[-1]["kimg"] == pytest.approx(0.096)
    assert Generator.from_pretrained(Run(run).last).config["network"]["shapes"]


def test_a_folder_in_a_run_is_a_generator_like_any_other(small_of, tmp_path):
    small = small_of("sngan")
    (run,) = (tmp_path / "runs").glob("0*")
    shutil.move(small, run / "small")
    made = training(**{**TINY, "network": "sngan", "init": run / "small", "init_d": run})
    assert sum(p.numel() for p in made.gan.g.parameters()) == Generator.from_pretrained(run / "small").parameters
    with pytest.raises(UserError, match="give the run folder"):
        training(**{**TINY, "network": "sngan", "init": run / "best"})


def test_the_width_of_g_says_nothing_of_d(tmp_path):
    wide = train(
        TrainConfig(outdir=tmp_path / "wide", network="sngan", channels="rgb", **{**TINY, "width_g": 24}), QUIET
    )
    run = train(TrainConfig(outdir=tmp_path / "own", network="sngan", channels="rgba", **TINY), QUIET)
    options = {**TINY, "network": "sngan", "channels": "rgba", "init": run}
    made = training(**options, init_d=wide)
    saved, found = next(readable(wide / "checkpoints", print))["training"]["d"], made.gan.d.state_dict()
    alike = [name for name in saved if saved[name].shape == found[name].shape]
    assert len(alike) > len(saved) / 2
    assert all(torch.equal(saved[name], found[name]) for name in alike)
    lines = begun_anew(run, wide, made.description["network"])
    assert lines[0] == "init       of 3 channels, 4 here: what alpha adds to D's first layer begins anew"
    with pytest.raises(
        UserError, match=r"`init_d` .*: its discriminator .* differs in width_d \(8 there, 12 here\); the"
    ):
        training(**{**options, "channels": "rgb", "init": wide, "width_g": 24, "width_d": 12}, init_d=wide)


def test_shapes_that_are_none_of_the_network_are_told(small_of, tmp_path):
    small = small_of("sngan")
    generator = Generator.from_pretrained(small)
    generator.config["network"]["shapes"]["nothing.weight"] = [4]
    generator.save(small)
    with pytest.raises(UserError, match="is damaged or foreign"):
        training(**{**TINY, "network": "sngan", "init": small})


def test_the_first_pictures_are_those_of_the_generator(small_of, tmp_path):
    small = small_of("sngan")
    run = training(**{**TINY, "network": "sngan", "init": small})
    generator = Generator.from_pretrained(small)
    assert sum(p.numel() for p in run.gan.g.parameters()) == generator.parameters
    (z,) = (part for part in generator.latents(range(4), None) if part is not None)
    torch.testing.assert_close(run.ema.network.eval()(z), generator.network(z))


def test_d_comes_from_the_run_that_is_named(small_of, tmp_path):
    small = small_of("sngan")
    (run,) = (tmp_path / "runs").glob("0*")
    console = Console(file=io.StringIO(), width=300)
    options = {**TINY, "network": "sngan", "init": small, "init_d": run}
    made = training(**options)
    saved = next(readable(run / "checkpoints", print))["training"]["d"]
    found = made.gan.d.state_dict()
    assert all(torch.equal(found[name], saved[name]) for name in saved)
    train(TrainConfig(**options, outdir=tmp_path / "on"), console)
    assert f"G of {small}; D is that of {run}" in console.file.getvalue()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"init": None, "init_d": "nowhere"}, "go with `init`"),
        ({"init_d": "nowhere"}, r"`init_d` .*nowhere: there is no training state"),
        ({"width_g": 8}, r"differs in width_g \(16 there, 8 here\)"),
        ({"freeze_d": 1}, "is a generator alone: `freeze_d` needs the D of a run"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(small_of, tmp_path, options, told):
    small = small_of("sngan")
    options = {name: tmp_path / value if name == "init_d" else value for name, value in options.items()}
    with pytest.raises(UserError, match=told):
        train(TrainConfig(**{**TINY, "network": "sngan", "init": small, "outdir": tmp_path / "on", **options}), QUIET)
    assert not (tmp_path / "on").exists() or not any((tmp_path / "on").iterdir())
