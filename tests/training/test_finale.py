"""What changes along a run: each network's schedule, the dense finale, decaying rates, rewinding; and exact resume."""

import copy
import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from rich.console import Console

from rggan import TrainConfig, train
from rggan.config import TrainConfig as Config
from rggan.errors import UserError
from rggan.networks import FAMILIES
from rggan.pruning import Adaptive, Always, DensityPath, Never, OverfitSchedule, ScoreSchedule
from rggan.run.folder import Run
from rggan.training.instruments import instruments, phases
from rggan.training.limits import DynamicRows
from rggan.training.rates import ema_beta, in_finale, lr_factor
from rggan.training.sparsity import selection
from rggan.training.trainer import Training

pytestmark = pytest.mark.slow  # all together they take seconds

SMALL = {"width_g": 8, "width_d": 8, "z_dim": 8, "batch": 8, "score_samples": 16, "precision": "fp32", "device": "cpu"}


@pytest.fixture
def training(digits):
    data, held_out = digits.take(np.arange(60)), digits.take(np.arange(60, 80))

    def make(held=True, **options):
        config = TrainConfig(**{**SMALL, "resolution": 16, "kimg": 0.4, "d_steps": 2, "aug": "none", **options})
        return Training(config, data, held_out if held else data)

    return make


def same(ours, theirs):
    mine, its = ours.state_dict(), theirs.state_dict()
    for network in ("g", "d"):
        assert all(torch.equal(mine[network][key], its[network][key]) for key in mine[network])
    assert mine["ema"]["updates"] == its["ema"]["updates"]
    for key in mine["ema"]["network"]:
        assert torch.equal(mine["ema"]["network"][key], its["ema"]["network"][key]), key


OPTIONS = {
    "adaptive": {"target_d": "auto", "networks": "d", "adapt_kimg": 0.05, "set_point": -0.5},
    "both adaptive": {"target_d": "auto", "target_g": "auto", "adapt_kimg": 0.05, "set_point": -0.5},
    "held out": {"target_d": "auto", "signal": "r_v", "adapt_kimg": 0.05, "set_point": -0.5},
    "balance": {"target_d": "auto", "signal": "balance", "adapt_kimg": 0.05, "set_point": 0.9},
    "schedules": {"schedule_g": "periodic", "period": 1, "schedule_d": "overfit", "threshold_lr": 0.05, "fade": 0.04},
    "finale": {"finale": 0.5, "target_g": 0.3, "target_d": 0.3, "ramp": 0.05, "lr_decay": 0.3},
    "rewinding": {"rewind": 0.06, "target_g": 0.3, "target_d": 0.3, "ramp": 0.1, "schedule": "always"},
    "rewinding, magnitude": {"rewind": 0.06, "rule": "magnitude", "target_g": 0.3, "ramp": 0.1, "schedule": "always"},
    "dropout": {"rule": "none", "dropout_d": 0.3},
    "random rows": {"rule": "none", "dynamic_d": 0.3},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("at", [11, 18])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(training, name, at):
    ours, theirs = training(**OPTIONS[name]), training(**OPTIONS[name])
    torch.manual_seed(0)
    for step in range(24):
        if step == at:
            state = copy.deepcopy(ours.state_dict())
        if step == 12:  # a tick
            for schedule in ours.schedules:
                schedule.step(1.0)
        ours.step()
    random = torch.get_rng_state()
    theirs.load_state_dict(state)
    for step in range(at, 24):
        if step == 12:
            for schedule in theirs.schedules:
                schedule.step(1.0)
        theirs.step()
    assert torch.equal(random, torch.get_rng_state())
    same(ours, theirs)


def test_a_discriminator_that_overfits_gets_sparser_and_its_row_tells_it(training):
    run = training(**{**OPTIONS["adaptive"], "lr": 2e-3, "kimg": 4.0, "density_low": 0.2})
    for _ in range(60):
        run.step()
    target = run.prune_d.rule.target.courses["*"]
    assert isinstance(target, Adaptive)
    assert 0.2 <= target.density < 1
    assert run.densities() == (1.0, pytest.approx(target.density, abs=0.05))
    told = instruments(run, 20)
    assert told["signal_d"] == target.value
    assert told["set_point_d"] == -0.5


def test_signals_are_what_the_networks_say(training):
    """r_v against the outputs on held-out images; the balance against a step of G."""
    run = training(**OPTIONS["held out"], lr=2e-3)
    for _ in range(40):
        run.step()
    assert math.isfinite(run.adaptive[0].value)
    weights = copy.deepcopy(run.gan.d.state_dict())
    outputs = run.signals.on_held_out(0)
    assert outputs.shape == (8,)
    assert all(torch.equal(weights[key], value) for key, value in run.gan.d.state_dict().items())
    with pytest.raises(UserError, match="held-out"):
        training(held=False, **OPTIONS["held out"])


def test_random_rows_stay_for_a_step_and_leave_the_mean():
    torch.manual_seed(0)
    d = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)).requires_grad_(False)
    conv, x = d[0], torch.randn(2, 1, 6, 6)
    whole = conv(x)
    rows, seen = DynamicRows(d), []
    for _ in range(400):
        rows.draw(0.25)
        assert torch.equal(d(x), d(x))
        outputs = conv(x)
        alive = outputs.abs().sum(dim=(0, 2, 3)) > 0
        assert int(alive.sum()) == 2  # of eight
        torch.testing.assert_close(outputs[:, alive], 4 * whole[:, alive])
        seen.append(outputs)
    assert len({tuple(o.abs().sum(dim=(0, 2, 3)).gt(0).tolist()) for o in seen}) > 20
    spread = torch.stack(seen).std(dim=0) / 20
    assert ((torch.stack(seen).mean(dim=0) - whole).abs() < 5 * spread + 1e-6).all()
    d.eval()
    torch.testing.assert_close(conv(x), whole)


def test_rows_of_d_fall_from_all_to_a_share(training):
    """The first step is a dense one, to the same bits."""
    run, dense = training(rule="none", dynamic_d=0.5), training(rule="none")
    for one in (run, dense):
        torch.manual_seed(0)
        one.discriminator_step()
    assert all(torch.equal(a, b) for a, b in zip(run.gan.d.parameters(), dense.gan.d.parameters(), strict=True))
    run.images = 400
    seen = []
    for step in (run.discriminator_step, run.generator_step, run.generator_step):
        step()
        scales = list(run.dynamic.scales.values())
        assert len(scales) == 7
        assert all(scale.count_nonzero() == 4 for scale in scales)
        seen.append(torch.cat([scale.flatten() for scale in scales]))
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    before = copy.deepcopy(run.gan.d.state_dict())
    run.draw_rows()  # a spectral norm does not move by it
    assert all(torch.equal(before[key], value) for key, value in run.gan.d.state_dict().items())


@pytest.mark.parametrize("network", sorted(FAMILIES.builtin.keys() - {"fastgan"}))
def test_colours_and_d_s_output_are_no_rows(network):
    d = FAMILIES.get(network).discriminator(64, 3, 8)
    layers = DynamicRows(d, selection(network)).layers
    assert len(layers) > 4
    assert all(layer.out_channels > 3 for layer in layers)


def test_each_network_has_its_own_schedule(training):
    run = training(schedule_g="never", schedule_d="always")
    assert [type(schedule) for schedule in run.schedules] == [Never, Always]
    assert phases(run) == {"phase_g": "dense", "phase_d": "prune"}
    assert run.phase == "prune"
    assert [type(s) for s in training(schedule_d="overfit").schedules] == [ScoreSchedule, OverfitSchedule]
    assert [type(s) for s in training(target_d="auto").schedules] == [ScoreSchedule, Always]
    both = training(schedule="always").schedules
    assert len(both) == 1
    assert len(both[0].pruners) == 2


def test_the_finale_gives_the_dense_network_back(training):
    run = training(finale=0.4, target_g=0.3, target_d=0.3, ramp=0.05, finale_lr=0.2, threshold_lr=0.02)
    while not in_finale(run.config, run.images):
        run.step()
    assert run.densities()[0] == pytest.approx(0.3, abs=0.05)
    hidden = [layer.dense()[layer.mask == 0].clone() for layer in run.prune_g.layers]
    assert all(values.abs().max() > 0 for values in hidden if values.numel())
    masks = [layer.mask == 0 for layer in run.prune_g.layers]
    before = [layer.dense() for layer in run.prune_g.layers]
    run.step()
    assert run.gan.opt_g.param_groups[0]["lr"] == pytest.approx(0.2 * 2e-4)
    assert run.gan.opt_d.param_groups[0]["lr"] == 2e-4
    assert run.ema.beta == pytest.approx(1 - 0.25 * 0.001)
    for layer, mask, old in zip(run.prune_g.layers, masks, before, strict=True):
        shown = layer.weight.detach()[mask]
        assert shown.numel() == 0 or shown.abs().max() > 0  # on their way back, at a share of their size
        assert (shown.abs() <= old[mask].abs() + 1e-3).all()
    for schedule in run.schedules:
        schedule.step(1.0)  # no schedule takes them away again
    while run.images < 400:
        run.step()
    assert run.prune_g.phase == "dense"
    assert run.densities()[0] == 1.0
    assert run.densities()[1] == pytest.approx(0.3, abs=0.05)
    assert run.prune_d.phase == "prune"


def test_without_integrating_the_finale_only_slows_down(training):
    run = training(finale=0.5, finale_dense=False, target_g=0.3, ramp=0.05)
    while run.images < 400:
        run.step()
    assert run.prune_g.phase == "prune"
    assert run.densities()[0] == pytest.approx(0.3, abs=0.05)
    assert run.gan.opt_g.param_groups[0]["lr"] == pytest.approx(0.1 * 2e-4)


def test_a_return_to_before_the_finale_lets_schedules_prune_again(training):
    run = training(finale=0.3, target_g=0.3, ramp=0.05)
    while run.images < 200:
        run.step()
    state = copy.deepcopy(run.state_dict())
    while run.images < 352:
        run.step()
    assert run.prune_g.phase == "dense"
    run.load_state_dict(state)
    assert run.prune_g.phase == "prune"
    assert not run.finale
    run.schedules[0].step(1.0)
    assert run.prune_g.phase == "prune"


def test_a_run_that_is_made_longer_leaves_its_finale_and_comes_to_a_later_one(training):
    options = {"finale": 0.4, "target_g": 0.3, "ramp": 0.05, "networks": "g", "schedule": "always"}
    run, longer = training(**options), training(**options, kimg=0.8)
    while run.images < 384:
        run.step()
    assert run.prune_g.phase == "dense"
    longer.load_state_dict(copy.deepcopy(run.state_dict()))
    assert longer.prune_g.phase == "prune"
    longer.step()
    assert longer.gan.opt_g.param_groups[0]["lr"] == 2e-4
    assert longer.densities()[0] == pytest.approx(0.3, abs=0.1)
    while longer.images < 800:
        longer.step()
    assert longer.finale
    assert longer.densities()[0] == 1.0


def test_rates_follow_the_clock():
    config = Config(kimg=100, lr_decay=0.5, finale=0.2, finale_lr=0.1, lr_dense=0.3, ema=0.99, finale_ema=0.5)
    for images in range(0, 100_001, 5000):
        share = images / 100_000
        decay = 1.0 if share <= 0.5 else (1 - share) / 0.5
        assert lr_factor(config, "d", images) == pytest.approx(decay)
        late = share >= 0.8
        assert lr_factor(config, "g", images) == pytest.approx(decay * (0.1 if late else 1))
        assert lr_factor(config, "g", images, dense=True) == pytest.approx(decay * (0.1 if late else 0.3))
        assert ema_beta(config, images) == (0.5 if late else 0.99)


def test_rewinding_puts_the_early_weights_under_the_late_masks(training):
    run = training(**OPTIONS["rewinding"])
    seen = None
    while not run.rewinding.done:
        run.step()
        if seen is None and run.rewinding.early is not None:
            seen = copy.deepcopy(run.rewinding.early)
    masks = [layer.mask.clone() for pruner in run.pruners for layer in pruner.layers]
    assert run.densities() == (pytest.approx(0.3, abs=0.03), pytest.approx(0.3, abs=0.03))
    for pruner, early in zip(run.pruners, seen, strict=True):
        for layer in pruner.layers:
            assert torch.equal(layer.dense(), early[layer.key])
            assert layer.moments() == {}
    for _ in range(5):
        run.step()
    again = [layer.mask for pruner in run.pruners for layer in pruner.layers]
    assert all(torch.equal(mine, its) for mine, its in zip(masks, again, strict=True))
    assert all(p.isfinite().all() for p in run.gan.g.parameters())
    run.prune_g.integrate()
    assert run.prune_g.density() == 1.0


def test_in_the_finale_nothing_is_rewound(training):
    options = {"rewind": 0.05, "ramp": 0.06, "target_g": 0.3, "target_d": 0.3, "schedule_g": "always"}
    run = training(**options, schedule_d="never", finale=0.5)
    while run.images < 400:
        run.step()
    assert not run.rewinding.done  # D never came to its target
    run.prune_d.prune()
    run.step()
    assert not run.rewinding.done


def test_rewinding_refuses_the_weights_of_another_network(training):
    run = training(target_g=0.3)
    with pytest.raises(ValueError, match="rewinding needs the weights of"):
        run.prune_g.rewind({})


def quiet(config):
    return train(config, Console(file=io.StringIO()))


def test_a_run_takes_the_densities_of_another(tmp_path):
    options = {**SMALL, "data": "digits", "resolution": 16, "max_images": 60, "kimg": 0.4, "snap": 0.1, "aug": "none"}
    first = quiet(
        TrainConfig(outdir=tmp_path / "a", networks="d", target_d=0.2, ramp=0.3, schedule="always", **options)
    )
    config = TrainConfig(outdir=tmp_path / "b", networks="d", target_d=str(first), rule="static", **options)
    second = quiet(config)
    mine, its = Run(first).rows(), Run(second).rows()
    assert mine[0]["density_d"] > mine[-1]["density_d"]
    for one, other in zip(mine, its, strict=True):
        assert one["density_d"] == pytest.approx(other["density_d"], abs=0.05)
    assert config.schedule_of("d") == "always"
    data = Training(config, *two_sets())
    assert isinstance(data.prune_d.rule.target, DensityPath)
    with pytest.raises(UserError, match="'auto', or a run"):
        quiet(dataclasses.replace(config, target_d="atuo", outdir=tmp_path / "c"))
    with pytest.raises(UserError, match=r"`regrow` 0.3 must be below all densities"):
        quiet(dataclasses.replace(config, rule="threshold", regrow=0.3, outdir=tmp_path / "c"))
    with pytest.raises(UserError, match="none are held out"):
        quiet(dataclasses.replace(config, rule="threshold", target_d="auto", signal="r_v", outdir=tmp_path / "c"))
    assert not (tmp_path / "c").exists()
    first.rename(tmp_path / "moved")  # the points are in the state of the run that took them
    quiet(dataclasses.replace(config, kimg=0.5, resume=second))
    assert Run(second).rows()[-1]["density_d"] == pytest.approx(its[-1]["density_d"], abs=0.02)


def two_sets():
    from rggan.data import load_images

    data = load_images("digits", 16, max_images=60)
    return data, data


BAD = {
    "`set_point`": {"target_d": "auto", "set_point": 1.0},
    "exclude each other": {"target_d": "auto", "density_low": 0.5, "density_high": 0.2},
    "`adapt_kimg` goes with": {"adapt_kimg": 5.0},
    "`target_d` means nothing with `rule` published": {"rule": "published", "target_d": "auto"},
    "`target_d` means nothing with `rule` none": {"rule": "none", "target_d": "auto"},
    "`finale` is the last share": {"finale": 1.0},
    "`finale_lr` goes with `finale`": {"finale_lr": 0.5},
    "`lr_decay` is a share": {"lr_decay": 1.5},
    "lies outside the run": {"rewind": 2000.0, "target_g": 0.5},
    "`rewind` waits": {"rewind": 1.0},
    "`rewind` 60 must be below `ramp` 50": {"rewind": 60.0, "ramp": 50.0, "target_g": 0.5},
    "`rewind` means nothing with `rule` rigl": {"rewind": 1.0, "rule": "rigl", "target_g": 0.5},
    "`adapt_band` is 0 or more and below 1": {"target_d": "auto", "adapt_band": 1.5},
    "`schedule` periodic is used by neither": {"schedule": "periodic", "schedule_g": "always", "schedule_d": "always"},
    "`finale_dense=False` keeps G sparse": {"finale": 0.2, "finale_dense": False, "networks": "d"},
    "`lr_dense` is G's rate": {"lr_dense": 0.5, "networks": "d"},
    "`ramp` leads to a": {"rule": "magnitude", "networks": "g", "target_g": "auto", "ramp": 5.0},
    "`schedule_g` means nothing": {"networks": "d", "schedule_g": "always"},
    "`min_fan` goes with a target": {"min_fan": 2},
    "whole neurons": {"min_fan": 2, "granularity": "row", "target_g": 0.5},
    "must be below `density_low`": {"target_d": "auto", "regrow": 0.1},
    "`dropout_d` is a share": {"dropout_d": 1.0},
    "`dynamic_d` is a share": {"dynamic_d": 0.0},
    "`dynamic_d` means nothing with `network` fastgan": {"dynamic_d": 0.5, "network": "fastgan"},
    "leave one of them out": {"rule": "set", "balance": True, "target_d": "auto"},
}


@pytest.mark.parametrize("sentence", BAD)
def test_options_that_make_no_sense_are_refused_in_a_sentence(sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        TrainConfig(**BAD[sentence])
    assert "\n" not in str(caught.value)
