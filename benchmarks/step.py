"""Speed and memory of the whole training step under every rule, and what a dense phase costs.

    python -m benchmarks.step [--json] [--rounds 5] [--precision auto|fp32|bf16|both] [--rules dense threshold ...]

A step is what `rggan train` does: 5 discriminator steps and one generator step of batch 64 at 32x32, with augmentation,
flips, optimizers, masks and the generator average. The cells of one size take turns within one run, so that their
ratios hold on a noisy machine; a ratio is the median over rounds of the ratio within a round. Peak memory is that of a
fresh process which does one step. `auto` takes bf16 channels-last where the processor has units for it and fp32
contiguous elsewhere, `both` adds dense training and one rule in fp32. Rules that rank weights do so at updates, some
hundred steps apart (here 244 of D): such a step is not among those timed, its extra time stands in a column of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from itertools import product
from typing import Any

import torch

from benchmarks.timing import on_noise
from rggan import TrainConfig
from rggan.device import check_device, use_bf16
from rggan.pruning import Ranking
from rggan.training.estimate import peak_memory
from rggan.training.trainer import Training

SIZES = {"published": (256, 128), "48 channels": (48, 48)}
RULES: dict[str, dict[str, Any]] = {
    "dense": {"rule": "none"},
    "threshold, dense phase": {"rule": "threshold", "schedule": "never"},
    "threshold": {"rule": "threshold"},
    "threshold, target 0.5": {"rule": "threshold", "target_g": 0.5, "target_d": 0.5},
    "threshold, rows": {"rule": "threshold", "granularity": "row"},
    "hard": {"rule": "hard"},
    "hard, regrowth": {"rule": "hard", "regrow": 0.01},
    "published": {"rule": "published"},
    "static": {"rule": "static"},
    "magnitude": {"rule": "magnitude"},
    "one shot (Re-GAN)": {"rule": "oneshot"},
    "SET": {"rule": "set"},
    "RigL": {"rule": "rigl"},
    "SET, balance (ADAPT-like)": {"rule": "set", "balance": True},
}
IN_FP32 = ("dense", "threshold")
PRECISIONS = {"fp32 contiguous": "fp32", "bf16 channels-last": "bf16"}
D_STEPS, BATCH = 5, 64


def make(size: str, rule: str, precision: str) -> Training:
    width_g, width_d = SIZES[size]
    config = TrainConfig(
        width_g=width_g,
        width_d=width_d,
        **RULES[rule],
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
        batch=BATCH,
        d_steps=D_STEPS,
        mirror=True,
        score_samples=2,
    )
    return on_noise(config, 256, 32)


def seconds(training: Training) -> float:
    started = time.perf_counter()
    training.step()
    if training.gan.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


@torch.no_grad()
def update_seconds(training: Training) -> float | None:
    """What ranking the weights of both networks once takes; None where a rule moves masks at every step, or never."""
    rules = [(pruner.rule, pruner.layers) for pruner in training.pruners]
    if not rules or not all(isinstance(rule, Ranking) for rule, _ in rules):
        return None
    for rule, layers in rules:  # what RigL looks at
        for layer in layers:
            layer.weight.grad = torch.randn_like(layer.weight)
        rule.steps = rule.every - 1
        rule.look(layers)
    started = time.perf_counter()
    for rule, layers in rules:  # their masked weights are zero whether shown or not
        rule.revise(layers)
    return time.perf_counter() - started


def peak_of_cell(size: str, rule: str, precision: str) -> float:
    """MiB of a fresh process that does one step."""
    command = [sys.executable, "-m", "benchmarks.step", "--cell", size, rule, precision]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def high_water_mark() -> float:
    """MiB; Linux counts it anew in a fresh process."""
    return (peak_memory() or math.nan) / 2**20


def measure(size: str, rounds: int, precision: str, rules: list[str]) -> list[dict[str, Any]]:
    main, fp32 = "bf16" if precision == "both" else precision, precision == "both"
    cells = [
        (rule, name)
        for rule, name in product(rules, PRECISIONS)
        if PRECISIONS[name] == main or (fp32 and rule in IN_FP32)
    ]
    trainings = {cell: make(size, *cell) for cell in cells}
    times: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    for cell in cells:
        seconds(trainings[cell])  # warm-up
    for turn in range(rounds):
        for cell in cells if turn % 2 else reversed(cells):
            times[cell].append(seconds(trainings[cell]))

    def ratio(a: tuple[str, str], b: tuple[str, str]) -> float:
        return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))

    rows = []
    for rule, name in cells:
        rows.append(
            {
                "size": size,
                "rule": rule,
                "precision": name,
                "rounds": rounds,
                "seconds_per_step": statistics.median(times[rule, name]),
                "images_per_second": D_STEPS * BATCH / statistics.median(times[rule, name]),
                "speedup_over_fp32": ratio((rule, "fp32 contiguous"), (rule, name))
                if fp32 and rule in IN_FP32
                else None,
                "cost_over_dense": ratio((rule, name), ("dense", name)) - 1,
                "update_seconds": update_seconds(trainings[rule, name]),
                "peak_mib": peak_of_cell(size, rule, name),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument(
        "--rounds", type=int, default=5, help="at the published size; three times as many at the small one"
    )
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "both"), default="auto")
    parser.add_argument("--rules", nargs="+", choices=tuple(RULES), default=list(RULES), help="dense among them")
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        make(*arguments.cell).step()
        print(high_water_mark())
        return
    precision = arguments.precision
    if precision == "auto":
        precision = "bf16" if use_bf16("auto", check_device("auto")) else "fp32"
    rows = [
        row
        for size in arguments.sizes
        for row in measure(size, arguments.rounds * (1 if size == "published" else 3), precision, arguments.rules)
    ]
    if arguments.json:
        machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "cuda": torch.cuda.is_available()}
        print(json.dumps({"machine": machine, "rows": rows}, indent=2))
        return
    print("| size | rule | arithmetic | real images/s | s/step | over fp32 | pruning costs | an update | peak memory |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        cost = "" if row["rule"] == "dense" else f"{row['cost_over_dense']:+.1%}"
        over = "" if row["speedup_over_fp32"] is None else f"{row['speedup_over_fp32']:.2f}x"
        update = "" if row["update_seconds"] is None else f"{1000 * row['update_seconds']:.0f} ms"
        print(
            f"| {row['size']} | {row['rule']} | {row['precision']} | {row['images_per_second']:.0f} "
            f"| {row['seconds_per_step']:.2f} | {over} | {cost} | {update} | {row['peak_mib']:.0f} MiB |"
        )


if __name__ == "__main__":
    main()
