"""A step moves both networks by the hinge loss; what steers is kept apart from what trains."""

import copy

import numpy as np
import pytest
import torch

from rggan import TrainConfig
from rggan.data import load_images
from rggan.losses import hinge_d, hinge_g
from rggan.metrics import feature_network
from rggan.pruning import PublishedThreshold, Threshold
from rggan.steps import Loss
from rggan.training.sparsity import make_rule
from rggan.training.trainer import Training

pytestmark = pytest.mark.slow  # trains


def training(**options):
    options = {"width_g": 8, "width_d": 8, "z_dim": 8, "batch": 8, "score_samples": 16, "precision": "fp32"} | options
    data = load_images("digits", 16, max_images=60)
    return Training(TrainConfig(**options), data, data)


def test_rule_none_is_the_same_program_without_pruning():
    """With thresholds that do not move, RG-GAN's run and the dense run are bit-identical, step after step."""
    dense, pruned = training(rule="none"), training(rule="hard", threshold_lr=0.0)
    for run in (dense, pruned):
        torch.manual_seed(5)
        for _ in range(3):
            run.step()
    assert dense.densities() == pruned.densities() == (1.0, 1.0)
    for name, value in dense.ema.network.state_dict().items():
        assert torch.equal(value, pruned.ema.network.state_dict()[name]), name
    assert dense.evaluator.judge(dense.snapshot()).score == pruned.evaluator.judge(pruned.snapshot()).score


@pytest.mark.slow
def test_the_second_training_of_a_process_is_the_same_as_the_first():
    """Nothing that is made once a process (the feature network, say) may move the random numbers."""
    feature_network.cache_clear()
    losses = []
    for _ in range(2):
        run = training()
        run.step()
        losses.append(run.loss_sums.tolist())
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["threshold", "hard", "published", "none"])
@pytest.mark.parametrize("cond", [False, True])
@pytest.mark.parametrize("aug", ["diff", "none"])
def test_every_combination_trains(rule, cond, aug):
    pushed = {} if rule == "none" else {"threshold_lr": 0.05, "penalty": 1.0}
    run = training(rule=rule, cond=cond, aug=aug, d_steps=2, **pushed)
    before = copy.deepcopy((run.gan.g.state_dict(), run.gan.d.state_dict()))
    for _ in range(4):
        run.step()
    for network, old in zip((run.gan.g, run.gan.d), before, strict=True):
        for name, value in network.state_dict().items():
            assert value.isfinite().all(), name
        weights = [n for n in old if n.endswith(("original", "weight")) and "gain" not in n]
        assert all(not torch.equal(network.state_dict()[n], old[n]) for n in weights if "embedding" not in n)
    assert run.images == 4 * 2 * 8
    if rule == "none":
        assert run.densities() == (1.0, 1.0)
        assert run.schedules == []
    else:
        assert all(0.05 < density < 0.999 for density in run.densities())
    assert np.isfinite(run.evaluator.judge(run.snapshot()).score)


def test_generator_step_leaves_the_discriminators_weights_and_gradients_alone():
    run = training()
    run.discriminator_step()
    weights = copy.deepcopy({n: p for n, p in run.gan.d.named_parameters()})
    gradients = {n: p.grad.clone() for n, p in run.gan.d.named_parameters()}
    run.generator_step()
    for name, p in run.gan.d.named_parameters():
        assert torch.equal(p, weights[name])
        assert torch.equal(p.grad, gradients[name])
        assert p.requires_grad


def test_losses_are_the_mean_over_the_steps(monkeypatch):
    run = training(rule="none", d_steps=3)
    seen = []

    def recorded(real, fake):
        seen.append(hinge_d(real, fake))
        return seen[-1]

    monkeypatch.setattr(run.steps, "loss", Loss(recorded, hinge_g))
    run.step()
    assert len(seen) == 3
    assert run.loss_sums[1].item() == pytest.approx(sum(loss.item() for loss in seen) / 3, rel=1e-6)


def test_evaluation_repeats_exactly_and_does_not_touch_the_training():
    run = training()
    run.step()
    state = copy.deepcopy(run.state_dict())
    scores = [run.evaluator.judge(run.snapshot()).score for _ in range(2)]
    assert scores[0] == scores[1]
    after = run.state_dict()
    assert torch.equal(state["random"], after["random"])
    for part in ("g", "d"):
        assert all(torch.equal(value, after[part][name]) for name, value in state[part].items())


def test_no_finite_images_is_no_score():
    run = training()
    with torch.no_grad():
        run.gan.g.to_rgb.bias.fill_(float("nan"))
    run.ema.update(run.gan.g)
    assert np.isnan(run.evaluator.judge(run.snapshot()).score)


@pytest.mark.slow
def test_bf16_stays_close_to_fp32():
    """The same step in both precisions: losses agree to bf16's two to three digits."""
    losses = []
    for precision in ("fp32", "bf16"):
        run = training(precision=precision, rule="none")
        torch.manual_seed(3)
        run.step()
        assert all(p.dtype == torch.float32 for p in run.gan.g.parameters())
        losses.append(run.loss_sums.tolist())
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert losses[0] != losses[1]


def test_rules_follow_the_options():
    hard = make_rule(TrainConfig(rule="hard", penalty=0.5, threshold_lr=0.1), "g")
    assert isinstance(hard, Threshold)
    assert (hard.hard, hard.penalty, hard.lr) == (True, 0.5, 0.1)
    assert not make_rule(TrainConfig(), "d").hard
    published = make_rule(TrainConfig(rule="published"), "g")
    assert isinstance(published, PublishedThreshold)
    assert published.penalty == 1e-12


def test_resumed_training_is_bit_identical_to_one_that_never_stopped():
    options = {"threshold_lr": 0.02, "mirror": True, "cond": True}
    run = training(**options)
    for _ in range(3):
        run.step()
    run.schedules[0].step(1.0)
    saved = copy.deepcopy(run.state_dict())
    for _ in range(3):
        run.step()
    other = training(**options)
    other.load_state_dict(saved)
    for _ in range(3):
        other.step()
    ours, theirs = run.state_dict(), other.state_dict()
    for part in ("g", "d"):
        for name, value in ours[part].items():
            assert torch.equal(value, theirs[part][name]), name
    for name, value in ours["ema"]["network"].items():
        assert torch.equal(value, theirs["ema"]["network"][name]), name
    assert ours["schedules"] == theirs["schedules"]
    assert run.densities() == other.densities()
    assert run.densities()[0] < 1


@pytest.mark.slow
def test_compiled_training_moves_as_the_plain_one_and_saves_plain_names(monkeypatch):
    """With the backend that only traces: the graphs are torch.compile's, the kernels those of the plain run."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: compiler(network, backend="aot_eager"))
    losses, names = [], []
    for compile in (False, True):
        run = training(compile=compile, threshold_lr=0.02)
        torch.manual_seed(5)
        for _ in range(2):
            run.step()
        losses.append(run.loss_sums.tolist())
        names.append(run.state_dict()["g"].keys())
        assert run.densities()[0] < 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert names[0] == names[1]
