"""DiffAugment and the hinge loss against independent computations."""

import numpy as np
import pytest
import torch

from rggan.augment.diffaugment import POLICIES, color, cutout, diff_augment, translation
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


@pytest.mark.parametrize("ratio", [0.5, 0.25])
def test_cutout_of_a_rectangle_follows_its_shape(ratio):
    out = cutout(torch.ones(400, 1, 12, 40), ratio)[:, 0]
    rows, columns = (out == 0).any(2).sum(1), (out == 0).any(1).sum(1)
    assert (rows.max(), columns.max()) == (12 * ratio, 40 * ratio)
    seen = (out == 0).any(0)  # the hole comes everywhere
    assert seen.all()


def test_translation_of_a_rectangle_follows_its_shape():
    x = torch.zeros(3000, 1, 16, 40)
    x[:, 0, 8, 20] = 1
    places = translation(x).squeeze(1).nonzero()[:, 1:] - torch.tensor([8, 20])
    assert {tuple(place) for place in places.tolist()} == {(a, b) for a in range(-2, 3) for b in range(-5, 6)}


def test_color_leaves_alpha_alone():
    """The colours are treated as those of a picture without alpha."""
    x = torch.randn(32, 4, 8, 8)
    torch.manual_seed(1)
    out = color(x)
    torch.manual_seed(1)
    assert torch.equal(out[:, :3], color(x[:, :3]))
    assert not torch.equal(out[:, :3], x[:, :3])
    assert torch.equal(out[:, 3], x[:, 3])


@pytest.mark.parametrize("name", ["translation", "cutout"])
def test_what_comes_in_is_grey_and_transparent(name):
    """Colours move as without alpha; alpha moves with them and is -1 where nothing is."""
    x = torch.cat([torch.rand(200, 3, 16, 24) + 0.5, torch.ones(200, 1, 16, 24) / 3], dim=1)
    torch.manual_seed(1)
    out = POLICIES[name](x)
    torch.manual_seed(1)
    assert torch.equal(out[:, :3], POLICIES[name](x[:, :3]))
    came_in = out[:, 0] == 0
    assert came_in.flatten(1).any(1).sum() > 150
    assert torch.equal(out[:, 3], torch.where(came_in, -1.0, torch.tensor(1.0) / 3))


def test_policy_is_what_is_named():
    x = torch.ones(4, 1, 8, 8)
    assert set(diff_augment(x, "cutout").unique().tolist()) == {0.0, 1.0}
    with pytest.raises(KeyError):
        diff_augment(x, "blur")
