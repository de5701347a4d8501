"""The page that a run ends with, and that nothing which happens to it harms the run."""

import json

import pytest
from PIL import Image

from rggan.cli.main import main
from rggan.run.folder import Run
from rggan.run.places import fakes
from tests.conftest import folders
from tests.report.test_page import Page

pytestmark = pytest.mark.slow
TINY = [
    *("--max-images", "60", "--width-g", "8", "--width-d", "8", "--z-dim", "8", "--batch", "8", "--cfg", "sngan"),
    *("--score-samples", "20", "--precision", "fp32", "--kimg", "0.16", "--snap", "0.08", "--d-steps", "1", "--cond"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    outdir = tmp_path_factory.mktemp("runs")
    assert main(["train", "digits", "--outdir", str(outdir), *TINY]) == 0
    (path,) = folders(outdir)
    return path


def test_a_run_ends_with_its_page(run):
    page = Page(run / "page.html")
    rows = Run(run).rows()
    frames = page.all("img", "frame")
    assert [float(frame["data-kimg"]) for frame in frames] == [rows[-1]["kimg"]]  # files go by whole kimg
    (scores, *_) = [json.loads(chart["data-series"]) for chart in page.all("figure", "chart")]
    assert scores[0]["values"] == [row["score"] for row in rows]
    (viewer,) = page.all("figure", "viewer")
    labels = json.loads(viewer["data-labels"])
    assert len(labels) == 64
    assert set(labels) <= set("0123456789")
    assert "Samples of the best generator, each with its nearest" in str(page.elements)
    with Image.open(run / "replays.png") as sheet:
        assert sheet.width > 600
    assert "Trained with rggan" in page.text
    assert "too early to tell" in page.text
    assert not (run / "health.json").exists()  # a look over the pictures takes longer than this training


def test_a_page_that_cannot_be_made_harms_no_run(tmp_path, capsys):
    assert main(["train", "digits", "--outdir", str(tmp_path), *TINY, "--kimg", "0.08"]) == 0
    (run,) = folders(tmp_path)
    (run / "page.html").unlink()
    (run / "page.html").mkdir()
    (run / fakes(0)).write_bytes(b"no picture")
    capsys.readouterr()
    assert main(["train", "--resume", str(run), "--kimg", "0.16"]) == 0
    assert "No page was made:" in capsys.readouterr().out
    assert len(Run(run).rows()) == 2
