"""Precision, recall, density and coverage: exactly those of brute force, on features of real images."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from rggan.metrics import PRDC, Balls, prdc

pytestmark = pytest.mark.slow  # all together they take seconds


def brute(real, fake):
    """Straight from the definitions, with scipy's distances."""

    def radius(x, k):
        distances = cdist(x, x, "sqeuclidean")
        np.fill_diagonal(distances, np.inf)
        return np.sort(distances, axis=1)[:, k - 1]

    across = cdist(real, fake, "sqeuclidean")
    in_real_3, in_real_5 = (across <= radius(real, k)[:, None] for k in (3, 5))
    in_fake_3 = across <= radius(fake, 3)[None]
    return PRDC(
        in_real_3.any(0).mean(), in_fake_3.any(1).mean(), in_real_5.sum() / (5 * len(fake)), in_real_5.any(1).mean()
    )


@pytest.mark.parametrize(("rows", "columns"), [(1024, 4096), (100, 70)])
@pytest.mark.parametrize("shift", [0.0, 0.3, 3.0])
def test_agrees_exactly_with_brute_force(features, shift, rows, columns, monkeypatch):
    monkeypatch.setattr("rggan.metrics.coverage.ROWS", rows)
    monkeypatch.setattr("rggan.metrics.coverage.COLUMNS", columns)
    real, fake = features[:700], features[700:1500] + shift
    assert prdc(Balls(real), Balls(fake)) == brute(real.numpy(), fake.numpy())


def test_ties_count_as_inside_far_from_the_origin_too(features):
    """Generated images that are copies of real ones lie exactly on the surface of their neighbours' balls."""
    real = features[:400] + 300
    fake = torch.cat([real[::3], features[900:1100] + 300])
    ours = prdc(Balls(real), Balls(fake))
    assert ours == brute(real.numpy(), fake.numpy())
    inside = prdc(Balls(real), Balls(real))
    assert inside == brute(real.numpy(), real.numpy())
    # Of each ball itself, its five nearest, and no other.
    assert inside == (1, 1, 6 / 5, 1)


def test_more_copies_than_neighbours_leave_a_radius_of_zero(features):
    balls = Balls(torch.cat([features[:1].expand(30, -1), features[1:40]]))
    assert (balls.radii[5][:30] == 0).all()
    assert (balls.radii[5][30:] > 0).all()


def test_too_few_images_are_refused(features):
    with pytest.raises(ValueError, match="5 images have no 5 nearest others"):
        Balls(features[:5])
