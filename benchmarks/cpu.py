"""What pruning costs a training step on a CPU, every network, dense and pruned in turns within one run.

    python -m benchmarks cpu [--minutes 10] [--only sngan-32 ...] [--out cpu.json]

At the widths and batches of `--cfg auto` for a CPU, and SNGAN's published size, pruning both networks to a half. `in
hooks` is what pruning does at the optimizers' steps, timed by itself: forward and backward passes are those of the
network without a Pruner, so that is all it costs, and it is told apart where whole steps drown in a machine's noise. `a
dense phase` is the same while weights are integrated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import networks, step
from benchmarks.timing import hook_seconds
from rggan.training.trainer import Training

GOALS = {"sngan-cifar": 0.03}  # a share of the step, at the published width; at narrow ones:
NARROW = 0.06
ARMS = ("dense", "pruned")


def published(arm: str) -> Training:
    rule = {"dense": "dense", "pruned": "threshold, target 0.5"}[arm]
    return step.make(
        "published", rule, "bf16 channels-last" if step.use_bf16("auto", torch.device("cpu")) else "fp32 contiguous"
    )


CELLS: dict[str, Callable[[str], Training]] = {
    f"{name}-{side}": partial(networks.make, name, side) for name, side in networks.SIZES
} | {"sngan-cifar": published}


def seconds(training: Training, steps: int) -> float:
    """Of a step, the mean over so many."""
    started = time.perf_counter()
    for _ in range(steps):
        training.step()
    return (time.perf_counter() - started) / steps


def measure(cell: str, until: float) -> dict[str, Any]:
    """One row; at least two turns, whatever the time."""
    runs = {arm: CELLS[cell](arm) for arm in ARMS}
    once = max(seconds(run, 1) for run in runs.values())
    steps = max(1, min(16, int(4 / once)))  # a timing takes some seconds
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    turn = 0
    while turn < 2 or (time.monotonic() < until and turn < 8):
        for arm in ARMS if turn % 2 else reversed(ARMS):
            times[arm].append(seconds(runs[arm], steps))
        turn += 1
    pruned, config = runs["pruned"], runs["pruned"].config
    whole, hooks = statistics.median(times["pruned"]), hook_seconds(pruned, max(1, steps // 2))
    for pruner in pruned.pruners:
        pruner.integrate()
    idle = hook_seconds(pruned, max(1, steps // 2))
    ratios = [b / a for a, b in zip(times["dense"], times["pruned"], strict=True)]
    row: dict[str, Any] = {"cell": cell, "batch": config.batch, "d_steps": config.d_steps, "width_g": config.width_g}
    row |= {"weights": sum(pruner.total for pruner in pruned.pruners), "bf16": pruned.gan.bf16, "turns": turn}
    row |= {"images_per_second": config.batch * config.d_steps / whole, "ms": 1000 * whole, "hooks_ms": 1000 * hooks}
    row |= {"cost": statistics.median(ratios) - 1, "share": hooks / whole, "goal": GOALS.get(cell, NARROW)}
    row |= {"dense_phase_share": idle / whole}
    return row


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| network | batch | prunable weights | a step | in hooks | share | goal | a dense phase | whole steps |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    cells = (
        f"| {row['cell']} | {row['batch']} | {row['weights'] / 1e6:.2f} M | "
        f"{row['ms']:,.0f} ms | {row['hooks_ms']:.1f} ms | {row['share']:.1%} | {row['goal']:.0%} | "
        f"{row['dense_phase_share']:.2%} | {row['cost']:+.1%} |"
        for row in rows
    )
    return "\n".join([*lines, *cells])


def main(arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    cells = [cell for cell in CELLS if cell in (arguments.only or CELLS)]
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    found: dict[str, Any] = {"machine": machine, "rows": []}
    for place, cell in enumerate(cells):
        left = 60 * arguments.minutes - (time.monotonic() - started)
        found["rows"].append(measure(cell, time.monotonic() + left / (len(cells) - place)))
        print(table(found["rows"][-1:]) if place == 0 else table(found["rows"][-1:]).splitlines()[-1], flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(found, indent=2) + "\n")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=10.0, help="of the whole, at least two turns a network")
    parser.add_argument("--only", nargs="+", choices=CELLS, help="these networks")
    parser.add_argument("--out", type=Path, help="write JSON there")
