"""Tries all that is read on hostile input: each is read, refused in one line, or left out by name, and nothing else.

`run` makes inputs by number (the same for the same seed), saves each before it is tried, and tries them in a process
of its own, so that a crash is noticed and the input that did it lies there. A witness of Python's own audit events sees
what is written, started or unpickled meanwhile.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from rggan.errors import UserError

Found = str | tuple[str, Callable[[], None]]  # an outcome, and what must hold then

OUTCOMES = ("read", "refused", "left out")
SECONDS, GROWTH = 20.0, 1024.0  # that one input may take, and MB by which it may raise the peak of memory
HANGS, STARTS = 60.0, 180.0  # seconds after which a process that says nothing is ended
SPACE = 6 * 2**30  # address space that the process may take beside what it starts with
CHANGES = {"rename", "mkdir", "rmdir", "remove", "symlink", "link", "truncate", "chmod", "chown", "utime", "setxattr"}
NEVER = {"os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill"}
NEVER |= {"subprocess.Popen", "pty.spawn", "webbrowser.open", "ctypes.dlopen", "pickle.find_class"}
NEVER |= {"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"}
DECODING = ["-P", "-m", "rggan.data.worker"]  # the processes that decode pictures, which may be started and ended
FRESH = 64.0  # MB that one of these takes before it has decoded anything
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Broken(Exception):
    """Something was accepted or said that should not have been."""


class Witness:
    """Sees what this interpreter writes, starts, unpickles or calls, in all its threads, while it watches."""

    def __init__(self) -> None:
        self.allowed: str | None = None  # where may be written; None: not watching
        self.seen: list[str] = []
        self.hooked = False

    @contextlib.contextmanager
    def watching(self, allowed: Path) -> Any:
        if not self.hooked:  # never taken off again: Python has no way to
            sys.addaudithook(self.hook)
            self.hooked = True
        self.seen, self.allowed = [], os.path.realpath(allowed)
        try:
            yield
        finally:
            self.allowed = None

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in NEVER and not own_process(event, arguments):
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and path != os.devnull and isinstance(flags, int) and flags & WRITING:
                self.changed(event, path, -1)
        elif event.removeprefix("os.") in CHANGES:
            numbers = [value for value in arguments if type(value) is int]
            for path in arguments[1:] if event == "os.symlink" else arguments:  # a link may point anywhere
                if isinstance(path, str | bytes | os.PathLike):
                    self.changed(event, path, numbers[-1] if numbers else -1)

    def changed(self, event: str, path: Any, folder: int) -> None:
        base = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 and event in ("os.remove", "os.rmdir") else ""
        before, name = os.path.split(os.path.join(base, os.fsdecode(path)))
        place = os.path.join(os.path.realpath(before), name)  # a link itself is replaced or removed, or is opened:
        place = os.path.realpath(place) if event == "open" else place
        if self.allowed is not None and os.path.commonpath([place, self.allowed]) != self.allowed:
            self.seen.append(f"{event} {place}")


def own_process(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a process that decodes pictures is started, or one of this process's own is ended."""
    if event == "subprocess.Popen":
        executable, words = arguments[:2]
        return list(words) == [sys.executable, *DECODING] and executable == sys.executable
    return event == "os.kill" and arguments[1] == signal.SIGKILL and arguments[0] in children()


def children() -> list[int]:
    """The process ids of the children of this process."""
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as file:
                found += [int(number) for number in file.read().split()]
    return found


WITNESS = Witness()


@dataclass(frozen=True)
class Verdict:
    """outcome: one of OUTCOMES, or 'failed'. error: what is wrong. growth: MB, of the peak of memory."""

    outcome: str
    error: str | None
    seconds: float
    growth: float


def judge(attempt: Callable[[], Found], folder: Path, limit: float = SECONDS) -> Verdict:
    """Call `attempt`, which may write in `folder`/out and nowhere else, and returns an outcome or raises UserError.

    With a check it returns, too: what must hold of what was accepted, which raises. Its time and memory do not count.
    """
    before = listing(folder)
    resident = mark_all()
    started, took = processor_time(), (0.0, 0.0)
    outcome, wrong = "failed", list[str]()
    with WITNESS.watching(folder / "out"):
        try:
            try:
                found = attempt()
            finally:
                took = processor_time() - started, grown(resident)
            outcome, check = (found, None) if isinstance(found, str) else found
            if check is not None:
                checked(check)
            if outcome not in OUTCOMES:
                wrong.append(f"the outcome {outcome!r}")
        except UserError as error:
            outcome = "refused"
            wrong += faults(str(error))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            wrong.append(f"{place(error)}{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}")
    seconds, growth = took
    wrong += [f"not allowed: {what}" for what in dict.fromkeys(WITNESS.seen)]
    wrong += [f"changed: {name}" for name in sorted({name for name, _ in before.items() ^ listing(folder).items()})]
    if seconds > limit:
        wrong.append(f"took {seconds:.0f} seconds")
    if growth > GROWTH:
        wrong.append(f"took {growth:,.0f} MB of memory")
    return Verdict("failed" if wrong else outcome, "; ".join(map(str, wrong)) or None, seconds, growth)


def checked(check: Callable[[], None]) -> None:
    """Raises Broken where that refuses what had been accepted."""
    try:
        check()
    except UserError as error:
        raise Broken(f"refused when looked at again: {error}") from error


def processor_time() -> float:
    """Seconds, of this process and of its children."""
    return sum(os.times()[:4]) + sum(map(living_time, children()))


def living_time(process: int) -> float:
    """Seconds of the processor that a child has taken so far; 0: it has ended, and is counted otherwise."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def grown(resident: dict[int | str, float]) -> float:
    """MB by which the peak of this process, and of the largest of its children, lie above what they had before."""
    own, *others = (max(0.0, memory("VmHWM", who) - resident.get(who, FRESH)) for who in everyone())
    return own + max(others, default=0.0)  # large pictures are decoded one at a time


def faults(message: str) -> list[str]:
    """What is wrong with what a person is told: one line of text, that does nothing to a terminal."""
    if not message.strip():
        return ["a message without a word"]
    if len(message.splitlines()) > 1:
        return [f"a message of {len(message.splitlines())} lines: {message!r:.300}"]
    return [f"control characters in a message: {message!r:.300}"] if any(map(is_control, message)) else []


def is_control(letter: str) -> bool:
    return unicodedata.category(letter) == "Cc"


def place(error: BaseException) -> str:
    """Where in rggan an exception comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}rggan{os.sep}" in frame.filename] or frames[-1:]
    return "".join(f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: " for frame in own[-1:])


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """What lies in a folder, except below its out/, with times and sizes."""
    found = {}
    for root, inside, names in os.walk(folder):
        if root == str(folder):
            inside[:] = [name for name in inside if name != "out"]
        for name in (*inside, *names):
            status = os.lstat(os.path.join(root, name))
            found[os.path.join(root, name)] = (status.st_mtime_ns, status.st_size)
    return found


def memory(field: str, process: int | str = "self") -> float:
    """MB, of /proc/PROCESS/status; 0 on other systems."""
    with contextlib.suppress(OSError, StopIteration), open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))
    return 0.0


def everyone() -> list[int | str]:
    """This process, and those that it has started."""
    return ["self", *children()]


def mark_all() -> dict[int | str, float]:
    return {who: mark_memory(who) for who in everyone()}


def mark_memory(process: int | str = "self") -> float:
    """Let the peak begin anew, at the MB that are resident now; where that cannot be, what was peak counts as now."""
    try:
        with open(f"/proc/{process}/clear_refs", "w") as file:
            file.write("5")
        return memory("VmRSS", process)
    except OSError:
        return memory("VmHWM", process)


@dataclass
class Outcomes:
    """What came of all inputs: counts[kind][outcome], and each failure with the number to make it again."""

    inputs: int
    seed: int
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0  # seconds
    growth: float = 0.0  # MB

    def add(self, number: int, kind: str, verdict: Verdict) -> None:
        self.counts.setdefault(kind, Counter())[verdict.outcome] += 1
        self.slowest, self.growth = max(self.slowest, verdict.seconds), max(self.growth, verdict.growth)
        if verdict.error is not None:
            self.failures.append({"kind": kind, "number": number, "seed": self.seed, "error": verdict.error})

    def to_json(self) -> dict[str, Any]:
        counts = {kind: dict(sorted(self.counts[kind].items())) for kind in sorted(self.counts)}
        return {**asdict(self), "counts": counts, "slowest": round(self.slowest, 2), "growth": round(self.growth)}


def run(
    inputs: int, seed: int, folder: Path, kinds: str = "tests.faults.attempts", patience: float = HANGS
) -> Outcomes:
    """Try so many inputs in `folder` (a new one); those that failed stay there, in a folder of their number.

    The same inputs are made for the same `inputs` and `seed`.

    Args:
        kinds: the module with KINDS and the Tools that they share. patience: seconds that one input may hang.

    Raises:
        RuntimeError: it is the fuzzer that fails.
    """
    outcomes = Outcomes(inputs, seed)
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    start = 0
    while start < inputs:
        receiver, sender = context.Pipe(duplex=False)
        arguments = (range(start, inputs), seed, folder, kinds, patience, sender)
        process = context.Process(target=child, args=arguments, daemon=True)
        process.start()
        sender.close()
        trying: tuple[int, str] | None = None
        began, heard = time.perf_counter(), 0
        with contextlib.suppress(EOFError):
            while receiver.poll(STARTS if trying is None else patience):
                number, kind, verdict = receiver.recv()
                if verdict is None:
                    trying, began, heard = (number, kind), time.perf_counter(), (folder / "said").stat().st_size
                else:
                    outcomes.add(number, kind, verdict)
                    trying, start = None, number + 1
        seconds = time.perf_counter() - began
        process.join(1 if trying is None else 0.2)
        hung = process.is_alive()
        process.kill()
        process.join()
        if trying is not None:
            how = "it hung" if hung else f"the process died with {process.exitcode}"
            how += f": {last_words(folder, heard)}"
            outcomes.add(*trying, Verdict("failed", how, seconds, 0))
            start = trying[0] + 1
        elif start < inputs:
            raise RuntimeError(
                f"the fuzzer ended with {process.exitcode} before input {start}: {last_words(folder, 0)}"
            )
    return outcomes


def last_words(folder: Path, heard: int) -> str:
    """What was said beyond so many bytes: of a process that hangs, where each of its threads was."""
    said = (folder / "said").read_bytes()[heard:].decode(errors="replace")
    _, hangs, threads = said.rpartition("Timeout (")
    if not hangs:
        return " | ".join(said.splitlines()[-12:])[-1000:]
    return " | ".join(line.strip() for each in threads.split("\n\n") for line in each.splitlines()[:6])[:2000]


def child(numbers: range, seed: int, folder: Path, kinds: str, patience: float, sender: Connection) -> None:
    """The process in which inputs are made and tried; what libraries print goes to `folder`/said."""
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    faulthandler.enable()
    sys.dont_write_bytecode = True  # importing is no writing
    os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    warnings.simplefilter("ignore")
    under_test = importlib.import_module(kinds)  # with all libraries
    tools = under_test.Tools(seed, max(20, min(300, numbers.stop // 10)), folder)
    all_kinds = under_test.KINDS
    space = int(memory("VmSize") * 2**20) + SPACE
    resource.setrlimit(resource.RLIMIT_AS, (space, resource.RLIM_INFINITY))
    for number in numbers:
        random = Random(f"{seed}:{number}")
        (kind,) = random.choices(list(all_kinds), [weight for weight, _, _ in all_kinds.values()])
        _, make, attempt = all_kinds[kind]
        box = folder / f"{number:06d}"
        box.mkdir()
        path = make(random, box, tools.seeds)
        sender.send((number, kind, None))
        (box / "out").mkdir(exist_ok=True)
        faulthandler.dump_traceback_later(0.8 * patience)  # into `said`: where it hangs
        verdict = judge(partial(attempt, tools, path, random, box / "out"), box)
        faulthandler.cancel_dump_traceback_later()
        if verdict.error is None:
            shutil.rmtree(box)
        sender.send((number, kind, verdict))
    sender.close()


if __name__ == "__main__":  # python -m tests.faults.fuzz INPUTS SEED FOLDER
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])).to_json(), indent=2))
