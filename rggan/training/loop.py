"""Steps and ticks: train, evaluate, decide; return to a good state when training diverged."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rggan import ranks
from rggan.bounded import MOST_IN_LINES, MOST_VALUES_IN_LINES, parse_json
from rggan.config import TrainConfig
from rggan.errors import Failed, UserError
from rggan.memory import is_used_up
from rggan.report.verdict import Scale, Verdict, verdict
from rggan.run.folder import Row, Run, is_row
from rggan.run.log import RunLog, status_line
from rggan.training.agreement import check_agreement
from rggan.training.callbacks import Callback, Callbacks
from rggan.training.checkpoint import checkpoints, readable, why
from rggan.training.evaluator import Judgement
from rggan.training.instruments import instruments, phases
from rggan.training.interrupt import Interrupted, stop_on_signal
from rggan.training.keeper import Keeper
from rggan.training.origin import compared, origin_of
from rggan.training.progress import training_bar
from rggan.training.screen import most_bytes
from rggan.training.state import MOST
from rggan.training.together import agreed
from rggan.training.trainer import Training

CHECKED_EVERY = 100  # steps between two looks at the losses: each waits for the device
FAR_ABOVE = 0.5  # of the best score's size, above the best: what `patience` counts
COLLAPSED, DIVERSE = 0.05, 0.25  # share of the real images' diversity


class Diverged(Failed):
    """Training diverged (NaN, or one and the same picture) after all returns; the last good state is kept."""


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


def refuse_odd_rows(rows: Any, kimg: float) -> None:
    """Raises ValueError or TypeError where these are no evaluations of a run that has seen so many images.

    >>> row = {"tick": 0, "kimg": 2.0, "score": 0.5, "density_g": 1.0, "density_d": 1.0, "phase": "prune"}
    >>> refuse_odd_rows([row], 2.5)
    >>> refuse_odd_rows([row], 1.5)
    Traceback (most recent call last):
    ValueError: its evaluations are none
    """
    last = 0.0
    for tick, row in enumerate(rows):
        if not is_row(row) or row["tick"] != tick or not last <= row["kimg"] <= kimg or not abs(row["score"]) <= MOST:
            raise ValueError("its evaluations are none")
        if not all(0 <= row[name] <= 1 for name in ("density_g", "density_d")):
            raise ValueError("its densities are none")
        last = row["kimg"]
    json.dumps(rows)  # neither tensors nor other objects


class Loop:
    """Steps until the run is as long as asked, with a tick every `snap` kimg.

    key: what the images are known by (`ImageSet.key`); a state of other images is refused.

    Attributes:
        run_id: what the run is known by, a state of another is refused; None: it has no name.
        changed: lines about what is not as it was when the state was made that was taken up last.
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
        self.config, self.training, self.key, self.run, self.log = config, training, key, run, log
        self.callbacks = Callbacks(callbacks)
        training.recorder.say = log.say
        self.keeper = Keeper(config, training, run, log, self.state_dict)
        self.rows: list[Row] = []
        self.rollbacks = 0
        self.run_id: str | None = None
        self.changed: list[str] = []
        self.started = time.perf_counter()
        self.steps_in_tick, self.images_at_tick = 0, training.images

    def state_dict(self) -> dict[str, Any]:
        return {
            "training": self.training.state_dict(),
            "rows": json.dumps(self.rows),  # a text: to pickle, each number would be an instruction
            "rollbacks": self.rollbacks,
            "tick": [self.steps_in_tick, self.images_at_tick, time.perf_counter() - self.started],
            "images": self.key,
            "origin": origin_of(self.config, self.training.gan, self.run_id),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises UserError where the images, the run or its fixed options are others; then nothing is changed."""
        changed = compared(state["origin"], self.config, self.training.gan, self.run, self.run_id)
        if not self.same_images(state["images"]):
            raise UserError(
                f"The images of {self.config.data} are not those that {self.run} was trained on; give another `outdir` "
                "to train anew."
            )
        rows, rollbacks, (steps, images, elapsed) = state["rows"], state["rollbacks"], state["tick"]
        seen = state["training"]["images"]
        if not all(type(n) is int and 0 <= n <= MOST for n in (rollbacks, steps, images, seen)) or images > seen:
            raise ValueError("its counts are none")
        if type(elapsed) not in (int, float) or not 0 <= elapsed <= MOST:
            raise ValueError("the time since its last evaluation is none")
        if isinstance(rows, str):  # before format 8 they were a list
            rows = parse_json(rows, MOST_IN_LINES, MOST_VALUES_IN_LINES)
        refuse_odd_rows(rows, seen / 1000)
        if not rows and seen >= self.config.kimg * 1000:
            raise UserError(f"`kimg` {self.config.kimg:g} is no more than {self.run} has trained already.")
        self.training.load_state_dict(state["training"])
        self.rows, self.rollbacks, self.changed = list(rows), rollbacks, changed
        if self.run_id is None and state["origin"] is not None:  # data.jsonl is gone
            self.run_id = state["origin"]["run"]
        self.training.scale_learning_rates(self.config.rollback_lr**self.rollbacks)
        self.steps_in_tick, self.images_at_tick = steps, images
        self.started = time.perf_counter() - elapsed

    def same_images(self, saved: object) -> bool:
        """By content; of format 1, by shape and sum."""
        data = self.training.gan.batches.data
        if isinstance(saved, list):
            total = sum(int(part.long().sum()) for part in data.parts(1000))
            return saved == [len(data), *data.shape, total]
        return saved == self.key or (not self.config.cond and saved in data.aliases)

    def load_newest(self) -> None:
        """Take up the newest state that can be read.

        Raises:
            UserError: none can, or it is of other images or a newer version.
        """
        for state in self.states():
            try:
                self.load_state_dict(state)
                return
            except UserError:  # a ValueError, but no fault of the state
                raise
            except Exception as error:  # whatever a foreign state raises
                if is_used_up(error):
                    raise
                self.log.say(f"a checkpoint of {self.run} does not fit ({why(error)}); looking for the one before.")
        raise UserError(f"No checkpoint of {self.run} can be read; move the folder away to train anew.")

    def states(self) -> Iterator[dict[str, Any]]:
        """Those that can be read, newest first; of several ranks the first one reads."""
        most = most_bytes(self.training.gan.g, self.training.gan.d)
        found = readable(self.run.checkpoints, self.log.say, most) if ranks.first() else iter(())
        while True:
            with agreed():
                state = next(found, None)
            if (state := ranks.of_first(state)) is None:
                return
            yield state

    def go(self) -> None:
        """Raises Diverged, WriteFailed, Interrupted."""
        total = math.ceil(self.config.kimg * 1000)
        training = self.training
        self.keeper.begin(self.rows)
        self.callbacks.begin(self.run.path)
        with stop_on_signal() as stopped, training_bar(self.log.console, total, training.images) as progress:
            while training.images < total and not given_up(self.rows, self.config.patience):
                training.step()
                self.steps_in_tick += 1
                progress(min(training.images, total))
                if training.images >= min(self.next_tick(), total):
                    self.tick()
                elif self.steps_in_tick % CHECKED_EVERY == 0 and not training.losses_are_finite():
                    self.roll_back("the losses are no finite numbers any more")
                if (number := ranks.largest(stopped())) and training.images < total:
                    self.stop(number)
        self.keeper.check_written()
        best = min(self.rows, key=lambda row: row["score"])
        why = "finished."
        if training.images < total:
            why = f"stopped: {self.config.patience} scores in succession far above the best (`patience`)."
        self.callbacks.end(self.rows)
        self.log.say(f"{why} Best score {best['score']:.4f} at kimg {best['kimg']:.1f}: {self.run.best}")
        if ranks.first():
            found = self.verdict(self.rows)
            self.log.say(f"verdict    {found.line()}")
            self.log.say(f"advice     {found.advice}")

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        return verdict(rows, Scale.of(self.run.data_head()), self.config.to_json(), str(self.run))

    def next_tick(self) -> float:
        return (len(self.rows) + 1) * self.config.snap * 1000

    def tick(self) -> None:
        """Evaluate, let the schedules decide, write."""
        training = self.training
        check_agreement(training)
        seconds = time.perf_counter() - self.started
        losses = (training.loss_sums / max(1, self.steps_in_tick)).tolist()
        snapshot = training.snapshot()
        found = training.evaluator.judge(snapshot)
        if (why := self.diverged(found, losses)) is not None:
            self.roll_back(why)
            return
        row = self.line(found, losses)
        best = all(found.score < other["score"] for other in self.rows)
        for schedule in training.schedules:
            schedule.step(found.score)
            row["decisions"] += schedule.decisions
            row["flips"] += schedule.flips
            row |= schedule.told()
        self.rows.append(row)
        training.loss_sums.zero_()
        training.logit_sums.zero_()
        sec_per_kimg = seconds / max(1e-9, (training.images - self.images_at_tick) / 1000)
        self.steps_in_tick, self.images_at_tick = 0, training.images
        self.started = time.perf_counter()  # what the checkpoint counts from; below: the next tick's, without saving
        self.keeper.tick(snapshot, self.rows, best)
        self.log.say(status_line(row, sec_per_kimg))
        if ranks.first():
            self.tell_verdict(row)
        self.callbacks.tick(row, snapshot)
        self.started = time.perf_counter()

    def tell_verdict(self, row: Row) -> None:
        """Where the last evaluation has changed it."""
        stands = self.verdict(self.rows)
        if stands.kind != self.verdict(self.rows[:-1]).kind and row["kimg"] < self.config.kimg:  # at the end it is told
            self.log.say(f"verdict    {stands.line()}")

    def diverged(self, found: Judgement, losses: Sequence[float]) -> str | None:
        """Why the training is to go back to a good state; None: it need not."""
        loss_g, loss_d = losses
        if not all(map(math.isfinite, (found.score, loss_g, loss_d))):
            return f"score {found.score:.4g} and losses {loss_g:.4g}, {loss_d:.4g} are not finite"
        if found.diversity < COLLAPSED and any(row["diversity"] > DIVERSE for row in self.rows):
            return f"the generator collapsed to one picture (diversity {found.diversity:.3f} of the real images')"
        return None

    def line(self, found: Judgement, losses: Sequence[float]) -> Row:
        """Of an evaluation in stats.jsonl, before the schedules decide."""
        training = self.training
        density_g, density_d = training.densities()
        row: Row = {
            "tick": len(self.rows),
            "kimg": training.images / 1000,
            "score": found.score,
            "diversity": found.diversity,
            "density_g": density_g,
            "density_d": density_d,
            "phase": training.phase,
            **phases(training),
            "loss_g": losses[0],
            "loss_d": losses[1],
            "decisions": 0,
            "flips": 0,
            **instruments(training, self.steps_in_tick),
        }
        if found.copies is not None:
            row |= {"copies": found.copies, "replays": found.replays}
        return row

    def roll_back(self, why: str) -> None:
        """Return to the newest state, with other random numbers and lower learning rates.

        Raises:
            Diverged: that happened as often as the options allow.
        """
        at, done = self.training.images / 1000, self.rollbacks
        if done >= self.config.rollbacks:
            raise Diverged(
                f"Training diverged at kimg {at:.1f}: {why}, after {done} returns to a good state; {self.run} keeps "
                "what was saved before. Try a lower `lr`, or another `seed`."
            )
        if not ranks.of_first(checkpoints(self.run.checkpoints)):
            raise Diverged(f"Training diverged at kimg {at:.1f}: {why}, and {self.run} holds no state to return to.")
        self.load_newest()
        self.rollbacks, self.keeper.best = done + 1, None
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
            self.keeper.write(self.keeper.save)
        self.keeper.check_written()
        where = "" if finite else " from the last good state, for the numbers were lost since"
        self.log.say(f"stopped at kimg {self.training.images / 1000:.1f}; the same command continues{where}.")
        raise Interrupted(number)
