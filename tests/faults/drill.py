"""Kill, stop and starve training runs, continue them, and compare with a run that nothing happened to.

Each attempt is a process of its own that trains a tiny network on scikit-learn's digits. A *trap* makes it die by
SIGKILL at one exact place (half of a file written, before or after a rename, in the middle of an evaluation, after a
step), or stops it by another signal after a step; other attempts are ended from outside at a random moment. None of the
processes that it has started may be left. Then the same command runs again to the end, and weights, statistics,
pictures and the whole training state must be those of the undisturbed run, bit for bit.

A SIGKILL does not empty the system's write cache: what a power cut does is not tried here.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from rggan.generation.generator import Generator
from rggan.run.places import PAGE
from rggan.training.checkpoint import checkpoints, load
from tests.conftest import folders
from tests.faults.configurations import CONFIGURATIONS, Configuration
from tests.faults.traps import PLACES, child, survivors

TOO_LATE = "after the end"
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
KILLS = (signal.SIGKILL, *STOPS)
PRELOADED = ["sklearn.datasets", "rggan.cli.train", "rggan.report.page.page", "rggan.report.plot", "torch._dynamo"]
PRELOADED += ["webdataset", "pillow_heif", "matplotlib.backends.backend_agg"]
RUN = "run"  # the id of a run, in its data.jsonl and its states


@dataclass
class Outcome:
    """What was tried, where it hit, and what came of it."""

    tried: Counter[str] = field(default_factory=Counter)
    exact: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, where: str, failure: str | None) -> None:
        self.tried[where] += 1
        if failure is None:
            self.exact[where] += 1
        else:
            self.failures.append(f"{where}: {failure}")


class Drill:
    """One folder in which attempts are made with one configuration.

    Attributes:
        counts: how often an undisturbed run passes each of PLACES. seconds: that one takes.
    """

    def __init__(self, folder: Path, configuration: Configuration = CONFIGURATIONS["threshold"], seed: int = 0) -> None:
        self.folder, self.options = folder, configuration.options
        self.random = random.Random(f"{seed}: {configuration.options}")  # other places for each
        self.numbers = iter(range(10**6))
        # Processes are forked from one that has imported everything: a fresh start would take seconds.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__, *PRELOADED])
        folder.mkdir(parents=True, exist_ok=True)
        self.data = configuration.data(folder)
        self.whole = folder / "whole"
        code = self.finish(self.start(self.whole))
        if code != 0:
            raise RuntimeError(f"the undisturbed run ended with {code}: {(folder / 'log').read_text()[-2000:]}")
        self.counts = self.counted(self.whole)
        started = time.perf_counter()
        self.finish(self.start(folder / "warm"))
        self.seconds = time.perf_counter() - started
        self.expected = fingerprint(self.whole)

    def words(self, outdir: Path, *extra: str) -> list[str]:
        """The command line of a run."""
        return ["train", self.data, "--outdir", str(outdir), *self.options, *extra]

    def start(self, outdir: Path, trap: tuple[Any, ...] | None = None, extra: tuple[str, ...] = ()) -> Any:
        """trap: place, count and number of the signal."""
        if trap is not None:
            trap = (*trap[:2], Path(f"{outdir}.note"), *trap[2:])
        arguments = (self.words(outdir, *extra), str(self.folder / "log"), trap, str(outdir))
        process = self.context.Process(target=child, args=arguments)
        process.start()
        return process

    @staticmethod
    def counted(outdir: Path) -> dict[str, int]:
        """How often the last run to its end in `outdir` passed each of the places."""
        return dict(json.loads(Path(f"{outdir}.counts").read_text()))

    @staticmethod
    def finish(process: Any, seconds: float = 120) -> int:
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
            return -99
        return int(process.exitcode)

    def resumed(self, outdir: Path, but: str | None = None) -> str | None:
        """Run the same command to the end; what is wrong with the result, or None. but: a file that may differ."""
        code = self.finish(self.start(outdir))
        if code:
            return f"ended with {code} when continued"
        expected, found = self.expected, fingerprint(outdir)
        if but is not None:
            expected = {**expected, but: found.get(but, "not there")}
        return compare(expected, found)

    def left(self, process: Any, outdir: Path) -> str | None:
        """What an ended run must not have left, if it has, or None: a process, or half a file."""
        if running := survivors(process.pid, str(outdir)):
            return f"{len(running)} processes are left: {running[0][:200]}"
        return half_written(outdir)

    def trapped(self, place: str, count: int) -> tuple[str, str | None]:
        """(where it hit, what is wrong or None) of one SIGKILL at an exact place."""
        outdir = self.folder / f"run{next(self.numbers)}"
        process = self.start(outdir, (place, count))
        code = self.finish(process)
        if code != -signal.SIGKILL:
            return place, f"the trap {place} {count} did not spring (ended with {code})"
        where = Path(f"{outdir}.note").read_text()
        where = where if place in ("step", "evaluating") else f"{where}, {place}"
        return where, self.left(process, outdir) or self.resumed(outdir)

    def stopped(self, number: int, count: int) -> tuple[str, str | None]:
        """The same of another signal, after this step: the run saves, so that no step is made again."""
        outdir = self.folder / f"run{next(self.numbers)}"
        where = f"{signal.Signals(number).name} after a step"
        process = self.start(outdir, ("step", count, number))
        code = self.finish(process)
        if code != 128 + number:
            return where, f"ended with {code}"
        if wrong := self.left(process, outdir) or self.resumed(outdir):
            return where, wrong
        again = self.counted(outdir).get("step", 0) + count - self.counts["step"]
        return where, f"{again} steps were made again" if again else None

    def signalled(self, number: int, share: float) -> tuple[str, str | None]:
        """The same of a signal from outside, after this share of the time that a run takes."""
        outdir = self.folder / f"run{next(self.numbers)}"
        process = self.start(outdir)
        time.sleep(share * self.seconds)
        if process.is_alive():
            os.kill(process.pid, number)
        code = self.finish(process)
        where = f"{signal.Signals(number).name} at a random moment"
        if code == 0:  # too late, which proves nothing
            where = TOO_LATE
        elif code != -number and (number == signal.SIGKILL or code != 128 + number):
            return where, f"ended with {code}"
        return where, self.left(process, outdir) or self.resumed(outdir)

    def instants(self, traps: int, stops: int = 1, moments: int = 1, at_once: int | None = None) -> Outcome:
        """Kills at `traps` exact places, each sort of place in turn; `stops` of each signal that a run saves at; and
        `moments` of each signal from outside.

        at_once: attempts at the same time; None: as many as there are processors.
        """
        sorts = [self.random.sample(range(1, n + 1), n) for n in (self.counts.get(place, 0) for place in PLACES)]
        places = [
            (PLACES[s], sorts[s][n])
            for n in range(max(map(len, sorts)))
            for s in range(len(sorts))
            if n < len(sorts[s])
        ]
        steps = range(1, self.counts["step"])
        tries = [
            *((self.trapped, place) for place in places[:traps]),
            *((self.stopped, (number, self.random.choice(steps))) for number in STOPS for _ in range(stops)),
            *((self.signalled, (number, self.random.uniform(0.05, 1))) for number in KILLS for _ in range(moments)),
        ]
        outcome = Outcome()
        with ThreadPoolExecutor(at_once or os.cpu_count()) as pool:
            for where, failure in pool.map(lambda one: one[0](*one[1]), tries):
                outcome.add(where, failure)
        return outcome

    def starved(self, disk: Path, share: float, go_on: bool) -> tuple[str, str | None]:
        """A run on a disk that holds only this share of what it needs; then with room enough, to the end."""
        needed = sum(path.stat().st_size for path in self.whole.rglob("*") if path.is_file())
        how = "go-on" if go_on else "stop"
        where = f"full disk, --on-write-error {how}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(needed * share)}", "tmpfs", disk], check=True)
        try:
            code = self.finish(self.start(disk, extra=("--on-write-error", how)))
            if code not in (1, 2):
                return where, f"ended with {code}"
            if (failure := half_written(disk)) or list(disk.rglob("*.part")):
                return where, failure or "a part of a file stayed"
            subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
            return where, self.resumed(disk, but=PAGE if go_on else None)  # which tells how the run began
        finally:
            subprocess.run(["umount", disk], check=True)

    def read_only(self, disk: Path) -> tuple[str, str | None]:
        """The disk becomes read-only in the middle of a run; later it can be written again."""
        where = "read-only disk"
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)
        try:
            process = self.start(disk)
            deadline = time.perf_counter() + 60
            while not list(disk.glob("*/checkpoints/*.pt")) and time.perf_counter() < deadline:
                time.sleep(0.01)
            # A second view of the folder over the first one: the open lock file forbids to change that.
            subprocess.run(["mount", "--bind", disk, disk], check=True)
            subprocess.run(["mount", "-o", "remount,ro,bind", disk], check=True)
            code = self.finish(process)
            if code != 1:
                return where, f"ended with {code}"
            if (code := self.finish(self.start(disk))) != 2:
                return where, f"started on a read-only disk, it ended with {code}"
            subprocess.run(["umount", "-l", disk], check=True)
            return where, half_written(disk) or self.resumed(disk)
        finally:
            subprocess.run(["umount", "-l", disk], check=True)

    def two_at_once(self) -> str | None:
        """The same command, while it is running: refused, and the first one undisturbed."""
        outdir = self.folder / f"run{next(self.numbers)}"
        first = self.start(outdir)
        deadline = time.perf_counter() + 60
        while not list(outdir.glob("*/checkpoints/*.pt")) and time.perf_counter() < deadline:
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGSTOP)  # so that it cannot have ended before the second looks
        second = self.finish(self.start(outdir))
        os.kill(first.pid, signal.SIGCONT)
        if second != 2:
            return f"the second ended with {second}"
        if self.finish(first) != 0:
            return "the first did not finish"
        return compare(self.expected, fingerprint(outdir))


def half_written(outdir: Path) -> str | None:
    """A visible file that cannot be read whole, if there is one."""
    for run in folders(outdir):
        for path in sorted(run.rglob("*")):
            if path.is_dir() or path.name.startswith("."):
                continue
            try:
                if path.suffix == ".png":
                    Image.open(path).load()
                elif path.suffix == ".pt":
                    load(path)
                elif path.suffix == ".safetensors":
                    Generator.from_pretrained(path)
                elif path.suffix in (".json", ".jsonl"):
                    text = path.read_text()
                    assert text.endswith("\n") or not text, "cut off"
            except Exception as error:
                return f"{path.name} is not whole: {error}"
    return None


def fingerprint(outdir: Path) -> dict[str, str]:
    """SHA-256 of everything that a run leaves and that the clock does not decide."""
    (run,) = folders(outdir)
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_dir() or path.name in ("log.txt", ".lock") or name.startswith("checkpoints/"):
            continue
        content = path.read_bytes()
        if path.name == "config.json" and path.parent == run:  # says where the run lies
            content = b""
        if path.name == "data.jsonl":
            content = b"\n".join(anonymous(line) for line in content.splitlines())
        if path.name == PAGE:  # has commands with the run's folder
            content = content.replace(str(run).encode(), b"RUN")
        found[name] = hashlib.sha256(content).hexdigest()
    state = load(checkpoints(run / "checkpoints")[-1])
    state["tick"] = state["tick"][:2]  # without the seconds
    if isinstance(origin := state.get("origin"), dict):
        origin.pop(RUN, None)
    found["state"] = hashlib.sha256(b"".join(flat(state))).hexdigest()
    return found


def anonymous(line: bytes) -> bytes:
    """A line of data.jsonl without the id of its run."""
    told = json.loads(line)
    return json.dumps({key: value for key, value in told.items() if key != RUN}).encode()


def flat(value: Any) -> Iterator[bytes]:
    """The bytes of everything in a nested state."""
    if isinstance(value, torch.Tensor):
        yield value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"empty"
    elif isinstance(value, dict):
        for key in value:
            yield repr(key).encode()
            yield from flat(value[key])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from flat(each)
    else:
        yield repr(value).encode()


def compare(expected: dict[str, str], found: dict[str, str]) -> str | None:
    """What differs between two runs, in words."""
    differing = [name for name in sorted(expected | found) if expected.get(name) != found.get(name)]
    return f"{', '.join(differing)} differ" if differing else None
