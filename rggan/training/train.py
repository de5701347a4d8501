"""`rggan.train`: begin a run, or continue it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from rggan import ranks
from rggan.config import TrainConfig
from rggan.data import ImageSet
from rggan.data.named import remember
from rggan.data.pictures import grid, save_picture
from rggan.data.store import made_anew
from rggan.errors import UserError
from rggan.options import CHANGEABLE
from rggan.run.folder import Run
from rggan.run.lock import locked
from rggan.run.log import RunLog, Silent, say
from rggan.run.outdir import find_run, new_run, point_to, runs
from rggan.run.places import REALS
from rggan.training.agreement import refuse_other_images, refuse_ranks, seen_by_all
from rggan.training.asked import NoPictures, asked, with_score
from rggan.training.callbacks import Callback, checked, make_callbacks
from rggan.training.checkpoint import checkpoints, kimg_of
from rggan.training.describe import left_out, record, sizes, summary, unreached
from rggan.training.drawing import draw_page, draw_progress, draw_replays, drawn
from rggan.training.ended import NOT_BEGUN, finished, left, undrawn
from rggan.training.interrupt import stop_told
from rggan.training.keeper import WriteFailed
from rggan.training.loop import Loop
from rggan.training.needed import enough_memory
from rggan.training.notebook import Watched
from rggan.training.origin import id_of
from rggan.training.progress import in_notebook
from rggan.training.reading import read_data, read_fresh
from rggan.training.scale import scale_of
from rggan.training.setup import description_of
from rggan.training.sparsity import Rules, Schedules
from rggan.training.together import agreed, joined
from rggan.training.track import Tracker, Tracking, make_trackers
from rggan.training.trainer import Training
from rggan.training.transfer import begun_anew, shapes_in


def train(
    what: TrainConfig | str | Path | None = None,
    console: Console | None = None,
    *,
    rules: Rules | None = None,
    schedules: Schedules | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Path:
    """Train, or continue the newest unfinished run with the same options; returns the run's folder.

    `train("pictures", kimg=100)` is the command `rggan train pictures --kimg 100`: options that are not given are
    chosen for these pictures, and said. `train(TrainConfig(data=...))` is the paper's method. With the option `resume`
    a run is continued; options that differ from its own must be ones that can change. At the end, also at one before
    its time, `progress.png` and `page.html` are made; `latest` beside the run's folder is a link to it.

    Args:
        what: the pictures (a folder, or whatever `rggan train` takes), or all options.
        rules: {"g": a rule, "d": a rule}, or one of them, instead of those that the options name; the other network
            stays dense. Give the same where the run goes on: its folder knows the options alone.
        schedules: makes the schedules of the pruners, {"g": pruner, "d": pruner}.
        callbacks: called during the run, besides those of `config.callbacks`.
        options: those of `TrainConfig`, beside pictures.

    Raises:
        UserError: bad input, before anything is written; or another process trains in the same run.
        Diverged: no finite images, or one and the same picture, after all returns to a good state.
        WriteFailed: the disk is full or read-only, and `on_write_error` is 'stop'.
        Interrupted: stopped by Ctrl-C (SIGINT), SIGTERM or SIGHUP, after saving; or by Ctrl-C at once, after saying
            what is there.

    >>> import io, tempfile
    >>> options = {"width_g": 2, "width_d": 2, "z_dim": 2, "batch": 4, "score_samples": 8, "max_images": 9}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = train("digits", Console(file=io.StringIO()), outdir=folder, kimg=0.004, device="cpu", **options)
    ...     (run.name, (run / "progress.png").is_file())
    ('00000-digits-16-sngan-threshold', True)
    """
    console = console or Console(force_jupyter=False)  # lines of text, in a notebook too
    with joined():
        if not ranks.first():
            console = Console(quiet=True)
        return train_here(what, console, rules, schedules, callbacks, options)


def train_here(
    what: TrainConfig | str | Path | None,
    console: Console,
    rules: Rules | None,
    schedules: Schedules | None,
    callbacks: Sequence[Callback],
    options: Mapping[str, Any],
) -> Path:
    """As `train`, of this rank. What one rank cannot do, or does otherwise, ends all of them."""
    with stop_told(partial(say, console), lambda: NOT_BEGUN), agreed():
        config = config_of(what, options, console)
        watching = [*make_callbacks(config.callbacks), *checked(callbacks)]
        trackers = make_trackers(config.track)
        if rules is not None and not rules.keys() <= {"g", "d"}:
            raise UserError(f"rules are given for 'g' and 'd', not for {', '.join(map(str, rules))}.")
    refuse_ranks(config)
    if ranks.first():
        remember(config.data)  # who trains names it; what a file names was looked at with the options
    run: Run | None = None
    with agreed():
        if ranks.first():
            if config.resume is None:
                refuse_links(config)
            run = resumed(config) if config.resume else find_run(config)
    run = ranks.of_first(run)
    seen_by_all(config.outdir if run is None else run.path)
    with ExitStack() as held:
        held.enter_context(stop_told(partial(say, console), lambda: left(run, config)))
        held.enter_context(enough_memory(config, lambda: run))
        lines: list[str] = []
        if run is None:
            with agreed():
                data = read_fresh(config, console)
            refuse_other_images(data)
            with agreed():
                training = make_training(config, data, True, rules, schedules)
            with agreed():
                if ranks.first():
                    run, lines = made(config, data, held)
            run = ranks.of_first(run)
            assert run is not None
            lines = [f"run        {run}", *lines]
        else:
            with agreed():
                if ranks.first():
                    held.enter_context(locked(run.path, busy(run)))
            if ranks.of_first(ranks.first() and finished(run, config) and not undrawn(run)):
                if ranks.first():
                    tell_finished(run, config, console, trackers)
                return run.path
            with agreed():
                data = read_data(config, console)
            refuse_other_images(data)
            with agreed():
                training = make_training(
                    config, data, not ranks.of_first(checkpoints(run.checkpoints)), rules, schedules, run
                )
        log = RunLog(run, console) if ranks.first() else Silent(run, console)
        for line in lines or made_anew(data.notes):  # of a new run all notes are told
            log.say(line)
        if ranks.first():
            point_to(run)
            tracking = held.enter_context(Tracking(trackers, config.to_json(), log.say))
            watching = [tracking, *watching, *([Watched(draw_progress)] if in_notebook() else [])]
        with drawn(run, console), written(run):
            loop = begin(training, data, run, log, rules, watching)
            if config.resume:
                take_over(config, run, log, loop.changed)
            loop.go()
            if ranks.first():
                for line in [*unreached(config, loop.rows[-1]), *left_out(training)]:
                    log.say(line)
                draw_replays(loop)
    return run.path


def made(config: TrainConfig, data: ImageSet, held: ExitStack) -> tuple[Run, list[str]]:
    """The folder of a new run, locked as long as `held` is, and what it differs in from others."""
    with locked(config.outdir, f"Another run is just starting in {config.outdir}; try again.", wait=60):
        if (run := find_run(config)) is not None:  # the same command, started meanwhile
            raise UserError(busy(run))
        others = related(config)
        run = new_run(config, data.shape[1:])
        held.enter_context(locked(run.path, busy(run)))
    return run, others


def tell_finished(run: Run, config: TrainConfig, console: Console, trackers: Mapping[str, Tracker]) -> None:
    """Say so, and draw and track what is lacking."""
    say(
        console,
        f"{run} with these options is finished. Look at its best/ and fakes*.png, or change an option "
        "(`seed`, `kimg`, `outdir`) to train another.",
    )
    draw_progress(run)
    draw_page(run, console, look=False)
    with Tracking(trackers, config.to_json(), RunLog(run, console).say) as tracking:
        tracking.begin(run.path)  # what they lack
        say(console, *tracking.told())


@contextmanager
def written(run: Run) -> Iterator[None]:
    """What cannot be written in here is told as that.

    Raises:
        WriteFailed: the disk is full or read-only.
    """
    try:
        yield
    except OSError as error:
        raise WriteFailed(f"Cannot write to {run}: {error.strerror or error}.") from error


def refuse_links(config: TrainConfig) -> None:
    """Raises UserError for another run that is named by a link (`latest`), which this run would move: the same command
    would then begin from another run, or from this one."""
    for name in ("init", "init_d", "target_g", "target_d"):
        value = getattr(config, name)
        if isinstance(value, str | Path) and os.path.islink(path := Path(value)):
            own = path.with_name(path.resolve().name)
            raise UserError(f"`{name}` {path} is a link, which each new run moves: give {own}.")


def config_of(what: TrainConfig | str | Path | None, options: Mapping[str, Any], console: Console) -> TrainConfig:
    """The options of `train`; says what was chosen.

    Raises:
        UserError: neither pictures nor options, or both.
    """
    if isinstance(what, TrainConfig) and not options:
        config, why = with_score(what)
        say(console, *why)
        return config
    if isinstance(what, TrainConfig):
        raise UserError(f"A TrainConfig has all options: give {', '.join(options)} to it.")
    if what is not None and not isinstance(what, str | Path):
        raise UserError(f"train takes pictures or a TrainConfig, not a {type(what).__name__}: train('pictures').")
    try:
        config, why = asked(options if what is None else {**options, "data": what})
    except NoPictures:
        raise UserError(
            "train needs pictures: train('pictures') takes a folder or a zip of them, train('digits') the built-in "
            "handwritten digits."
        ) from None
    say(console, *why)
    return config


def make_training(
    config: TrainConfig,
    data: ImageSet,
    fresh: bool,
    rules: Rules | None = None,
    schedules: Schedules | None = None,
    run: Run | None = None,
) -> Training:
    """Both networks, before anything is written; of a run that goes on, with the shapes in its state.

    Raises:
        UserError: `init` does not fit.
    """
    images, held_out = data.split(config.seed)
    shapes = None
    if run is not None and not fresh and config.init is not None:
        shapes = shapes_in(run.checkpoints, description_of(config, data)["network"])
    return Training(config, images, held_out or images, fresh, rules, schedules, shapes)


def begin(
    training: Training,
    data: ImageSet,
    run: Run,
    log: RunLog,
    rules: Rules | None = None,
    callbacks: Sequence[Callback] = (),
) -> Loop:
    """The loop at its first step, or where the newest readable state left it.

    Raises:
        UserError: there are states, and none can be read or fits.
    """
    config = training.config
    loop = Loop(config, training, data.identity, run, log, callbacks)
    if ranks.of_first(checkpoints(run.checkpoints)):
        loop.run_id = ranks.of_first(id_of(run))
        loop.load_newest()
        log.say(f"continuing {run} at kimg {training.images / 1000:.1f}")
        for line in loop.changed:
            log.say(line)
        return loop
    with agreed(), written(run):
        if ranks.first():
            describe_run(training, data, run, log, rules)
    loop.run_id = ranks.of_first(id_of(run))
    return loop


def describe_run(training: Training, data: ImageSet, run: Run, log: RunLog, rules: Rules | None) -> None:
    """Say and write what is about to be trained.

    Raises:
        UserError: it has been trained before, and its states are gone.
    """
    config = training.config
    if run.rows():
        raise UserError(f"The checkpoints of {run} are gone; move the folder away to train anew.")
    lines = [
        *summary(config, data),
        *sizes(training),
        *begun_anew(config.init, config.init_d, training.description["network"]),
    ]
    if rules is not None:
        told = ", ".join(f"{name.upper()} by {type(rule).__name__}" for name, rule in rules.items())
        lines = [f"sparsity   as given in Python: {told or 'none'}" if x.startswith("sparsity") else x for x in lines]
    evaluator = training.evaluator
    scale = scale_of(evaluator.score, evaluator.data, evaluator.held_out, config.score_samples)
    if scale is not None:
        lines.append(f"score      {scale.line()}")
    for line in lines:
        log.say(line)
    record(config, data, evaluator.held_out, run, scale)
    rows = data.rows[:: max(1, len(data) // 64)][:64]
    save_picture(grid(data.stored(rows)), run.path / REALS)


def busy(run: Run) -> str:
    return f"Another process is training in {run}; wait for it, or change an option to train beside it."


def resumed(config: TrainConfig) -> Run:
    """The run that `resume` names.

    Raises:
        UserError: it is no run, or options were given that cannot change in it.
    """
    assert config.resume is not None
    run = Run.named(config.resume)
    differences = config.differences(run.options() or {})
    trained = max(map(kimg_of, checkpoints(run.checkpoints)), default=0)
    if "kimg" in differences and config.kimg <= trained:
        raise UserError(f"`kimg` {config.kimg:g} is no more than {run} has trained already ({trained:g}).")
    fixed = [text for name, text in differences.items() if name not in CHANGEABLE]
    if fixed:
        raise UserError(
            f"{run} differs in {', '.join(fixed)}: a run cannot change that; leave it out, or train another run "
            "without `resume`."
        )
    return run


def take_over(config: TrainConfig, run: Run, log: RunLog, told: Sequence[str]) -> None:
    """Say which options change in a resumed run, if that was not told, and keep them, so that the next `resume` knows
    them."""
    with agreed(), written(run):
        if ranks.first() and (changed := config.differences(run.options() or {})):
            line = f"changed    {', '.join(changed.values())}"
            if line not in told:
                log.say(line)
            run.write_options(config)


def related(config: TrainConfig) -> list[str]:
    """What a new run differs in from the newest one of the same data, if there is one, and how that one would be
    continued, where it can be."""
    for run in reversed(runs(config.outdir)):
        saved = run.options()
        if saved is not None and saved.get("data") == config.to_json()["data"]:
            differences = config.differences(saved)
            line = f"new run    {run.name} differs in {', '.join(differences.values())}"
            if differences.keys() <= set(CHANGEABLE) and not finished(run, config):
                values = {name: v for name in differences if (v := getattr(config, name)) is not None}
                words = " ".join(
                    f"`{n}{'' if v else '=False'}`" if isinstance(v, bool) else f"`{n}` {v}" for n, v in values.items()
                )
                line += f"; to continue it instead: `resume` {run} {words}"
            return [line]
    return []
