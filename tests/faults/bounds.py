"""One command in a process of its own, with what it took: every input in here must stay within the promised bounds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fuzz import GROWTH, SECONDS, faults

BASE = 700.0  # MB that a command takes with all libraries, before it reads anything
START = 10.0  # seconds of processor time that it takes to start, on a slow machine
KILLED_AFTER = 300.0  # seconds, so that what hangs fails instead


@dataclass(frozen=True)
class Ended:
    """How a command ended. told: its standard error. said: its standard output. seconds: of processor time, of it
    and of what it started. peak: MB, the largest of these processes."""

    code: int
    told: str
    said: str
    seconds: float
    peak: float

    def sentence(self) -> str:
        """The one sentence with which bad input is refused; asserts the exit code and the bounds too."""
        assert self.code == 2, (self.code, self.told[-2000:])
        return self.line()

    def line(self) -> str:
        """The one line on standard error, whatever the exit code; asserts the bounds too."""
        self.within_bounds()
        assert "Traceback" not in self.told, self.told[-2000:]
        assert not faults(self.told.strip()), faults(self.told.strip())
        return self.told.strip()

    def within_bounds(self) -> None:
        assert self.seconds < START + SECONDS, f"took {self.seconds:.0f} s"
        assert self.peak < BASE + GROWTH, f"took {self.peak:.0f} MB"


# Starts the command and tells what it took. Linux counts the memory of whoever forks a process as its own at first:
# this one is small, and a whole test run is not.
LAUNCH = """
import json, os, sys
place, *command = sys.argv[1:]
number = os.fork()
if not number:
    os.execvp(command[0], command)
_, status, usage = os.wait4(number, 0)
with open(place, "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss], file)
"""


def rggan(
    *words: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
) -> Ended:
    """Run `rggan WORDS` to its end. before: called in the child, to set limits."""
    return run([sys.executable, "-m", "rggan", *map(os.fspath, words)], env, cwd, before)


def run(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
) -> Ended:
    root = Path(__file__).parents[2]
    known = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), **(env or {})}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as told:
        place = Path(folder) / "took"
        place.touch()
        place.chmod(0o666)  # the command may become another user
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", LAUNCH, place, *command],
            **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": told, "env": known, "cwd": cwd},
            preexec_fn=before,
            start_new_session=True,
        )
        late = threading.Timer(KILLED_AFTER, lambda: os.killpg(launcher.pid, signal.SIGKILL))
        late.start()
        launcher.wait()
        late.cancel()
        texts = []
        for file in (told, out):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        code, seconds, peak = json.loads(place.read_text() or "[-9, 0, 0]")
    return Ended(code, *texts, seconds, peak / 1024)
