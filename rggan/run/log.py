"""The log of a run, on the console and in log.txt."""

from __future__ import annotations

import contextlib

from rich.console import Console

from rggan.run.folder import Row, Run


def say(console: Console, *lines: str) -> None:
    """Print lines as they are, however long; nothing where there are none."""
    if lines:
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


class RunLog:
    """Writes lines to the console and to log.txt."""

    def __init__(self, run: Run, console: Console) -> None:
        self.run, self.console = run, console

    def say(self, line: str) -> None:
        """Write a line; errors are ignored, since training can continue without a log."""
        with contextlib.suppress(OSError):
            say(self.console, line)
        with contextlib.suppress(OSError):
            self.run.append_log(line)


class Silent(RunLog):
    """That of a rank which does not speak."""

    def say(self, line: str) -> None:
        pass


def status_line(row: Row, sec_per_kimg: float) -> str:
    """Returns the log line of a tick.

    >>> row = {"tick": 3, "kimg": 60.0, "score": 0.0451, "density_g": 0.91, "density_d": 0.88, "phase": "prune"}
    >>> status_line(row, 1.23)
    'tick 3    kimg 60.0     sec/kimg 1.23    score 0.0451    density G 0.910 D 0.880  prune'
    >>> status_line({**row, "phase_g": "dense", "phase_d": "prune"}, 1.23)[-15:]
    'G dense D prune'
    >>> status_line({**row, "phase_d": "dense"}, 1.23)[-15:]
    'G prune D dense'
    """
    copies, phase = "", row["phase"]
    g, d = row.get("phase_g", phase), row.get("phase_d", phase)
    phase = g if g == d else f"G {g} D {d}"  # in a dense finale of G, say
    if "copies" in row:
        copies = f"  copies {row['copies']:.1%}{' (replays training images)' if row['replays'] else ''}"
    return (
        f"tick {row['tick']:<4d} kimg {row['kimg']:<8.1f} sec/kimg {sec_per_kimg:<7.2f} "
        f"score {row['score']:<9.4f} density G {row['density_g']:.3f} D {row['density_d']:.3f}  {phase}{copies}"
    )
