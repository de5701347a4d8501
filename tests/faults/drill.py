"""Kill, stop and starve training runs, continue them, and compare with a run that nothing happened to.

Each attempt is a process of its own that trains a tiny network on scikit-learn's digits. A *trap* makes it die by
SIGKILL at one exact place (half of a file written, before or after a rename, in the middle of an evaluation, after a
step); other attempts are ended from outside at a random moment. Then the same command runs again to the end, and
weights, statistics, pictures and the whole training state must be those of the undisturbed run, bit for bit.

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
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from rggan.cli.main import main
from rggan.generation.generator import Generator
from rggan.metrics.score import Score
from rggan.run.places import PAGE
from rggan.training.checkpoint import checkpoints, load
from rggan.training.trainer import Training
from tests.conftest import folders

OPTIONS = [
    *("--max-images", "60", "--cond", "--mirror", "--width-g", "8", "--width-d", "8", "--z-dim", "8", "--batch", "8"),
    *("--score-samples", "20", "--kimg", "0.32", "--snap", "0.064", "--d-steps", "2", "--threshold-lr", "0.01"),
    *("--networks", "both"),
]
TOO_LATE = "after the end"
PLACES = ("half-written", "before rename", "after rename", "evaluating", "step")


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


def what(path: str) -> str:
    """In words, what the file is that was being written."""
    name = path.rsplit("/", 1)[-1]
    for part, words in (
        (".pt", "a checkpoint"),
        (".state", "a checkpoint"),
        (".png", "pictures"),
        ("generator", "a generator"),
        ("stats", "stats.jsonl"),
        ("data.jsonl", "data.jsonl"),
        ("config", "config.json"),
    ):
        if part in name:
            return words
    return name


class Trap:
    """Counts what happens at every place, and kills this process at one of them.

    place: one of PLACES; count: at which time. note: a file that tells the parent where it hit.
    """

    def __init__(self, place: str, count: int, note: Path) -> None:
        self.place, self.count, self.note = place, count, note
        self.seen: Counter[str] = Counter()
        fsync, replace, step, score = os.fsync, os.replace, Training.step, Score.__call__

        def trapped_fsync(number: int) -> None:
            path = os.readlink(f"/proc/self/fd/{number}") if Path("/proc/self/fd").exists() else "a file"
            if os.path.isfile(path):
                self.at("half-written", what(path), lambda: os.ftruncate(number, os.fstat(number).st_size // 2))
            fsync(number)

        def trapped_replace(old: Any, new: Any) -> None:
            self.at("before rename", what(str(new)))
            replace(old, new)
            self.at("after rename", what(str(new)))

        def trapped_step(training: Training) -> None:
            step(training)
            self.at("step", "training")

        def trapped_score(judge: Score, images: torch.Tensor) -> float:
            value = score(judge, images)
            self.at("evaluating", "evaluating")
            return value

        os.fsync, os.replace = trapped_fsync, trapped_replace
        Training.step, Score.__call__ = trapped_step, trapped_score  # type: ignore[method-assign]

    def at(self, place: str, doing: str, damage: Any = None) -> None:
        self.seen[place] += 1
        if place == self.place and self.seen[place] == self.count:
            if damage is not None:
                damage()
            self.note.write_text(doing)
            os.kill(os.getpid(), signal.SIGKILL)


def child(arguments: list[str], log: str, trap: tuple[str, int, str] | None, counts: str | None) -> None:
    """The process of one attempt: the command line, with its output in a file."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    torch.set_num_threads(1)
    armed = Trap(trap[0], trap[1], Path(trap[2])) if trap else None
    code = main(arguments)
    if counts and armed:
        Path(counts).write_text(json.dumps(armed.seen))
    sys.stdout.flush()
    os._exit(code)


class Drill:
    """One folder in which attempts are made; `precision` and `seed` fix what is trained."""

    def __init__(self, folder: Path, precision: str = "fp32", seed: int = 0) -> None:
        self.folder, self.options = folder, [*OPTIONS, "--precision", precision]
        self.random = random.Random(seed)
        self.numbers = iter(range(10**6))
        # Processes are forked from one that has imported everything: a fresh start would take seconds.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__, "sklearn.datasets", "rggan.cli.train", "torch._dynamo"])
        folder.mkdir(parents=True, exist_ok=True)
        self.whole = folder / "whole"
        counts = folder / "counts"
        code = self.finish(self.start(self.whole, trap=("none", 0), counts=counts))
        if code != 0:
            raise RuntimeError(f"the undisturbed run ended with {code}: {(folder / 'log').read_text()}")
        self.counts: dict[str, int] = json.loads(counts.read_text())
        started = time.perf_counter()
        self.finish(self.start(folder / "warm"))
        self.seconds = time.perf_counter() - started  # of one run
        self.expected = fingerprint(self.whole)

    def start(
        self, outdir: Path, trap: tuple[str, int] | None = None, counts: Path | None = None, extra: tuple[str, ...] = ()
    ) -> Any:
        note = (*trap, str(outdir) + ".note") if trap else None
        arguments = ["train", "digits", "--network", "sngan", "--outdir", str(outdir), *self.options, *extra]
        process = self.context.Process(
            target=child, args=(arguments, str(self.folder / "log"), note, str(counts) if counts else None)
        )
        process.start()
        return process

    @staticmethod
    def finish(process: Any, seconds: float = 120) -> int:
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
            return -99
        return int(process.exitcode)

    def resumed(self, outdir: Path) -> str | None:
        """Run the same command to the end; what is wrong with the result, or None."""
        code = self.finish(self.start(outdir))
        return f"ended with {code} when continued" if code else compare(self.expected, fingerprint(outdir))

    def trapped(self, place: str, count: int) -> tuple[str, str | None]:
        """(where it hit, what is wrong or None) of one SIGKILL at an exact place."""
        outdir = self.folder / f"run{next(self.numbers)}"
        code = self.finish(self.start(outdir, (place, count)))
        if code != -signal.SIGKILL:
            return place, f"the trap {place} {count} did not spring (ended with {code})"
        where = Path(str(outdir) + ".note").read_text()
        where = where if place in ("step", "evaluating") else f"{where}, {place}"
        return where, half_written(outdir) or self.resumed(outdir)

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
        return where, half_written(outdir) or self.resumed(outdir)

    def instants(self, traps: int, moments: int) -> Outcome:
        """`traps` kills at exact places (spread over all that a run passes), `moments` of each of three signals."""
        places = [(place, count + 1) for place in PLACES for count in range(self.counts.get(place, 0))]
        self.random.shuffle(places)
        numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
        signals = [(number, self.random.uniform(0.05, 1)) for number in numbers for _ in range(moments)]
        outcome = Outcome()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for where, failure in pool.map(lambda trap: self.trapped(*trap), places[:traps]):
                outcome.add(where, failure)
            for where, failure in pool.map(lambda one: self.signalled(*one), signals):
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
            return where, self.resumed(disk)
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
        if path.name == "data.jsonl":  # each run has a name of its own
            head, _, rest = content.partition(b"\n")
            content = json.dumps({**json.loads(head), "run": ""}).encode() + rest
        if path.name == PAGE:  # has commands with the run's folder
            content = content.replace(str(run).encode(), b"RUN")
        found[name] = hashlib.sha256(content).hexdigest()
    state = load(checkpoints(run / "checkpoints")[-1])
    state["tick"] = state["tick"][:2]  # without the seconds
    state["origin"]["run"] = ""
    found["state"] = hashlib.sha256(b"".join(flat(state))).hexdigest()
    return found


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
