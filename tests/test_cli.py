"""The command line from end to end, at a size that takes seconds: what is written, what resumes, what is refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from rggan import Generator, TrainConfig, UserError
from rggan.cli.generate import parse_seeds
from rggan.cli.main import main, parse
from rggan.data.pictures import grid
from rggan.run.folder import Run
from rggan.training.checkpoint import checkpoints, readable, save_checkpoint
from rggan.training.trainer import Training
from tests.conftest import folders

TINY = [
    *("--max-images", "60", "--width-g", "8", "--width-d", "8", "--z-dim", "8", "--batch", "8"),
    *("--score-samples", "20", "--precision", "fp32", "--network", "sngan"),
]
SHORT = [*TINY, "--kimg", "0.16", "--snap", "0.032", "--d-steps", "1", "--threshold-lr", "0.01", "--networks", "both"]


def train(outdir, *options):
    return main(["train", "digits", "--outdir", str(outdir), *SHORT, *options])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    outdir = tmp_path_factory.mktemp("runs")
    assert train(outdir) == 0
    (path,) = folders(outdir)
    return path


@pytest.mark.slow
def test_run_folder_holds_what_people_expect(run):
    assert run.name == "00000-digits-16-sngan-d_steps1-threshold_lr0.01-threshold"
    names = {path.name for path in run.iterdir()}
    assert {
        "config.json",
        "data.jsonl",
        "log.txt",
        "stats.jsonl",
        "reals.png",
        "progress.png",
        "best",
        "last",
        "checkpoints",
    } <= names
    assert not [name for name in names if name.endswith(".part")]
    rows = Run(run).rows()
    keys = {"kimg", "score", "diversity", "density_g", "density_d", "phase", "loss_g", "loss_d"}
    assert len(rows) == 5
    assert all(keys <= row.keys() for row in rows)
    assert [row["kimg"] for row in rows] == pytest.approx([0.032, 0.064, 0.096, 0.128, 0.16])
    assert rows[-1]["density_g"] < rows[0]["density_g"] < 1
    assert rows[-1]["decisions"] == 1
    for name in ("best", "last"):
        assert {path.name for path in (run / name).iterdir()} == {"generator.safetensors", "config.json"}
    log = (run / "log.txt").read_text()
    assert "60 images" in log
    assert "tick 4" in log
    assert "sec/kimg" in log


@pytest.mark.slow
def test_best_and_last_are_the_snapshots_that_the_stats_tell_of(run):
    rows = Run(run).rows()
    best = Generator.from_pretrained(run)
    assert best.config["trained"]["score"] == min(row["score"] for row in rows)
    last = Generator.from_pretrained(run / "last")
    assert last.config["trained"]["kimg"] == rows[-1]["kimg"]
    weights = [p for n, p in last.network.named_parameters() if p.dim() > 1]
    density = sum(int((w != 0).sum()) for w in weights) / sum(w.numel() for w in weights)
    assert density == pytest.approx(rows[-1]["density_g"], abs=1e-9)


@pytest.mark.slow
def test_pictures_of_a_run_are_those_of_its_seeds(run):
    sheet = Image.open(sorted(run.glob("fakes*.png"))[-1])
    last = Generator.from_pretrained(run / "last").images(range(64))
    assert np.array_equal(np.asarray(sheet), np.asarray(grid(last)))


@pytest.mark.slow
def test_the_same_command_says_that_a_run_is_finished(run, capsys):
    before = (run / "log.txt").read_text()
    assert train(run.parent) == 0
    assert "is finished" in capsys.readouterr().out
    assert folders(run.parent) == [run]
    assert (run / "log.txt").read_text() == before


@pytest.mark.slow
def test_another_seed_is_another_run_and_config_repeats_one(run, tmp_path):
    assert train(tmp_path, "--seed", "1") == 0
    assert main(["train", "--config", str(run / "config.json"), "--outdir", str(tmp_path)]) == 0
    other, again = folders(tmp_path)
    assert again.name.startswith("00001-")
    scores = [[row["score"] for row in Run(path).rows()] for path in (run, other, again)]
    assert scores[0] == scores[2] != scores[1]


@pytest.mark.slow
def test_one_declaration_makes_command_line_json_and_api(run):
    from_line = parse(["train", "digits", "--outdir", str(run.parent), *SHORT])
    assert from_line == TrainConfig.from_json(run / "config.json")
    overridden = parse(["train", "--config", str(run / "config.json"), "--kimg", "5", "--mirror"])
    assert parse(["train", f"--config={run / 'config.json'}"]).width_g == 8
    assert (overridden.kimg, overridden.mirror, overridden.width_g) == (5.0, True, 8)


def test_dry_run_prints_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rggan.cli.train.MEASURED", 0.1)
    assert (
        main(["train", "digits", "--network", "sngan", "--outdir", str(tmp_path / "runs"), "-n", "--max-images", "100"])
        == 0
    )
    out = capsys.readouterr().out
    assert '"kimg": 1000.0' in out
    assert "100 images, 16x16 grey" in out
    assert re.search(r"^time       about .+ for 1000 kimg, besides evaluations: .* s per kimg", out, re.M)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_generate_writes_one_picture_a_seed_always_the_same(run, tmp_path):
    assert main(["generate", str(run), "--seeds", "0-9", "--outdir", str(tmp_path / "a")]) == 0
    assert main(["generate", str(run), "--seeds", "7,3", "--outdir", str(tmp_path / "b")]) == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [f"seed{i:04d}.png" for i in range(10)]
    for name in ("seed0003.png", "seed0007.png"):
        one, other = (np.asarray(Image.open(tmp_path / folder / name)).astype(int) for folder in "ab")
        assert np.abs(one - other).max() <= 1
    assert main(["generate", str(run), "--grid", "--outdir", str(tmp_path / "c")]) == 0
    assert Image.open(tmp_path / "c" / "grid.png").size == (274, 274)


@pytest.mark.slow
def test_conditional_run_generates_a_class(tmp_path):
    assert train(tmp_path, "--cond") == 0
    (run,) = folders(tmp_path)
    for label in ("3", "8"):
        assert main(["generate", str(run), "--class", label, "--seeds", "1", "--outdir", str(tmp_path / "out")]) == 0
    three, eight = (np.asarray(Image.open(tmp_path / "out" / f"seed0001-{label}.png")) for label in "38")
    assert (three != eight).any()


@pytest.mark.slow
def test_fewer_images_than_a_batch_work(tmp_path):
    assert train(tmp_path, "--max-images", "5", "--kimg", "0.032") == 0


@pytest.mark.slow
def test_truncated_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, capsys):
    """It then repeats the lost ticks, and the stats hold each tick once."""
    assert train(tmp_path) == 0
    (run,) = folders(tmp_path)
    rows = Run(run).rows()
    (run / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))  # as if not yet finished
    newest = checkpoints(run / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert train(tmp_path) == 0
    out = capsys.readouterr().out
    assert f"{newest.name} is damaged" in out.replace("\n", "")
    assert "continuing" in out
    assert Run(run).rows() == rows


def bad_folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (32, 32), (60 * i, 0, 0)).save(folder / f"{i}.png")
    (folder / "2.png").write_bytes(b"broken")
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "nothing at nowhere"),
        (["--resolution", "100x150"], "--resolution 100x150 does not fit"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--kimg", "-1"], "--kimg must be above 0"),
        (["--fraction", "2"], "--fraction"),
        (["--ema", "1"], "--ema"),
        (["--max-images", "1"], "at least 2"),
        (["--penalty", "-1"], "--penalty"),
        (["--network", "vgg"], "--network vgg: there are biggan"),
        (["--device", "cuda:7"], "no such CUDA GPU"),
        (["--device", "tpu"], "--device tpu"),
        (["--seed", "-1"], "--seed"),
        (["--patience", "0"], "--patience must be at least 1"),
        (["--background", "nocolour"], "--background nocolour"),
        (["--memory-share", "0"], "--memory-share must be above 0"),
        (["--keep", "0"], "--keep must be at least 1"),
        (["--rollbacks", "-1"], "--rollbacks must not be negative"),
        (["--rollback-lr", "0"], "--rollback-lr must be above 0"),
        (["--penalty", "nan"], "--penalty cannot be nan"),
        (["--config=nowhere.json"], "nowhere.json"),
        (["--config", "nowhere.json"], "nowhere.json"),
        (["--config"], "--config needs a value"),
        (["--data", "{bad}"], "Cannot read 2.png"),
        (["--data", "{bad}", "--skip-bad", "--cond"], "--cond needs classes"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="the messages are those of a machine without a GPU")
def test_bad_input_is_one_sentence_and_code_2_and_leaves_no_run(tmp_path, capsys, options, message):
    bad = bad_folder(tmp_path)
    options = [option.replace("{bad}", str(bad)) for option in options]
    data = [] if "--data" in options else ["digits"]
    words = options if options[0].startswith("--config") else [*data, *TINY, *options]
    assert main(["train", *words, "--outdir", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_skipped_files_are_counted(tmp_path, capsys):
    options = ["--data", str(bad_folder(tmp_path)), "--skip-bad", "-n"]
    assert main(["train", *options]) == 0
    assert "skipped    1 unreadable: 2.png" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("seeds", ["", "a", "3-1", "1,,2", "-4"])
def test_bad_seeds_are_refused(run, tmp_path, capsys, seeds):
    with pytest.raises(UserError):
        parse_seeds(seeds)
    assert main(["generate", str(run), f"--seeds={seeds}", "--outdir", str(tmp_path / "g")]) == 2
    assert not (tmp_path / "g").exists()


def test_generate_without_a_generator_is_refused(tmp_path, capsys):
    assert main(["generate", str(tmp_path), "--outdir", str(tmp_path / "g")]) == 2
    assert "no generator.safetensors" in capsys.readouterr().err


def test_unknown_option_is_code_2():
    assert main(["train", "--no-such-option"]) == 2


@pytest.mark.parametrize("option", ["--config", "--resume", "--cfg", "--network"])
@pytest.mark.parametrize(
    "command", [["evaluate", "digits"], ["plot", "here"], ["compare", "a", "--", "b"]], ids=" ".join
)
def test_what_brings_options_along_belongs_to_train_alone(command, option, capsys):
    assert main([*command, option, "nothing.json"]) == 2
    assert f"There is no option {option}" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_not_resumed(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"format": 2, "network": {}}')  # as a snapshot's
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert f"{tmp_path} is no run" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on_to_the_same_end(tmp_path):
    """A run interrupted in mid-tick and continued ends bit for bit where one ends that never stopped."""
    command = [sys.executable, "-m", "rggan", "train", "digits", *TINY, "--kimg", "0.6", "--snap", "0.2", "--outdir"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    process = subprocess.Popen([*command, str(tmp_path / "cut")], env=environment, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("tick 0"):
            break
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "the same command continues" in rest
    subprocess.run([*command, str(tmp_path / "cut")], check=True, env=environment, capture_output=True)
    (whole,), (cut,) = folders(tmp_path / "whole"), folders(tmp_path / "cut")
    assert (whole / "last/generator.safetensors").read_bytes() == (cut / "last/generator.safetensors").read_bytes()
    scores = [[row["score"] for row in Run(run).rows()] for run in (whole, cut)]
    assert scores[0] == scores[1]
    assert len(scores[0]) == 3
    assert "continuing" in (cut / "log.txt").read_text()


@pytest.mark.slow
def test_training_data_are_never_the_held_out_ones(tmp_path, monkeypatch):
    """From 1,000 images on the score's reference is disjoint from what trains; below, it is what trains."""
    given = []

    class Recorded(Training):
        def __init__(self, config, data, reference, *others):
            given.append((set(data.names), set(reference.names)))
            super().__init__(config, data, reference, *others)

    monkeypatch.setattr("rggan.training.train.Training", Recorded)
    assert main(["train", "digits", "--outdir", str(tmp_path), *SHORT, "--max-images", "1000", "--kimg", "0.032"]) == 0
    (run,) = folders(tmp_path)
    assert "on 900 images; the score compares with 100 held-out images" in (run / "log.txt").read_text()
    assert (len(given[0][0]), len(given[0][1])) == (900, 100)
    assert given[0][0].isdisjoint(given[0][1])
    assert main(["train", "digits", "--outdir", str(tmp_path), *SHORT, "--max-images", "50", "--kimg", "0.032"]) == 0
    assert given[1][0] == given[1][1]


@pytest.mark.slow
def test_changed_images_and_unreadable_checkpoints_stop_a_resume_and_lose_nothing(tmp_path, capsys):
    assert train(tmp_path) == 0
    (run,) = folders(tmp_path)
    stats = "".join((run / "stats.jsonl").read_text().splitlines(keepends=True)[:-1]) + '{"tick": 4, "ki'
    (run / "stats.jsonl").write_text(stats)  # killed while writing its last line
    best = (run / "best" / "generator.safetensors").read_bytes()
    for state in reversed(list(readable(run / "checkpoints", print))):
        save_checkpoint(run / "checkpoints", state["training"]["images"] / 1000, state | {"images": "another key"})
    assert train(tmp_path) == 2
    assert "are not those" in capsys.readouterr().err
    for path in checkpoints(run / "checkpoints"):
        path.write_bytes(b"")
    assert train(tmp_path) == 2
    assert "No checkpoint of" in capsys.readouterr().err
    assert (run / "stats.jsonl").read_text() == stats
    assert (run / "best" / "generator.safetensors").read_bytes() == best


@pytest.mark.slow
def test_outdir_that_is_a_file_is_refused(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train(tmp_path / "file") == 2
    assert main(["generate", str(run), "--outdir", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("Cannot write to the folder") == 2


@pytest.mark.parametrize(
    "options",
    [
        {"background": "nocolour"},
        {"data": "a\0b"},
        {"data": "\ud800"},
        {"rule": "magic"},
        {"aug": "adaptive"},
        {"resolution": "wide"},
        {"seed": 1.5},
        {"schedule": "sometimes"},
    ],
)
def test_values_from_json_and_python_are_checked_too(tmp_path, options):
    with pytest.raises(UserError, match=f"`{next(iter(options))}`"):
        TrainConfig(**options)
    (tmp_path / "c.json").write_text(json.dumps(options))
    assert main(["train", "--config", str(tmp_path / "c.json"), "-n"]) == 2


def test_paths_may_be_text_and_data_a_path(tmp_path):
    config = TrainConfig(data=tmp_path, outdir=str(tmp_path / "runs"))
    assert (config.data, config.outdir) == (str(tmp_path), tmp_path / "runs")
    with pytest.raises(UserError, match="`lr` cannot be"):
        TrainConfig(lr=tmp_path)


def test_a_trailing_slash_is_the_same_run():
    assert TrainConfig(data="pictures/").same_run(TrainConfig(data="pictures").to_json())


def test_rows_that_somebody_else_wrote_are_passed_over(tmp_path):
    good = {"tick": 0, "kimg": 1.0, "score": 0.5, "density_g": 1, "density_d": 1, "phase": "prune"}
    lines = [json.dumps(good).encode(), b"\xff", b"[]", b'{"tick": "a"}', b"[" * 10**5]
    (tmp_path / "stats.jsonl").write_bytes(b"\n".join(lines))
    assert Run(tmp_path).rows() == [good]


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_quietly():
    command = [sys.executable, "-m", "rggan", "train", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ended:
        ended.stdout.close()
        told = ended.stderr.read()
    assert (told, ended.returncode) == ("", 141)
