"""Replayed training images are flagged, however they are disguised; fresh real images are not."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from rggan.data import load_images
from rggan.data.pictures import to_pil
from rggan.metrics import Memoriser
from rggan.metrics.memorisation import CANDIDATES, chances
from rggan.metrics.structure import SIDES, both_ways, distances, read, shrunk


def uint8(x):
    return x.clamp(0, 255).round().to(torch.uint8)


def jittered(x, random):
    contrast, light = torch.rand(2, len(x), 1, 1, 1, generator=random)
    noise = torch.randn(x.shape, generator=random)
    return uint8((x.float() - 128) * (0.75 + 0.5 * contrast) + 128 + 40 * (light - 0.5) + 4 * noise)


def shifted(x, random):
    padded = F.pad(x.float(), (2, 2, 2, 2), mode="replicate")
    height, width = x.shape[2:]
    places = torch.randint(0, 5, (len(x), 2), generator=random).tolist()
    return uint8(
        torch.stack([image[:, i : i + height, j : j + width] for image, (i, j) in zip(padded, places, strict=True)])
    )


def cropped(x, random):
    height, width = x.shape[2:]
    small = x[:, :, height // 16 : height - height // 16, : width - width // 8].float()
    return uint8(F.interpolate(small, (height, width), mode="bicubic", antialias=True))


def recompressed(x, random):
    pictures = []
    for image in x:
        stream = io.BytesIO()
        to_pil(image).save(stream, "jpeg", quality=50)
        pixels = torch.from_numpy(np.array(Image.open(stream)))
        pictures.append(pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1))
    return torch.stack(pictures)


DISGUISES = {
    "none": lambda x, random: x,
    "flipped": lambda x, random: x.flip(3),
    "jittered": jittered,
    "shifted": shifted,
    "cropped": cropped,
    "recompressed": recompressed,
    "all": lambda x, random: jittered(recompressed(shifted(x.flip(3), random), random), random),
}


@pytest.fixture(scope="module")
def pictures():
    """uint8 [1797, 1, 32, 32]: digits in a random order that is always the same."""
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(5))
    return load_images("digits", 32).images[order]


@pytest.fixture(scope="module")
def small(pictures):
    """Of a hundred training images, none held out."""
    return Memoriser(pictures[:100])


@pytest.fixture(scope="module")
def large(pictures):
    """Of 400 training images and 200 held out."""
    return Memoriser(pictures[:400], pictures[400:600])


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize("disguise", DISGUISES)
def test_replays_are_flagged(pictures, small, large, disguise, share):
    random = torch.Generator().manual_seed(1)
    for memoriser, known, fresh in (
        (small, pictures[:100], pictures[100:220]),
        (large, pictures[:400], pictures[600:720]),
    ):
        count = round(120 * share)
        copied = torch.randint(0, len(known), (count,), generator=random)
        copies = DISGUISES[disguise](known[copied], random)
        found = memoriser(torch.cat([copies, fresh[: 120 - count]]))
        assert found.replays, found.lines()
        assert (found.nearest[:count] == copied).float().mean() > 0.85


@pytest.mark.slow
def test_fresh_real_images_are_not_flagged(pictures, small, large):
    for memoriser, fresh in ((small, pictures[100:]), (large, pictures[600:])):
        for part in fresh[:800].split(400):
            found = memoriser(part)
            assert not found.replays, found.lines()


@pytest.mark.slow
def test_fresh_real_images_look_like_copies_as_often_as_is_said(pictures):
    """Over many sets of training images, held-out ones and fresh ones."""
    rates = []
    for seed in range(5):
        order = torch.randperm(1797, generator=torch.Generator().manual_seed(seed))
        memoriser = Memoriser(pictures[order[:150]], pictures[order[150:350]])
        found = memoriser(pictures[order[350:850]])
        assert not found.replays
        rates.append(found.rate)
    error = np.std(rates) / np.sqrt(len(rates))
    assert abs(np.mean(rates) - found.expected) < 3 * error
    assert found.expected == pytest.approx(2 / 201)


@pytest.mark.slow
def test_averages_and_blanks_are_no_copies(pictures, small):
    """Simple pictures lie near to many training images, and so near to none in particular."""
    mixed = torch.stack([pictures[i : i + 20].float().mean(0) for i in range(0, 80, 2)])
    blank = torch.full((10, 1, 32, 32), 200.0)
    found = small(uint8(torch.cat([mixed, blank])))
    assert found.ratios.isfinite().all()
    assert not found.replays
    assert (found.ratios[-10:] == 1).all()


def test_doubles_in_the_training_set_do_not_hide_replays(pictures):
    """Of a copy whose original is there twice (or nearly), the second nearest must be another picture."""
    random = torch.Generator().manual_seed(2)
    known = torch.cat([pictures[:100], pictures[:100], recompressed(pictures[:100], random)])
    memoriser = Memoriser(known)
    assert memoriser.count == 100
    found = memoriser(jittered(pictures[:50], random))
    assert found.replays
    assert (found.nearest % 100 == torch.arange(50)).float().mean() > 0.9
    assert (found.second % 100 != found.nearest % 100).all()


def brute(samples, training):
    """Distances [S, N] over every flip, size and place, straight from their definition."""
    best = np.full((len(samples), len(training)), np.inf)
    known = training.double()
    for view in both_ways(samples):
        for side in SIDES:
            looks = shrunk(view, side).double()
            for i in range(5):
                for j in range(5):
                    windows = known[:, :, i : i + 28, j : j + 28]
                    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (looks, windows))
                    correlation = (a @ b.T) / (a.norm(dim=1)[:, None] * b.norm(dim=1))
                    best = np.minimum(best, (2 - 2 * correlation).clamp_min(0).sqrt().numpy())
    return best


# Of squared distances, 2 - 2 correlation. Sums of 2,352 float32 products put correlations off by up to 1.3e-5, by how
# much depends on the processor. Distances themselves are no measure: near 0 the root makes 0.005 of it.
ROUNDING = 1e-4


@pytest.mark.parametrize("colour", [False, True])
def test_the_search_agrees_with_brute_force(pictures, colour):
    """Of colours, each channel is a digit of its own."""
    images = torch.cat([pictures[:110], pictures[200:310], pictures[400:510]], 1) if colour else pictures
    small = Memoriser(images[:100])
    samples = shifted(images[80:110], torch.Generator().manual_seed(3))  # copies, and fresh ones
    expected = brute(read(samples, "cpu"), small.pixels)
    close = distances(read(samples, "cpu"), small.pixels[None].expand(len(samples), -1, -1, -1, -1))
    np.testing.assert_allclose(close.numpy() ** 2, expected**2, rtol=0, atol=ROUNDING)
    found = small(samples)
    rows = np.arange(len(samples))
    first, second = expected[rows, found.nearest], expected[rows, found.second]
    np.testing.assert_allclose(first**2, expected.min(axis=1) ** 2, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose((found.ratios.numpy() * second) ** 2, first**2, rtol=0, atol=ROUNDING)
    same = (small.group[None] == small.group[found.nearest][:, None]).numpy()
    assert not same[rows, found.second].any()
    other = np.where(same, np.inf, expected).min(axis=1)
    assert len(small.pixels) > CANDIDATES  # else nothing would be searched
    # The coarse search may pass over the second nearest, rarely: it did for 4 of 1,700 digits.
    exact = second**2 <= other**2 + ROUNDING
    assert exact.mean() >= 0.95


def test_chances_are_those_of_ranks():
    """By simulation: how many of 30 values lie below the second smallest of 50 others."""
    random = np.random.default_rng(0)
    limits = np.sort(random.random((20_000, 50)), axis=1)[:, 1]
    counts = (random.random((20_000, 30)) < limits[:, None]).sum(axis=1)
    ours = chances(samples=30, count=50, rank=2)
    for k in range(6):
        assert ours[k] == pytest.approx((counts >= k).mean(), abs=0.01)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (48, 64), (128, 128)])
def test_any_size_and_channels(pictures, channels, size):
    x = F.interpolate(pictures[:40].float(), size, mode="bicubic", antialias=True)
    x = uint8(x.expand(-1, min(3, channels), -1, -1))
    if channels == 4:
        x = torch.cat([x, torch.full_like(x[:, :1], 255)], dim=1)
    found = Memoriser(x[:30])(x[20:40])
    assert found.nearest[:10].tolist() == list(range(20, 30))
    assert found.copies >= 9
    assert found.to_json()["samples"] == 20


def test_what_is_hidden_under_transparency_does_not_count(pictures):
    colours = pictures[:40].expand(-1, 3, -1, -1)
    clear = torch.cat([colours, torch.zeros_like(colours[:, :1])], dim=1)
    with pytest.raises(ValueError, match="at least 3 different training images; 40 make 1"):
        Memoriser(clear)


@pytest.mark.parametrize(
    ("training", "sentence"),
    [
        (torch.zeros(0, 1, 32, 32, dtype=torch.uint8), "no image"),
        (torch.arange(2 * 1024).reshape(2, 1, 32, 32).to(torch.uint8), "at least 3 different"),
        (torch.rand(5, 1, 32, 32), "Images are uint8"),
        (torch.zeros(5, 2, 32, 32, dtype=torch.uint8), "Images are uint8"),
    ],
)
def test_what_cannot_be_judged(training, sentence):
    with pytest.raises(ValueError, match=sentence):
        Memoriser(training)


@pytest.mark.slow
def test_what_is_said(pictures, small, large):
    copies = small(pictures[:100])
    assert "The generator replays training images." in copies.lines()
    assert "100 training images, each against the others" in copies.lines()[1]
    assert "A high rate shows replay; a low rate does not show that something new is made" in copies.lines()[-1]
    fresh = large(pictures[600:900])
    assert any("no replay was found" in line for line in fresh.lines())
    assert not any("No images were held out" in line for line in fresh.lines())
    few = small(pictures[:1])
    assert "no rate counts with so few samples" in few.lines()[-1]


@pytest.mark.slow
def test_it_draws_no_random_numbers(pictures, small):
    before = torch.get_rng_state()
    first, again = small(pictures[:20]), Memoriser(pictures[:100])(pictures[:20])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.ratios, again.ratios)
