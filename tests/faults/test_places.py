"""In a place that is not as usual a command works, or says in one sentence what it needs."""

import errno
import os
import pwd
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from rggan import UserError
from rggan.__main__ import OPEN_FILES, more_open_files
from rggan.data import load_images
from rggan.data.store import cache_folder, in_cache
from rggan.evaluation.features import collect_cached
from rggan.files import write_whole
from rggan.metrics import feature_network
from rggan.run.folder import Run
from rggan.training.checkpoint import checkpoints, kimg_of, load, save_checkpoint
from rggan.training.interrupt import stop_on_signal
from tests.conftest import folders
from tests.faults.bounds import rggan, run
from tests.faults.places import HOMES, Terminal, answers, of_nobody, open_files

TINY = ["--max-images", "60", "--width-g", "4", "--width-d", "4", "--z-dim", "4", "--batch", "8", "--device", "cpu"]
TINY += ["--score-samples", "8", "--precision", "fp32"]
PIXELS = np.zeros((2, 2, 1), dtype=np.uint8)
WRITERS = {
    "a file": lambda folder: write_whole(folder / "a", b"whole"),
    "a state": lambda folder: save_checkpoint(folder / "states", 0.1, {"x": torch.ones(2)}),
    "a cache": lambda folder: in_cache(lambda: iter(["it is damaged"]), "k", PIXELS.shape, folder / "cache"),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_disk_that_cannot_flush_is_written_to(tmp_path, monkeypatch, write, number):
    monkeypatch.setattr(os, "fsync", answers(number))
    write(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_to_flush_is_told(tmp_path, monkeypatch, write, number):
    monkeypatch.setattr(os, "fsync", answers(number))
    with pytest.raises((OSError, UserError), match=os.strerror(number)):
        write(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.fixture
def nobody(monkeypatch):
    """A user id that the system does not know, as in a container."""

    def unknown(number):
        raise KeyError(number)

    for name in HOMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_a_cache_is_asked_for_where_it_is_needed(nobody, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="name one in the environment variable RGGAN_CACHE"):
        load_images("digits", 16, max_images=9, memory_share=1e-12)
    monkeypatch.setenv("RGGAN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_without_a_home_features_are_not_cached(nobody, digits):
    few = digits.take(np.arange(9))
    assert collect_cached(feature_network("reporting"), few, 4, "few")["whole"].count == 9


@pytest.mark.slow
def test_a_user_without_a_home_can_evaluate(tmp_path):
    command = of_nobody("evaluate", "digits", "--reference", "digits", "--metrics", "fd", "--memorisation", "off")
    if command is None:
        pytest.skip("only root can be another user")
    tmp_path.chmod(0o777)
    found = run(command, cwd=tmp_path)
    assert found.code == 0, found.told
    assert found.told == ""
    assert "fd-small" in found.said


@pytest.mark.slow
def test_a_closed_terminal_saves(tmp_path, signals_are_heard):
    terminal = Terminal("train", "digits", "--outdir", str(tmp_path), *TINY, "--kimg", "1000", "--snap", "500")
    shown, last = b"", time.monotonic() + 120
    while not re.search(rb"[1-9]\d*/1000000", shown) and time.monotonic() < last:  # its bar
        shown += terminal.shown()
        time.sleep(0.05)
    assert terminal.close() == 128 + signal.SIGHUP
    (folder,) = folders(tmp_path)
    newest = checkpoints(folder / "checkpoints")[-1]
    assert kimg_of(newest) > 0
    assert load(newest)["training"]["images"] == round(1000 * kimg_of(newest))
    assert (folder / "log.txt").read_text().splitlines()[-1].startswith("stopped at kimg ")
    assert not list(tmp_path.rglob("*.part"))


def test_a_shell_repeats_the_signal_and_it_is_one(signals_are_heard):
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signal() as stopped:
        assert stopped() == 0
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        assert stopped() == signal.SIGHUP
        assert signal.getsignal(signal.SIGTERM) == before  # a second one of another kind stops at once
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_under_nohup_a_closed_terminal_stops_nothing(signals_are_heard):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_on_signal() as stopped:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stopped() == 0
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_as_many_files_may_be_open_as_the_system_allows():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(100, before[1]), before[1]))
        more_open_files()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1]
        assert soft == (OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
def test_eight_open_files_are_enough_or_a_sentence(tmp_path):
    words = ["--outdir", tmp_path / "runs", *TINY, "--kimg", "0.01"]
    found = rggan("train", "digits", *words, env={"RGGAN_CACHE": str(tmp_path)}, before=open_files(8, 8))
    assert found.code in (0, 1, 2)
    if found.code:
        assert "open files" in found.line()


def shell(line, **env):
    """Ends quickly: it needs no torch."""
    command = ["sh", "-c", f'"{sys.executable}" -m rggan {line}']
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, check=False)


def test_a_closed_output_is_no_error():
    found = shell("--version >&- <&-")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_output_is_one_sentence():
    found = shell("--version > /dev/full")
    assert found.returncode == 1
    assert found.stderr == (
        "rggan: Cannot write the output: No space left on device; make room, or send it somewhere else.\n"
    )


def test_a_file_does_not_lie_where_is_printed():
    """With a closed output the next file would be file 1, and what C prints goes into it."""
    code = "import os; from rggan.__main__ import fill_closed; fill_closed(); exit(os.open('/dev/null', 0))"
    found = subprocess.run(["sh", "-c", f'"{sys.executable}" -c "{code}" <&- >&- 2>&-'], check=False)
    assert found.returncode > 2


def test_a_log_takes_any_name_whatever_the_language(tmp_path):
    told = "from pathlib import Path; from rggan.run.folder import Run; Run(Path()).append_log('b\\xfccher \\udcff')"
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", told], cwd=tmp_path, env=plain, check=True)
    assert Run(tmp_path).path.joinpath("log.txt").read_bytes() == b"b\xc3\xbccher \\udcff\n"
