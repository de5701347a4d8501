"""The report for people: short lines that no name can disturb, and a sheet that shows every sort of picture."""

import io

import numpy as np
from PIL import Image
from rich.console import Console

from rggan.data.audit.doctor import advice, inspect
from rggan.report import health as report
from rggan.report.health import CAPTION, CELL, COLUMNS, GAP, contact_sheet, lines, render
from tests.data.test_doctor import noise, picture


def told(pictures):
    stream = io.StringIO()
    found = inspect(pictures)
    render(found, advice(found), Console(file=stream, width=60))
    return stream.getvalue().splitlines()


def place(row, column, captions=1):
    """The box of a cell on the sheet, below so many captions."""
    left = GAP + column * (CELL + GAP)
    top = GAP + captions * CAPTION + row * (CELL + GAP)
    return left, top, left + CELL, top + CELL


def test_lines_have_a_left_column_and_end_with_advice():
    text = told([picture("cat/a.png", noise(0)), picture("dog/b.png", noise(1)), picture("dog/c.png", b"bad")])
    assert all(line[10] == " " and line[11] != " " for line in text)
    assert text[0].startswith("data       3 pictures, ")
    assert text[1] == "unreadable 1: dog/c.png (no picture, by its content)"
    assert "classes    2: cat 1, dog 2; largest : smallest 2.0" in text
    assert text[-1].startswith("advice     ")
    assert not any(line.startswith(("copies", "near", "tiny", "animated", "alpha")) for line in text)


def test_long_lists_are_cut():
    text = told([picture(f"{i:02d}.png", b"bad") for i in range(42)])
    assert text[1].startswith("unreadable 42: 00.png")
    assert text[1].endswith("04.png (no picture, by its content) and 37 more")


def test_no_name_steers_the_terminal():
    text = told([picture("a\x1b[2J\n[red]\udcff.png", b"bad"), picture("b.png", noise(0))])
    assert text[1].startswith("unreadable 1: a?[2J?[red]?.png")
    assert not any(ord(character) < 32 for line in text for character in line)


def test_copies_tell_of_what():
    same = [picture(f"{i}.png", noise(0)) for i in range(5)]
    near = picture("near.png", noise(0).point(lambda value: min(255, value + 3)))
    text = lines(inspect([*same, near]))
    assert "copies     1: 0.png = 1.png, 2.png and 2 more" in text
    assert "near       1 group of pictures that look nearly the same: (0.png, near.png)" in text


def test_sheet_takes_64_evenly():
    pictures = [picture(f"{i:03d}.png", Image.new("RGB", (32, 32), (i, 0, 255 - i))) for i in range(200)]
    health = inspect(pictures)
    sheet = contact_sheet(pictures, health)
    colors = [sheet.crop(place(i // COLUMNS, i % COLUMNS)).getpixel((50, 50))[0] for i in range(64)]
    assert colors == [i * 200 // 64 for i in range(64)]
    assert sheet.width == GAP + COLUMNS * (CELL + GAP)
    below = place(8, 3, captions=2)  # examples of those of one colour
    assert sheet.crop(below).getpixel((50, 50)) == (3, 0, 252)


def test_sheet_fits_and_shows_transparency():
    wide = Image.new("RGB", (200, 50), "blue")
    wide.paste((255, 0, 0), (0, 0, 100, 50))
    hole = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    pictures = [picture("a.png", wide), picture("b.png", hole), picture("c.png", b"bad")]
    sheet = contact_sheet(pictures, inspect(pictures))
    first, second, third = (np.asarray(sheet.crop(place(0, i))) for i in range(3))
    assert first[48, 2].tolist() == [255, 0, 0]  # nothing is cut off
    assert first[48, -3].tolist() == [0, 0, 255]
    assert first[:30].min() == first[-30:].min() == 255
    assert set(np.unique(second)) == set(report.CHECKS)
    assert third.min() == 255  # what cannot be read is not shown


def test_sheet_has_a_row_for_each_defect_and_pairs_side_by_side():
    pictures = [picture("a.png", noise(0)), picture("b.png", noise(0).point(lambda value: min(255, value + 3)))]
    assert contact_sheet(pictures, inspect(pictures)).height == GAP + 2 * (CAPTION + CELL + GAP)
    sheet = contact_sheet(pictures, inspect(pictures))
    pair = [np.asarray(sheet.crop(place(1, i, captions=2))).astype(int) for i in range(2)]
    assert 0 < abs(pair[0] - pair[1]).max() <= 3
    line = [picture("line.png", noise(1, (2000, 2)))]
    assert contact_sheet(line, inspect(line)).height == GAP + 3 * (CAPTION + CELL + GAP)  # tiny, of another shape


def test_sheet_of_nothing_readable_is_empty():
    pictures = [picture("a.png", b"bad")]
    sheet = contact_sheet(pictures, inspect(pictures))
    assert np.asarray(sheet).min() == 255
