"""Near duplicates are what brute force finds: planted copies, and nothing else."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from rggan.data.audit import duplicates
from rggan.data.audit.duplicates import COLOR, CORRELATION, LEVEL, near_duplicates, thumbnail


def scene(seed, side=64):
    """A smooth random picture in colours: what a photograph is to a thumbnail."""
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


def jpeg(image):
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=60)
    return Image.open(stream)


COPIES = {
    "recompressed": jpeg,
    "halved": lambda image: image.resize((32, 32), Image.Resampling.LANCZOS),
    "brighter": lambda image: image.point(lambda value: min(255, value + 3)),
}
OTHERS = {
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped": lambda image: image.crop((8, 8, 56, 56)),
    "inverted": lambda image: image.point(lambda value: 255 - value),
    "much brighter": lambda image: image.point(lambda value: min(255, value + 30)),
    "of less contrast": lambda image: image.point(lambda value: 64 + value // 2),
    "of other colours": lambda image: Image.merge("RGB", image.split()[::-1]),
}


def found(images):
    grey, colors = zip(*map(thumbnail, images), strict=True)
    return near_duplicates(
        *(np.stack([np.frombuffer(row, np.uint8) for row in rows]).astype(np.float32) for rows in (grey, colors))
    )


def brute_force(thumbnails):
    """Groups by numpy's own correlation of each pair, and a walk through the graph of pairs."""
    n, mean, deviation = len(thumbnails), thumbnails.mean(1), thumbnails.std(1)
    linked = {i: set() for i in range(n)}
    for i in range(n):
        for j in range(n):
            levels = abs(mean[i] - mean[j]) <= LEVEL and abs(deviation[i] - deviation[j]) <= LEVEL
            shows = i != j and levels and min(deviation[i], deviation[j]) >= 1
            if shows and np.corrcoef(thumbnails[i], thumbnails[j])[0, 1] >= CORRELATION:
                linked[i].add(j)
    groups, seen = [], set()
    for i in range(n):
        group, waiting = set(), [i]
        while waiting:
            if (at := waiting.pop()) not in group:
                group.add(at)
                waiting.extend(linked[at])
        if len(group) > 1 and i not in seen:
            groups.append(sorted(group))
        seen |= group
    return groups


@pytest.mark.parametrize("block", [7, 50, 2000])
def test_groups_are_those_of_brute_force(monkeypatch, block):
    monkeypatch.setattr(duplicates, "BLOCK", block)  # groups across blocks
    random = np.random.default_rng(0)
    base = random.uniform(60, 190, (40, 256))
    copies = [
        base[i % 40] * random.uniform(0.6, 1.4) + random.normal(0, 4, 256) + random.normal(0, 8) for i in range(80)
    ]
    flat = np.full((3, 256), 90.0) + random.normal(0, 0.1, (3, 256))
    thumbnails = np.concatenate([base, copies, flat]).astype(np.float32)[random.permutation(123)]
    expected = brute_force(thumbnails)
    assert len(expected) > 10
    assert {len(group) for group in expected} >= {2, 3}
    assert near_duplicates(thumbnails) == expected


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found(how):
    images = [scene(seed) for seed in range(20)]
    assert found([*images, *map(COPIES[how], images)]) == [[i, i + 20] for i in range(20)]


@pytest.mark.parametrize("how", OTHERS)
def test_what_is_no_copy_is_not(how):
    images = [scene(seed) for seed in range(20)]
    assert found([*images, *map(OTHERS[how], images)]) == []


def test_distinct_digits_and_flat_pictures_are_left_alone():
    digits = np.round(load_digits().images * (255 / 16)).astype(np.uint8)[:400]
    assert found([Image.fromarray(digit) for digit in digits]) == []
    assert found([Image.new("RGB", (20, 20), "red")] * 3) == []


def test_a_small_spot_of_another_colour_is_another_picture():
    spots = [Image.new("RGB", (64, 64), "white") for _ in range(2)]
    for image, color in zip(spots, ((255, 0, 0), (0, 130, 0)), strict=True):
        image.paste(color, (24, 24, 40, 40))
    red, green = (np.frombuffer(thumbnail(image)[1], np.uint8).astype(int) for image in spots)
    assert abs(red - green).max() > COLOR
    assert thumbnail(spots[0])[0] == thumbnail(spots[1])[0]  # in grey they are the same
    assert found(spots) == []


def test_many_equal_pictures_are_one_group_and_groups_chain():
    ramp = np.linspace(0, 200, 256, dtype=np.float32)
    chain = np.stack([ramp + 9 * step for step in range(6)])  # each near to the next one only
    assert near_duplicates(chain) == [[0, 1, 2, 3, 4, 5]]
    assert near_duplicates(np.tile(ramp, (3000, 1))) == [list(range(3000))]


def test_nothing_gives_nothing():
    assert near_duplicates(np.zeros((0, 256), np.float32)) == []
    assert near_duplicates(np.ones((1, 256), np.float32)) == []


def test_levels_count_without_colours_too():
    ramp = np.linspace(0, 200, 256, dtype=np.float32)
    assert near_duplicates(np.stack([ramp, 100 + (ramp - 100) / 2])) == []  # of less contrast
    assert near_duplicates(np.stack([ramp, ramp + 11])) == []
    assert near_duplicates(np.stack([ramp, ramp + 9])) == [[0, 1]]
