"""Options become rules and schedules; every one of them trains, tells what it does, and resumes to the same bits."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rggan import TrainConfig, UserError, train
from rggan.pruning import (
    SET,
    Always,
    Channels,
    Magnitude,
    Never,
    OneShot,
    OverfitSchedule,
    PeriodicSchedule,
    Ramp,
    RigL,
    ScoreSchedule,
    Static,
    Threshold,
    Weights,
)
from rggan.run.folder import Run
from rggan.training.checkpoint import migrate
from rggan.training.instruments import instruments
from rggan.training.sparsity import make_rule, steps_in
from rggan.training.trainer import Training
from tests.recorded.old_format import held_in_networks

pytestmark = pytest.mark.slow  # all together they take seconds


@pytest.fixture
def training(digits):
    train, held_out = digits.take(np.arange(60)), digits.take(np.arange(60, 80))

    def make(**options):
        small = {"width_g": 8, "width_d": 8, "z_dim": 8, "batch": 8, "score_samples": 16, "precision": "fp32"}
        config = TrainConfig(**{**small, "resolution": 16, "kimg": 0.4, "d_steps": 2, "device": "cpu", **options})
        return Training(config, train, held_out)

    return make


OPTIONS = {
    "target": {"target_g": 0.5, "target_d": 0.3, "ramp": 0.1},
    "hard, regrow": {"rule": "hard", "target_d": 0.4, "regrow": 0.02},
    "rows": {"granularity": "row", "target_g": 0.6, "threshold_lr": 0.02},
    "rows of G alone": {"granularity_g": "row", "target_g": 0.4, "target_d": 0.4, "ramp": 0.05, "regrow": 0.02},
    "rows by magnitude": {"rule": "magnitude", "granularity": "row", "target_g": 0.4, "ramp": 0.1},
    "rows at random": {"rule": "static", "granularity": "row", "schedule": "always"},
    "rows in one shot": {"rule": "oneshot", "granularity": "row", "schedule": "periodic", "period": 1},
    "published": {"rule": "published", "penalty": 1e-3},
    "magnitude": {"rule": "magnitude", "target_g": 0.4, "ramp": 0.1, "schedule": "always"},
    "static": {"rule": "static", "schedule": "always"},
    "one shot": {"rule": "oneshot", "schedule": "periodic", "period": 1, "networks": "g", "target_g": 0.7},
    "SET": {"rule": "set", "schedule": "always", "target_d": 0.3},
    "RigL": {"rule": "rigl", "schedule": "always"},
    "balance": {"rule": "set", "schedule": "always", "balance": True},
    "overfit": {"schedule": "overfit", "networks": "d", "threshold_lr": 0.02},
    "fade": {"schedule": "periodic", "period": 1, "fade": 0.02, "threshold_lr": 0.05},
    "never": {"schedule": "never"},
}


@pytest.mark.parametrize("name", list(OPTIONS))
def test_every_method_trains_tells_and_resumes_to_the_same_bits(training, name):
    run = training(**OPTIONS[name])

    def tick(which):
        for _ in range(4):
            which.step()
        which.schedules[0].step(1.0)
        told = instruments(which, 4)
        which.logit_sums.zero_()  # as the loop does
        return told

    tick(run)
    saved = copy.deepcopy(run.state_dict())
    told = tick(run)
    assert all(map(math.isfinite, (told["d_real"], told["d_fake"], told["d_train"], told["d_held_out"])))
    assert -1 <= told["d_sign"] <= 1
    networks = {"g": run.prune_g, "d": run.prune_d}
    assert set(told["layers"]) == {net for net, pruner in networks.items() if pruner is not None}
    for net, layers in told["layers"].items():
        assert list(layers) == [layer.name for layer in networks[net].layers]
        assert {n: row["density"] for n, row in layers.items()} == pytest.approx(networks[net].densities(), abs=1e-6)
    if "regrow" in name:
        counts = run.prune_d.rule.regrowth.returned
        assert [row["returned"] for row in told["layers"]["d"].values()] == [int(count) for count in counts]
        assert all(row["returned_and_stayed"] <= row["returned"] for row in told["layers"]["d"].values())
    other = training(**OPTIONS[name])
    other.load_state_dict(saved)
    again = tick(other)
    assert again == told
    for ours, theirs in ((run.gan.g, other.gan.g), (run.gan.d, other.gan.d)):
        for key, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[key]), key


def test_options_make_the_rules_that_they_name():
    def rule(network="g", **options):
        return make_rule(TrainConfig(kimg=10, batch=10, d_steps=2, **options), network)

    target = rule(target_g=0.3, ramp=4)
    assert isinstance(target, Threshold)
    assert target.target.courses == {"*": Ramp(0.3, 200, 3)}
    assert rule("d", target_d=0.3, ramp_shape="linear").target.courses == {"*": Ramp(0.3, 500, 1)}  # half of 10 kimg
    assert rule("d", target_g=0.3).target is None
    assert rule(rule="hard", regrow=0.03).regrowth.budget == 0.03
    assert rule(floor=0.0).floor == 0
    for name, kind in {"magnitude": Magnitude, "oneshot": OneShot, "static": Static, "set": SET, "rigl": RigL}.items():
        assert type(rule(rule=name)) is kind
        for density, made in ((0.5, rule(rule=name)), (0.2, rule(rule=name, target_g=0.2))):
            assert (made.target.least if name == "magnitude" else made.density) == density
    assert rule("d", rule="set").every == 1000 // 64
    assert steps_in(TrainConfig(batch=32, d_steps=5), "g", 16) == 100
    assert steps_in(TrainConfig(batch=32, d_steps=5), "d", 16) == 500


def test_options_make_the_schedules_that_they_name(training):
    made = {name: training(schedule=name).schedules[0] for name in ("score", "always", "periodic", "overfit", "never")}
    kinds = {"score": ScoreSchedule, "always": Always, "periodic": PeriodicSchedule, "overfit": OverfitSchedule}
    assert {name: type(schedule) for name, schedule in made.items()} == {**kinds, "never": Never}
    assert training(schedule="periodic", period=3).schedules[0].lengths == {"prune": 3, "dense": 3}
    assert training(dead_band=0.1, fade=0.16).schedules[0].dead_band == 0.1
    assert training(fade=0.16).schedules[0].fade == (10, 20)  # D's 20 steps of 8 images are 10 steps of G
    assert training(rule="none").schedules == []
    assert [len(training(networks=n).pruners) for n in ("both", "g", "d")] == [2, 1, 1]
    assert training(networks="d").densities()[0] == 1.0


def test_overfit_schedule_sees_what_d_says_in_training(training):
    run = training(schedule="overfit")
    for _ in range(3):
        run.step()
    run.schedules[0].step()
    assert run.schedules[0].overfitting == pytest.approx(instruments(run, 3)["d_sign"], abs=1e-5)


def test_gap_is_ds_mean_output_on_both_parts(training):
    run = training(rule="none")
    for _ in range(3):
        run.step()
    found = run.evaluator.gap()
    run.gan.d.eval()
    for name, data in (("d_train", run.gan.batches.data), ("d_held_out", run.evaluator.held_out)):
        x = data.images[:: len(data) // 20].float() / 127.5 - 1  # 20 of each, evenly
        assert found[name] == pytest.approx(run.gan.d(x).mean().item(), abs=1e-5)
    assert run.gan.d.training is False
    run.evaluator.gap()
    assert run.gan.d.training


def test_each_network_has_its_own_granularity(training):
    run = training(granularity_g="row", target_g=0.5, target_d=0.5, ramp=0.02)
    assert isinstance(run.prune_g.rule.granularity, Channels)
    assert isinstance(run.prune_d.rule.granularity, Weights)
    assert "to_rgb.weight" in [layer.name for layer in run.prune_g.layers]
    run = training(granularity="row", granularity_g="weight", rule="hard")
    assert isinstance(run.prune_g.rule.granularity, Weights)
    assert isinstance(run.prune_d.rule.granularity, Channels)


def test_balance_moves_ds_density(training):
    run = training(rule="set", schedule="always", balance=True, target_d=0.5)
    for _ in range(51):
        run.step()
    assert run.prune_d.rule.density != 0.5
    assert run.balance.ratio == run.balance.ratio  # it was taken
    assert run.prune_g.rule.density == 0.5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target_g": 0.0}, "`target_g` is a density"),
        ({"target_d": 1.5}, "`target_d` is a density"),
        ({"target_g": 0.5, "rule": "published"}, "`target_g` means nothing with `rule` published"),
        ({"regrow": 0.1, "rule": "set"}, "`regrow` means nothing with `rule` set"),
        ({"regrow": 2.0}, "is a share, from 0 to 1"),
        ({"floor": 1.0}, "is a share, from 0 to below 1"),
        ({"granularity": "row", "rule": "rigl"}, "`granularity` means nothing"),
        ({"granularity_d": "row", "rule": "set"}, "`granularity_d` means nothing with `rule` set"),
        ({"granularity_g": "row", "networks": "d"}, "`granularity_g` means nothing with `networks` d"),
        ({"granularity_g": "row", "target_g": 0.5, "min_fan": 1}, "`min_fan` is for single weights"),
        ({"granularity": "row", "target_g": 0.5, "distribution": "even"}, "with `granularity` row take global"),
        ({"granularity": "row", "rule": "static", "distribution": "erk"}, "`distribution` erk is for single weights"),
        ({"granularity_g": "column"}, "`granularity_g` is one of"),
        ({"penalty": 2.0, "rule": "none"}, "`penalty` means nothing with `rule` none"),
        ({"schedule": "always", "rule": "none"}, "`schedule` means nothing with `rule` none"),
        ({"ramp": 0}, "`ramp` must be above 0"),
        ({"ramp": 5.0, "rule": "static"}, "`ramp` means nothing with `rule` static"),
        ({"balance": True}, "`balance` means nothing with `rule` threshold"),
        ({"ramp": 5.0}, "`ramp` leads to a target"),
        ({"ramp_shape": "linear", "rule": "hard"}, "`ramp_shape` leads to a target"),
        ({"target_g": 0.5, "networks": "d"}, "`target_g` means nothing with `networks` d"),
        ({"target_d": 0.5, "networks": "g", "rule": "oneshot"}, "`target_d` means nothing with `networks` g"),
        ({"target_g": 0.5, "target_d": 0.5, "penalty": 1.0}, "`penalty` decides"),
        ({"target_g": 0.2, "regrow": 0.3}, "must be below `target_g`"),
        ({"balance": True, "rule": "set", "networks": "g"}, "`networks` both"),
        ({"period": 3}, "`period` means nothing with `schedule` score"),
        ({"period": 0, "schedule": "periodic"}, "`period` must be at least 1"),
        ({"fade": 1.0, "schedule": "always"}, "`fade` means nothing with `schedule` always"),
        ({"fade": -1.0}, "`fade` must not be negative"),
        ({"dead_band": 0.1, "schedule": "periodic"}, "`dead_band` means nothing"),
        ({"networks": "none"}, "`networks` is one of"),
    ],
)
def test_options_that_would_be_ignored_or_are_out_of_range_are_refused(options, told):
    with pytest.raises(UserError, match=told):
        TrainConfig(**options)


@pytest.mark.parametrize("rule", ["threshold", "published", "none", "always"])
def test_states_of_format_2_are_taken_up(training, rule):
    """They have no steps of rules, no flips, no ledgers, no sums of D's outputs; 'always' was no schedule."""
    options = {} if rule == "none" else {"threshold_lr": 0.02}
    if rule == "always":
        rule, options["schedule"] = "threshold", "always"
    run, other = training(rule=rule, **options), training(rule=rule, **options)
    for _ in range(4):
        run.step()
    old = held_in_networks(run.state_dict())
    for part in ("ledgers", "balance", "logit_sums"):
        del old[part]
    for pruner in old["pruners"]:
        del pruner["fading"], pruner["rule"]["steps"], pruner["rule"]["target"]
    if options.get("schedule") == "always":
        old["schedule"] = None
    elif old["schedule"]:
        del old["schedule"]["flips"]
    state = migrate({"format": 2, "rows": [], "rollbacks": 0, "training": old}, Path("state.pt"))
    for which in (run, other):  # one after the other: they draw from the same random numbers
        if which is other:
            other.load_state_dict(state["training"])
        for _ in range(2):
            which.step()
    for key, value in run.gan.g.state_dict().items():
        assert torch.equal(value, other.gan.g.state_dict()[key]), key
    told = instruments(other, 2)["layers"]
    assert all(row["births"] + row["deaths"] >= 0 for layers in told.values() for row in layers.values())


def ramp_of(run):
    target = run.prune_g.rule.target
    return target if isinstance(target, Ramp) else target.courses["*"]


@pytest.mark.parametrize("options", [{"target_g": 0.4}, {"rule": "magnitude", "schedule": "always", "target_g": 0.4}])
def test_a_run_that_is_made_longer_keeps_its_ramp(training, options):
    run, longer = training(**options, kimg=0.64), training(**options, kimg=6.4)
    assert ramp_of(longer).steps == 10 * ramp_of(run).steps
    longer.load_state_dict(run.state_dict())
    assert longer.prune_g.rule.target == run.prune_g.rule.target
    spoiled = copy.deepcopy(run.state_dict())
    target = spoiled["pruners"][0]["rule"]["target"]
    (target["*"] if isinstance(target, dict) else target)[0] = 1.5
    with pytest.raises(ValueError, match="target density"):
        longer.load_state_dict(spoiled)


def test_states_of_format_3_have_the_target_of_the_options(training):
    run, other = training(target_g=0.4), training(target_g=0.4)
    state = held_in_networks(run.state_dict())
    for pruner in state["pruners"]:
        del pruner["rule"]["target"]
    other.load_state_dict(migrate({"format": 3, "training": state}, Path("state.pt"))["training"])
    assert other.prune_g.rule.target == run.prune_g.rule.target
    assert other.prune_d.rule.target is None
    with pytest.raises(ValueError, match="target in one of the two"):
        training().load_state_dict(run.state_dict())


def test_gap_is_taken_over_all_classes(digits):
    """Images of a set in folders lie class by class."""
    order = digits.labels.argsort(stable=True).numpy()
    data = digits.take(order[:600])
    assert data.labels[:60].unique().numel() == 1
    config = TrainConfig(width_g=8, width_d=8, resolution=16, score_samples=4, precision="fp32", device="cpu")
    run = Training(config, data, digits.take(order[600:660]))
    seen = []
    run.gan.d.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    run.evaluator.gap()
    shown = torch.cat(seen)[:60]
    every = data.images.float() / 127.5 - 1
    rows = [int((every - image).abs().sum(dim=(1, 2, 3)).argmin()) for image in shown]
    assert set(data.labels[rows].tolist()) == set(data.labels.tolist())


def test_overfitting_is_told_of_the_tick_that_it_was_taken_in(tmp_path):
    options = {"schedule": "overfit", "kimg": 0.4, "snap": 0.1, "width_g": 8, "width_d": 8, "batch": 8}
    config = TrainConfig(**options, resolution=16, score_samples=8, max_images=40, precision="fp32", outdir=tmp_path)
    rows = Run(train(config)).rows()
    assert len(rows) == 4
    for row in rows:
        assert row["overfitting"] == pytest.approx(row["d_sign"], abs=1e-5)


@pytest.mark.parametrize("networks", ["g", "d"])
def test_one_network_can_be_pruned_alone(tmp_path, networks):
    options = {"networks": networks, "kimg": 0.1, "snap": 0.05, "width_g": 8, "width_d": 8, "batch": 8}
    config = TrainConfig(**options, resolution=16, score_samples=8, max_images=40, precision="fp32", outdir=tmp_path)
    run = train(config)
    assert set(Run(run).rows()[-1]["layers"]) == {networks}
    log = (run / "log.txt").read_text()
    prunable = [line for line in log.splitlines() if "prunable" in line]
    assert [line.split()[1] for line in prunable] == [networks.upper()]


def test_a_score_that_keeps_improving_prunes_as_always_does(training):
    """Which is why the study's prune-only arm and RG-GAN coincide where RG-GAN never integrated."""
    weights = []
    for schedule in ("score", "always"):
        run = training(schedule=schedule, target_g=0.5, target_d=0.5, ramp=0.1)
        for score in (6.0, 5.0, 4.0, 3.0, 2.0, 1.0):
            run.step()
            run.schedules[0].step(score)
        assert run.schedules[0].flips == 0
        weights.append(
            {**run.gan.g.state_dict(), **{f"d.{key}": value for key, value in run.gan.d.state_dict().items()}}
        )
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
