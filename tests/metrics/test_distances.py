"""Fréchet and kernel distance against scipy, torchmetrics and brute force, on features of real images."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from rggan.metrics import Frechet, Kernel, Moments, feature_network, frechet_distance, kernel_distance, statistics


class Features(nn.Module):
    """The steering network as torchmetrics wants it."""

    def __init__(self):
        super().__init__()
        self.shared = (feature_network("steering"),)  # no submodule, for torchmetrics may convert those
        self.num_features = self.shared[0].dim

    def forward(self, images):
        return self.shared[0](images).double()


@pytest.mark.slow
def test_frechet_agrees_with_scipys_matrix_root(features):
    a, b = features[:900].numpy(), features[900:].numpy()
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    ours = frechet_distance(statistics(features[:900]), statistics(features[900:]))
    assert ours == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_frechet_agrees_with_torchmetrics(digits, features):
    oracle = FrechetInceptionDistance(feature=Features(), input_img_size=(1, 16, 16))
    for part, real in ((digits.images[:900], True), (digits.images[900:], False)):
        for images in part.split(250):
            oracle.update(images, real=real)
    ours = frechet_distance(statistics(features[:900]), statistics(features[900:]))
    assert ours == pytest.approx(oracle.compute().item(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kernel_distance_agrees_with_torchmetrics(digits, features):
    oracle = KernelInceptionDistance(feature=Features(), subsets=1, subset_size=800)
    oracle.update(digits.images[:800].expand(-1, 3, -1, -1), real=True)
    oracle.update(digits.images[800:1600].expand(-1, 3, -1, -1), real=False)
    ours = kernel_distance(features[:800], features[800:1600]).value
    assert ours == pytest.approx(oracle.compute()[0].item(), rel=1e-6)


def test_frechet_of_gaussians_with_a_known_answer():
    """Diagonal covariances: |mu|^2 + sum (sqrt a - sqrt b)^2."""
    a = statistics(torch.zeros(2, 5))._replace(covariance=torch.diag(torch.tensor([1.0, 4, 9, 0, 2]).double()))
    b = a._replace(mean=torch.ones(5).double(), covariance=torch.diag(torch.tensor([4.0, 4, 1, 1, 0]).double()))
    assert frechet_distance(a, b) == pytest.approx(5 + 1 + 0 + 4 + 1 + 2, rel=1e-9)
    assert Frechet(b)(a) == pytest.approx(Frechet(a)(b), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7, 250, 1797])
def test_moments_in_parts_are_those_of_the_whole(features, size):
    shifted = features + 1000  # so that squares summed up without their mean would lose digits
    moments = Moments()
    for part in shifted.split(size):
        moments.add(part)
    mean, covariance = moments.statistics()
    np.testing.assert_allclose(mean, shifted.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(shifted.numpy().T), rtol=1e-8, atol=1e-8)
    assert moments.count == len(features)


def brute(a, b):
    """The kernel distance by its definition, pair by pair."""

    def k(x, y):
        return (x @ y / len(x) + 1) ** 3

    within_a = np.mean([k(a[i], a[j]) for i in range(len(a)) for j in range(len(a)) if i != j])
    within_b = np.mean([k(b[i], b[j]) for i in range(len(b)) for j in range(len(b)) if i != j])
    return within_a + within_b - 2 * np.mean([k(x, y) for x in a for y in b])


@pytest.mark.slow
@pytest.mark.parametrize("block", [3, 2048])
def test_kernel_distance_and_its_error_agree_with_their_definitions(features, block, monkeypatch):
    monkeypatch.setattr("rggan.metrics.distances.BLOCK", block)
    a, b = features[:7].numpy(), features[150:155].numpy()
    without_a = [brute(np.delete(a, i, 0), b) for i in range(len(a))]
    without_b = [brute(a, np.delete(b, i, 0)) for i in range(len(b))]
    variance = 6 / 7 * np.square(without_a - np.mean(without_a)).sum()
    variance += 4 / 5 * np.square(without_b - np.mean(without_b)).sum()
    ours = kernel_distance(torch.tensor(a), torch.tensor(b))
    assert ours.value == pytest.approx(brute(a, b), rel=1e-9)
    assert ours.standard_error == pytest.approx(variance**0.5, rel=1e-9)


@pytest.mark.slow
def test_standard_error_is_the_spread_over_other_images_of_the_same_kind(features):
    random = torch.Generator().manual_seed(0)
    a, b = features[::2], features[1::2] + 0.2
    values, errors = [], []
    for _ in range(200):
        pick = [torch.randint(len(half), (100,), generator=random) for half in (a, b)]
        value, error = kernel_distance(a[pick[0]], b[pick[1]])
        values.append(value)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.2)


@pytest.mark.slow
def test_kernel_distance_is_unbiased(features):
    """Between two draws from the same images its mean is 0, at any sample count; a biased estimate is not."""
    random = torch.Generator().manual_seed(0)
    for count in (10, 40):
        values = []
        for _ in range(200):
            order = torch.randperm(len(features), generator=random)
            values.append(kernel_distance(features[order[:count]], features[order[count : 2 * count]]).value)
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values)) < 4 * error


@pytest.mark.slow
def test_too_few_images_are_refused(features):
    with pytest.raises(ValueError, match="at least two"):
        kernel_distance(features[:1], features)
    with pytest.raises(ValueError, match="at least two"):
        Kernel(features[:1])
    assert np.isnan(kernel_distance(features[:2], features[2:9]).standard_error)
