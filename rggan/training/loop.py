"""The run: data, folder, resume, ticks. The same command again continues."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from rggan.config import TrainConfig
from rggan.data import ImageSet, load_images
from rggan.data.pictures import grid, save_picture
from rggan.errors import UserError
from rggan.generator import Generator, check_device
from rggan.networks import check_resolution
from rggan.training.checkpoint import checkpoints, load_newest, save_checkpoint
from rggan.training.engine import Training
from rggan.training.runlog import Row, RunLog, find_run, new_run, read_rows, status_line


class Diverged(RuntimeError):
    """Training left the finite numbers; the checkpoint before is kept."""


def read_data(config: TrainConfig) -> ImageSet:
    """The images that the options ask for.

    Raises:
        UserError: see `load_images`; classes asked for where folders give none; a single image.
    """
    if config.resolution is not None:
        check_resolution(config.resolution)
    check_device(config.device)
    data = load_images(
        config.data,
        config.resolution,
        max_images=config.max_images,
        fraction=config.fraction,
        seed=config.seed,
        pattern=config.pattern,
        skip_bad=config.skip_bad,
    )
    if len(data) < 2:
        raise UserError(f"Only {len(data)} image is left of {config.data}; training needs at least 2.")
    if config.cond and not data.classes:
        raise UserError(f"--cond needs one folder per class in {config.data}, and every picture inside one.")
    return data


def summary(config: TrainConfig, data: ImageSet) -> list[str]:
    """What is about to be trained, in lines for people."""
    n, channels, height, width = data.images.shape
    training, held_out = data.split(config.seed)
    kind = "grey" if channels == 1 else "RGB"
    lines = [f"data       {config.data}: {n} images, {width}x{height} {kind}"]
    if data.classes:
        use = "conditional" if config.cond else "unconditional (--cond uses them)"
        lines.append(f"classes    {len(data.classes)}: {', '.join(data.classes[:12])}; {use}")
    if data.skipped:
        lines.append(f"skipped    {len(data.skipped)} unreadable: {', '.join(data.skipped[:5])}")
    against = (
        f"{len(held_out)} held-out images" if held_out else "the training images (fewer than 1,000: none held out)"
    )
    lines.append(f"training   on {len(training)} images; the score compares with {against}")
    return lines


def train(config: TrainConfig, console: Console | None = None) -> Path:
    """Train, or continue the newest unfinished run with the same options; returns the run's folder.

    Raises:
        UserError: bad input, before anything is written. Diverged: no finite images any more.
        KeyboardInterrupt: stopped by Ctrl-C, after saving.
    """
    console = console or Console()
    run = find_run(config)
    if run is not None and finished(run, config):
        console.print(
            f"{run} with these options is finished. Look at its best/ and fakes*.png, or change an option "
            "(--seed, --kimg, --outdir) to train another.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return run
    data = read_data(config)
    training_images, held_out = data.split(config.seed)
    training = Training(config, training_images, held_out or training_images)
    fresh = run is None
    run = run or new_run(config, data.images.shape[3])
    log = RunLog(run, console)
    loop = Loop(config, training, run, log)
    if fresh:
        log.say(f"run        {run}")
        for line in [*summary(config, data), *sizes(training)]:
            log.say(line)
        save_picture(grid(data.images[:: max(1, len(data) // 64)][:64]), run / "reals.png")
    else:
        state = load_newest(run / "checkpoints", log.say)
        if state is not None:
            loop.load_state_dict(state)
        elif checkpoints(run / "checkpoints"):
            raise UserError(f"No checkpoint of {run} can be read; move the folder away to train anew.")
        log.say(f"continuing {run} at kimg {training.images / 1000:.1f}")
    log.write_rows(loop.rows)
    loop.go()
    return run


def finished(run: Path, config: TrainConfig) -> bool:
    rows = read_rows(run)
    return bool(rows) and rows[-1]["kimg"] >= config.kimg


def sizes(training: Training) -> list[str]:
    """Parameter counts, kept and all."""
    lines = []
    for name, network, index in (("G", training.g, 0), ("D", training.d, 1)):
        total = sum(p.numel() for p in network.parameters())
        prunable = f", {training.pruners[index].total:,} of them prunable" if training.pruners else ""
        lines.append(f"network {name}  {training.config.network}, {total:,} parameters{prunable}")
    precision = "bf16" if training.bf16 else "fp32"
    lines.append(f"device     {training.device}, {precision}, score: {training.score.kind} distance")
    return lines


class Loop:
    """Steps until the run is as long as asked, with a tick every `snap` kimg."""

    def __init__(self, config: TrainConfig, training: Training, run: Path, log: RunLog) -> None:
        self.config, self.training, self.run, self.log = config, training, run, log
        self.rows: list[Row] = []
        self.started = time.perf_counter()
        self.steps_in_tick, self.images_at_tick = 0, training.images

    def state_dict(self) -> dict[str, Any]:
        return {
            "training": self.training.state_dict(),
            "rows": self.rows,
            "tick": [self.steps_in_tick, self.images_at_tick, time.perf_counter() - self.started],
            "images": self.fingerprint(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises UserError where the images are not those that the run was trained on."""
        if state["images"] != self.fingerprint():
            raise UserError(
                f"The images of {self.config.data} are not those that {self.run} was trained on; give another --outdir "
                "to train anew."
            )
        self.training.load_state_dict(state["training"])
        self.rows = state["rows"]
        self.steps_in_tick, self.images_at_tick, elapsed = state["tick"]
        self.started = time.perf_counter() - elapsed

    def fingerprint(self) -> list[int]:
        """Shape and sum of the training images: enough to notice a changed folder."""
        images = self.training.batches.images
        return [*images.shape, int(images.sum(dtype=torch.int64))]

    def go(self) -> None:
        total = math.ceil(self.config.kimg * 1000)
        if self.training.images == 0:
            self.save_fakes(self.training.snapshot(), 0)
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with stop_on_interrupt() as stopped, Progress(*columns, console=self.log.console, transient=True) as bar:
            task = bar.add_task("training", total=total, completed=self.training.images)
            while self.training.images < total:
                self.training.step()
                self.steps_in_tick += 1
                bar.update(task, completed=min(self.training.images, total))
                if self.training.images >= min(self.next_tick(), total):
                    self.tick()
                if stopped() and self.training.images < total:
                    self.save()
                    self.log.say(f"stopped at kimg {self.training.images / 1000:.1f}; the same command continues.")
                    raise KeyboardInterrupt
        best = min(self.rows, key=lambda row: row["score"])
        self.log.say(f"finished. Best score {best['score']:.4f} at kimg {best['kimg']:.1f}: {self.run / 'best'}")

    def next_tick(self) -> float:
        return (len(self.rows) + 1) * self.config.snap * 1000

    def tick(self) -> None:
        """Evaluate, write, let the schedule decide, save."""
        training = self.training
        kimg = training.images / 1000
        seconds = time.perf_counter() - self.started
        loss_g, loss_d = (training.loss_sums / max(1, self.steps_in_tick)).tolist()
        snapshot = training.snapshot()
        score = training.evaluate(snapshot)
        if not all(map(math.isfinite, (score, loss_g, loss_d))):
            raise Diverged(
                f"Training diverged at kimg {kimg:.1f} (score {score}, losses {loss_g}, {loss_d}); {self.run} keeps "
                "what was saved before. Try a lower --lr, or another --seed."
            )
        density_g, density_d = training.densities()
        row: Row = {
            "tick": len(self.rows),
            "kimg": kimg,
            "sec_per_kimg": seconds / max(1e-9, (training.images - self.images_at_tick) / 1000),
            "score": score,
            "density_g": density_g,
            "density_d": density_d,
            "phase": training.phase,
            "loss_g": loss_g,
            "loss_d": loss_d,
            "decisions": 0,
        }
        generator = self.described(snapshot, row)
        self.save_fakes(snapshot, round(kimg))
        generator.save(self.run / "last")
        if all(score < other["score"] for other in self.rows):
            generator.save(self.run / "best")
        if training.schedule is not None:
            training.schedule.step(score)
            row["decisions"] = training.schedule.decisions
        self.rows.append(row)
        training.loss_sums.zero_()
        self.steps_in_tick, self.images_at_tick = 0, training.images
        self.started = time.perf_counter()  # what the checkpoint counts from; below: the next tick's, without saving
        self.save()
        self.log.add_row(row)
        self.log.say(status_line(row))
        self.started = time.perf_counter()

    def save_fakes(self, snapshot: nn.Module, kimg: int) -> None:
        """The pictures of seeds 0 to 63."""
        config = {"network": self.training.network, "classes": self.training.classes}
        images = Generator(snapshot, config, str(self.training.device)).images(range(64))
        save_picture(grid(images), self.run / f"fakes{kimg:06d}.png")

    def described(self, snapshot: nn.Module, row: Row) -> Generator:
        """The snapshot with what its config.json tells."""
        keys = ("kimg", "score", "density_g", "density_d", "phase")
        trained = {"data": self.config.data, "seed": self.config.seed, "rule": self.config.rule}
        trained |= {"score_kind": self.training.score.kind, **{key: row[key] for key in keys}}
        config = {"network": self.training.network, "classes": self.training.classes, "trained": trained}
        return Generator(snapshot, config, str(self.training.device))

    def save(self) -> None:
        save_checkpoint(self.run / "checkpoints", self.training.images / 1000, self.state_dict())


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C only asks to stop, so that the step ends and the state is saved; a second one interrupts."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
