"""Non-saturating loss, R1, LeCam and path length against numpy and closed forms."""

import numpy as np
import pytest
import torch

from rggan.losses import lecam, nonsaturating_d, nonsaturating_g, path_length, r1_penalty


@pytest.mark.parametrize("shape", [(100,), (20, 25)])
def test_nonsaturating_against_numpy(shape):
    real, fake = torch.randn(shape) * 20, torch.randn(shape) * 20
    expected = np.logaddexp(0, -real.numpy()).mean() + np.logaddexp(0, fake.numpy()).mean()
    assert nonsaturating_d(real, fake).item() == pytest.approx(expected, rel=1e-6)
    assert nonsaturating_g(fake).item() == pytest.approx(np.logaddexp(0, -fake.numpy()).mean(), rel=1e-6)


def test_nonsaturating_stays_finite_and_keeps_a_gradient_far_out():
    fake = torch.tensor([-1e4], requires_grad=True)
    loss = nonsaturating_g(fake)
    (gradient,) = torch.autograd.grad(loss, fake)
    assert (loss.item(), gradient.item()) == (1e4, -1)  # it does not saturate where D is sure
    assert nonsaturating_d(torch.tensor([1e4]), torch.tensor([-1e4])) == 0


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
    w = torch.randint(-3, 4, (3, 4, 5)).double().requires_grad_()
    x = torch.randn(6, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty((x * w).sum(dim=(1, 2, 3)) + 7, x)
    assert penalty == w.square().sum()
    (gradient,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(gradient, 2 * w)


@pytest.mark.parametrize("shape", [(6, 1), (6, 1, 1, 1)])
def test_r1_of_a_quadratic_discriminator(shape):
    """Of D(x) = a |x|^2 / 2 the gradient is a x."""
    a = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    x = torch.randn(6, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty((a * x.square().sum(dim=(1, 2, 3)) / 2).view(shape), x)
    square = x.detach().numpy().reshape(6, -1).__pow__(2).sum(axis=1).mean()
    assert penalty.item() == pytest.approx(1.5**2 * square, rel=1e-12)
    (gradient,) = torch.autograd.grad(penalty, a)
    assert gradient.item() == pytest.approx(2 * 1.5 * square, rel=1e-12)


def test_r1_of_patches_is_that_of_their_mean():
    x = torch.randn(5, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    patches = torch.nn.functional.avg_pool2d(x, 2).flatten(1) ** 3
    assert r1_penalty(patches, x).item() == pytest.approx(r1_penalty(patches.mean(dim=1), x).item(), rel=1e-12)
    # d mean(m^3) / dx = 3 m^2 / 4 (of four patches) / 4 (of four pixels), for each of the four pixels of a patch
    m = x.detach().numpy().reshape(5, 2, 2, 2, 2).mean(axis=(2, 4)).reshape(5, 4)
    assert r1_penalty(patches, x).item() == pytest.approx((4 * (3 * m**2 / 16) ** 2).sum(axis=1).mean(), rel=1e-9)


@pytest.mark.parametrize("shape", [(64,), (16, 25)])
@pytest.mark.parametrize("wrap", [float, torch.tensor])
def test_lecam_against_numpy(shape, wrap):
    real, fake = torch.randn(shape), torch.randn(shape)
    expected = (np.maximum(0, real.numpy() + 0.4) ** 2).mean() + (np.maximum(0, 0.7 - fake.numpy()) ** 2).mean()
    assert lecam(real, fake, wrap(0.7), wrap(-0.4)).item() == pytest.approx(expected, rel=1e-5)


def test_lecam_is_zero_where_d_does_not_tell_them_apart():
    same = torch.full((8,), 0.3)
    assert lecam(same, same, torch.tensor(0.3), torch.tensor(0.3)) == 0
    assert lecam(same - 5, same + 5, torch.tensor(0.3), torch.tensor(0.3)) == 0  # the wrong way round costs nothing
    assert lecam(same + 2, same, torch.tensor(0.3), torch.tensor(0.3)) == pytest.approx(4)
    assert lecam(same, same - 3, torch.tensor(0.3), torch.tensor(0.3)) == pytest.approx(9)


def linear_images(n=6, layers=3, w_dim=4, shape=(2, 3, 5)):
    """Images that are linear in w, with the matrix: [n, layers, w_dim] -> [n, *shape]."""
    a = torch.randn(layers, w_dim, int(np.prod(shape)), dtype=torch.float64, requires_grad=True)
    w = torch.randn(n, layers, w_dim, dtype=torch.float64, requires_grad=True)
    return torch.einsum("nlw,lwp->np", w, a).view(n, *shape), w, a


def test_path_length_of_a_linear_generator_given_the_noise():
    images, w, a = linear_images()
    noise = torch.randn_like(images)
    penalty, average = path_length(images, w, torch.tensor(2.0, dtype=torch.float64), noise)
    scaled = noise.numpy().reshape(6, -1) / np.sqrt(15)
    jacobian = np.einsum("lwp,np->nlw", a.detach().numpy(), scaled)
    lengths = np.sqrt((jacobian**2).sum(axis=2).mean(axis=1))
    expected = 2 + 0.01 * (lengths.mean() - 2)
    assert average.item() == pytest.approx(expected, rel=1e-12)
    assert penalty.item() == pytest.approx(((lengths - expected) ** 2).mean(), rel=1e-12)
    assert not average.requires_grad
    (gradient,) = torch.autograd.grad(penalty, a)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_path_length_draws_unit_noise_over_the_pixels():
    """E |J^T y|^2 = |J|^2 / (H W); the mean length of one layer comes from the moved average."""
    images, w, a = linear_images(n=4000, layers=1, w_dim=40)
    _, average = path_length(images, w, torch.tensor(0.0, dtype=torch.float64))
    assert (average.item() * 100) ** 2 == pytest.approx(a.square().sum().item() / 15, rel=0.05)


def test_path_length_is_zero_where_all_lengths_are_the_average():
    w = torch.randn(4, 2, 3, requires_grad=True)
    images = w.sum(dim=(1, 2))[:, None, None, None].expand(4, 1, 2, 2)
    length = torch.tensor(2.0 * 3**0.5)
    penalty, average = path_length(images, w, length, torch.ones(4, 1, 2, 2))
    assert penalty == pytest.approx(0, abs=1e-10)
    assert average == pytest.approx(length.item(), rel=1e-6)
