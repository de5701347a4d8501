"""Places that are not as usual: a closed terminal, a disk that cannot flush, a user without a home, few open files."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

from tests.faults.bounds import KILLED_AFTER

HOMES = ("HOME", "XDG_CACHE_HOME", "RGGAN_CACHE", "USERPROFILE", "MPLCONFIGDIR")
NOBODY = 12345  # a user id that no system knows


class Terminal:
    """`rggan WORDS` in a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.end, own = pty.openpty()
        known = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-m", "rggan", *words]

        def take() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command, stdin=own, stdout=own, stderr=own, env=known, start_new_session=True, preexec_fn=take
        )
        os.close(own)
        os.set_blocking(self.end, False)

    def shown(self) -> bytes:
        """What it printed since; to be read, or it waits."""
        try:
            return os.read(self.end, 1 << 20)
        except OSError:
            return b""

    def close(self) -> int:
        """As its window is: the system tells the process, and so does the shell; returns the exit code."""
        os.close(self.end)
        self.process.send_signal(signal.SIGHUP)
        try:
            return self.process.wait(KILLED_AFTER)
        finally:
            self.process.kill()


def answers(number: int) -> Callable[[int], None]:
    """An fsync of a disk that always answers so."""

    def fsync(file: int) -> None:
        raise OSError(number, os.strerror(number))

    return fsync


def open_files(soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def of_nobody(*words: str) -> list[str] | None:
    """The command for a user without a home, who may read what we may; None where only root could start it."""
    if os.getuid() or shutil.which("setpriv") is None:
        return None
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    user += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["env", *(f"--unset={name}" for name in HOMES), *user, sys.executable, "-m", "rggan", *words]
