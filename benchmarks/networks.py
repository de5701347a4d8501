"""Speed and memory of training each family of networks, dense and pruned, at the widths and batches of `--cfg auto`.

    python -m benchmarks.networks [--json] [--rounds 5] [--published] [--convolution] [--only sngan ...]

A step is what `rggan train` does: D's and G's step, DiffAugment, penalties when they are due, optimizers, masks and the
generator's average; every timing is of 16 steps, so that each holds one lazy R1 penalty. The arms of a network take
turns within one run, and what pruning costs is the median over rounds of the ratio within a round; beside it stands
what the hooks at the optimizers' steps take by themselves. Peak memory is that
of a fresh process after two steps, on a GPU that of its allocator. --published takes the published widths instead
(StyleGAN2 at 256 pixels among them): for a GPU. --convolution compares StyleGAN2's modulated convolution with a
grouped one instead, forward and backward in bf16.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.timing import hook_seconds, on_noise
from rggan import TrainConfig
from rggan.networks.stylegan2 import ModulatedConv2d
from rggan.presets import Found, choose
from rggan.training.estimate import peak_memory
from rggan.training.trainer import Training

STEPS = 16
SIZES = (("sngan", 32), ("stylegan2", 32), ("stylegan2", 64), ("fastgan", 64), ("fastgan", 128), ("biggan", 32))
PUBLISHED = (
    *(("sngan-cifar", 32), ("stylegan2-32", 32), ("stylegan2-256", 256), ("fastgan-128", 128), ("biggan-cifar", 32)),
)
ARMS: dict[str, dict[str, Any]] = {
    "dense": {"rule": "none"},
    "dense phase": {"schedule": "never"},
    "pruned": {"target_g": 0.5, "target_d": 0.5},
}


def make(name: str, side: int, arm: str) -> Training:
    options: dict[str, Any] = {}
    if name in ("sngan", "stylegan2", "fastgan", "biggan"):
        chosen, _ = choose(Found(images=1000, side=side, classes=0, cuda=False), network=name)
        options = {key: chosen[key] for key in ("width_g", "width_d", "batch")}
    options |= {"resolution": side, "score_samples": 2, "aug": "diff", "cond": False, **ARMS[arm]}
    config = TrainConfig.of(name, **options)
    return on_noise(config, 128, side)


def seconds(training: Training) -> float:
    started = time.perf_counter()
    for _ in range(STEPS):
        training.step()
    if training.gan.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_of_cell(name: str, side: int, arm: str) -> float:
    """MiB of a fresh process that does two steps."""
    command = [sys.executable, "-m", "benchmarks.networks", "--cell", name, str(side), arm]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def high_water_mark() -> float:
    """MiB of the GPU, if there is one; Linux counts it anew in a fresh process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return (peak_memory() or math.nan) / 2**20


def measure(name: str, side: int, rounds: int) -> list[dict[str, Any]]:
    runs = {arm: make(name, side, arm) for arm in ARMS}
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for run in runs.values():
        run.step()  # warm-up
    for turn in range(rounds):
        for arm in ARMS if turn % 2 else reversed(ARMS):
            times[arm].append(seconds(runs[arm]))
    costs = {arm: statistics.median(b / a for a, b in zip(times["dense"], times[arm], strict=True)) - 1 for arm in ARMS}
    rows = []
    for arm, run in runs.items():
        config = run.config
        images = STEPS * config.batch * config.d_steps
        row = {"network": name, "side": side, "width": config.width_g, "batch": config.batch, "arm": arm}
        row["hooks_ms"] = 1000 * hook_seconds(run, 4) if run.pruners else None
        row |= {"images_per_second": images / statistics.median(times[arm]), "bf16": run.gan.bf16, "rounds": rounds}
        rows.append(row | {"cost": None if arm == "dense" else costs[arm], "peak_mib": peak_of_cell(name, side, arm)})
    return rows


def grouped(layer: ModulatedConv2d, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """What `layer` computes, with a weight for each picture."""
    n, inputs, height, width = x.shape
    weight = layer.weight / layer.weight[0].numel() ** 0.5 * layer.affine(style)[:, None, :, None, None]
    weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    flat = weight.reshape(-1, inputs, *weight.shape[3:]).to(x.dtype)
    return F.conv2d(x.reshape(1, -1, height, width), flat, padding=1, groups=n).view(n, -1, height, width)


def convolutions(rounds: int) -> None:
    """Prints ms of both ways."""
    print("| maps | channels | pictures | scaled channels | grouped |\n|---|---|---|---|---|")
    for side, channels, n in ((16, 64, 32), (32, 64, 32), (64, 32, 16)):
        layer = ModulatedConv2d(channels, channels, 3, 64)
        x = torch.randn(n, channels, side, side, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        x, style = x.requires_grad_(), torch.randn(n, 64)
        times: dict[str, list[float]] = {"scaled": [], "grouped": []}
        for _ in range(rounds + 1):  # the first one warms up
            for name, way in (("scaled", layer), ("grouped", lambda x, style, layer=layer: grouped(layer, x, style))):
                started = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16):
                    out = way(x, style)
                out.sum().backward()
                times[name].append(1000 * (time.perf_counter() - started))
        told = " | ".join(f"{statistics.median(times[name][1:]):.1f} ms" for name in times)
        print(f"| {side}x{side} | {channels} | {n} | {told} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--published", action="store_true", help="the presets at their published widths")
    parser.add_argument("--convolution", action="store_true", help="StyleGAN2's convolution against the grouped one")
    parser.add_argument("--only", nargs="+", help="these networks")
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        name, side, arm = arguments.cell
        run = make(name, int(side), arm)
        run.step()
        run.step()
        print(high_water_mark())
        return
    if arguments.convolution:
        convolutions(4 * arguments.rounds)
        return
    cells = [c for c in (PUBLISHED if arguments.published else SIZES) if c[0] in (arguments.only or [c[0]])]
    rows = [row for cell in cells for row in measure(*cell, arguments.rounds)]
    if arguments.json:
        machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "cuda": torch.cuda.is_available()}
        print(json.dumps({"machine": machine, "rows": rows}, indent=2))
        return
    print("| network | size | width | batch | arm | real images/s | pruning costs | in hooks | peak memory |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        cost = "" if row["cost"] is None else f"{row['cost']:+.1%}"
        hooks = "" if row["hooks_ms"] is None else f"{row['hooks_ms']:.1f} ms a step"
        print(
            f"| {row['network']} | {row['side']} | {row['width']} | {row['batch']} | {row['arm']} "
            f"| {row['images_per_second']:.1f} | {cost} | {hooks} | {row['peak_mib']:.0f} MiB |"
        )


if __name__ == "__main__":
    main()
