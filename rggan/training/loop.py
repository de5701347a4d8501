"""The run: data, folder, resume, stop. The same command again continues."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rggan.config import TrainConfig
from rggan.data import ImageSet, load_images
from rggan.data.decode import parse_size
from rggan.data.pictures import grid, save_picture
from rggan.data.source import named_form
from rggan.device import check_device
from rggan.errors import UserError
from rggan.methods import kind_of_rule
from rggan.networks import FAMILIES, check_resolution
from rggan.options import CHANGEABLE
from rggan.report.plot import plot_run
from rggan.run.folder import Run
from rggan.run.lock import locked
from rggan.run.log import RunLog
from rggan.run.outdir import find_run, new_run, runs
from rggan.run.places import PROGRESS, REALS
from rggan.training.callbacks import Callback, make_callbacks
from rggan.training.checkpoint import checkpoints, kimg_of
from rggan.training.engine import Training
from rggan.training.method import Rules, Schedules, make_rules
from rggan.training.ticks import Diverged, Interrupted, Loop, WriteFailed, given_up

NONE_HELD_OUT = "--signal r_v compares with held-out images, and of fewer than 1,000 none are held out: take r_t."


def read_data(config: TrainConfig, console: Console | None = None) -> ImageSet:
    """The images that the options ask for.

    Raises:
        UserError: see `load_images`; classes asked for where the data give none; a single image.
    """
    sizes = FAMILIES.get(config.network).sizes
    if config.resolution is not None:
        check_resolution(parse_size(config.resolution), sizes)
    check_device(config.device)
    refuse_inside("--outdir", config.outdir, config.data)
    with reading(console) as progress:
        data = load_images(
            config.data,
            config.resolution,
            channels=config.channels,
            resize=config.resize,
            background=config.background,
            max_images=config.max_images,
            fraction=config.fraction,
            seed=config.seed,
            pattern=config.pattern,
            skip_bad=config.skip_bad,
            memory_share=config.memory_share,
            progress=progress,
            sides=(sizes.low, sizes.high),
        )
    if len(data) < 2:
        raise UserError(f"Only {len(data)} image is left of {config.data}; training needs at least 2.")
    if config.cond and not data.classes:
        raise UserError(
            f"--cond needs classes in {config.data}: one folder per class with every picture inside one, or labels."
        )
    return data


def read_fresh(config: TrainConfig, console: Console | None = None) -> ImageSet:
    """The images of a new run, whose options are looked through together with what they name.

    Raises:
        UserError: a target names a run that tells no densities; a rule that cannot be made; too few images for what an
            'auto' target follows; or see `read_data`.
    """
    for network in ("g", "d"):
        target = getattr(config, f"target_{network}")
        if isinstance(target, str) and target != "auto":
            densities = [row[f"density_{network}"] for row in Run(Path(target)).rows()]
            if not densities or min(densities) <= 0:
                raise UserError(
                    f"--target-{network} is a density, 'auto', or a run whose densities it takes; {target} is none."
                )
            if config.regrow >= min(densities):
                raise UserError(
                    f"--regrow {config.regrow} must be below all densities of --target-{network} {target}, which fall "
                    f"to {min(densities):.3g}."
                )
    make_rules(config)  # somebody's rule that cannot be made is told before anything is written
    data = read_data(config, console)
    if config.signal == "r_v" and data.split(config.seed)[1] is None:
        raise UserError(NONE_HELD_OUT)
    return data


def refuse_inside(option: str, path: Path, data: str) -> None:
    """Raises UserError where we would write into the data: what is written would be read as pictures next time."""
    _, place = named_form(data) or ("", "")
    for folder in (data, *([place] if place else [])):
        if Path(folder).is_dir() and path.resolve().is_relative_to(Path(folder).resolve()):
            raise UserError(f"{option} {path} lies inside the data {data}; give a place outside.")


@contextmanager
def reading(console: Console | None) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar while pictures are read, where somebody looks at it."""
    if console is None or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("[bold]reading pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def summary(config: TrainConfig, data: ImageSet) -> list[str]:
    """What is about to be trained, in lines for people."""
    channels, height, width = data.shape
    training, held_out = data.split(config.seed)
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[channels]
    side = f"{width}x{height}" if width == height else f"{height} high x {width} wide"
    where = ", memory-mapped" if data.mapped else ""
    lines = [f"data       {config.data}: {len(data)} images, {side} {kind}{where}"]
    if data.classes:
        use = "conditional" if config.cond else "unconditional (--cond uses them)"
        lines.append(f"classes    {len(data.classes)}: {', '.join(data.classes[:12])}; {use}")
    if data.skipped:
        lines.append(f"skipped    {len(data.skipped)} unreadable: {', '.join(data.skipped[:5])}")
    against = (
        f"{len(held_out)} held-out images" if held_out else "the training images (fewer than 1,000: none held out)"
    )
    lines.append(f"training   on {len(training)} images; the score compares with {against}")
    return [*lines, f"sparsity   {sparsity_line(config)}"]


def sparsity_line(config: TrainConfig) -> str:
    """Which networks are pruned, and what decides how far.

    >>> sparsity_line(TrainConfig.of("sngan", target_g=0.5))
    'G to 0.5, D as far as D overfits (auto); rule threshold'
    >>> sparsity_line(TrainConfig(rule="none"))
    'none: dense training'
    """
    if (kind := kind_of_rule(config.rule)) is None:
        return "none: dense training"
    told = []
    for name, target in (("G", config.target_g), ("D", config.target_d)):
        if config.networks not in ("both", name.lower()):
            told.append(f"{name} stays dense")
        elif target == "auto":
            why = "by the balance of the game" if config.signal == "balance" else "as far as D overfits"
            told.append(f"{name} {why} (auto)")
        elif isinstance(target, str):
            told.append(f"{name} as in {target}")
        elif target is not None:
            told.append(f"{name} to {target:g}")
        elif "target_g" not in kind.options and not kind.penalised:
            told.append(f"{name} as its rule says")
        else:
            told.append(f"{name} by a penalty" if kind.penalised else f"{name} to a half")
    return f"{', '.join(told)}; rule {config.rule}"


def train(
    config: TrainConfig,
    console: Console | None = None,
    *,
    rules: Rules | None = None,
    schedules: Schedules | None = None,
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train, or continue the newest unfinished run with the same options; returns the run's folder.

    With `config.resume` that run is continued; options that differ from its own must be ones that can change.
    At the end, also at one before its time, `progress.png` is drawn.

    Args:
        rules: {"g": a rule, "d": a rule}, or one of them, instead of those that the options name; the other network
            stays dense. Give the same where the run goes on: its folder knows the options alone.
        schedules: makes the schedules of the pruners, {"g": pruner, "d": pruner}.
        callbacks: called during the run, besides those of `config.callbacks`.

    Raises:
        UserError: bad input, before anything is written; or another process trains in the same run.
        Diverged: no finite images, or one and the same picture, after all returns to a good state.
        WriteFailed: the disk is full or read-only, and `on_write_error` is 'stop'.
        Interrupted: stopped by Ctrl-C (SIGINT) or SIGTERM, after saving.

    >>> import io, tempfile
    >>> options = {"width_g": 2, "width_d": 2, "z_dim": 2, "batch": 4, "score_samples": 8, "max_images": 9}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     config = TrainConfig(outdir=folder, kimg=0.004, device="cpu", **options)
    ...     run = train(config, Console(file=io.StringIO()))
    ...     (run.name, (run / "progress.png").is_file())
    ('00000-digits-16-sngan-threshold', True)
    """
    console = console or Console()
    watching = [*make_callbacks(config.callbacks), *callbacks]
    if rules is not None and not rules.keys() <= {"g", "d"}:
        raise UserError(f"rules are given for 'g' and 'd', not for {', '.join(map(str, rules))}.")
    run = resumed(config) if config.resume else find_run(config)
    with ExitStack() as held:
        if run is None:
            data = read_fresh(config, console)
            with locked(config.outdir, f"Another run is just starting in {config.outdir}; try again.", wait=60):
                if (run := find_run(config)) is not None:  # the same command, started meanwhile
                    raise UserError(busy(run))
                others = related(config)
                run = new_run(config, data.shape[1:])
                held.enter_context(locked(run.path, busy(run)))
            log = RunLog(run, console)
            log.say(f"run        {run}")
            for line in others:
                log.say(line)
        else:
            held.enter_context(locked(run.path, busy(run)))
            if finished(run, config):
                console.print(
                    f"{run} with these options is finished. Look at its best/ and fakes*.png, or change an option "
                    "(--seed, --kimg, --outdir) to train another.",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )
                draw_progress(run)
                return run.path
            data = read_data(config, console)
            log = RunLog(run, console)
        with drawn(run):
            try:
                loop = begin(config, data, run, log, rules, schedules, watching)
                if config.resume:
                    take_over(config, run, log)
                loop.go()
            except OSError as error:
                raise WriteFailed(f"Cannot write to {run}: {error.strerror or error}.") from error
    return run.path


@contextmanager
def drawn(run: Run) -> Iterator[None]:
    """Draw the run when it ends, also where it stops before its time."""
    try:
        yield
    except (Diverged, Interrupted, WriteFailed):
        draw_progress(run)
        raise
    draw_progress(run)


def draw_progress(run: Run) -> None:
    """Its progress.png, if there is anything to draw and the disk takes it. No display is needed."""
    with contextlib.suppress(OSError):  # what was trained is worth more than its picture
        if rows := run.rows():
            plot_run(rows, run.path / PROGRESS, run.name)


def begin(
    config: TrainConfig,
    data: ImageSet,
    run: Run,
    log: RunLog,
    rules: Rules | None = None,
    schedules: Schedules | None = None,
    callbacks: Sequence[Callback] = (),
) -> Loop:
    """The loop at its first step, or where the newest readable state left it.

    Raises:
        UserError: there are states, and none can be read or fits.
    """
    training_images, held_out = data.split(config.seed)
    fresh = not checkpoints(run.checkpoints)
    training = Training(config, training_images, held_out or training_images, fresh, rules, schedules)
    loop = Loop(config, training, data.identity, run, log, callbacks)
    if not fresh:
        loop.load_newest()
        log.say(f"continuing {run} at kimg {training.images / 1000:.1f}")
        return loop
    if run.rows():
        raise UserError(f"The checkpoints of {run} are gone; move the folder away to train anew.")
    lines = [*summary(config, data), *sizes(training)]
    if rules is not None:
        told = ", ".join(f"{name.upper()} by {type(rule).__name__}" for name, rule in rules.items())
        lines = [f"sparsity   as given in Python: {told or 'none'}" if x.startswith("sparsity") else x for x in lines]
    for line in lines:
        log.say(line)
    record(config, data, held_out, run)
    rows = data.rows[:: max(1, len(data) // 64)][:64]
    save_picture(grid(data.store[rows]), run.path / REALS)
    return loop


def record(config: TrainConfig, data: ImageSet, held_out: ImageSet | None, run: Run) -> None:
    """Write data.jsonl: how the images were made and drawn, then a line for each with its SHA-256."""
    apart = set(held_out.rows.tolist()) if held_out else set()
    channels, height, width = data.shape
    head: dict[str, Any] = {"data": config.data, "key": data.key, "size": [height, width], "channels": channels}
    head |= {name: getattr(config, name) for name in ("resize", "background", "pattern", "max_images", "fraction")}
    head |= {"subset_seed": config.seed, "images": len(data), "held_out": len(apart), "skipped": list(data.skipped)}
    lines = [head]
    for index, (name, digest) in enumerate(zip(data.names, data.hashes, strict=True)):
        line: dict[str, Any] = {"name": name, "sha256": digest}
        if data.labels is not None:
            line["class"] = data.classes[int(data.labels[index])]
        lines.append({**line, "held_out": index in apart} if apart else line)
    run.write_data(lines)


def busy(run: Run) -> str:
    return f"Another process is training in {run}; wait for it, or change an option to train beside it."


def finished(run: Run, config: TrainConfig) -> bool:
    rows = run.rows()
    return bool(rows) and (rows[-1]["kimg"] >= config.kimg or given_up(rows, config.patience))


def resumed(config: TrainConfig) -> Run:
    """The run that --resume names.

    Raises:
        UserError: it is no run, or options were given that cannot change in it.
    """
    assert config.resume is not None
    run = Run.named(config.resume)
    differences = config.differences(run.options() or {})
    trained = max(map(kimg_of, checkpoints(run.checkpoints)), default=0)
    if "kimg" in differences and config.kimg <= trained:
        raise UserError(f"--kimg {config.kimg:g} is no more than {run} has trained already ({trained:g}).")
    fixed = [text for name, text in differences.items() if name not in CHANGEABLE]
    if fixed:
        raise UserError(
            f"{run} differs in {', '.join(fixed)}: a run cannot change that; leave it out, or train another run "
            "without --resume."
        )
    return run


def take_over(config: TrainConfig, run: Run, log: RunLog) -> None:
    """Say which options change in a resumed run, and keep them, so that the next --resume knows them."""
    changed = config.differences(run.options() or {})
    if changed:
        log.say(f"changed    {', '.join(changed.values())}")
        run.write_options(config)


def related(config: TrainConfig) -> list[str]:
    """What a new run differs in from the newest one of the same data, if there is one."""
    for run in reversed(runs(config.outdir)):
        saved = run.options()
        if saved is not None and saved.get("data") == config.to_json()["data"]:
            texts = ", ".join(config.differences(saved).values())
            return [f"new run    {run.name} differs in {texts}; to continue it instead: --resume {run}"]
    return []


def sizes(training: Training) -> list[str]:
    """Parameter counts, kept and all."""
    lines = []
    for name, network, pruner in (("G", training.g, training.prune_g), ("D", training.d, training.prune_d)):
        total = sum(p.numel() for p in network.parameters())
        prunable = f", {pruner.total:,} of them prunable" if pruner is not None else ""
        lines.append(f"network {name}  {training.config.network}, {total:,} parameters{prunable}")
    precision = "bf16" if training.bf16 else "fp32"
    lines.append(f"device     {training.device}, {precision}, score: {training.score.kind} distance")
    return lines
