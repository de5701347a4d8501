"""The projected discriminator: what is frozen stays, gradients pass through it, all kinds of pictures are seen."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rggan import Generator, TrainConfig, UserError, pretrained
from rggan.data import load_images
from rggan.networks import projected
from rggan.networks.projected import MIXED, ProjectedDiscriminator, Projection, over_chequers, seen
from rggan.pretrained import LITE1, STRIDES, WIDTHS, tensors
from rggan.training.evaluator import gap_of
from rggan.training.trainer import Training

pytestmark = pytest.mark.slow  # a pretrained network


@pytest.fixture(scope="module")
def projection() -> Projection:
    return Projection()


def training(size: int = 32, **options: object) -> Training:
    small = {"width_g": 2, "width_d": 2, "z_dim": 8, "batch": 4, "score_samples": 4, "device": "cpu"}
    data = load_images("digits", size, max_images=20)
    return Training(TrainConfig.of("projected", **{**small, "precision": "fp32", "kimg": 0.1, **options}), data, data)


def test_maps_are_mixed_as_the_paper_says(projection: Projection) -> None:
    """By hand: each map by its 1x1 convolution, then plus the coarser one, convolved and enlarged."""
    images = torch.rand(2, 3, 64, 96) * 2 - 1
    mixed = [
        torch.einsum("oi,nihw->nohw", projection.get_buffer(f"channels{i}")[:, :, 0, 0], x)
        for i, x in enumerate(projection.backbone(images))
    ]
    for i in (2, 1, 0):
        coarser = F.conv2d(mixed[i + 1], projection.get_buffer(f"scales{i}"), padding=1)
        mixed[i] = mixed[i] + F.interpolate(coarser, scale_factor=2, mode="bilinear")
    for found, expected, stride, width in zip(projection(images), mixed, STRIDES, MIXED, strict=True):
        assert found.shape == (2, width, 64 // stride, 96 // stride)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_mixing_is_fixed_by_its_seed_and_not_by_the_callers(projection: Projection) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    other = Projection()
    assert torch.equal(torch.get_rng_state(), before)
    pairs = list(zip(tensors(projection), tensors(other), strict=True))
    assert len(pairs) > 7
    assert all(name == again and torch.equal(a, b) for (name, a), (again, b) in pairs)
    for i, inputs in enumerate(WIDTHS):
        assert projection.get_buffer(f"channels{i}").std().item() == pytest.approx((3 * inputs) ** -0.5, rel=0.05)
    assert projection.get_buffer("scales2").std().item() == pytest.approx((3 * 9 * MIXED[3]) ** -0.5, rel=0.05)


@pytest.mark.slow
def test_what_is_frozen_stays_bit_identical_and_in_eval_mode() -> None:
    run = training(target_d=0.5, target_g=0.5, ramp=0.01, aug="ada", ada_kimg=0.01, ada_target=-0.9)
    frozen: Projection = run.gan.d.projection  # type: ignore[assignment]
    before = copy.deepcopy(dict(tensors(frozen)))
    heads = copy.deepcopy(run.gan.d.state_dict())
    for _ in range(3):
        run.step()
    run.gan.d.train()
    after = dict(tensors(frozen))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module.training for module in frozen.modules())
    assert run.gan.d.blocks.training
    assert not any("projection" in name for name in run.gan.d.state_dict())
    weights = [name for name in heads if name.endswith("original")]
    assert len(weights) == 9
    assert not any(torch.equal(heads[name], run.gan.d.state_dict()[name]) for name in weights)
    assert run.densities()[1] < 1


def test_gradients_reach_g_through_the_projection() -> None:
    run = training()
    with run.gan.fixed_d():
        run.steps.generator_step(run.gan, run.gan.latents())
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for name, p in run.gan.g.named_parameters()
        if "strength" not in name
    )
    assert all(p.grad is None for p in run.gan.d.parameters())


@pytest.mark.parametrize("colour", [-1.0, 0.0, 1.0])
def test_pictures_that_differ_in_alpha_alone_are_told_apart(projection: Projection, colour: float) -> None:
    pictures = torch.full((3, 4, 64, 64), colour)
    pictures[:, 3] = torch.tensor([-1.0, 0.5, 1.0])[:, None, None]
    pictures.requires_grad_()
    maps = projection(pictures)
    for found in maps[:2]:
        for one, other in ((0, 1), (1, 2), (0, 2)):
            assert (found[one] - found[other]).abs().max() > 0.1 * found.abs().max()
    sum((x * torch.randn_like(x)).sum() for x in maps).backward()
    assert pictures.grad is not None
    reached = (pictures.grad[:, 3] != 0).float().mean().item()
    assert reached > (0.45 if colour else 0.9)  # black on black, in half of the cells, looks the same


def test_what_is_seen_of_pictures() -> None:
    grey = torch.rand(1, 1, 64, 64) * 2 - 1
    assert torch.equal(seen(grey), torch.cat([grey] * 3, dim=1))
    colours = torch.rand(1, 3, 64, 80) * 2 - 1
    assert torch.equal(seen(colours), colours)
    opaque = torch.cat([colours, torch.ones(1, 1, 64, 80)], dim=1)
    torch.testing.assert_close(seen(opaque), colours)
    clear = over_chequers(torch.cat([colours, -torch.ones(1, 1, 64, 80)], dim=1))
    assert clear.unique().tolist() == [-1, 1]
    assert clear.mean() == 0
    half = over_chequers(torch.cat([colours, torch.zeros(1, 1, 64, 80)], dim=1))
    torch.testing.assert_close(half, (colours + clear) / 2)


@pytest.mark.parametrize(("size", "patches"), [((32, 32), 16), ((32, 48), 24), ((80, 112), 35), ((64, 64), 16)])
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 0), (4, 2)])
def test_every_head_has_as_many_logits(size: tuple[int, int], patches: int, channels: int, classes: int) -> None:
    d = ProjectedDiscriminator(size, channels, 2, classes)
    labels: tuple[Tensor, ...] = (torch.tensor([0, 1]),) if classes else ()
    logits = d(torch.randn(2, channels, *size), *labels)
    assert logits.shape == (2, 4 * patches)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in d.parameters())


@pytest.mark.slow
def test_resumes_to_the_bit_in_bf16() -> None:
    run, other = (
        training(precision="bf16", target_d=0.5, ramp=0.01),
        training(precision="bf16", target_d=0.5, ramp=0.01),
    )
    run.step()
    file = io.BytesIO()
    torch.save(run.state_dict(), file)
    file.seek(0)
    run.step()
    other.load_state_dict(torch.load(file, weights_only=True))
    other.step()
    assert run.is_finite()
    state, again = run.gan.d.state_dict(), other.gan.d.state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)


def test_missing_extra_stops_training_but_not_generation(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    run = training()
    generator = Generator(run.snapshot(), run.description)
    generator.save(tmp_path / "saved")
    images = generator.images([0])
    found = pretrained.importlib.util.find_spec
    monkeypatch.setattr(
        pretrained.importlib.util, "find_spec", lambda name: None if name == LITE1.package else found(name)
    )
    assert torch.equal(Generator.from_pretrained(tmp_path / "saved").images([0]), images)
    from rggan import train

    with pytest.raises(UserError, match=r'pip install "rggan\[pretrained\]"'):
        train("digits", network="projected", resolution=32, outdir=tmp_path / "runs", device="cpu")
    assert not (tmp_path / "runs").exists() or not [p for p in (tmp_path / "runs").iterdir() if p.is_dir()]


@pytest.mark.parametrize(("option", "value"), [("dynamic_d", 0.5), ("freeze_d", 1)])
def test_options_that_mean_nothing_are_refused(option: str, value: float, tmp_path) -> None:
    with pytest.raises(UserError, match=f"`{option}` means nothing with `network` projected"):
        TrainConfig.of("projected", **{option: value}, init=tmp_path)


def test_held_out_pictures_are_judged() -> None:
    run = training()
    told = gap_of(run.gan.d, run.evaluator.data, run.evaluator.data, 4, False, run.gan.autocast)
    assert told["d_train"] == told["d_held_out"]
    assert not run.gan.d.projection.training
    assert projected.FAMILY.looks_through == "lite1"
