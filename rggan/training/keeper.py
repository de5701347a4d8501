"""What an evaluation leaves in the run folder: pictures, snapshots, the state, the line of its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from rggan import ranks
from rggan.config import TrainConfig
from rggan.data.pictures import grid, save_picture
from rggan.errors import Failed
from rggan.generation.generator import Generator
from rggan.run.folder import Row, Run
from rggan.run.log import RunLog
from rggan.run.places import fakes
from rggan.training.checkpoint import save_checkpoint
from rggan.training.trainer import Training


class WriteFailed(Failed):
    """The disk is full or read-only; the checkpoint before is kept."""


class Keeper:
    """Writes into a run folder. Where that fails it stops the run, or goes on, as `on_write_error` says.

    Of several ranks the first writes, and the others learn whether it could.

    Args:
        state: the whole state of the run at this moment.

    Attributes:
        best: the best snapshot, as long as it is not on disk. unwritten: why the last evaluation is not on disk.
    """

    def __init__(
        self, config: TrainConfig, training: Training, run: Run, log: RunLog, state: Callable[[], dict[str, Any]]
    ) -> None:
        self.config, self.training, self.run, self.log, self.state = config, training, run, log, state
        self.best: Generator | None = None
        self.unwritten: OSError | None = None

    def begin(self, rows: Sequence[Row]) -> None:
        """The lines of the evaluations so far; of a new run the first pictures, and a state to go back to."""
        snapshot = self.training.snapshot() if self.training.images == 0 else None
        self.write(partial(self.write_begin, snapshot, rows))

    def write_begin(self, snapshot: nn.Module | None, rows: Sequence[Row]) -> None:
        self.run.write_rows(rows)
        if snapshot is not None:
            self.save_fakes(snapshot, 0)
            self.save()

    def tick(self, snapshot: nn.Module, rows: Sequence[Row], best: bool) -> None:
        """An evaluation. snapshot: the EMA's. rows: all lines, its own last. best: whether its score is the lowest."""
        last = self.described(snapshot, rows[-1])
        if best:
            self.best = last
        self.write(partial(self.write_tick, snapshot, rows, last))

    def write_tick(self, snapshot: nn.Module, rows: Sequence[Row], last: Generator) -> None:
        for folder in (self.run.last, self.run.best):
            folder.mkdir(exist_ok=True)
        self.save_fakes(snapshot, round(rows[-1]["kimg"]))
        last.save(self.run.last)
        if self.best is not None:
            self.best.save(self.run.best)
            self.best = None
        self.save()
        self.run.write_rows(rows)

    def save(self) -> None:
        save_checkpoint(self.run.checkpoints, self.training.images / 1000, self.state(), self.config.keep)

    def save_fakes(self, snapshot: nn.Module, kimg: int) -> None:
        """The pictures of seeds 0 to 63."""
        images = Generator(snapshot, self.training.description, str(self.training.gan.device)).images(range(64))
        save_picture(grid(images), self.run.path / fakes(kimg))

    def described(self, snapshot: nn.Module, row: Row) -> Generator:
        """The snapshot with what its config.json tells."""
        evaluator = self.training.evaluator
        keys = ("kimg", "score", "density_g", "density_d", "phase", *(["copies"] if "copies" in row else []))
        trained = {"data": self.config.data, "seed": self.config.seed, "rule": self.config.rule}
        trained |= {"score_kind": evaluator.score.kind, **{key: row[key] for key in keys}}
        trained["score_provenance"] = evaluator.provenance
        config = {**self.training.description, "trained": trained}
        return Generator(snapshot, config, str(self.training.gan.device))

    def write(self, work: Callable[[], None]) -> None:
        """Do what writes; it fails as the options say.

        Raises:
            WriteFailed: it cannot be written, and `on_write_error` is 'stop'.
        """
        error: OSError | None = None
        self.training.gan.batches.gather()
        if ranks.first():
            try:
                work()
            except OSError as found:
                error = found
        self.unwritten = ranks.of_first(error)
        if self.unwritten is None:
            return
        if self.config.on_write_error == "stop":
            raise self.write_failed(self.unwritten) from error
        reason = self.unwritten.strerror or str(self.unwritten)
        self.log.say(f"cannot write to {self.run}: {reason}; going on, the next evaluation tries again.")

    def check_written(self) -> None:
        """Raises WriteFailed where the last evaluation, or the state of a run that stops, is not on disk."""
        if self.unwritten is not None:
            raise self.write_failed(self.unwritten)

    def write_failed(self, error: OSError) -> WriteFailed:
        return WriteFailed(
            f"Cannot write to {self.run}: {error.strerror or error}. What was saved before is kept; mend that, and the "
            "same command continues from there."
        )
