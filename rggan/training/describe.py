"""What a new run tells of itself: a summary for people, and data.jsonl for later."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rggan import ranks
from rggan.config import TrainConfig
from rggan.data import ImageSet
from rggan.data.streams.batches import StreamBatches
from rggan.data.streams.read import Streamed
from rggan.methods import kind_of_rule
from rggan.report.verdict import Scale
from rggan.run.folder import Row, Run
from rggan.run.versions import versions
from rggan.training.origin import id_of, new_id
from rggan.training.trainer import Training

TOLERANCE = 0.02  # of a density above its target


def summary(config: TrainConfig, data: ImageSet) -> list[str]:
    """What is about to be trained, in lines for people."""
    if isinstance(data, Streamed):
        return [*data.lines(), f"sparsity   {sparsity_line(config)}"]
    channels, height, width = data.shape
    training, held_out = data.split(config.seed)
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[channels]
    side = f"{width}x{height}" if width == height else f"{height} high x {width} wide"
    where = ", memory-mapped" if data.mapped else ""
    lines = [f"data       {config.data}: {len(data)} images, {side} {kind}{where}"]
    if data.classes:
        use = "conditional" if config.cond else "unconditional (`cond` uses them)"
        lines.append(f"classes    {len(data.classes)}: {', '.join(data.classes[:12])}; {use}")
    if data.skipped:
        lines.append(f"skipped    {len(data.skipped)} unreadable: {', '.join(data.skipped[:5])}")
    lines += [f"note       {note}" for note in data.notes]
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


def unreached(config: TrainConfig, row: Row) -> list[str]:
    """A line for each network whose density does not end at its target.

    >>> config = TrainConfig(target_d=0.5)
    >>> unreached(config, {"density_g": 1.0, "density_d": 0.8, "phase": "prune"})
    ['target     D ended at 0.80, not at `target_d` 0.5: a longer run, or a shorter `ramp`, reaches it']
    >>> unreached(config, {"density_g": 1.0, "density_d": 0.5, "phase": "prune"})
    []
    """
    lines = []
    for name in ("g", "d"):
        target, density = getattr(config, f"target_{name}"), row[f"density_{name}"]
        wanted = not (name == "g" and config.finale and config.finale_dense)  # else it ends dense, as asked
        if config.networks not in ("both", name) or not isinstance(target, float | int) or not wanted:
            continue
        if density > target + TOLERANCE:
            back = row.get(f"phase_{name}", row["phase"]) == "dense"
            why = (
                "the schedule had brought its weights back; `schedule` always keeps them pruned"
                if back
                else "a longer run, or a shorter `ramp`, reaches it"
            )
            lines.append(f"target     {name.upper()} ended at {density:.2f}, not at `target_{name}` {target:g}: {why}")
    return lines


def left_out(training: Training) -> list[str]:
    """A line where unreadable pictures of a stream were left out."""
    batches = training.gan.batches
    count = batches.skipped if isinstance(batches, StreamBatches) else 0
    others = " by this rank" if ranks.count() > 1 else ""
    return [f"skipped    {count:,} times a picture of the stream could not be read{others}"] if count else []


def sizes(training: Training) -> list[str]:
    """Parameter counts, kept and all."""
    lines = []
    for name, network, pruner in (("G", training.gan.g, training.prune_g), ("D", training.gan.d, training.prune_d)):
        total = sum(p.numel() for p in network.parameters())
        prunable = f", {pruner.total:,} of them prunable" if pruner is not None else ""
        lines.append(f"network {name}  {training.config.network}, {total:,} parameters{prunable}")
    precision = "bf16" if training.gan.bf16 else "fp32"
    recorded = ", steps recorded" if training.recorder.graphs is not None else ""
    shared = f", {ranks.count()} ranks of {training.config.batch // ranks.count()} images" if ranks.count() > 1 else ""
    score = training.evaluator.score
    told = f"score: {score.kind} distance by {score.network.name}"
    lines.append(f"device     {training.gan.device}, {precision}{recorded}{shared}, {told}")
    return lines


def record(config: TrainConfig, data: ImageSet, held_out: ImageSet | None, run: Run, scale: Scale | None) -> None:
    """Write data.jsonl: how the images were made and drawn and the score's scale, then a line for each image."""
    stream = data if isinstance(data, Streamed) else None
    apart = set(held_out.rows.tolist()) if held_out and stream is None else set()
    channels, height, width = data.shape
    head: dict[str, Any] = {
        "run": id_of(run) or new_id(),
        "data": config.data,
        "key": data.key,
        "size": [height, width],
        "channels": channels,
    }
    head |= {name: getattr(config, name) for name in ("resize", "background", "pattern", "max_images", "fraction")}
    head |= {"subset_seed": config.seed, "images": len(data), "held_out": len(apart), "skipped": list(data.skipped)}
    if stream is not None:  # whose images are not listed
        del head["images"]
        head |= stream.head()
    head |= {} if data.white_level is None else {"white_level": data.white_level}
    head |= {} if scale is None else {"scale": asdict(scale)}
    lines = [{**head, "versions": versions()}]
    for index, (name, digest) in enumerate(zip(data.names, data.hashes, strict=True) if stream is None else ()):
        line: dict[str, Any] = {"name": name, "sha256": digest}
        if data.labels is not None:
            line["class"] = data.classes[int(data.labels[index])]
        lines.append({**line, "held_out": index in apart} if apart else line)
    run.write_data(lines)
