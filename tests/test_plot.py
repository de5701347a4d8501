"""`rggan plot`: what is in the pictures, which runs share a colour, and what is refused."""

import itertools
import json
import math
from pathlib import Path

import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from rggan import TrainConfig
from rggan.cli.main import main
from rggan.report.comparison import Curves, arms, comparison_figure
from rggan.report.plot import SHADE, plot_run, run_figure, save_figure
from rggan.report.verdict import Scale

pytestmark = pytest.mark.slow  # all together they take seconds

PHASES = ["prune", "prune", "dense", "dense", "prune", "dense"]
KIMG = [2.0, 4.1, 6.0, 8.2, 10.0, 12.0]
LAYERS = {"g": ["linear.weight", "blocks.0.conv1.weight"], "d": ["blocks.0.shortcut.weight"]}


def old_rows():
    """As before D's outputs and the layers were written down."""
    scores = [30.0, 20.0, 5.0, 0.5, 0.7, 0.9]
    return [
        {"tick": i, "kimg": kimg, "score": score, "density_g": 0.5, "density_d": 0.6, "phase": phase}
        for i, (kimg, score, phase) in enumerate(zip(KIMG, scores, PHASES, strict=True))
    ]


def new_rows():
    rows = old_rows()
    for i, row in enumerate(rows):
        layers = {network: {name: {"density": 0.1 * (i + 1)} for name in names} for network, names in LAYERS.items()}
        if row["phase"] == "prune":
            for network, factor in (("g", 10), ("d", 1)):
                for layer in layers[network].values():
                    layer |= {"births": factor * i, "deaths": factor * (i + 1)}
        row |= {
            "d_real": 1.0 + i,
            "d_fake": -1.0 - i,
            "d_train": 2.0,
            "d_held_out": 1.5,
            "copies": 0.25,
            "layers": layers,
        }
    return rows


def labels(axes):
    return [line.get_label() for line in axes.lines]


def panel(figure, label):
    (found,) = [axes for axes in figure.axes if axes.get_ylabel() == label]
    return found


def panels(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def line(axes, label):
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return found.get_ydata()


def shaded(axes):
    """From where to where it is grey."""
    spans = [patch for patch in axes.patches if to_hex(patch.get_facecolor()) == to_hex(SHADE)]
    return sorted((round(span.get_x(), 9), round(span.get_x() + span.get_width(), 9)) for span in spans)


def write_run(folder, rows, **options):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(TrainConfig(**options).to_json()))
    (folder / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(name="run", **options):
    return Curves(name, TrainConfig(**options).to_json(), old_rows())


def dense_rows():
    """Of a run that was never pruned."""
    dense = {"phase": "dense", "density_g": 1.0, "density_d": 1.0, "layers": {}}
    return [row | dense for row in new_rows()]


def test_a_run_that_was_never_pruned_has_no_panel_of_densities_and_is_not_grey(monkeypatch):
    drawn = []
    monkeypatch.setattr("rggan.report.plot.save_figure", lambda figure, path: drawn.append(figure))
    figure = run_figure(dense_rows())
    assert [axes.get_ylabel() for axes in figure.axes] == ["score (lower is better)", "mean output of D", "share"]
    assert labels(figure.axes[2]) == ["copies among the samples"]
    assert all(shaded(axes) == [] for axes in figure.axes)
    plot_run(dense_rows(), Path("unused"))
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["score (lower is better)", "mean output of D"]
    plot_run([row | {"density_g": 1.0, "density_d": 1.0} for row in old_rows()], Path("unused"))
    assert [axes.get_ylabel() for axes in drawn[1].axes] == ["score (lower is better)"]


def test_the_scale_is_drawn_and_does_not_flatten_the_curve():
    """Both numbers stand in the legend; the axis holds only what is near, whether logarithmic or not."""
    for shift, halves, noise, seen in ((0, 0.2, 50.0, "both"), (0, 0.001, 5000.0, "none"), (-1, 0.02, 900.0, "halves")):
        rows = [row | {"score": row["score"] + shift} for row in old_rows()]
        axes = run_figure(rows, scale=Scale(halves, noise)).axes[0]
        told = labels(axes)
        assert f"real pictures: {halves:g}" in told
        assert f"noise: {noise:g}" in told
        low, high = axes.get_ylim()
        assert (low < halves < high) == (seen != "none")
        assert (low < noise < high) == (seen == "both")
        scores = [row["score"] for row in rows]
        assert low <= min(scores)
        assert high >= max(scores)
    assert not any("noise" in name for name in labels(run_figure(old_rows()).axes[0]))


def test_the_scale_of_a_run_comes_from_its_folder(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("rggan.cli.plot.save_figure", lambda figure, path: drawn.append(figure))
    folder = write_run(tmp_path / "a", old_rows())
    (folder / "data.jsonl").write_text(json.dumps({"data": "x", "scale": {"halves": 0.3, "noise": 40.0}}) + "\n")
    assert main(["plot", str(folder)]) == 0
    assert {"real pictures: 0.3", "noise: 40"} < set(labels(drawn[0].axes[0]))


def test_every_panel_is_grey_exactly_where_the_run_was_dense():
    """A row tells of the time since the row before it: 6.0 and 8.2 are dense, and so is all from 4.1 on."""
    for rows, count in ((new_rows(), 6), (old_rows(), 2)):
        found = panels(run_figure(rows))
        assert len(found) == count
        for axes in found:
            assert shaded(axes) == [(4.1, 8.2), (10.0, 12.0)]
    pruning = [row | {"phase": "prune"} for row in new_rows()]
    assert all(shaded(axes) == [] for axes in panels(run_figure(pruning)))


def test_what_a_run_does_not_tell_is_left_out():
    assert [axes.get_ylabel() for axes in run_figure(old_rows()).axes] == [
        "score (lower is better)",
        "density (kept / all)",
    ]
    without_layers = [{key: value for key, value in row.items() if key != "layers"} for row in new_rows()]
    assert len(run_figure(without_layers).axes) == 3
    never_pruned = [row | {"phase": "dense", "layers": {}} for row in new_rows()]
    assert len(run_figure(never_pruned).axes) == 3
    one_network = [row | {"layers": {"g": row["layers"]["g"]}} for row in new_rows()]
    assert labels(panel(run_figure(one_network), "weights per tick")) == ["grown, generator", "pruned, generator"]
    mangled = [row | {"layers": 5, "d_real": None, "copies": "many"} for row in new_rows()]
    assert len(run_figure(mangled).axes) == 3


def test_copies_and_the_strength_of_ada_are_drawn_beside_the_densities_where_a_run_tells_them():
    told = [row | {"aug_p": 0.1 * i} for i, row in enumerate(new_rows())]
    axes = panel(run_figure(told), "density (kept / all)")
    np.testing.assert_allclose(line(axes, "ADA's p"), [0, 0.1, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_array_equal(line(axes, "copies among the samples"), [0.25] * 6)
    assert labels(panel(run_figure(old_rows()), "density (kept / all)")) == ["generator", "discriminator"]


def test_a_run_that_began_before_the_new_numbers_has_gaps_there():
    rows = old_rows()[:3] + new_rows()[3:]
    figure = run_figure(rows)
    drawn = line(panel(figure, "mean output of D"), "real (in training)")
    assert list(np.isnan(drawn)) == [True] * 3 + [False] * 3
    assert len(line(panel(figure, "score (lower is better)"), "score")) == 6


def test_grown_and_pruned_weights_are_sums_over_the_layers_and_missing_in_dense_phases():
    axes = panel(run_figure(new_rows()), "weights per tick")
    grown, pruned = line(axes, "grown, generator"), line(axes, "pruned, generator")
    np.testing.assert_array_equal(grown, [0, 20, math.nan, math.nan, 80, math.nan])
    np.testing.assert_array_equal(pruned, [20, 40, math.nan, math.nan, 100, math.nan])
    np.testing.assert_array_equal(line(axes, "grown, discriminator"), [0, 1, math.nan, math.nan, 4, math.nan])


def test_layers_are_drawn_in_order_with_their_densities_and_nothing_in_dense_phases():
    (axes,) = [
        axes for axes in run_figure(new_rows()).axes if axes.get_title(loc="left").startswith("layers of the gen")
    ]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["linear", "blocks.0.conv1"]
    assert axes.yaxis_inverted()
    drawn = np.ma.filled(axes.collections[0].get_array(), -1)
    np.testing.assert_allclose(drawn, [[0.1, 0.2, -1, -1, 0.5, -1]] * 2)
    assert axes.get_xlim() == (0, 12)


def test_the_best_score_is_marked_on_a_logarithmic_axis_if_all_are_positive():
    axes = panel(run_figure(new_rows()), "score (lower is better)")
    assert axes.get_yscale() == "log"
    assert "best: 0.5 at 8.2 kimg" in labels(axes)
    axes.figure.draw_without_rendering()
    told = [text.get_text() for minor in (False, True) for text in axes.get_yticklabels(minor=minor)]
    assert {"1", "10"} < set(told)
    assert not any("e" in text for text in told)
    below_zero = [row | {"score": row["score"] - 1} for row in old_rows()]
    assert panel(run_figure(below_zero), "score (lower is better)").get_yscale() == "linear"


@pytest.mark.parametrize("rows", [old_rows(), new_rows(), new_rows()[:1]], ids=["old", "new", "one"])
def test_pictures_are_png_of_a_size_that_can_be_looked_at(tmp_path, rows):
    folder = write_run(tmp_path / "$a^{b$ 字", rows)  # names are no formulas
    plot_run(rows, folder / "progress.png", "$a^{b$")
    before = (folder / "progress.png").read_bytes()
    assert main(["plot", str(folder)]) == 0
    for name in ("progress.png", "plot.png"):
        with Image.open(folder / name) as picture:
            assert picture.format == "PNG"
            assert 500 <= picture.width <= 2000
            assert 400 <= picture.height <= 2000
            assert np.asarray(picture.convert("L")).std() > 5
    assert (folder / "progress.png").read_bytes() == before
    assert not list(folder.glob(".*"))
    assert matplotlib.pyplot.get_fignums() == []


def test_legends_and_names_overlap_nothing():
    """Legends stand above their panels, and layers' names one below the other, also in a deep network."""
    rows = new_rows()
    for row in rows:
        row["layers"]["g"] = {f"blocks.{i}.a_name_that_goes_on_and_on.weight": {"density": 0.5} for i in range(90)}
    figure = run_figure(rows)
    figure.draw_without_rendering()
    for axes in panels(figure):
        if axes.get_legend() is not None:
            assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1 - 1
            assert axes.get_legend().get_window_extent().x1 <= axes.get_window_extent().x1
        else:
            boxes = [text.get_window_extent() for text in axes.get_yticklabels()]
            assert all(lower.y1 <= upper.y0 + 1 for upper, lower in itertools.pairwise(boxes))
            left = max(axes.get_window_extent().x1 for axes in panels(figure) if axes.get_legend() is not None)
            assert min(box.x0 for box in boxes) >= left


def test_runs_that_differ_only_in_seed_or_place_are_one_arm():
    runs = [
        run(rule="none"),
        run(rule="none", seed=1, outdir="elsewhere", device="cpu"),
        run(target_g=0.5),
        run(),
        run(seed=7, target_g=0.5),
    ]
    assert arms(runs) == {
        "`rule` none": [runs[0], runs[1]],
        "`target_g` 0.5, `rule` threshold": [runs[2], runs[4]],
        "no `target_g`, `rule` threshold": [runs[3]],
    }
    assert list(arms(runs[:2])) == ["the same options"]


def test_arms_are_told_apart_only_by_options_that_mean_something():
    runs = [run(schedule="periodic", period=3), run(), run(schedule="periodic", period=4, mirror=True)]
    assert list(arms(runs)) == [
        "`mirror=False`, `schedule` periodic, `period` 3",
        "`mirror=False`, `schedule` score",
        "`mirror`, `schedule` periodic, `period` 4",
    ]
    older = Curves("old", {"data": "digits", "rule": "none", "penalty": 1.0}, old_rows())  # fewer options than today
    assert list(arms([older, run(), run(rule="none")])) == ["`rule` none", "`rule` threshold"]
    unknown = Curves("newer", {**run().options, "shiny": [1]}, old_rows())
    assert list(arms([run(), unknown])) == ["no `shiny`", "`shiny` [1]"]


def test_arms_share_a_colour_and_every_run_has_its_dot():
    runs = [run(rule="none"), run(rule="none", seed=1), run()]
    figure = comparison_figure(runs)
    score = panel(figure, "score (lower is better)")
    lines = [line for line in score.lines if len(line.get_xdata()) > 1]
    dots = [line for line in score.lines if len(line.get_xdata()) == 1]
    colors = [to_hex(line.get_color()) for line in lines]
    assert colors[0] == colors[1] != colors[2]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots] == [(8.2, 0.5)] * 3
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == ["`rule` none: 2 runs, best 0.5 to 0.5", "`rule` threshold: best 0.5", "best of a run"]
    assert [to_hex(handle.get_color()) for handle in legend.get_lines()[:2]] == colors[1:]
    figure.draw_without_rendering()
    assert legend.get_window_extent().y0 >= score.get_window_extent().y1


def test_curves_that_coincide_are_all_seen(tmp_path):
    """Each colour is in the picture, though all curves are the same."""
    figure = comparison_figure([run(lr=0.001 * (i + 1)) for i in range(5)])
    for axes in figure.axes:
        axes.grid(visible=False)
    for dots in [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]:
        dots.remove()
    figure.legends[0].remove()
    save_figure(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for place in range(5):
        assert (abs(pixels - 255 * np.array(to_rgb(f"C{place}"))).max(axis=1) < 8).sum() > 100


def test_arms_are_named_as_the_command_line_spells_them(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("rggan.cli.plot.save_figure", lambda figure, path: drawn.append(figure))
    paths = [write_run(tmp_path / "a", old_rows(), mirror=True, target_g=0.5), write_run(tmp_path / "b", old_rows())]
    assert main(["plot", *map(str, paths), "--out", str(tmp_path / "c.png")]) == 0
    told = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert told[:2] == ["--mirror, --target-g 0.5: best 0.5", "--no-mirror, no --target-g: best 0.5"]


def test_many_arms_have_as_many_colours():
    figure = comparison_figure([run(lr=0.001 * (i + 1)) for i in range(15)])
    handles = figure.legends[0].get_lines()[:15]
    assert len({to_hex(handle.get_color()) for handle in handles}) == 15


def test_several_runs_go_into_the_current_folder_and_one_given_twice_is_one(tmp_path, monkeypatch, capsys):
    a = write_run(tmp_path / "a", old_rows(), rule="none")
    b = write_run(tmp_path / "b", new_rows(), seed=1)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["plot", str(a), str(b)]) == 0
    assert capsys.readouterr().out == "2 runs in plot.png\n"
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["plot.png"]
    assert main(["plot", str(a), f"{a}/", "--out", "new/folder/a.PNG"]) == 0
    assert capsys.readouterr().out == "1 run in new/folder/a.PNG\n"
    assert not (a / "plot.png").exists()


def test_bad_input_is_one_sentence_and_code_2_and_leaves_nothing(tmp_path, capsys):
    good, empty = write_run(tmp_path / "good", old_rows()), write_run(tmp_path / "empty", [])
    (write_run(tmp_path / "unborn", []) / "stats.jsonl").unlink()
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "config.json").write_text("[]")
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in (
        ([], "Say which runs"),
        ([tmp_path / "nowhere"], "nowhere is no run"),
        ([tmp_path], "is no run"),
        ([tmp_path / "list"], "is no run"),
        ([good / "config.json"], "lies in a run: give the run folder"),
        ([empty], "has no evaluations to draw yet"),
        ([empty, tmp_path / "unborn"], "have no evaluations to draw yet"),
        ([good, "--out", tmp_path / "a.jpg"], "--out is a picture whose name ends in .png"),
        ([good, "--out", tmp_path / "folder.png"], "Cannot write"),
        ([good, "--out", good / "config.json" / "a.png"], "Cannot write to the folder"),
    ):
        assert main(["plot", *map(str, arguments)]) == 2, arguments
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before


def test_runs_without_an_evaluation_are_left_out_and_told(tmp_path, monkeypatch, capsys):
    """One that has just started, or whose first lines are somebody else's, does not stop the others."""
    paths = [write_run(tmp_path / name, rows) for name, rows in (("a", old_rows()), ("b", []), ("c", new_rows()))]
    (write_run(tmp_path / "d", []) / "stats.jsonl").unlink()  # killed before its first step
    monkeypatch.chdir(tmp_path)
    assert main(["plot", "a", "b", "c", "d"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [*(f"{name} is left out: it has no evaluations to draw yet." for name in "bd"), "2 runs in plot.png"]
    assert main(["plot", "b", "a"]) == 0
    assert (paths[0] / "plot.png").is_file()
    assert main(["plot", "a", "nowhere"]) == 2  # what is no run is a slip


def test_a_full_disk_is_told_and_keeps_the_picture_before(tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path / "a", old_rows())
    assert main(["plot", str(folder)]) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rggan.files.os.fsync", full)
    assert main(["plot", str(folder)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_runs_that_were_trained_are_drawn_with_all_that_they_tell(tmp_path):
    tiny = ["--max-images", "60", "--width-g", "8", "--width-d", "8", "--z-dim", "8", "--batch", "8"]
    tiny += ["--score-samples", "20", "--precision", "fp32", "--kimg", "0.16", "--snap", "0.032", "--d-steps", "1"]
    options = ["--threshold-lr", "0.01", "--schedule", "periodic", "--period", "2"]
    assert main(["train", "digits", "--network", "sngan", "--outdir", str(tmp_path / "a"), *tiny, *options]) == 0
    assert (
        main(["train", "digits", "--network", "sngan", "--outdir", str(tmp_path / "b"), *tiny, "--rule", "none"]) == 0
    )
    (a,), (b,) = (tmp_path / "a").glob("0*"), (tmp_path / "b").glob("0*")
    assert main(["plot", str(a)]) == main(["plot", str(b)]) == 0
    assert main(["plot", str(a), str(b), "--out", str(tmp_path / "both.png")]) == 0
    widths = []
    for path in (a / "plot.png", b / "plot.png"):
        with Image.open(path) as picture:
            widths.append(picture.width)
    assert widths[0] > 1.5 * widths[1]  # beside the sums, the layers of the pruned one
    with Image.open(tmp_path / "both.png") as picture:
        assert picture.format == "PNG"


def test_what_an_auto_density_follows_is_drawn_with_its_set_point():
    rows = new_rows()
    assert "mean sign of D" not in [axes.get_ylabel() for axes in run_figure(rows).axes]
    for i, row in enumerate(rows):
        row |= {"signal": "r_t", "signal_d": None if i == 0 else 0.1 * i, "set_point_d": 0.3}
    axes = panel(run_figure(rows), "mean sign of D")
    values = line(axes, "r_t, for the discriminator")
    assert math.isnan(values[0])
    assert list(values[1:]) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert list(line(axes, "its set point")) == [0.3] * 6
    for row in rows:
        row |= {"signal_g": row["signal_d"], "set_point_g": 0.3}
    assert len(panel(run_figure(rows), "mean sign of D").lines) == 2  # the same one twice
