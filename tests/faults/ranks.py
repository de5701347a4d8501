"""Kill and stop single ranks of a run over several processes, start all again, and compare as the drill does.

The processes get what torchrun would give them: their numbers, and the address of a store that outlives them.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

from rggan.training import drawing
from tests.faults.configurations import Configuration, digits
from tests.faults.drill import TOO_LATE, Drill, Outcome, half_written
from tests.faults.traps import child

PATIENCE = 15.0  # seconds within which all ranks end when one is gone
OPTIONS = (
    *("--network", "sngan", "--max-images", "60", "--cond", "--mirror", "--width-g", "8", "--width-d", "8"),
    *("--z-dim", "8", "--score-samples", "20", "--kimg", "0.32", "--snap", "0.064", "--d-steps", "2"),
    *("--threshold-lr", "0.01", "--networks", "both", "--precision", "fp32"),
    *("--batch", "12"),  # divided by 2, 3 and 4
)


def as_rank(
    number: int, count: int, port: int, arguments: list[str], log: str, place: str = ".", full: bool = False
) -> None:
    """The process of one rank: the command line, with its output in a file. full: its disk is, from the first state of
    the training on, and its page takes long."""
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count), "LOCAL_RANK": str(number)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    os.environ["TORCHELASTIC_RUN_ID"] = "drill"
    if full:
        fsync, states = os.fsync, []

        def refused(handle: int) -> None:
            if ".state" in os.readlink(f"/proc/self/fd/{handle}"):
                states.append(handle)
                if len(states) > 1:
                    raise OSError(28, "No space left on device")
            fsync(handle)

        os.fsync = refused
        draw_page = drawing.draw_page

        def slowly(*arguments: Any, **options: Any) -> None:
            time.sleep(3)
            draw_page(*arguments, **options)

        drawing.draw_page = slowly
    os.chdir(place)
    child(arguments, log)


class Ranks:
    """The processes of one start.

    Args:
        words: of the command line, for all ranks or for each. places: where each is, if not here.
    """

    def __init__(
        self,
        drill: Drill,
        words: list[str] | list[list[str]],
        count: int,
        places: list[Path] | None = None,
        full: bool = False,
    ) -> None:
        self.log = drill.folder / f"log{next(drill.numbers)}"
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.processes = []
        for n in range(count):
            own = words[n] if isinstance(words[0], list) else words
            place = str(places[n]) if places else "."
            arguments = (n, count, self.store.port, own, f"{self.log}.{n}", place, full and n == 0)
            self.processes.append(drill.context.Process(target=as_rank, args=arguments))
        for process in self.processes:
            process.start()

    def finish(self, seconds: float = 120) -> list[int]:
        """The exit codes; -99 for those that had to be killed."""
        deadline = time.perf_counter() + seconds
        return [Drill.finish(process, max(0.1, deadline - time.perf_counter())) for process in self.processes]

    def told(self, rank: int = 0) -> str:
        """What a rank printed."""
        path = Path(f"{self.log}.{rank}")
        return path.read_text() if path.is_file() else ""


class RanksDrill(Drill):
    """One folder in which attempts are made, with this number of ranks."""

    def __init__(self, folder: Path, count: int = 2, seed: int = 0) -> None:
        self.count = count
        super().__init__(folder, Configuration(digits, OPTIONS), seed)

    def start(self, outdir: Path, trap: Any = None, extra: tuple[str, ...] = ()) -> Any:
        return Ranks(self, self.words(outdir, *extra), self.count)

    @staticmethod
    def counted(outdir: Path) -> dict[str, int]:
        """The places of traps are those of one process."""
        return {}

    @staticmethod
    def finish(process: Any, seconds: float = 120) -> int:
        if not isinstance(process, Ranks):
            return Drill.finish(process, seconds)
        return next((code for code in process.finish(seconds) if code), 0)

    def killed(self, rank: int, share: float) -> tuple[str, str | None]:
        """(what was done, what is wrong or None) of one SIGKILL of a rank after this share of the time of a run."""
        outdir = self.folder / f"run{next(self.numbers)}"
        where = f"SIGKILL of rank {rank} of {self.count} at a random moment"
        started = self.start(outdir)
        time.sleep(share * self.seconds)
        victim = started.processes[rank]
        if victim.is_alive():
            os.kill(victim.pid, signal.SIGKILL)
        codes = started.finish(PATIENCE)
        if codes[rank] == 0 or all(code == 0 for n, code in enumerate(codes) if n != rank):
            return TOO_LATE, None
        others = [code for n, code in enumerate(codes) if n != rank]
        if -99 in others or (codes[rank] == -signal.SIGKILL and any(code not in (0, 1) for code in others)):
            return where, f"the ranks ended with {codes}"
        speaker = min(n for n in range(self.count) if n != rank)
        if 1 in others and f"rank {rank}" not in started.told(speaker):
            return where, f"rank {speaker} did not name rank {rank}: {started.told(speaker)[-300:]!r}"
        broken = half_written(outdir) if any(outdir.glob("0*")) else None
        return where, broken or self.resumed(outdir)

    def moments(self, count: int) -> Outcome:
        """Kills of random ranks at random instants; those that come after the end do not count."""
        outcome = Outcome()
        while outcome.tried.total() < count:
            where, failure = self.killed(self.random.randrange(self.count), self.random.uniform(0.02, 0.9))
            if where != TOO_LATE:
                outcome.add(where, failure)
        return outcome
