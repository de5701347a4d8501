"""Speed of training on a CUDA GPU: every network, dense and pruned; eager, captured, and compiled.

    python -m benchmarks gpu [--minutes 5] [--only sngan-64 ...] [--out gpu.json]

Whole training steps (`Training.step`: images, flips, augmentation, both networks, lazy penalties in their share,
optimizers, pruning, EMA) at the published widths. The arms of a network take turns within one run, `pruning costs` is
the median of the ratio within a turn; a cell without its time is left out, and said to be. `share of peak` is the
arithmetic of convolutions and matrix products over that of a large bf16 matrix product, measured here. A tick is the
snapshot and the evaluation of 2,000 samples. `--at-once N` trains as many small runs in as many processes (the vendor's
multi-process service, where it was started, serves them).
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import on_noise
from rggan import TrainConfig, UserError
from rggan.training.trainer import Training

WIDE = {"width_g": 64, "width_d": 64}
CELLS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "sngan-64": ("sngan", 32, {**WIDE, "d_steps": 5}),
    "sngan-cifar": ("sngan-cifar", 32, {}),
    "biggan-cifar": ("biggan-cifar", 32, {**WIDE, "cond": False}),
    "stylegan2-32": ("stylegan2-32", 32, {}),
    "fastgan-256": ("fastgan", 256, {**WIDE, "batch": 16}),
    "stylegan2-256": ("stylegan2-256", 256, {"batch": 32}),
}
ARMS: dict[str, dict[str, Any]] = {"dense": {"rule": "none"}, "pruned": {"target_g": 0.5, "target_d": 0.5}}
WAYS: dict[str, dict[str, Any]] = {
    "eager": {"capture": "off"},
    "captured": {"capture": "on"},
    "compiled": {"capture": "on", "compile": True},
}
STEPS = 16  # a timing: one lazy R1, four lazy path lengths
TICK_SAMPLES = 2000


def make(cell: str, arm: str, way: str) -> Training:
    name, side, own = CELLS[cell]
    options = {"resolution": side, "score_samples": TICK_SAMPLES, "device": "cuda", **own, **ARMS[arm], **WAYS[way]}
    config = TrainConfig.of(name, **options)
    return on_noise(config, 1024, side)


def seconds(training: Training, steps: int = STEPS) -> float:
    """Of a training step, the mean over so many."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        training.step()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / steps


def warmed(training: Training) -> Training:
    """All of its variants are recorded: the lazy penalties come every 16 and every 4 steps."""
    seconds(training, 1 + 2 * STEPS // training.config.d_steps)
    return training


def operations(cell: str) -> float:
    """Multiplications and additions of convolutions and matrix products in a step without penalties."""
    training = make(cell, "dense", "eager")
    training.step()
    with FlopCounterMode(display=False) as counted:
        training.step()
    return counted.get_total_flops()


def peak_rate() -> float:
    """Operations a second of a large matrix product in bf16."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(10):
        a @ b
    torch.cuda.synchronize()
    return 10 * 2 * 8192**3 / (time.perf_counter() - started)


def tick(training: Training) -> float:
    """Seconds of a snapshot and its evaluation, the second time."""
    for _ in range(2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        training.evaluator.judge(training.snapshot())
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(cell: str, ways: list[str], turns: int, until: float, peak: float) -> list[dict[str, Any]]:
    """One row an arm and way; what did not come within the time is missing."""
    runs: dict[tuple[str, str], Training] = {}
    memory, times = {}, {}
    for way in ways:
        for arm in ARMS:
            if time.monotonic() > until:
                break
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            try:
                runs[arm, way] = warmed(make(cell, arm, way))
            except UserError as error:
                print(f"{cell}, {arm}, {way}: {error}", file=sys.stderr)
                continue
            memory[arm, way] = (torch.cuda.max_memory_allocated() - before) / 2**20
            times[arm, way] = [seconds(runs[arm, way])]
    for turn in range(turns - 1):
        for key in runs if turn % 2 else reversed(runs):
            if time.monotonic() < until:
                times[key].append(seconds(runs[key]))
    flops = operations(cell) if runs else 0.0
    rows = []
    for (arm, way), run in runs.items():
        config, own = run.config, times[arm, way]
        images = config.batch * config.d_steps
        dense = times.get(("dense", way), [])
        ratios = [b / a for a, b in zip(dense, own, strict=False)]
        row: dict[str, Any] = {"cell": cell, "arm": arm, "way": way, "batch": config.batch, "d_steps": config.d_steps}
        row |= {"width_g": config.width_g, "width_d": config.width_d, "turns": len(own), "bf16": run.gan.bf16}
        row |= {"ms": 1000 * statistics.median(own), "images_per_second": images / statistics.median(own)}
        row |= {"cost": statistics.median(ratios) - 1 if arm == "pruned" and ratios else None}
        row |= {"share_of_peak": flops / statistics.median(own) / peak, "peak_mib": memory[arm, way]}
        row |= {"recorded": run.recorder.graphs is not None, "tick_seconds": tick(run)}
        rows.append(row)
    return rows


def at_once(count: int) -> dict[str, Any]:
    """Real images a second of so many small runs in as many processes, each captured and pruned."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--alone"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    rates = [float(process.communicate()[0]) for process in processes]
    return {"cell": "sngan-64", "at_once": count, "images_per_second": sum(rates), "each": rates}


def alone() -> float:
    """Real images a second over ten seconds, in a process of its own."""
    run = warmed(make("sngan-64", "pruned", "captured"))
    time.sleep(10 - time.time() % 10)  # the others too
    started, steps = time.perf_counter(), 0
    while time.perf_counter() < started + 10:
        seconds(run)
        steps += STEPS
    return steps * run.config.batch * run.config.d_steps / (time.perf_counter() - started)


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| network | arm | way | real images/s | a step | pruning costs | share of peak | peak memory | a tick |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cost = "" if row["cost"] is None else f"{row['cost']:+.1%}"
        lines.append(
            f"| {row['cell']} | {row['arm']} | {row['way']} | {row['images_per_second']:,.0f} | {row['ms']:.2f} ms | "
            f"{cost} | {row['share_of_peak']:.0%} | {row['peak_mib']:,.0f} MiB | {row['tick_seconds']:.2f} s |"
        )
    return "\n".join(lines)


def main(arguments: argparse.Namespace) -> None:
    if not torch.cuda.is_available():
        print("benchmarks gpu: this machine or this build of PyTorch has no CUDA GPU.", file=sys.stderr)
        raise SystemExit(2)
    until = time.monotonic() + 60 * arguments.minutes
    peak = peak_rate()
    machine = {"card": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}
    found: dict[str, Any] = {"machine": machine, "peak_tflops": peak / 1e12, "rows": [], "left_out": [], "at_once": []}
    print(f"{machine['card']}, PyTorch {machine['torch']}, {peak / 1e12:.0f} TFLOP/s in a bf16 matrix product")
    cells = [cell for cell in CELLS if cell in (arguments.only or CELLS)]
    for place, cell in enumerate(cells):
        if time.monotonic() > until:
            found["left_out"].append(cell)
            continue
        share = (until - time.monotonic()) / (len(cells) - place)  # of the time that is left
        rows = measure(cell, arguments.ways, arguments.turns, time.monotonic() + share, peak)
        found["rows"] += rows
        print(table(rows), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(found, indent=2) + "\n")
        gc.collect()
        torch.cuda.empty_cache()
    if arguments.at_once:
        found["at_once"].append(at_once(arguments.at_once))
        print(json.dumps(found["at_once"][-1]))
    if found["left_out"]:
        print(f"not measured for lack of time: {', '.join(found['left_out'])}")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=5.0, help="of the whole, but for the last cell's end")
    parser.add_argument("--only", nargs="+", choices=CELLS, help="these networks")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["eager", "captured"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write JSON there")


if __name__ == "__main__":
    if sys.argv[1:] == ["--alone"]:
        print(alone())
