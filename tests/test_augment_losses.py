"""DiffAugment and the hinge loss against independent computations."""

import numpy as np
import pytest
import torch

from rggan.augment import POLICIES, color, cutout, diff_augment, translation
from rggan.losses import hinge_d, hinge_g


def test_hinge_against_numpy():
    real, fake = torch.randn(100) * 2, torch.randn(100) * 2
    expected = np.maximum(0, 1 - real.numpy()).mean() + np.maximum(0, 1 + fake.numpy()).mean()
    assert hinge_d(real, fake).item() == pytest.approx(expected, rel=1e-6)
    assert hinge_g(fake).item() == pytest.approx(-fake.numpy().mean(), rel=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", POLICIES)
def test_shape_gradient_and_independence_of_the_images(name, channels):
    x = torch.randn(16, channels, 12, 10, requires_grad=True)
    same = x.detach()[:1].expand(16, -1, -1, -1)
    out = POLICIES[name](same)
    assert out.shape == x.shape
    assert len({tuple(image.flatten().tolist()) for image in out}) > 4  # drawn anew for each image
    (gradient,) = torch.autograd.grad(POLICIES[name](x).sum(), x)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_color_keeps_structure():
    """Brightness, saturation and contrast are affine in the pixels of one grey image: correlation is 1."""
    x = torch.randn(64, 1, 8, 8)
    for before, after in zip(x, color(x), strict=True):
        assert np.corrcoef(before.flatten(), after.flatten())[0, 1] == pytest.approx(1, abs=1e-4)
    shift = color(torch.zeros(4096, 3, 2, 2))[:, 0, 0, 0]
    assert -0.5 <= shift.min() < -0.48
    assert 0.48 < shift.max() <= 0.5


def test_translation_moves_by_at_most_an_eighth_in_all_directions():
    x = torch.zeros(2000, 1, 16, 16)
    x[:, 0, 8, 8] = 1
    places = translation(x).squeeze(1).nonzero()[:, 1:] - 8
    assert len(places) == 2000
    assert {tuple(place) for place in places.tolist()} == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}
    edge = torch.zeros(2000, 1, 16, 16)
    edge[:, :, 0, 0] = 1
    moved_out = (translation(edge).sum(dim=(1, 2, 3)) == 0).float().mean()
    assert moved_out == pytest.approx(16 / 25, abs=0.05)  # nothing wraps round


def test_cutout_zeroes_one_rectangle_of_at_most_half_the_side():
    out = cutout(torch.ones(500, 2, 16, 12))
    assert torch.equal(out[:, 0], out[:, 1])
    whole = 0
    for image in out[:, 0]:
        rows, columns = (image == 0).any(1).sum(), (image == 0).any(0).sum()
        assert (image == 0).sum() == rows * columns > 0  # it is a rectangle
        assert rows <= 8
        assert columns <= 6
        whole += int(rows == 8 and columns == 6)
    assert whole > 50


def test_policy_is_what_is_named():
    x = torch.ones(4, 1, 8, 8)
    assert set(diff_augment(x, "cutout").unique().tolist()) == {0.0, 1.0}
    with pytest.raises(KeyError):
        diff_augment(x, "blur")
