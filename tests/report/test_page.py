"""`rggan show`: what is in the page, that it needs nothing else, and what is refused."""

import base64
import io
import json
import shlex
import shutil
import weakref
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from rggan import TrainConfig
from rggan.cli.main import main, parse
from rggan.generation.discreet import shown
from rggan.options import HERE
from rggan.report.page import sheets
from rggan.report.page.charts import label
from rggan.report.page.film import write_film
from rggan.report.page.options import command
from rggan.run.folder import Run
from rggan.run.places import fakes
from tests.report.runs import KIMG, make_rows, make_run, make_samples, make_sheet

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}.png"
NETWORK = (
    "src",
    "href",
    "action",
    "srcset",
    "poster",
    "data",
    "formaction",
    "xlink:href",
    "background",
    "cite",
    "ping",
)


class Page(HTMLParser):
    """Elements as (name, attributes), the text outside of scripts and styles, and what stands in these."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.words, self.code, self.open = [], [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        (self.code if self.open and self.open[-1] in ("script", "style") else self.words).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag, kind=None):
        return [
            attrs for name, attrs in self.elements if name == tag and kind in (None, *attrs.get("class", "").split())
        ]


def show(*words):
    assert main(["show", *map(str, words)]) == 0


def pixels(source):
    kind, _, content = source.partition(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("page") / "00000-run")


@pytest.fixture(scope="module")
def page(run):
    show(run)
    return Page(run / "page.html")


def test_a_page_asks_for_nothing(page):
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(each.split(maxsplit=1) for each in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert set(rules) == {"default-src", "img-src", "style-src", "script-src", "base-uri", "form-action"}
    names = [tag for tag, _ in page.elements]
    assert names.index("meta") < min(names.index(tag) for tag in ("link", "style", "script", "img"))
    for tag, attrs in page.elements:
        assert not {"onload", "onerror", "onclick"} & attrs.keys()
        assert all(attrs[name].startswith("data:") for name in attrs if name in NETWORK), tag
    code = "".join(page.code)
    assert not any(word in code for word in ("http", "//cdn", "url(", "@import", "fetch(", "XMLHttp", "import("))


def test_every_sheet_is_in_it_pixel_by_pixel(page, run):
    frames = page.all("img", "frame")
    assert [float(frame["data-kimg"]) for frame in frames] == [0, *KIMG]  # as evaluated, not as files are named
    for kimg, frame in zip((0, 2, 4, 6, 8), frames, strict=True):
        assert np.array_equal(pixels(frame["src"]), np.asarray(Image.open(run / fakes(kimg)).convert("RGB")))
    assert ["hidden" in frame for frame in frames] == [True] * 4 + [False]  # without a script the last one is seen
    assert all(picture["alt"] for picture in page.all("img"))


def test_samples_are_cut_where_they_lie(page, run):
    (viewer,) = page.all("figure", "viewer")
    layout = json.loads(viewer["data-layout"])
    sheet = np.asarray(make_sheet(8).convert("RGB"))
    high, wide = sheet.shape[:2]
    assert (layout["columns"], layout["rows"]) == (8, 8)
    left = round(wide * (layout["left"] + 5 * (layout["left"] + layout["width"])))
    top = round(high * (layout["top"] + 2 * (layout["top"] + layout["height"])))
    below, right = top + round(layout["height"] * high), left + round(layout["width"] * wide)
    sample = make_samples(8)[2 * 8 + 5].permute(1, 2, 0).numpy()
    assert np.array_equal(sheet[top:below:2, left:right:2], sample)  # grid enlarges small ones twice


def test_numbers_are_those_of_the_statistics(page):
    rows = make_rows()
    charts = [json.loads(chart["data-series"]) for chart in page.all("figure", "chart")]
    assert charts[0] == [{"kimg": KIMG, "values": [row["score"] for row in rows]}]
    assert [series["values"] for series in charts[1]] == [
        [row[name] for row in rows] for name in ("density_g", "density_d", "copies")
    ]
    assert charts[2][0]["values"] == [row["d_sign"] for row in rows]
    layers = [json.loads(a["data-values"]) for a in page.all("li") if "data-values" in a]
    assert layers == [[1 - 0.1 * tick for tick in range(4)]] * 3
    for row in rows:
        assert " ".join(label(row[name]) for name in ("kimg", "score", "diversity", "density_g")) in page.text
    assert "Best score 0.25 at 8 kimg" in page.text
    assert "logarithmic" in page.text  # 30 to 0.25


@pytest.mark.slow
def test_names_of_any_kind_are_text(tmp_path):
    run = make_run(tmp_path / "run", pictures=((EVIL, EVIL), (f"2{EVIL}", EVIL)), data=f"nowhere/{EVIL}", pattern=EVIL)
    rows = make_rows()
    for row in rows:
        row["layers"]["g"][EVIL] = {"density": 0.5}
        row["phase"] = EVIL
    (run / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluation = {"subject": EVIL, "snapshot": EVIL, EVIL: {"value": 1.0, "provenance": {"reference": EVIL}}}
    (run / "metrics.jsonl").write_text(json.dumps(evaluation) + "\n")
    other = make_run(tmp_path / EVIL.replace("/", ":"), background="black")
    show(run, "--out", tmp_path / "one.html")
    show(run, other, "--out", tmp_path / "two.html")
    plain = make_run(tmp_path / "plain")
    show(plain)
    show(plain, other, "--out", tmp_path / "plain.html")
    for found, like in (("one.html", plain / "page.html"), ("two.html", tmp_path / "plain.html")):
        page, expected = Page(tmp_path / found), Page(like)
        for tag in ("script", "style", "meta", "dialog", "iframe", "object"):
            assert len(page.all(tag)) == len(expected.all(tag)), tag
        assert all(a["src"].startswith("data:") for a in page.all("img"))
        assert not any("onerror" in attrs for _, attrs in page.elements)
        assert "".join(page.code) == "".join(expected.code)
        assert shown(EVIL) in page.text
        assert "49" not in page.text.replace(shown(EVIL), "")


def test_a_run_without_evaluations_has_a_page_too(tmp_path):
    run = make_run(tmp_path / "run", rows=[], sheets=(0,))
    show(run)
    page = Page(run / "page.html")
    assert "No evaluation yet: the first one comes after 2.0 kimg" in page.text
    assert len(page.all("img", "frame")) == 1
    assert not page.all("figure", "chart")
    assert "rggan train pictures --cfg sngan" in page.text


@pytest.mark.parametrize("name", ["fakes000004.png", "data.jsonl", "stats.jsonl", "reals.png", "last/config.json"])
@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n",
        *(pytest.param(each, marks=pytest.mark.slow) for each in (None, b"", b"[1, 2", b"null\n")),
        pytest.param(b'{"size": "big"}\n\xff\n', marks=pytest.mark.slow),
    ],
)
def test_whatever_is_missing_or_broken_is_left_out(tmp_path, name, content):
    run = make_run(tmp_path / "run")
    (run / "last").mkdir()
    if content is None:
        (run / name).unlink(missing_ok=True)
    else:
        (run / name).write_bytes(content)
    show(run)
    frames = Page(run / "page.html").all("img", "frame")
    assert len(frames) == (4 if name.startswith("fakes") else 5)


def test_a_long_film_is_thinned_and_says_so(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    monkeypatch.setattr(sheets, "MOST", 3)
    show(run)
    page = Page(run / "page.html")
    assert [float(frame["data-kimg"]) for frame in page.all("img", "frame")] == [0, KIMG[1], KIMG[3]]
    assert "3 of 5 sheets are in it" in page.text
    monkeypatch.setattr(sheets, "MOST", 60)
    files = sheets.sheet_files(run)
    one = sheets.film(files[:1], crisp=True)[0].bytes
    film = sheets.film(files, crisp=True, budget=3 * one + one // 2)
    assert [sheet.kimg for sheet in film] == [0, 4, 8]
    assert [sheet.kimg for sheet in sheets.film(files, crisp=True, budget=1)] == [0, 8]


def options():
    of = TrainConfig.of
    yield of("sngan")
    yield of("sngan", data="my pictures", target_g=0.5, resolution="64x96", background="#ff8800")
    yield of("fastgan", mirror=True, target_g=0.5, target_d=0.3)
    yield of("sngan", rule="none")
    yield of("sngan", rule="set", networks="g", target_g=0.2)
    yield of("sngan", networks="g", penalty=3.0)
    yield of("sngan", networks="d", penalty=3.0, target_d=None)
    yield of("sngan", networks="both", target_d="auto")
    yield of("biggan", schedule="periodic", period=3)
    yield of("sngan", target_g=0.5, finale=0.2, finale_dense=False)
    yield TrainConfig()
    yield TrainConfig(network="stylegan2", mirror=False)


@pytest.mark.parametrize("config", list(options()), ids=str)
def test_the_command_of_a_run_is_that_run(config):
    saved = config.to_json()
    line = " ".join(f"{'--' if name else ''}{name.replace('_', '-')} {value}" for name, value in command(saved))
    again = parse(["train", *shlex.split(line)]).to_json()
    assert {name: value for name, value in again.items() if name not in HERE} == {
        name: value for name, value in saved.items() if name not in HERE
    }


@pytest.mark.slow
def test_what_was_found_in_the_pictures_outlives_them(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a", "b", "c"):
        Image.effect_noise((32, 32), 90 if name == "c" else 50).save(folder / f"{name}.png")
    shutil.copy(folder / "a.png", folder / "b.png")
    run = make_run(tmp_path / "run", data=str(folder), pictures=(("a.png", "x"), ("c.png", "x")))
    show(run)
    page = Page(run / "page.html")
    assert "copies 1: a.png = b.png" in page.text
    assert "1 of 3 pictures is an exact copy of another" in page.text
    shutil.rmtree(folder)
    show(run)
    assert "copies 1: a.png = b.png" in Page(run / "page.html").text
    (run / "health.json").unlink()
    show(run)
    text = Page(run / "page.html").text
    assert "cannot be looked over any more" in text
    assert "2 pictures" in text  # as the run noted


@pytest.mark.slow
def test_the_look_over_the_pictures_reads_them_as_the_run_does(tmp_path):
    """White of 12-bit pictures, and how large they may be."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number, side in enumerate((32, 32, 64)):
        values = random.integers(0, 4000, (side, side), dtype=np.uint16)
        Image.fromarray(values).save(folder / f"{number}.png")
    given = {"white_level": None}, {"white_level": 4095.0}, {"white_level": "auto"}, {"max_pixels": 2000}
    texts = []
    for number, options in enumerate(given):
        run = make_run(tmp_path / str(number), data=str(folder), **options)
        show(run)
        texts.append(Page(run / "page.html").text)
    assert ["would be dark" in text for text in texts] == [True, False, False, True]
    assert ["1: 2.png" in text for text in texts] == [False, False, False, True]


def test_a_film_keeps_no_sheet_beside_its_frames(run, monkeypatch):
    read, alive = [], []

    def noted(path):
        alive.append(sum(each() is not None for each in read))
        image = sheets.read_picture(path)
        read.append(weakref.ref(image))
        return image

    monkeypatch.setattr("rggan.report.page.film.read_picture", noted)
    assert write_film(Run(run), run / "film.webp") == 5
    assert max(alive) <= 1  # the one before


def test_a_short_film_says_what_makes_a_longer_one(tmp_path, capsys):
    run = make_run(tmp_path / "a", rows=make_rows((20.0, 2.0), KIMG[:2]), sheets=(0, 2))
    show(run, "--film")
    assert "2 sheets in" in (told := " ".join(capsys.readouterr().out.split()))
    assert "; --snap says how many" in told


def test_a_film_has_every_sheet_in_order(run, capsys):
    show(run, "--film")
    assert "--snap" not in capsys.readouterr().out
    with Image.open(run / "training.webp") as film:
        assert film.n_frames >= 5
        for number, kimg in enumerate((0, 2, 4, 6, 8)):
            film.seek(number)
            frame = np.asarray(film.convert("RGB"), dtype=int)
            sheet = np.asarray(Image.open(run / fakes(kimg)).convert("RGB"), dtype=int)
            caption, below = frame[: -len(sheet)], frame[-len(sheet) :]
            assert caption.min() < 60  # the kimg is written there
            others = [np.asarray(make_sheet(other).convert("RGB"), dtype=int) for other in (0, 2, 4, 6, 8)]
            errors = [np.abs(below - other).mean() for other in others]
            assert np.argmin(errors) == number


@pytest.mark.slow
def test_runs_are_compared_at_the_same_kimg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a = make_run(tmp_path / "a")
    b = make_run(tmp_path / "b", lr=1e-3, rows=make_rows((20.0, 2.0), KIMG[:2]), sheets=(0, 2, 4))
    show(a, b, a)
    page = Page(tmp_path / "comparison.html")
    (slider,) = page.all("input")
    assert json.loads(slider["data-stops"]) == [0, *KIMG]
    assert len(page.all("figure", "viewer")) == 2
    assert len(page.all("img", "frame")) == 8
    (scores, *_) = [json.loads(chart["data-series"]) for chart in page.all("figure", "chart")]
    assert [each["values"] for each in scores] == [[30.0, 3.0, 0.5, 0.25], [20.0, 2.0]]
    assert "lr 0.0002 0.001" in page.text
    assert "different pictures" not in page.text
    head, *rest = (b / "data.jsonl").read_text().splitlines()
    (b / "data.jsonl").write_text("\n".join([head.replace("k1", "k2"), *rest]))
    show(a, b)
    assert "These runs were trained on different pictures." in Page(tmp_path / "comparison.html").text


def test_bad_input_is_one_sentence_and_nothing_is_left(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "run")
    empty = make_run(tmp_path / "empty", rows=[], sheets=())
    other = make_run(tmp_path / "other", rows=[], sheets=())
    (run / "page.html").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for words, told in (
        ([], "Say which runs to show"),
        (["nothing"], "nothing is no run"),
        ([tmp_path], "is no run"),
        ([run, "--out", "page.png"], "ends in .html"),
        ([run], "Cannot write"),  # something else has the page's name
        ([run, "--out", "file/page.html"], "Cannot write to the folder file"),
        ([run, other, "--film"], "--film is of one run"),
        ([empty, other], "There is nothing to compare yet"),
    ):
        assert main(["show", *map(str, words)]) == 2, words
        out, error = capsys.readouterr()
        assert told in error
        assert error.startswith("rggan: ")
        assert error.count("\n") == 1
        assert not out
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "health.json"] == before
    assert main(["show", str(empty), "--film"]) == 2
    assert "has no sample sheets" in capsys.readouterr().err
