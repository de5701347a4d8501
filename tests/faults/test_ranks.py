"""A rank that is killed, stopped, late or without a disk; and what ranks are refused for."""

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from rggan.run.folder import Run
from rggan.training.checkpoint import checkpoints, load
from tests.conftest import folders
from tests.data.streams import write_tar
from tests.faults.drill import compare, fingerprint, half_written
from tests.faults.ranks import PATIENCE, Ranks, RanksDrill

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drill(tmp_path_factory):
    return RanksDrill(tmp_path_factory.mktemp("ranks"))


def until_evaluated(outdir, number, seconds=60):
    """Wait for so many evaluations of a run."""
    deadline = time.monotonic() + seconds
    while sum(len(Run(path).rows()) for path in outdir.glob("0*")) < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_runs_of_two_ranks_leave_the_same_bits(drill):
    assert compare(drill.expected, fingerprint(drill.folder / "warm")) is None


@pytest.mark.parametrize("rank", [0, 1])
def test_killed_rank_is_named_and_the_run_goes_on_exactly(rank, drill):
    where, failure = drill.killed(rank, 0.6)
    assert failure is None
    assert where == f"SIGKILL of rank {rank} of 2 at a random moment"


def test_signal_to_one_rank_saves_and_stops_all(drill, tmp_path):
    started = drill.start(tmp_path)
    until_evaluated(tmp_path, 2)
    os.kill(started.processes[1].pid, signal.SIGTERM)
    assert started.finish(PATIENCE) == [143, 143]
    (run,) = folders(tmp_path)
    told = re.search(r"stopped at kimg ([\d.]+); the same command continues", started.told())
    assert started.told(1) == ""
    newest = load(checkpoints(run / "checkpoints")[-1])
    assert f"{newest['training']['images'] / 1000:.1f}" == told[1]
    assert half_written(tmp_path) is None
    assert drill.resumed(tmp_path) is None


def test_run_of_two_ranks_ends_in_one_process_and_in_three(drill, tmp_path, signals_are_heard):
    started = drill.start(tmp_path / "two")
    until_evaluated(tmp_path / "two", 2)
    os.kill(started.processes[0].pid, signal.SIGHUP)
    assert started.finish(PATIENCE) == [129, 129]
    shutil.copytree(tmp_path / "two", tmp_path / "one", symlinks=True)
    for name, count in (("one", 1), ("two", 3)):
        place = tmp_path / name
        (run,) = folders(place)
        words = ["train", "--resume", str(run)]
        assert Ranks(drill, words, count).finish() == [0] * count
        rows, whole = Run(run).rows(), Run(folders(drill.whole)[0]).rows()
        assert [row["kimg"] for row in rows] == [row["kimg"] for row in whole]
        # Rounding differs from here on, and a GAN makes much of it: the first evaluation after that is near.
        done = next(i for i, (row, other) in enumerate(zip(rows, whole, strict=True)) if row != other)
        assert rows[done]["density_d"] == pytest.approx(whole[done]["density_d"], abs=0.1)
        assert rows[done]["score"] == pytest.approx(whole[done]["score"], rel=0.1)


def test_full_disk_of_rank_0_ends_all_and_nothing_is_lost(drill, tmp_path):
    full = Ranks(drill, drill.words(tmp_path), 2, full=True)
    full.processes[0].join(60)
    assert full.processes[1].is_alive()  # torchrun would have ended rank 0 with it, before it spoke
    assert full.finish(PATIENCE) == [1, 1]
    assert "No space left on device" in full.told()
    assert full.told(1) == ""
    assert half_written(tmp_path) is None
    assert list(tmp_path.rglob("*.part")) == []
    assert drill.resumed(tmp_path) is None


def test_seeds_one_after_another(drill, tmp_path):
    words = drill.words(tmp_path, "--seeds", "0-1", "--kimg", "0.06")
    assert Ranks(drill, words, 2).finish() == [0, 0]
    assert len(folders(tmp_path)) == 2
    again = Ranks(drill, words, 2)
    assert again.finish() == [0, 0]
    assert again.told().count("is finished") == 2
    assert len(folders(tmp_path)) == 2


def torchrun(drill, outdir, log, *options):
    words = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "rggan", *drill.words(outdir)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment)


def workers(launcher):
    """The processes that torchrun started."""
    return [int(number) for number in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]


def end(launcher):
    """As if its machine lost its power: torchrun, and what it started."""
    if launcher.poll() is None:
        for number in (launcher.pid, *workers(launcher)):
            os.kill(number, signal.SIGKILL)
        launcher.wait()


def test_torchrun_begins_again_by_itself(drill, tmp_path):
    runs = tmp_path / "runs"
    with open(tmp_path / "log", "wb") as log:
        one = torchrun(drill, runs, log, "--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
        try:
            until_evaluated(runs, 2)
            os.kill(workers(one)[1], signal.SIGKILL)
            assert one.wait(90) == 0
        finally:
            end(one)
    told = (tmp_path / "log").read_text()
    assert re.search(r"rank [01] on \S+ is gone", told)
    assert "continuing" in told
    assert compare(drill.expected, fingerprint(runs)) is None


def test_machine_that_is_lost_and_comes_back_late(drill, tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        place = f"localhost:{found.getsockname()[1]}"
    runs = tmp_path / "runs"
    meeting = ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", place)
    with open(tmp_path / "first", "wb") as first, open(tmp_path / "second", "wb") as second:
        stays = torchrun(drill, runs, first, *meeting, "--rdzv-conf", "is_host=1")
        lost = torchrun(drill, runs, second, *meeting, "--rdzv-conf", "is_host=0")
        try:
            until_evaluated(runs, 2)
            end(lost)
            assert stays.wait(60) == 1
            stays = torchrun(drill, runs, first, *meeting, "--rdzv-conf", "is_host=1")
            time.sleep(2)
            lost = torchrun(drill, runs, second, *meeting, "--rdzv-conf", "is_host=0")
            assert [stays.wait(60), lost.wait(60)] == [0, 0]
        finally:
            for one in (stays, lost):
                end(one)
    assert re.search(r"rank [01] on \S+ is gone", (tmp_path / "first").read_text())
    assert compare(drill.expected, fingerprint(runs)) is None


# ---- refused ----


def refused(drill, words, sentence, places=None, count=2):
    """All ranks end with 2, rank 0 tells why, in one line, and nobody else does."""
    started = Ranks(drill, words, count, places)
    assert started.finish(60) == [2] * count, started.told() + started.told(1)
    lines = [line for line in started.told().splitlines() if line.startswith("rggan: ")]
    assert len(lines) == 1
    assert re.search(sentence, lines[0])
    assert "Traceback" not in started.told()
    assert all(started.told(number) == "" for number in range(1, count))


def test_batch_that_the_ranks_do_not_divide(drill, tmp_path):
    words = drill.words(tmp_path / "runs", "--batch", "13")
    refused(drill, words, r"--batch 13 is not divided by 2 ranks: take 12 or 14\.")
    assert not (tmp_path / "runs").exists()


def test_ranks_with_other_options(drill, tmp_path):
    words = [drill.words(tmp_path / "runs", "--lr", rate) for rate in ("0.001", "0.002")]
    refused(drill, words, r"Rank 1 has other options than rank 0: lr 0\.002 \(rank 0: 0\.001\); start all")
    assert not (tmp_path / "runs").exists()


def test_option_that_one_rank_alone_cannot_have(drill, tmp_path):
    words = [drill.words(tmp_path / "runs", "--lr", rate) for rate in ("0.001", "fast")]
    refused(drill, words, r"Rank 1: .*--lr")
    assert not (tmp_path / "runs").exists()


def test_ranks_with_other_pictures(drill, tmp_path):
    places = [tmp_path / name for name in "ab"]
    for number, place in enumerate(places):
        (place / "pictures").mkdir(parents=True)
        for i, values in enumerate(load_digits().images[number : number + 9]):
            Image.fromarray((values * 15).astype("uint8")).save(place / "pictures" / f"{i}.png")
    words = drill.words(tmp_path / "runs")
    words = ["train", "pictures", *words[2:]]
    words.remove("--cond")
    refused(drill, words, r"Rank 1 has other images than rank 0: content \w+ \(rank 0: \w+\); give all", places)
    assert not folders(tmp_path / "runs")


def test_folder_that_one_rank_alone_sees(drill, tmp_path):
    places = [tmp_path / name for name in "ab"]
    for place in places:
        place.mkdir()
    words = drill.words("runs")
    refused(drill, words, r"Rank 1 on \S+ does not see the folder runs of rank 0: give an --outdir on a disk", places)
    assert all(list(place.iterdir()) == [] for place in places)


def test_commands_of_one_process(drill):
    refused(drill, ["evaluate", "runs/none"], r"`rggan evaluate` is one process: start it without torchrun\.")
    refused(drill, drill.words("runs", "--dry-run"), r"--dry-run measures one process: start it without torchrun\.")
    refused(drill, drill.words("runs", "--compile"), r"--compile is for a run of one process")
    refused(drill, drill.words("runs", "--capture", "on"), r"--capture on is for a run of one process")


# ---- shards ----


def digits_of(folder, counts, broken=None):
    """Shards of scikit-learn's digits; the last member of the broken one is no picture."""
    digits = iter(load_digits().images)
    folder.mkdir()
    for shard, count in enumerate(counts):
        members = {}
        for number in range(count):
            stream = io.BytesIO()
            Image.fromarray((next(digits) * 15).astype("uint8")).save(stream, "png")
            members[f"{number:03d}.png"] = stream.getvalue()
        if shard == broken:
            members[f"{count - 1:03d}.png"] = b"no picture"
        write_tar(folder / f"{shard}.tar", members)
    return folder


def shard_words(drill, folder, outdir, *extra):
    words = drill.words(outdir, "--kimg", "0.24", "--snap", "0.12", "--shuffle-buffer", "32", *extra)
    words.remove("--cond")
    place = words.index("--max-images")
    del words[place : place + 2]
    return ["train", str(folder), *words[2:]]


def test_broken_shard_ends_all_with_one_sentence(drill, tmp_path):
    """One that rank 1 reads, after the training has begun: the first images are looked over before."""
    folder = digits_of(tmp_path / "shards", [600, 600, 40, 40, 30], broken=3)
    refused(drill, shard_words(drill, folder, tmp_path / "runs"), r"3\.tar")
    assert half_written(tmp_path / "runs") is None


def test_fewer_shards_than_ranks(drill, tmp_path):
    folder = digits_of(tmp_path / "shards", [40, 40, 40])
    words = shard_words(drill, folder, tmp_path / "runs", "--batch", "12")
    refused(drill, words, r"3 ranks cannot share 2 shards, .*a --batch of 12: .* Possible here: 1, 2\.$", count=3)
    assert not folders(tmp_path / "runs")


def test_killed_rank_among_shards_goes_on_exactly(drill, tmp_path):
    folder = digits_of(tmp_path / "shards", [70, 50, 60, 50, 30])
    whole, other = tmp_path / "whole", tmp_path / "other"
    assert Ranks(drill, shard_words(drill, folder, whole), 2).finish() == [0, 0]
    started = Ranks(drill, shard_words(drill, folder, other), 2)
    until_evaluated(other, 1)
    os.kill(started.processes[1].pid, signal.SIGKILL)
    assert started.finish(PATIENCE) == [1, -signal.SIGKILL]
    assert Ranks(drill, shard_words(drill, folder, other), 2).finish() == [0, 0]
    assert compare(fingerprint(whole), fingerprint(other)) is None
