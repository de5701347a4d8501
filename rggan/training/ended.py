"""Whether a run has come to its end, and what one that was stopped leaves on disk."""

from __future__ import annotations

import shlex

from rggan.config import TrainConfig
from rggan.run.folder import Run
from rggan.run.places import find_weights, replays
from rggan.training.checkpoint import checkpoints, kimg_of
from rggan.training.loop import given_up

NOT_BEGUN = "stopped before the training; nothing was written."


def finished(run: Run, config: TrainConfig) -> bool:
    """Whether its last evaluation is its end, and the newest state, or where there is none a snapshot, says so too."""
    rows = run.rows()
    if not rows or not (rows[-1]["kimg"] >= config.kimg or given_up(rows, config.patience)):
        return False
    if states := checkpoints(run.checkpoints):
        return kimg_of(states[-1]) >= round(rows[-1]["kimg"], 3)
    return any(find_weights(snapshot) is not None for snapshot in (run.best, run.last))


def undrawn(run: Run) -> bool:
    """Whether a finished run was killed before `draw_replays`, which needs its images and its state."""
    lacking = not (run.path / replays()).exists()
    return lacking and "copies" in run.rows()[-1] and bool(checkpoints(run.checkpoints))


def left(run: Run | None, config: TrainConfig) -> str:
    """What a training that Ctrl-C stopped at once leaves on disk, and how it goes on."""
    if run is None:
        return NOT_BEGUN
    if not (states := checkpoints(run.checkpoints)):
        return f"stopped before the first step; {run} holds no state yet, and the same command begins it anew."
    if finished(run, config):
        return f"stopped after the training, which is whole; the page: rggan show {shlex.quote(str(run))}"
    kimg = max(map(kimg_of, states))
    return f"stopped at once; {run} holds the state of kimg {kimg:.1f}, and the same command continues from there."
