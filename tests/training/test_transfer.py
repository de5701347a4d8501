"""Training from another run's weights: what is loaded, what is refused, what stays frozen."""

import dataclasses
import io
import shutil

import pytest
import torch
from rich.console import Console

from rggan import TrainConfig, UserError, merged_state_dict, train
from rggan.cli.main import main
from rggan.networks.sngan import SNGANDiscriminator
from rggan.networks.stylegan2 import StyleGAN2Discriminator
from rggan.run.folder import Run
from rggan.training.checkpoint import checkpoints, readable
from rggan.training.reading import read_data
from rggan.training.trainer import Training
from rggan.training.transfer import begun_anew, freeze_lower
from tests.conftest import folders

pytestmark = pytest.mark.slow  # all together they take seconds

TINY = {
    **{"resolution": 16, "max_images": 60, "width_g": 8, "width_d": 8, "z_dim": 8, "batch": 8, "score_samples": 16},
    **{"precision": "fp32", "device": "cpu"},
}
STRONG = {"kimg": 0.064, "snap": 0.032, "d_steps": 1, "schedule": "always", "threshold_lr": 0.03}
QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return train(TrainConfig(outdir=tmp_path_factory.mktemp("old"), **TINY, **STRONG), QUIET)


def training(**options):
    config = TrainConfig(**{**TINY, **options})
    data = read_data(config)
    return Training(config, data, data)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_begins_with_the_old_average_and_the_old_discriminators_merged_weights(old):
    saved = next(readable(old / "checkpoints", print))["training"]
    before = training(outdir=old.parent, **STRONG)
    before.load_state_dict(saved)
    assert all(density < 0.95 for density in before.densities())  # there is something to merge
    g, d = merged_state_dict(before.ema.network), merged_state_dict(before.gan.d)
    assert not same(g, merged_state_dict(before.gan.g))

    run = training(init=old, data="digits", seed=3)
    assert run.densities() == (1.0, 1.0)
    assert same(merged_state_dict(run.gan.g), g)
    assert same(run.ema.network.state_dict(), g)
    assert same(merged_state_dict(run.gan.d), d)
    assert run.images == run.ema.updates == 0
    run.step()
    assert run.is_finite()
    other = training(seed=3)
    assert not same(merged_state_dict(other.gan.g), g)


def test_a_run_that_goes_on_from_a_state_does_not_look_at_init(old):
    config = TrainConfig(**{**TINY, "init": old / "gone"})
    data = read_data(config)
    fresh = Training(TrainConfig(**TINY), data, data)
    assert same(Training(config, data, data, fresh=False).gan.g.state_dict(), fresh.gan.g.state_dict())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"width_g": 16}, r"generator .* differs in width_g \(8 there, 16 here\)"),
        ({"width_d": 16}, r"discriminator .* differs in width_d \(8 there, 16 here\)"),
        ({"z_dim": 16}, r"generator .* differs in z_dim \(8 there, 16 here\)"),
        ({"resolution": 32}, r"generator .* differs in resolution \(16x16 there, 32x32 here\)"),
        ({"resolution": 20}, r"generator .* differs in resolution \(16x16 there, 20x20 here\)"),
        ({"channels": "rgb"}, r"generator .* differs in channels \(1 there, 3 here\)"),
        ({"cond": True}, r"generator .* differs in classes \(0 there, 10 here\)"),
        (
            {"network": "fastgan", "resolution": 32},
            r"generator .* differs in network \(sngan there, fastgan here\), res",
        ),
    ],
)
def test_another_network_is_refused_with_what_differs(old, options, told):
    with pytest.raises(UserError, match=f"`init` .*: its {told}"):
        training(init=old, **options)


@pytest.mark.parametrize("network", ["sngan", "stylegan2", "fastgan"])
def test_colours_go_on_with_an_alpha_channel_and_without(tmp_path, network):
    """All weights are taken over but for what the alpha channel adds."""
    size = {"resolution": 16 if network == "sngan" else 32, "network": network}
    rgb = train(TrainConfig(outdir=tmp_path, channels="rgb", **{**TINY, **STRONG, **size, "schedule": "never"}), QUIET)
    saved = next(readable(rgb / "checkpoints", print))["training"]
    run = training(init=rgb, channels="rgba", **size)
    for module, found in ((run.gan.g, saved["ema"]["network"]), (run.gan.d, saved["d"])):
        own = module.state_dict()
        other = {name for name in own if own[name].shape != found[name].shape}
        assert 0 < len(other) < len(own) / 2
        assert all(torch.equal(own[name], found[name]) for name in own if name not in other)
        for name in other:
            both = tuple(slice(min(sides)) for sides in zip(own[name].shape, found[name].shape, strict=True))
            assert torch.equal(own[name][both], found[name][both])
    run.step()
    assert run.is_finite()
    lines = begun_anew(rgb, None, run.description["network"])
    assert lines == ["init       of 3 channels, 4 here: what alpha adds to G's last and D's first layer begins anew"]
    assert begun_anew(rgb, None, {**run.description["network"], "channels": 3}) == []


def test_a_folder_without_training_states_is_refused(tmp_path, old):
    with pytest.raises(UserError, match="no training state"):
        training(init=tmp_path)
    with pytest.raises(UserError, match="no training state"):
        training(init=tmp_path / "nowhere")
    damaged = tmp_path / "run"
    shutil.copytree(old, damaged)
    for path in checkpoints(damaged / "checkpoints"):
        path.write_bytes(b"no state")
    with pytest.raises(UserError, match="none of its training states can be read"):
        training(init=damaged)
    for path in checkpoints(damaged / "checkpoints")[:-1]:
        shutil.copy(next((old / "checkpoints").glob(path.name)), path)
    training(init=damaged)  # the one before


@pytest.mark.parametrize("what", ["nothing", "width", "snapshot"])
def test_a_refused_init_leaves_no_run(tmp_path, old, what):
    init, options, words = {
        "nothing": (tmp_path, {}, "no training state"),
        "width": (old, {"width_g": 16}, "differs in width_g"),
        "snapshot": (old / "best", {}, f"give the run folder, .*{old.name}"),
    }[what]
    with pytest.raises(UserError, match=words):
        train(TrainConfig(outdir=tmp_path / "runs", init=init, **{**TINY, **STRONG, **options}), QUIET)
    assert folders(tmp_path / "runs") == []


@pytest.mark.parametrize("inside", ["best", "checkpoints", "best/generator.safetensors"])
def test_a_part_of_a_run_names_the_run_to_resume(old, inside, capsys):
    assert main(["train", "--resume", str(old / inside)]) == 2
    assert f"{inside} lies in a run: give the run folder, {old}." in capsys.readouterr().err


def test_a_resumed_run_no_longer_needs_the_one_it_began_from(old, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(old, source)
    config = TrainConfig(outdir=tmp_path / "runs", init=source, freeze_d=1, **{**TINY, **STRONG})
    run = train(config, QUIET)
    shutil.rmtree(source)
    again = train(dataclasses.replace(config, resume=run, kimg=0.096), QUIET)
    assert again == run
    assert folders(tmp_path / "runs") == [run]
    assert [row["kimg"] for row in Run(run).rows()] == pytest.approx([0.032, 0.064, 0.096])


@pytest.mark.parametrize("rule", ["threshold", "none"])
def test_frozen_blocks_never_change_and_are_not_pruned(old, rule):
    pushed = {} if rule == "none" else {"threshold_lr": 0.03, "schedule": "always"}
    run = training(init=old, freeze_d=1, rule=rule, **pushed)
    inside = {name for name, _ in run.gan.d.named_parameters() if name.startswith("blocks.0.")}
    assert inside
    if rule != "none":
        weights = {f"blocks.0.{name}.weight" for name in ("conv1", "conv2", "shortcut")}
        assert weights == {name for name, why in run.prune_d.skipped.items() if why.startswith("frozen")}
        assert not any(layer.name.startswith("blocks.0.") for layer in run.prune_d.layers)
    before = {name: p.detach().clone() for name, p in run.gan.d.named_parameters()}
    for _ in range(3):
        run.step()
        assert {name for name, p in run.gan.d.named_parameters() if not p.requires_grad} == inside
    for name, p in run.gan.d.named_parameters():
        assert torch.equal(p, before[name]) == (name in inside), name
        assert (p.grad is None) == (name in inside), name
    if rule != "none":
        assert all(density < 1 for density in run.densities())


def test_a_run_with_frozen_blocks_resumes_to_the_bit(old):
    options = {"init": old, "freeze_d": 1, "threshold_lr": 0.02}
    run = training(**options)
    run.step()
    file = io.BytesIO()
    torch.save(run.state_dict(), file)
    file.seek(0)
    other = training(**options)
    other.load_state_dict(torch.load(file, weights_only=True))
    for each in (run, other):
        torch.manual_seed(4)
        each.step()
    assert same(run.gan.d.state_dict(), other.gan.d.state_dict())
    assert same(run.gan.g.state_dict(), other.gan.g.state_dict())


@pytest.mark.parametrize("count", [0, 1, 2])
def test_freeze_lower_freezes_the_blocks_next_to_the_picture(count):
    d = StyleGAN2Discriminator(32, 1, 8)
    freeze_lower(d, count)
    expected = {f"blocks.{i}.{name}" for i in range(count) for name, _ in d.blocks[i].named_parameters()}
    assert expected == {name for name, p in d.named_parameters() if not p.requires_grad}
    d(torch.randn(2, 1, 32, 32)).sum().backward()
    assert {name for name, p in d.named_parameters() if p.grad is None} == expected


def test_more_blocks_than_there_are_cannot_be_frozen(old):
    blocks = len(SNGANDiscriminator(16, 1, 8).blocks)
    training(init=old, freeze_d=blocks - 1).step()
    for count in (blocks, blocks + 5):
        with pytest.raises(UserError, match=f"`freeze_d` {count}: D has {blocks} blocks here"):
            training(init=old, freeze_d=count)


def test_freezing_fresh_weights_is_refused(tmp_path, capsys):
    with pytest.raises(UserError, match=r"`freeze_d` .* go with `init`"):
        TrainConfig(freeze_d=1)
    assert main(["train", "digits", "--network", "sngan", "-n", "--outdir", str(tmp_path), "--freeze-d", "1"]) == 2
    assert "--freeze-d" in capsys.readouterr().err


def test_weights_that_the_old_run_had_pruned_can_grow_again(old):
    run = training(init=old, d_steps=1, rule="none")
    zeros = {name for name, p in run.gan.d.named_parameters() if (p == 0).sum() > 3 and p.dim() > 1}
    before = {name: int((p == 0).sum()) for name, p in run.gan.d.named_parameters()}
    run.step()
    assert zeros
    assert all(int((p == 0).sum()) < before[name] for name, p in run.gan.d.named_parameters() if name in zeros)


def test_the_published_rules_masks_begin_with_the_weights(tmp_path):
    """They stand behind D's spectral norm, where its own state does not show them."""
    options = {**STRONG, "rule": "published", "threshold_lr": 0.005, "penalty": 1e-4}
    old = train(TrainConfig(outdir=tmp_path, **TINY, **options), QUIET)
    saved = next(readable(old / "checkpoints", print))["training"]
    before = training(**options)
    before.load_state_dict(saved)
    assert 0.1 < before.prune_d.density() < 0.95
    run = training(init=old, seed=3)
    weights = dict(run.gan.d.named_parameters())
    for layer in before.prune_d.layers:
        assert ((weights[layer.key] == 0) == (layer.mask == 0)).all(), layer.name
