"""The steps against their formulas, alone and inside a training: R1, LeCam, path lengths, adaptive augmentation."""

import copy
import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rggan import TrainConfig
from rggan.data import load_images
from rggan.training.instruments import instruments
from rggan.training.setup import make_steps
from rggan.training.trainer import Training

pytestmark = pytest.mark.slow  # all together they take seconds

CPU = torch.device("cpu")


def steps(network="sngan", pixels=1024, **options):
    return make_steps(TrainConfig.of(network, **options), pixels, CPU)


def path_due(made):
    """Whether the next step of G carries the path length penalty."""
    made.steps_g += 1
    return made.path_due()


@pytest.mark.parametrize("network", ["sngan", "stylegan2", "fastgan", "biggan", "projected", "projected-stylegan2"])
def test_losses_are_those_of_the_option(network):
    real, fake = torch.randn(2, 50, dtype=torch.float64)
    r, f = real.numpy(), fake.numpy()
    own = {"stylegan2": "nonsaturating"}.get(network, "hinge")
    for options in ({}, {"loss": "hinge"}, {"loss": "nonsaturating"}):
        made = steps(network, **options)
        if options.get("loss", own) == "hinge":
            of_d = np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean()
            of_g = -f.mean()
        else:
            of_d = np.log1p(np.exp(-r)).mean() + np.log1p(np.exp(f)).mean()
            of_g = np.log1p(np.exp(-f)).mean()
        assert made.loss_of_d(real, fake).item() == pytest.approx(of_d, rel=1e-12)
        assert made.loss.g(fake).item() == pytest.approx(of_g, rel=1e-12)


def test_gamma_of_no_option_is_the_rule_of_thumb_for_stylegan2_and_none_for_others():
    assert steps("stylegan2", 64 * 96, batch=8).gamma == pytest.approx(0.0002 * 64 * 96 / 8)
    assert [steps(name).gamma for name in ("sngan", "fastgan", "biggan", "projected")] == [0, 0, 0, 0]
    assert [steps("stylegan2", gamma=gamma).gamma for gamma in (0.0, 3.0)] == [0, 3]
    assert steps("sngan", gamma=3.0).gamma == 3


def test_penalties_are_due_on_every_16th_and_4th_step():
    made = steps("stylegan2", gamma=3.0, path_length=2.0)
    assert [step for step in range(1, 50) if made.r1_due()] == [1, 17, 33, 49]
    assert [step for step in range(1, 15) if path_due(made)] == [1, 5, 9, 13]


def test_penalties_of_weight_zero_are_never_due():
    made = steps("stylegan2", gamma=0.0, path_length=0.0)
    assert not any(made.r1_due() or path_due(made) for _ in range(40))


def test_lecam_equals_numpys_with_averages_that_begin_at_the_first_means():
    made, plain = steps(lecam=0.3), steps()
    average = None
    for _ in range(6):
        real, fake = torch.randn(8) * 2 + 1, torch.randn(8) - 0.5
        r, f = real.double().numpy(), fake.double().numpy()
        means = np.array([r.mean(), f.mean()])
        average = means if average is None else 0.99 * average + 0.01 * means
        expected = (np.maximum(0, r - average[1]) ** 2).mean() + (np.maximum(0, average[0] - f) ** 2).mean()
        loss = made.loss_of_d(real, fake) - plain.loss_of_d(real, fake)
        assert loss.item() == pytest.approx(0.3 * expected, rel=1e-4)
        assert [made.real.item(), made.fake.item()] == pytest.approx(average.tolist(), rel=1e-5)
        made.r1_due()


def test_lecams_averages_carry_no_gradient():
    made = steps(lecam=1.0)
    real, fake = torch.randn(2, 8).requires_grad_().unbind()
    made.loss_of_d(real, fake).backward()
    assert not made.real.requires_grad
    assert not made.fake.requires_grad


def test_path_penalty_is_weighted_for_a_lazy_step_and_moves_the_length():
    """Of pictures that are linear in one style: its length is |noise . row| / sqrt(pixels), whatever the style."""
    made = steps("stylegan2", path_length=2.0)
    styles = torch.randn(2, 1, 3, requires_grad=True)
    images = styles.sum(dim=(1, 2))[:, None, None, None].expand(2, 1, 4, 4)
    torch.manual_seed(1)
    penalty = made.path_penalty(images, styles)
    torch.manual_seed(1)
    noise = torch.randn(2, 1, 4, 4).double().numpy()
    lengths = np.abs(noise.sum(axis=(1, 2, 3))) / 4 * np.sqrt(3)
    average = 0.01 * lengths.mean()
    assert made.length.item() == pytest.approx(average, rel=1e-4)
    assert penalty.item() == pytest.approx(2 * 4 * np.square(lengths - average).mean(), rel=1e-4)


def test_restored_steps_go_on_as_the_saved_ones():
    options = {"lecam": 0.3, "gamma": 1.0, "path_length": 2.0}
    made = steps("stylegan2", **options)

    def go(of, steps):
        told = []
        for _ in range(steps):
            real, fake = torch.randn(2, 8)
            styles = torch.randn(2, 1, 3, requires_grad=True)
            images = styles.square().sum(dim=(1, 2))[:, None, None, None].expand(2, 1, 4, 4)
            told += [of.loss_of_d(real, fake).item(), of.r1_due(), path_due(of), of.path_penalty(images, styles).item()]
        return told

    go(made, 11)
    file = io.BytesIO()
    torch.save(made.state_dict(), file)
    file.seek(0)
    other = steps("stylegan2", **options)
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.manual_seed(7)
    first = go(made, 20)
    torch.manual_seed(7)
    assert go(other, 20) == first
    assert True in first[1::4]
    assert True in first[2::4]
    assert made.state_dict() == other.state_dict()


# In a training


@pytest.fixture(scope="module")
def pictures():
    return load_images("digits", 32, max_images=40)


def training(pictures, **options):
    options = {
        **{"width_g": 8, "width_d": 8, "z_dim": 8, "batch": 4, "score_samples": 8, "precision": "fp32", "gamma": 1.0},
        **{"device": "cpu"},
        **options,
    }
    return Training(TrainConfig.of("stylegan2", **options), pictures, pictures)


@pytest.mark.parametrize("cond", [False, True])
def test_gradients_of_steps_with_and_without_r1_equal_those_by_hand(pictures, cond, monkeypatch):
    run = training(pictures, aug="none", rule="none", gamma=0.5, cond=cond)
    drawn, batches = run.gan.latents(), run.gan.batches.next()
    monkeypatch.setattr(run.gan, "latents", lambda: drawn)
    monkeypatch.setattr(run.gan.batches, "drawn", lambda: batches)
    shares = []
    for step in (1, 2):
        d, g = copy.deepcopy(run.gan.d), copy.deepcopy(run.gan.g)
        labels = (batches[1],) if cond else ()
        x = batches[0].clone().requires_grad_()
        loss = F.softplus(-d(x.detach(), *labels)).mean()
        loss = loss + F.softplus(d(g(*drawn).detach(), *drawn[1:])).mean()
        plain = torch.autograd.grad(loss, list(d.parameters()), retain_graph=True)
        if step == 1:
            (slope,) = torch.autograd.grad(d(x, *labels).sum(), x, create_graph=True)
            loss = loss + 16 * 0.5 / 2 * slope.flatten(1).norm(dim=1).square().mean()
        loss.backward()
        run.discriminator_step()
        for (name, mine), by_hand in zip(run.gan.d.named_parameters(), d.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, by_hand.grad, rtol=1e-4, atol=1e-6, msg=name)
        pairs = zip(d.parameters(), plain, strict=True)
        shares.append(max((p.grad - other).abs().max().item() for p, other in pairs))
    assert shares[0] > 1e-3  # R1 is felt on the first step
    assert shares[1] < 1e-6  # and is not there on the second


def test_r1_is_taken_of_the_pictures_before_augmentation(pictures, monkeypatch):
    """Tripled pictures have three times the gradient: nine times the penalty."""
    run = training(pictures, aug="none", rule="none")
    real, labels = run.gan.real()
    with torch.no_grad():
        run.gan.d.blocks[0].from_rgb.bias.zero_()
    x = (3 * real).requires_grad_()
    (slope,) = torch.autograd.grad(run.gan.d(x).sum(), x)
    monkeypatch.setattr(run.gan, "augment", lambda x: 3 * x)
    penalty = run.steps.gradient_penalty(run.gan, real, labels).item()
    assert penalty == pytest.approx(9 * slope.square().sum(dim=(1, 2, 3)).mean().item(), rel=1e-4)


def test_real_and_generated_pictures_do_not_see_each_other(pictures):
    run = training(pictures, aug="none", rule="none")
    real = torch.randn(4, 1, 32, 32)
    fakes = torch.randn(2, 4, 1, 32, 32)
    (first, a, _), (second, b, _) = (run.steps.outputs(run.gan, real, (), fake, ()) for fake in fakes)
    assert torch.equal(first, second)
    assert not torch.equal(a, b)


def test_path_lengths_count_on_every_fourth_step_of_the_generator(pictures, monkeypatch):
    run = training(pictures, aug="none", rule="none", gamma=0.0, path_length=2.0)
    at, seen, step = [], [], 0
    penalty = run.steps.path_penalty

    def recorded(images, styles):
        at.append(step)
        seen.append((len(images), images.dtype))
        return penalty(images, styles)

    monkeypatch.setattr(run.steps, "path_penalty", recorded)
    for step in range(1, 10):  # noqa: B007 - `recorded` looks at it
        run.generator_step()
    assert at == [1, 5, 9]
    assert set(seen) == {(2, torch.float32)}  # half of a batch
    assert run.steps.length > 0


def test_path_length_penalty_changes_the_generators_gradient(pictures):
    gradients = []
    for weight in (0.0, 2.0):
        run = training(pictures, aug="none", rule="none", gamma=0.0, path_length=weight)
        torch.manual_seed(1)
        run.generator_step()
        gradients.append(run.gan.g.blocks[0].layers[0].conv.weight.grad.clone())
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[0] - gradients[1]).abs().max() > 1e-4


def test_augmentation_grows_while_d_is_right_about_real_pictures_and_resumes_to_the_bit(pictures):
    options = {"aug": "ada", "ada_kimg": 0.1, "ada_target": 0.5, "lecam": 0.1, "path_length": 1.0, "style_mixing": 0.5}
    run = training(pictures, **options)
    told = []
    for step in range(1, 11):
        with torch.no_grad():  # certain about everything: all signs are +1
            run.gan.d.out.bias.fill_(100.0)
        run.step()
        told.append(instruments(run, 1)["aug_p"])
        if step == 6:  # between two moves of p: what was observed since the last one is kept too
            file = io.BytesIO()
            torch.save(run.state_dict(), file)
    # every four steps of D, by the 16 pictures it saw, as a share of 100
    assert told == pytest.approx([0, 0, 0, 0.16, 0.16, 0.16, 0.16, 0.32, 0.32, 0.32])
    other = training(pictures, **options)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.ada.p == told[5]
    for _ in range(4):
        with torch.no_grad():
            other.gan.d.out.bias.fill_(100.0)
        other.step()
    ours, theirs = run.state_dict(), other.state_dict()
    assert ours["ada"] == theirs["ada"]
    assert ours["steps"] == theirs["steps"]
    assert torch.equal(ours["random"], theirs["random"])
    for part in ("g", "d"):
        for name, value in ours[part].items():
            assert torch.equal(value, theirs[part][name]), name
    for name, value in ours["ema"]["network"].items():
        assert torch.equal(value, theirs["ema"]["network"][name]), name


def test_augmentation_falls_back_where_d_is_wrong(pictures):
    run = training(pictures, aug="ada", ada_kimg=0.1, ada_target=0.5)
    run.ada.p = 0.5
    for _ in range(4):
        with torch.no_grad():
            run.gan.d.out.bias.fill_(-100.0)
        run.step()
    assert run.ada.p == pytest.approx(0.5 - 0.16)


def test_other_augmentations_tell_of_no_probability(pictures):
    assert "aug_p" not in instruments(training(pictures, aug="diff"), 1)
