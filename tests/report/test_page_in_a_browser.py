"""The page in headless Chromium: its script runs, the slider moves the samples, and nothing hangs over the edge."""

import json
import re
import shutil
import subprocess

import pytest

from tests.report.runs import KIMG, make_rows, make_run, make_samples
from tests.report.test_comparison_page import evaluate
from tests.report.test_page import show

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH"),
]
WATCH = """
window.wrong = [];
addEventListener("error", (event) => wrong.push(event.message));
addEventListener("securitypolicyviolation", (event) => wrong.push(event.violatedDirective));
"""
TELL = """
addEventListener("load", () => {
  const found = {};
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const seen = () => all(".viewer").map((viewer) =>
    all(".frame", viewer).filter((frame) => frame.checkVisibility()).map((frame) => Number(frame.dataset.kimg)));
  const key = (name) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
  const slider = document.getElementById("kimg"), dialog = document.getElementById("zoom");
  const caption = () => dialog.querySelector(".caption").textContent;
  const outputs = () => all(".legend output", all(".chart")[0]).map((output) => output.textContent);
  const colour = () => [...dialog.querySelector("canvas").getContext("2d").getImageData(0, 0, 1, 1).data];
  found.width = innerWidth;
  found.overflow = document.documentElement.scrollWidth - innerWidth;
  found.at_first = seen();
  found.broken = all(".option").filter((each) => each.getClientRects().length !== 1).map((each) => each.textContent);
  found.options = all(".option").length;
  const tops = all(".runs article").map((each) => each.getBoundingClientRect().top);
  found.rows = [...new Set(tops)].map((top) => tops.filter((each) => each === top).length);
  found.positions = JSON.parse(slider.dataset.stops).map((_, index) => {
    slider.value = index;
    slider.dispatchEvent(new Event("input"));
    return [seen(), document.getElementById("now").textContent, outputs()];
  });
  const sheet = document.querySelector(".sheet"), box = sheet.getBoundingClientRect();
  const at = (x, y) => ({clientX: box.left + x * box.width, clientY: box.top + y * box.height, bubbles: true});
  sheet.dispatchEvent(new MouseEvent("click", at(0.3, 0.2)));
  found.opened = [dialog.open, caption(), colour()];
  key("ArrowRight");
  found.right = [caption(), colour()];
  key("ArrowDown");
  found.earlier = [caption(), colour(), seen()[0]];
  found.zoom_overflow = document.documentElement.scrollWidth - innerWidth;
  dialog.close();
  sheet.focus();
  key("Enter");
  found.by_key = dialog.open;
  const asked = performance.getEntriesByType("resource").map((each) => each.name);
  found.requests = asked.filter((name) => !name.startsWith("data:"));
  found.wrong = wrong;
  parent.postMessage(JSON.stringify(found), "*");
});
"""
ODD = {"width_g": 24, "width_d": 24, "score_samples": 200, "max_images": 99, "d_steps": 1, "batch": 24, "lr": 1e-3}
FRAME = """<body>
<script>addEventListener("message", (event) => {{ document.body.dataset.found = event.data; }})</script>
<iframe src="{source}" style="border: 0; width: {width}px; height: 900px"></iframe></body>"""


def visited(page, width, folder):
    """What a script in the page tells. The page lies in a frame, because no window is narrower than 500 pixels."""
    html = page.read_text()
    html = html.replace("<title>", f"<script>{WATCH}</script><title>", 1)
    html = html.replace("</body>", f"<script>{TELL}</script></body>", 1)
    watched = folder / f"watched-{width}.html"
    watched.write_text(html)
    around = folder / f"around-{width}.html"
    around.write_text(FRAME.format(source=watched.name, width=width))
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1400,1000"]
    words += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000"]
    dom = subprocess.run([*words, "--dump-dom", around.as_uri()], capture_output=True, text=True, timeout=120).stdout
    found = re.search(r'data-found="([^"]*)"', dom)
    assert found, dom[-500:]
    return json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))


@pytest.mark.parametrize("width", [375, 1280])
def test_a_page_works_at_this_width(tmp_path, width):
    long = "blocks.0.a_rather_long_name_of_a_layer_that_somebody_wrote.weight"
    rows = make_rows()
    for row in rows:
        row["layers"]["g"][long] = {"density": 0.5}
    run = make_run(tmp_path / f"00000-{'a_long_name_without_any_gap_' * 4}", rows=rows, data="x" * 200, **ODD)
    show(run)
    found = visited(run / "page.html", width, tmp_path)
    assert found["wrong"] == []
    assert found["requests"] == []
    assert found["width"] == width
    assert (found["overflow"], found["zoom_overflow"]) == (0, 0)
    assert found["at_first"] == [[8]]
    assert (found["options"] > 4, found["broken"]) == (True, [])
    kimgs = [0, *KIMG]
    assert [seen for seen, _, _ in found["positions"]] == [[[kimg]] for kimg in kimgs]
    assert [now for _, now, _ in found["positions"]] == [f"{kimg:.4g} kimg" for kimg in kimgs]
    assert [values for _, _, values in found["positions"]] == [[""], ["30"], ["3"], ["0.5"], ["0.25"]]
    # The third sample of the second row, its neighbour, and this one an evaluation before.
    assert found["opened"] == [True, "sample of seed 10, at 8 kimg", pixel(8, 10)]
    assert found["right"] == ["sample of seed 11, at 8 kimg", pixel(8, 11)]
    assert found["earlier"] == ["sample of seed 11, at 6.016 kimg", pixel(6, 11), [6.016]]
    assert found["by_key"]


def pixel(kimg, sample):
    """The first one of a sample, RGBA."""
    return [*make_samples(kimg)[sample, :, 0, 0].tolist(), 255]


@pytest.mark.parametrize("width", [375, 1280])
def test_a_comparison_works_at_this_width(tmp_path, width):
    runs = [make_run(tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b" * 80))]
    runs.append(make_run(tmp_path / "c", rows=make_rows((2.0, 1.0), KIMG[:2]), sheets=(0, 2, 4), lr=1e-3))
    show(*runs, "--out", tmp_path / "three.html")
    found = visited(tmp_path / "three.html", width, tmp_path)
    assert found["wrong"] == []
    assert found["requests"] == []
    assert (found["width"], found["overflow"]) == (width, 0)
    assert [seen for seen, _, _ in found["positions"]] == [
        [[kimg], [kimg], [min(kimg, KIMG[1])]] for kimg in [0, *KIMG]
    ]
    assert [values for _, _, values in found["positions"]][2] == ["3", "3", "1"]


@pytest.mark.parametrize(("width", "rows"), [(375, [1] * 4), (760, [2, 2]), (1280, [4])])
def test_four_runs_lie_in_full_rows(tmp_path, width, rows):
    runs = [make_run(tmp_path / f"00000-a-long-name-{'of-a-run-' * seed}", seed=seed, **ODD) for seed in range(4)]
    for run in runs[:2]:
        evaluate(run, 50.0, samples=run.name)
    show(*runs, "--out", tmp_path / "four.html")
    found = visited(tmp_path / "four.html", width, tmp_path)
    assert (found["wrong"], found["requests"], found["broken"]) == ([], [], [])
    assert (found["width"], found["overflow"]) == (width, 0)
    assert found["rows"] == rows
