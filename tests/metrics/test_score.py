"""The shipped feature networks, and the score: it rises with every kind of damage."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from rggan.data.pictures import to_pil
from rggan.metrics import Score, extract, feature_network, score
from rggan.metrics.features import WEIGHTS
from studies.score_figure import series


@pytest.fixture
def features_once(monkeypatch):
    """Features of the same images are computed once, for both kinds of distance."""
    found = {}

    def features(network, images):
        key = network.name, images.contiguous().numpy().tobytes()
        if key not in found:
            found[key] = extract(network, images)
        return found[key]

    monkeypatch.setattr(score, "extract", features)
    monkeypatch.setattr(score, "feature_parts", lambda network, images: [features(network, images)])


@pytest.mark.slow
@pytest.mark.parametrize("network", ["steering", "reporting"])
def test_score_rises_with_blur_noise_jpeg_and_dropped_modes(digits, network, monkeypatch, features_once):
    """Five strengths each, on images that the reference does not hold, by both distances."""
    half = torch.arange(len(digits)) % 2 == 0
    images, labels = digits.images[~half][::6], digits.labels[~half][::6]
    for kind, least in (("kernel", 2000), ("frechet", 1)):
        monkeypatch.setattr(score, "FRECHET_FROM", least)
        distance = Score(digits.images[half], network)
        assert distance.kind == kind
        rows = series(distance, images, labels)
        assert len(rows) == 4
        for name, values in rows.items():
            assert len(values) == 6
            assert all(a < b for a, b in pairwise(values)), (kind, name, values)


@pytest.mark.slow
def test_frechet_from_2000_reference_images(digits, monkeypatch):
    assert score.FRECHET_FROM == 2000
    monkeypatch.setattr(score, "FRECHET_FROM", 50)  # as many take long
    assert Score(digits.images[:49]).kind == "kernel"
    assert Score(digits.images[:50]).kind == "frechet"


@pytest.mark.parametrize("name", ["steering", "reporting"])
def test_shipped_networks_are_small_and_say_what_trained_them(name):
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size <= 2_000_000
    with safe_open(WEIGHTS / f"{name}.safetensors", "pt") as file:
        assert "odd" in file.metadata()["rggan"]
        assert all(file.get_tensor(key).dtype == torch.float16 for key in file.keys())  # noqa: SIM118


def with_alpha(images, alpha):
    return torch.cat([images.expand(-1, 3, -1, -1), alpha.expand(len(images), 1, *images.shape[2:])], dim=1)


@pytest.mark.slow
def test_alpha_shows_in_the_score(digits):
    """Two sets that are equal on white: black ink, as transparent as the digit is light, and opaque grey."""
    ink = 255 - digits.images[:200]
    transparent = with_alpha(torch.zeros_like(ink), 255 - ink)
    opaque = with_alpha(ink[100:], torch.full_like(ink[100:], 255))
    score = Score(transparent[:100])
    network = feature_network("steering")
    on_white = extract(network, ink[100:])
    torch.testing.assert_close(extract(network, opaque)[:, : network.dim], on_white, rtol=1e-4, atol=1e-4)
    seen = extract(network, transparent[100:])[:, : network.dim]
    torch.testing.assert_close(seen, on_white, rtol=1e-4, atol=1e-4)
    assert score(opaque) > 10 * abs(score(transparent[100:]))


def test_hidden_colours_do_not_count_and_opaque_pictures_score_as_without_alpha(digits):
    images, network = digits.images[:20], feature_network("steering")
    clear = torch.zeros(20, 1, 16, 16, dtype=torch.uint8)
    features = extract(network, with_alpha(images, clear))
    white, black = (extract(network, torch.full((1, 3, 16, 16), value, dtype=torch.uint8)) for value in (255, 0))
    torch.testing.assert_close(features, torch.cat([white, black], dim=1).expand(20, -1), rtol=1e-4, atol=1e-4)
    full = torch.full((1, 1, 16, 16), 255, dtype=torch.uint8)
    ours = Score(with_alpha(images[:10], full))(with_alpha(images[10:], full))
    assert ours == pytest.approx(Score(images[:10])(images[10:]), rel=1e-4)


class Streamed:
    """Images that are never whole in memory."""

    def __init__(self, images):
        self.images, self.largest = images, 0

    def __len__(self):
        return len(self.images)

    def parts(self, batch):
        for start in range(0, len(self), batch):
            part = self.images[start : start + batch]
            self.largest = max(self.largest, len(part))
            yield part


@pytest.mark.parametrize("channels", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_images_in_parts_give_the_same_features_and_scores(digits, channels):
    images = digits.images[:60]
    images = with_alpha(images, images[:1]) if channels == 4 else images
    streamed = Streamed(images)
    network = feature_network("steering")
    assert torch.equal(extract(network, streamed, batch=25), extract(network, images, batch=25))
    assert streamed.largest == 25
    assert Score(streamed)(images[:40]) == Score(images)(Streamed(images[:40]))


@pytest.mark.parametrize("size", [16, 32, 70])
def test_features_take_any_size_and_one_or_three_channels(size):
    network = feature_network("steering")
    grey = torch.randint(0, 256, (3, 1, size, size), dtype=torch.uint8)
    features = extract(network, grey)
    assert features.shape == (3, network.dim)
    assert torch.equal(features, extract(network, grey.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(features[1:2], extract(network, grey[1:2]), rtol=1e-3, atol=1e-4)


def test_rectangles_are_seen_as_the_square_that_they_are_squeezed_to(digits):
    """Against Pillow's resizing."""
    network = feature_network("steering")
    pictures = [to_pil(image).resize((80, 48), Image.Resampling.BICUBIC) for image in digits.images[:20]]
    squeezed = [picture.resize((32, 32), Image.Resampling.BICUBIC) for picture in pictures]
    wide, square = (torch.stack([torch.tensor(np.asarray(p))[None] for p in some]) for some in (pictures, squeezed))
    assert wide.shape == (20, 1, 48, 80)
    torch.testing.assert_close(extract(network, wide), extract(network, square), rtol=0.05, atol=0.05)
