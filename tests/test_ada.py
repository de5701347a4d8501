"""Adaptive augmentation against scipy, hand computations and the strengths of the paper's appendix B."""

import itertools
import json
import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch.autograd import gradcheck, gradgradcheck

from rggan.augment import ada
from rggan.augment.ada import AdaptiveAugment, chosen, colours, geometry, hue, moved, recoloured, sample


def by_scipy(picture, matrix, samples=1):
    """The same by scipy: [C, H, W] and [3, 3] in (x, y) from the middle -> [C, H, W]."""
    linear, shift = matrix[:2, :2].numpy()[::-1, ::-1], matrix[:2, 2].numpy()[::-1]
    middle = (np.array(picture.shape[1:]) - 1) / 2
    parts = [(i + 0.5) / samples - 0.5 for i in range(samples)]
    total = 0
    for part in ((dy, dx) for dy in parts for dx in parts):
        offset = middle + shift + linear @ (np.array(part) - middle)
        total = total + np.stack(
            [
                scipy.ndimage.affine_transform(channel, linear, offset, order=1, mode="mirror")
                for channel in picture.numpy()
            ]
        )
    return total / samples**2


def shift(x, y):
    return ada.translation(torch.tensor([float(x)]), torch.tensor([float(y)]))


@pytest.mark.parametrize("size", [(8, 8), (7, 12), (12, 5), (1, 6)])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_sampler_against_scipy(size, samples):
    x = torch.randn(40, 2, *size, dtype=torch.float64)
    matrix = torch.eye(3, dtype=torch.float64).repeat(40, 1, 1)
    matrix[:, :2] += torch.randn(40, 2, 3, dtype=torch.float64) * torch.tensor([1.0, 1.0, 20.0])  # far outside too
    out = sample(x, matrix, samples)
    for picture, by, mine in zip(x, matrix, out, strict=True):
        np.testing.assert_allclose(mine, by_scipy(picture, by, samples), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(8, 8), (9, 9), (6, 13)])
def test_permutations_of_pixels_are_exact(dtype, size):
    x = torch.randn(2, 3, *size, dtype=dtype)

    def by(matrix):
        return sample(x, matrix.to(dtype).expand(2, 3, 3))

    assert torch.equal(by(torch.eye(3)), x)
    assert torch.equal(by(torch.diag(torch.tensor([-1.0, 1.0, 1.0]))), x.flip(3))
    assert torch.equal(by(torch.diag(torch.tensor([-1.0, -1.0, 1.0]))), x.rot90(2, (2, 3)))
    if size[0] == size[1]:
        assert torch.equal(by(ada.rotation(torch.zeros(1), torch.ones(1))), x.rot90(1, (2, 3)))
        assert torch.equal(by(ada.rotation(torch.zeros(1), -torch.ones(1))), x.rot90(-1, (2, 3)))


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, 0), (-3, 1), (25, -40)])
def test_whole_shift_is_a_walk_through_the_mirrored_picture(right, down):
    x = torch.randn(1, 2, 5, 7)
    wide = np.pad(x[0].numpy(), ((0, 0), (60, 60), (60, 60)), mode="reflect")
    expected = wide[:, 60 + down : 65 + down, 60 + right : 67 + right]
    assert np.array_equal(sample(x, shift(right, down).float())[0], expected)


@pytest.mark.slow
def test_sampler_can_be_differentiated_twice():
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    matrix = torch.eye(3, dtype=torch.float64) + torch.randn(2, 3, 3, dtype=torch.float64) / 2
    matrix[:, 2] = torch.tensor([0.0, 0.0, 1.0])
    assert gradcheck(lambda x: sample(x, matrix, 2), x)
    assert gradgradcheck(lambda x: sample(x, matrix, 2), x)


def share(true):
    return true.double().mean().item()


N, P = 60_000, 0.4
CLOSE = 0.011  # more than five standard deviations of a share of N


@pytest.mark.parametrize("size", [(16, 16), (16, 40)])
def test_each_geometric_transformation_has_its_probability_and_strength(size):
    height, width = size
    matrix = geometry(N, height, width, P)
    linear, at = matrix[:, :2, :2], matrix[:, :2, 2]
    area = torch.det(linear)
    assert share(area < 0) == pytest.approx(P / 2, abs=CLOSE)  # x-flip; half of the drawn ones do nothing
    scale = -area.abs().log2() / 2
    scaled = scale.abs() > 1e-6
    assert share(scaled) == pytest.approx(P, abs=CLOSE)
    assert scale[scaled].std() == pytest.approx(0.2, rel=0.03)
    assert scale[scaled].mean() == pytest.approx(0, abs=0.01)
    singular = torch.linalg.svdvals(linear)
    stretch = (singular[:, 0] / singular[:, 1]).log2() / 2
    stretched = stretch > 1e-6
    assert share(stretched) == pytest.approx(P, abs=CLOSE)
    assert stretch[stretched].square().mean().sqrt() == pytest.approx(0.2, rel=0.03)
    rigid = ~scaled & ~stretched  # where those two did nothing, only turns and flips are left: in rectangles too
    turn = torch.atan2(linear[rigid, 1, 0], linear[rigid, 1, 1])
    quarters = turn / (math.pi / 2)
    free = (quarters - quarters.round()).abs() > 1e-9
    assert share(free) == pytest.approx(P, abs=2 * CLOSE)  # either of two rotations
    assert turn[free].abs().max() > 3.1
    assert turn[free].mean() == pytest.approx(0, abs=0.1)
    assert turn[free].std() == pytest.approx(math.pi / math.sqrt(3), rel=0.03)
    steps = quarters[~free].round().long().remainder(4)
    kinds = 4 if height == width else 2
    expected = {k: P / kinds for k in range(4) if kinds == 4 or k == 2} | {0: 1 - P + P / kinds}
    for k in range(4):
        assert share(steps == k) == pytest.approx(expected.get(k, 0), abs=2 * CLOSE)
    # Whole shifts come first and are thus whole in the picture they are taken from, whatever follows.
    whole = (at - at.round()).abs().amax(dim=1) < 1e-9
    assert share(whole[scaled]) == pytest.approx(1 - P, abs=2 * CLOSE)
    still = ~free & whole[rigid]
    assert at[rigid][still].mean(dim=0).abs().max() < 0.05  # to both sides alike
    across, down = at[rigid][still].abs().unbind(dim=1)
    if height != width:  # a quarter turn would exchange them
        assert across.max() == width // 8
        assert down.max() == height // 8
    assert share((across > 0) | (down > 0)) == pytest.approx(
        P * (1 - 1 / ((1 + width // 4) * (1 + height // 4))), abs=0.1
    )


@pytest.mark.parametrize("size", [(3, 3), (2, 3)])
def test_the_fractional_shift_comes_last(size):
    """In pictures of 3 pixels no whole shift is left: the forward matrix ends in the fractional one, as drawn."""
    forward = torch.linalg.inv(geometry(N, *size, 1.0))
    for axis in range(2):
        at = forward[:, axis, 2]
        assert at.std() == pytest.approx(0.125 * size[1 - axis], rel=0.02)
        assert at.mean() == pytest.approx(0, abs=0.01)
        large = torch.det(forward).abs() > 1
        assert at[large].std() / at[~large].std() == pytest.approx(1, abs=0.03)  # scaling does not touch it


def test_each_colour_transformation_has_its_probability_and_strength():
    matrix = colours(N, P)
    linear = matrix[:, :3, :3]
    grey = linear.sum(dim=2)  # of white; hue and saturation keep the grey axis
    torch.testing.assert_close(grey, grey[:, :1].expand(N, 3))
    grey = grey[:, 0]
    assert share(grey < 0) == pytest.approx(P / 2, abs=CLOSE)  # luma flip
    contrast = grey.abs()
    changed = (contrast - 1).abs() > 1e-9
    assert share(changed) == pytest.approx(P, abs=CLOSE)
    assert contrast[changed].log2().std() == pytest.approx(0.5, rel=0.03)
    brightness = matrix[:, 0, 3] / grey  # before contrast and luma flip
    torch.testing.assert_close(matrix[:, :3, 3], matrix[:, :1, 3].expand(N, 3))
    bright = brightness.abs() > 1e-9
    assert share(bright) == pytest.approx(P, abs=CLOSE)
    assert brightness[bright].std() == pytest.approx(0.2, rel=0.03)
    saturation = (torch.det(linear) / grey).abs().sqrt() / contrast
    saturated = (saturation - 1).abs() > 1e-6
    assert share(saturated) == pytest.approx(P, abs=CLOSE)
    assert saturation[saturated].log2().std() == pytest.approx(1, rel=0.03)
    cosine = (linear.diagonal(dim1=1, dim2=2).sum(dim=1) - grey) / (2 * contrast * saturation)
    turned = cosine < 1 - 1e-9
    assert share(turned) == pytest.approx(P, abs=CLOSE)
    angle = cosine[turned].clamp(-1, 1).acos()
    assert angle.mean() == pytest.approx(math.pi / 2, rel=0.03)
    assert angle.std() == pytest.approx(math.pi / math.sqrt(12), rel=0.03)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.7, 1.0])
def test_a_coin_chooses_a_share_p(p):
    out = chosen(torch.full((N, 3, 3), 5.0), p)
    hit = (out == 5).flatten(1).all(dim=1)
    assert share(hit) == pytest.approx(p, abs=CLOSE if 0 < p < 1 else 0)
    assert (out[~hit] == torch.eye(3)).all()


def test_hue_by_a_third_of_a_turn_permutes_the_channels():
    third = hue(torch.tensor([2 * math.pi / 3], dtype=torch.float64))[0, :3, :3]
    rgb = torch.tensor([0.2, -0.5, 0.9], dtype=torch.float64)
    torch.testing.assert_close(third @ rgb, rgb.roll(1))
    torch.testing.assert_close(third @ third @ third, torch.eye(3, dtype=torch.float64))


def only(indices, monkeypatch):
    """Let the transformations of these indices be chosen, and no others."""
    calls = itertools.count()

    def picked(matrices, p):
        return matrices if next(calls) in indices else torch.eye(matrices.shape[1]).double().expand_as(matrices)

    monkeypatch.setattr(ada, "chosen", picked)


def test_luma_flip_negates_the_mean_and_keeps_chroma(monkeypatch):
    x = torch.randn(50, 3, 4, 4)
    only({2}, monkeypatch)
    out = recoloured(x, 1.0)
    mean = x.mean(dim=1, keepdim=True)
    for before, after, grey in zip(x, out, mean, strict=True):
        kept, flipped = torch.allclose(after, before, atol=1e-6), torch.allclose(after, before - 2 * grey, atol=1e-6)
        assert kept != flipped
    assert 10 < sum(torch.allclose(a, b, atol=1e-6) for a, b in zip(x, out, strict=True)) < 40


def test_saturation_scales_the_chroma(monkeypatch):
    x = torch.randn(50, 3, 4, 4)
    only({4}, monkeypatch)
    out = recoloured(x, 1.0)
    before, after = (y - y.mean(dim=1, keepdim=True) for y in (x, out))
    torch.testing.assert_close(out - after, x - before)
    ratio = (after / before).flatten(1)
    torch.testing.assert_close(ratio, ratio.median(dim=1, keepdim=True).values.expand_as(ratio), rtol=1e-2, atol=1e-3)
    assert (ratio > 0).all()


def test_grey_gets_brightness_contrast_and_luma_flip_only():
    """Affine in each image, p / 2 of the slopes negative; the same as of a picture of three equal channels."""
    x = torch.randn(2000, 1, 3, 3)
    torch.manual_seed(5)
    out = recoloured(x, P)
    torch.manual_seed(5)
    matrix = colours(2000, P, grey=True).float()
    expected = torch.einsum("nij,njhw->nihw", matrix[:, :3, :3], x.expand(-1, 3, -1, -1)) + matrix[:, :3, 3:, None]
    torch.testing.assert_close(out.expand(-1, 3, -1, -1), expected, atol=1e-5, rtol=1e-5)
    unchanged = (out == x).flatten(1).all(dim=1)
    one = colours(100, 1.0, grey=True)[:, :3, :3]
    rest = one - one.diagonal(dim1=1, dim2=2).diag_embed()  # without luma flip the matrix is a number
    assert 20 < (rest == 0).flatten(1).all(dim=1).sum() < 80
    assert share(unchanged) == pytest.approx((1 - P) ** 2 * (1 - P / 2), abs=0.06)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(12, 12), (9, 14)])
@pytest.mark.parametrize("p", [0.2, 1.0])
def test_call_against_scipy_and_numpy(channels, size, p):
    x = torch.randn(24, channels, *size, dtype=torch.float64)
    torch.manual_seed(7)
    out = AdaptiveAugment(p=p)(x)
    torch.manual_seed(7)
    geometric, colour = geometry(24, *size, p), colours(24, p, grey=channels == 1).numpy()
    for picture, matrix, tint, mine in zip(x, geometric, colour, out, strict=True):
        linear = matrix[:2, :2]
        exact = torch.equal(matrix, matrix.round()) and torch.allclose(linear @ linear.T, torch.eye(2).double())
        expected = by_scipy(picture, matrix, 1 if exact else 2)
        rgb = expected[: min(channels, 3)]
        rgb = np.einsum("ij,jhw->ihw", tint[:3, :3], np.broadcast_to(rgb, (3, *size))) + tint[:3, 3, None, None]
        expected = np.concatenate([rgb[: min(channels, 3)], expected[3:]])
        np.testing.assert_allclose(mine, expected, atol=1e-9)


def test_flips_turns_and_whole_shifts_are_not_blurred(monkeypatch):
    """With only the blitting ones drawn, every pixel of the output is one of the input."""
    only({0, 1, 2}, monkeypatch)
    x = torch.randn(60, 1, 8, 8)
    out = moved(x, 1.0)
    assert all(torch.isin(after, before).all() for before, after in zip(x, out, strict=True))
    assert sum(not torch.equal(after, before) for before, after in zip(x, out, strict=True)) > 40


def test_nothing_happens_and_nothing_is_drawn_at_0():
    x = torch.randn(4, 3, 8, 8, dtype=torch.bfloat16)
    before = torch.get_rng_state()
    assert AdaptiveAugment(p=0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_each_image_is_changed_on_its_own(channels):
    x = torch.randn(1, channels, 8, 8).expand(16, -1, -1, -1)
    out = AdaptiveAugment(p=1.0)(x)
    assert out.shape == x.shape
    assert len({tuple(image.flatten().tolist()) for image in [x[0], *out]}) == 17


def test_calls_draw_equally_many_whatever_p_is():
    def after(p):
        torch.manual_seed(2)
        AdaptiveAugment(p=p)(torch.zeros(5, 3, 4, 4))
        return torch.get_rng_state()

    assert torch.equal(after(0.01), after(1.0))


def test_colours_leave_alpha_alone():
    x = torch.randn(32, 4, 8, 8)
    out = recoloured(x, 1.0)
    assert torch.equal(out[:, 3], x[:, 3])
    assert not torch.isclose(out[:, :3], x[:, :3]).all()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_call_can_be_differentiated_twice(channels):
    x = torch.randn(2, channels, 3, 3, dtype=torch.float64, requires_grad=True)
    augment = AdaptiveAugment(p=0.9)

    def call(x):
        torch.manual_seed(4)
        return augment(x)

    assert gradcheck(call, x)
    assert gradgradcheck(call, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_round(dtype):
    x = torch.randn(8, 4, 9, 12).to(dtype).requires_grad_()
    torch.manual_seed(1)
    expected = AdaptiveAugment(p=0.8)(x.float())
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        out = AdaptiveAugment(p=0.8)(x)
    assert out.dtype == torch.float32
    assert torch.equal(out, expected)
    (gradient,) = torch.autograd.grad(out.square().mean(), x)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


@pytest.mark.parametrize("batch", [1, 7, 25, 125])
@pytest.mark.parametrize("every", [1, 4])
def test_p_goes_all_the_way_within_kimg(batch, every):
    """At a speed that knows neither batches nor steps; the shares of 1750 are no binary numbers."""
    kimg = 1.75
    augment = AdaptiveAugment(kimg=kimg)

    def show(sign, images):
        for count in range(1, images // batch + 1):
            augment.observe(torch.full((batch,), 3.0 * sign))
            if count % every == 0:
                augment.step()
        augment.step()

    show(1, 875)
    assert augment.p == 0.5
    show(1, 875)
    assert augment.p == 1
    show(1, 875)
    assert augment.p == 1  # and no further
    show(-1, 875)
    assert augment.p == 0.5
    show(-1, 875)
    assert augment.p == 0
    show(-1, 875)
    assert augment.p == 0


def test_a_step_moves_p_by_the_images_whatever_the_error():
    """r_t is compared, not multiplied: 0.5 and -1 are equally far below 0.6."""
    for right, direction in ((100, 1), (81, 1), (80, 0), (79, -1), (0, -1)):
        augment = AdaptiveAugment(target=0.6, kimg=1, p=0.5)
        augment.observe(torch.cat([torch.ones(right), -torch.ones(100 - right)]) * 0.01)
        augment.step()
        expected = 0.5 + 0.1 * direction
        assert augment.p == pytest.approx(expected, abs=1e-12), right


def test_patches_count_as_one_image():
    augment = AdaptiveAugment(kimg=0.1)
    augment.observe(torch.ones(10, 25))
    assert augment.state_dict() == {"p": 0.0, "signs": 10.0, "seen": 10}
    augment.observe(-torch.ones(10, 1, 5, 5))
    assert augment.state_dict() == {"p": 0.0, "signs": 0.0, "seen": 20}


def test_a_step_forgets_what_it_used_and_without_images_does_nothing():
    augment = AdaptiveAugment(kimg=0.1, p=0.25)
    for _ in range(2):
        augment.step()
        assert augment.p == 0.25
    augment.observe(torch.ones(25))
    for _ in range(2):
        augment.step()
        assert augment.p == 0.5
    augment.observe(-torch.ones(10))  # as many as the last ones would not outweigh the first, were these still there
    augment.step()
    assert augment.p == 0.4


def test_training_goes_on_exactly_from_its_state():
    first = AdaptiveAugment(kimg=1, p=0.3)
    first.observe(torch.randn(16, 9, dtype=torch.bfloat16))
    state = json.loads(json.dumps(first.state_dict()))
    second = AdaptiveAugment(kimg=1)
    second.load_state_dict(state)
    assert second.state_dict() == state
    for augment in (first, second):
        torch.manual_seed(6)
        for _ in range(5):
            augment.observe(torch.randn(16, 9) + 0.3)
    assert first.state_dict() == second.state_dict()
    for augment in (first, second):
        augment.step()
    assert first.state_dict() == second.state_dict()
    assert first.p != 0.3
    second.load_state_dict(AdaptiveAugment().state_dict())
    assert (second.signs, second.seen, second.p) == (None, 0, 0)
