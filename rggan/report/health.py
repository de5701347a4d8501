"""The output of `rggan check`: lines of text, and a contact sheet."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from rggan.data.audit.doctor import NO_PROFILE, Health, shown, told_names
from rggan.data.parallel import content_of
from rggan.data.picture import Picture
from rggan.data.pixels import small_from
from rggan.data.workers import Asked, answers
from rggan.errors import listed
from rggan.run.log import say

CELL = 96  # side in pixels of an image on the sheet
GAP = 8
COLUMNS = 8
CAPTION = 16  # height of a line of text
CHECKS = (255, 238)  # the two greys behind transparency
CHECK = 8


def render(health: Health, advice: Sequence[str], console: Console, notes: Sequence[str] = ()) -> None:
    """Prints the findings, notes on how the set was read, then the advice."""
    sentences = [("note", note) for note in notes] + [("advice", sentence) for sentence in advice]
    for line in [*lines(health), *(f"{name:<10} {sentence}" for name, sentence in sentences)]:
        say(console, line)


def lines(health: Health) -> list[str]:
    """Returns the findings, one per line; empty ones are left out."""
    groups = [f"{first} = {listed(others, 2)}" for first, *others in health.same]
    alike = [f"({listed(group, 3)})" for group in health.near]
    near = f"{len(alike)} group{'s' * (len(alike) > 1)} of pictures that look nearly the same: {listed(alike)}"
    low, middle, high = health.shortest
    sizes = f"all {next(iter(health.sizes), '')}"
    if len(health.sizes) > 1:
        sizes = f"{len(health.sizes)} different: {counts(health.sizes)}; shorter side {low} to {high}, median {middle}"
        ordinary = health.readable - len(health.odd)
        sizes += f"; {ordinary} of {health.readable} about {health.ratio}"
    classes = f"{len(health.classes)}: {counts(health.classes)}; largest : smallest {health.balance:.1f}"
    told = [
        ("data", health.count, f"{health.count} pictures, {volume(health.total_bytes)}"),
        ("unreadable", len(health.unreadable), listed([f"{name} ({reason})" for name, reason in health.unreadable])),
        ("copies", len(groups), listed(groups)),
        ("near", len(alike), near),
        ("classes", len(health.classes), classes),
        ("sizes", len(health.sizes), sizes),
        ("odd shape", len(health.odd) if 2 * len(health.odd) <= health.readable else 0, listed(health.odd)),
        ("tiny", len(health.tiny), listed(health.tiny)),
        ("one colour", len(health.uniform), listed(health.uniform)),
        ("animated", len(health.animated), listed(health.animated)),
        ("modes", len(health.modes), counts(health.modes)),
        ("alpha", health.alpha, f"{health.alpha} with an alpha channel, {health.transparent} of them transparent"),
        ("grey", health.grey, f"{health.grey} without colours, though stored in colours"),
        ("turned", health.turned, f"{health.turned} by EXIF; they are set upright"),
        ("profiles", set(health.profiles) - {NO_PROFILE}, counts(health.profiles)),
    ]
    numbered = ("unreadable", "copies", "odd shape", "tiny", "one colour", "animated")
    return [
        f"{name:<10} {f'{there}: ' if name in numbered else ''}{shown(text)}" for name, there, text in told if there
    ]


def counts(values: dict[str, int]) -> str:
    """
    >>> counts({"RGB": 3, "L": 1})
    'RGB 3, L 1'
    """
    return listed([f"{name} {count}" for name, count in values.items()])


def volume(total: float) -> str:
    """
    >>> volume(999), volume(12_300_000)
    ('999 bytes', '12.3 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if total >= size:
            return f"{total / size:.1f} {unit}"
    return f"{total} bytes"


def contact_sheet(pictures: Sequence[Picture], health: Health) -> Image.Image:
    """Draws up to 64 pictures, evenly spaced in the set, and below them examples of each problem, with captions.

    Pictures are fitted into 96 pixels on white; transparent ones are drawn on a light checkerboard.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about large and unusual files
        return sheet_of(pictures, health)


def sheet_of(pictures: Sequence[Picture], health: Health) -> Image.Image:
    by_name = dict(zip(told_names(pictures), pictures, strict=True))
    bad = {name for name, _ in health.unreadable}
    good = [name for name in by_name if name not in bad]
    count = min(len(good), COLUMNS * COLUMNS)
    evenly = [good[i * len(good) // count] for i in range(count)]
    rows = [
        ("" if i else f"{count} of {health.count} pictures", evenly[i : i + COLUMNS]) for i in range(0, count, COLUMNS)
    ]
    pairs = [name for group in health.near[: COLUMNS // 2] for name in group[:2]]
    rows.append((f"nearly the same, in pairs: {len(health.near)} groups", pairs))
    for caption, names in (
        ("exactly the same, one of each group", [group[0] for group in health.same]),
        ("of one colour", health.uniform),
        ("tiny (enlarged here)", health.tiny),
        ("of another shape", health.odd),
    ):
        rows.append((f"{caption}: {len(names)}", names[:COLUMNS]))
    return drawn([(caption, [cell(by_name[name]) for name in names]) for caption, names in rows if names])


def drawn(rows: Iterable[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Draws rows of cells, each below a caption ('': none)."""
    rows = list(rows)
    height = GAP + sum(CELL + GAP + (CAPTION if caption else 0) for caption, _ in rows)
    sheet = Image.new("RGB", (GAP + COLUMNS * (CELL + GAP), height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    top = GAP
    for caption, cells in rows:
        if caption:
            draw.text((GAP, top), caption, fill="black", font=font)
            top += CAPTION
        for column, picture in enumerate(cells):
            sheet.paste(picture, (GAP + column * (CELL + GAP), top))
        top += CELL + GAP
    return sheet


def cell(picture: Picture) -> Image.Image:
    """Returns RGB 96x96 with the whole picture fitted in; blank if it can no longer be read."""
    square = Image.new("RGB", (CELL, CELL), "white")
    content = content_of(picture)
    found = content if isinstance(content, str) else answers("small", [Asked(picture, content)], side=CELL)[0]
    if isinstance(found, str):
        return square
    image = small_from(found)
    place = ((CELL - image.width) // 2, (CELL - image.height) // 2)
    if image.mode == "RGBA":
        square.paste(checkerboard().crop((*place, place[0] + image.width, place[1] + image.height)), place)
        square.paste(image, place, image)
    else:
        square.paste(image, place)
    return square


def checkerboard() -> Image.Image:
    light, dark = CHECKS
    squares = np.indices((CELL, CELL)) // CHECK
    return Image.fromarray(np.where(squares.sum(axis=0) % 2 == 0, light, dark).astype(np.uint8)).convert("RGB")
