"""Steps and ticks: train, evaluate, decide, save; go back when the numbers or the pictures are lost."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from rggan.config import TrainConfig
from rggan.data.pictures import grid, save_picture
from rggan.errors import UserError, one_line
from rggan.generation.generator import Generator
from rggan.run.folder import Row, Run, is_row
from rggan.run.log import RunLog, status_line
from rggan.run.places import fakes
from rggan.training.callbacks import Callback, Callbacks
from rggan.training.checkpoint import checkpoints, readable, save_checkpoint
from rggan.training.engine import Training
from rggan.training.instruments import instruments, phases

CHECKED_EVERY = 100  # steps between two looks at the losses: each waits for the device
FAR_ABOVE = 0.5  # of the best score's size, above the best: what --patience counts
COLLAPSED, DIVERSE = 0.05, 0.25  # share of the real images' diversity


class Diverged(RuntimeError):
    """Training diverged (NaN, or one and the same picture) after all returns; the last good state is kept."""


class WriteFailed(RuntimeError):
    """The disk is full or read-only; the checkpoint before is kept."""


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal, after saving."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def given_up(rows: Sequence[Row], patience: int | None) -> bool:
    """Whether the last `patience` scores all lie far above the best one before them.

    >>> rows = [{"score": score} for score in (0.9, 0.2, 0.21, 0.5, 0.4)]
    >>> given_up(rows, 2), given_up(rows, 3), given_up(rows, None)
    (True, False, False)
    """
    if patience is None or len(rows) <= patience:
        return False
    best = min(row["score"] for row in rows)
    return all(row["score"] > best + FAR_ABOVE * abs(best) for row in rows[-patience:])


class Loop:
    """Steps until the run is as long as asked, with a tick every `snap` kimg.

    key: what the images are known by (`ImageSet.key`); a state of other images is refused.
    """

    def __init__(
        self,
        config: TrainConfig,
        training: Training,
        key: str,
        run: Run,
        log: RunLog,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.callbacks = Callbacks(callbacks)
        self.config, self.training, self.key, self.run, self.log = config, training, key, run, log
        self.rows: list[Row] = []
        self.rollbacks = 0
        self.best: Generator | None = None  # a best snapshot that is not on disk yet
        self.unwritten: OSError | None = None  # why the last tick is not on disk
        self.started = time.perf_counter()
        self.steps_in_tick, self.images_at_tick = 0, training.images

    def state_dict(self) -> dict[str, Any]:
        return {
            "training": self.training.state_dict(),
            "rows": self.rows,
            "rollbacks": self.rollbacks,
            "tick": [self.steps_in_tick, self.images_at_tick, time.perf_counter() - self.started],
            "images": self.key,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises UserError where the images are not those that the run was trained on."""
        if not self.same_images(state["images"]):
            raise UserError(
                f"The images of {self.config.data} are not those that {self.run} was trained on; give another --outdir "
                "to train anew."
            )
        rows, rollbacks, (steps, images, elapsed) = state["rows"], state["rollbacks"], state["tick"]
        if not all(is_row(row) for row in rows) or not all(
            type(n) is int and n >= 0 for n in (rollbacks, steps, images)
        ):
            raise ValueError("its rows or counts are none")
        float(elapsed)
        self.training.load_state_dict(state["training"])
        self.rows, self.rollbacks = list(rows), rollbacks
        self.training.scale_learning_rates(self.config.rollback_lr**self.rollbacks)
        self.steps_in_tick, self.images_at_tick = steps, images
        self.started = time.perf_counter() - elapsed

    def same_images(self, saved: object) -> bool:
        """By content; of format 1, by shape and sum."""
        data = self.training.batches.data
        if isinstance(saved, list):
            total = sum(int(part.long().sum()) for part in data.parts(1000))
            return saved == [len(data), *data.shape, total]
        return saved == self.key

    def load_newest(self) -> None:
        """Take up the newest state that can be read.

        Raises:
            UserError: none can, or it is of other images or a newer version.
        """
        for state in readable(self.run.checkpoints, self.log.say):
            try:
                self.load_state_dict(state)
                return
            except (UserError, torch.OutOfMemoryError):  # a ValueError and a RuntimeError, but no fault of the state
                raise
            except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                self.log.say(f"a checkpoint of {self.run} does not fit ({one_line(reason)}); using the one before.")
        raise UserError(f"No checkpoint of {self.run} can be read; move the folder away to train anew.")

    def go(self) -> None:
        """Raises Diverged, WriteFailed, Interrupted."""
        total = math.ceil(self.config.kimg * 1000)
        training = self.training
        with self.writing():
            self.run.write_rows(self.rows)
            if training.images == 0:
                self.save_fakes(training.snapshot(), 0)
                self.save()  # so that there is a state to go back to
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.callbacks.begin(self.run.path)
        with stop_on_signal() as stopped, Progress(*columns, console=self.log.console, transient=True) as bar:
            task = bar.add_task("training", total=total, completed=training.images)
            while training.images < total and not given_up(self.rows, self.config.patience):
                training.step()
                self.steps_in_tick += 1
                bar.update(task, completed=min(training.images, total))
                if training.images >= min(self.next_tick(), total):
                    self.tick()
                elif self.steps_in_tick % CHECKED_EVERY == 0 and not training.losses_are_finite():
                    self.roll_back("the losses are no finite numbers any more")
                if (number := stopped()) and training.images < total:
                    self.stop(number)
        if self.unwritten is not None:
            raise self.write_failed(self.unwritten)
        best = min(self.rows, key=lambda row: row["score"])
        why = "finished."
        if training.images < total:
            why = f"stopped: {self.config.patience} scores in succession far above the best (--patience)."
        self.callbacks.end(self.rows)
        self.log.say(f"{why} Best score {best['score']:.4f} at kimg {best['kimg']:.1f}: {self.run.best}")

    def next_tick(self) -> float:
        return (len(self.rows) + 1) * self.config.snap * 1000

    def tick(self) -> None:
        """Evaluate, let the schedule decide, write."""
        training = self.training
        kimg = training.images / 1000
        seconds = time.perf_counter() - self.started
        loss_g, loss_d = (training.loss_sums / max(1, self.steps_in_tick)).tolist()
        snapshot = training.snapshot()
        score, diversity, copies, replays = training.judge(snapshot)
        if not all(map(math.isfinite, (score, loss_g, loss_d))):
            self.roll_back(f"score {score:.4g} and losses {loss_g:.4g}, {loss_d:.4g} are not finite")
            return
        if diversity < COLLAPSED and any(row["diversity"] > DIVERSE for row in self.rows):
            self.roll_back(f"the generator collapsed to one picture (diversity {diversity:.3f} of the real images')")
            return
        density_g, density_d = training.densities()
        row: Row = {
            "tick": len(self.rows),
            "kimg": kimg,
            "score": score,
            "diversity": diversity,
            "density_g": density_g,
            "density_d": density_d,
            "phase": training.phase,
            **phases(training),
            "loss_g": loss_g,
            "loss_d": loss_d,
            "decisions": 0,
            "flips": 0,
            **instruments(training, self.steps_in_tick),
        }
        if copies is not None:
            row |= {"copies": copies, "replays": replays}
        sec_per_kimg = seconds / max(1e-9, (training.images - self.images_at_tick) / 1000)
        last = self.described(snapshot, row)
        if all(score < other["score"] for other in self.rows):
            self.best = last
        for schedule in training.schedules:
            schedule.step(score)
            row["decisions"] += schedule.decisions
            row["flips"] += schedule.flips
            row |= schedule.told()
        self.rows.append(row)
        training.loss_sums.zero_()
        training.logit_sums.zero_()
        self.steps_in_tick, self.images_at_tick = 0, training.images
        self.started = time.perf_counter()  # what the checkpoint counts from; below: the next tick's, without saving
        with self.writing():
            for folder in (self.run.last, self.run.best):
                folder.mkdir(exist_ok=True)
            self.save_fakes(snapshot, round(kimg))
            last.save(self.run.last)
            if self.best is not None:
                self.best.save(self.run.best)
                self.best = None
            self.save()
            self.run.write_rows(self.rows)
        self.log.say(status_line(row, sec_per_kimg))
        self.callbacks.tick(row, snapshot)
        self.started = time.perf_counter()

    def roll_back(self, why: str) -> None:
        """Return to the newest state, with other random numbers and lower learning rates.

        Raises:
            Diverged: that happened as often as the options allow.
        """
        at, done = self.training.images / 1000, self.rollbacks
        if done >= self.config.rollbacks:
            raise Diverged(
                f"Training diverged at kimg {at:.1f}: {why}, after {done} returns to a good state; {self.run} keeps "
                "what was saved before. Try a lower --lr, or another --seed."
            )
        if not checkpoints(self.run.checkpoints):
            raise Diverged(f"Training diverged at kimg {at:.1f}: {why}, and {self.run} holds no state to return to.")
        self.load_newest()
        self.rollbacks, self.best = done + 1, None
        self.training.scale_learning_rates(self.config.rollback_lr**self.rollbacks)
        self.training.reseed(self.rollbacks)
        self.log.say(
            f"kimg {at:.1f}: {why}; back to kimg {self.training.images / 1000:.1f}, learning rates x "
            f"{self.config.rollback_lr:g} (return {self.rollbacks} of at most {self.config.rollbacks})"
        )

    def stop(self, number: int) -> None:
        """Save, say so, and raise Interrupted. Lost numbers are not saved: the last good state stays the newest."""
        finite = self.training.is_finite()
        if finite:
            with self.writing():
                self.save()
        if self.unwritten is not None:
            raise self.write_failed(self.unwritten)
        where = "" if finite else " from the last good state, for the numbers were lost since"
        self.log.say(f"stopped at kimg {self.training.images / 1000:.1f}; the same command continues{where}.")
        raise Interrupted(number)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What is written in here fails as the options say.

        Raises:
            WriteFailed: it cannot be written, and `on_write_error` is 'stop'.
        """
        try:
            yield
            self.unwritten = None
        except OSError as error:
            if self.config.on_write_error == "stop":
                raise self.write_failed(error) from error
            self.unwritten = error
            reason = error.strerror or str(error)
            self.log.say(f"cannot write to {self.run}: {reason}; going on, the next evaluation tries again.")

    def write_failed(self, error: OSError) -> WriteFailed:
        return WriteFailed(
            f"Cannot write to {self.run}: {error.strerror or error}. What was saved before is kept; mend that, and the "
            "same command continues from there."
        )

    def save_fakes(self, snapshot: nn.Module, kimg: int) -> None:
        """The pictures of seeds 0 to 63."""
        images = Generator(snapshot, self.training.description, str(self.training.device)).images(range(64))
        save_picture(grid(images), self.run.path / fakes(kimg))

    def described(self, snapshot: nn.Module, row: Row) -> Generator:
        """The snapshot with what its config.json tells."""
        keys = ("kimg", "score", "density_g", "density_d", "phase", *(["copies"] if "copies" in row else []))
        trained = {"data": self.config.data, "seed": self.config.seed, "rule": self.config.rule}
        trained |= {"score_kind": self.training.score.kind, **{key: row[key] for key in keys}}
        trained["score_provenance"] = self.training.score_provenance
        config = {**self.training.description, "trained": trained}
        return Generator(snapshot, config, str(self.training.device))

    def save(self) -> None:
        save_checkpoint(self.run.checkpoints, self.training.images / 1000, self.state_dict(), self.config.keep)


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], int]]:
    """The first SIGINT or SIGTERM only asks to stop (its number is told), so that the step ends and the state is
    saved; a second one does what it always does."""
    asked = 0

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = number
        for each, handler in before.items():
            signal.signal(each, handler)

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    for each in (signal.SIGINT, signal.SIGTERM):
        before[each] = signal.signal(each, ask)
    try:
        yield lambda: asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
