"""Speed and memory of the whole training step, dense and pruning, fp32 contiguous and bf16 channels-last.

    python benchmarks/step.py [--json] [--rounds 5]

A step is what `rggan train` does: 5 discriminator steps and one generator step of batch 64 at 32x32, with augmentation,
flips, optimizers, masks and the generator average. The cells of one size take turns within one run, so that their
ratios hold on a noisy machine; a ratio is the median over rounds of the ratio within a round. Peak memory is that of a
fresh process which does one step.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import statistics
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch

from rggan import TrainConfig
from rggan.data import ImageSet
from rggan.training.engine import Training

SIZES = {"published": (256, 128), "48 channels": (48, 48)}
RULES = {"dense": "none", "pruning": "threshold"}
PRECISIONS = {"fp32 contiguous": "fp32", "bf16 channels-last": "bf16"}
D_STEPS, BATCH = 5, 64


def make(size: str, rule: str, precision: str) -> Training:
    width_g, width_d = SIZES[size]
    config = TrainConfig(
        width_g=width_g,
        width_d=width_d,
        rule=RULES[rule],  # type: ignore[arg-type]
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
        batch=BATCH,
        d_steps=D_STEPS,
        mirror=True,
        score_samples=2,
    )
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (256, 3, 32, 32), dtype=torch.uint8, generator=random)
    names = tuple(map(str, range(len(images))))
    data = ImageSet(store=images, rows=torch.arange(len(images)), labels=None, classes=(), names=names, hashes=names)
    return Training(config, data, dataclasses.replace(data))  # another set, as if it were held out


def seconds(training: Training) -> float:
    started = time.perf_counter()
    training.step()
    if training.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_memory(size: str, rule: str, precision: str) -> float:
    """MiB of a fresh process that does one step."""
    command = [sys.executable, __file__, "--cell", size, rule, precision]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def high_water_mark() -> float:
    """MiB; from Linux's VmHWM, which begins anew in a fresh process (ru_maxrss is inherited from the parent)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def measure(size: str, rounds: int) -> list[dict[str, Any]]:
    cells = list(product(RULES, PRECISIONS))
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
    for rule, precision in cells:
        rows.append(
            {
                "size": size,
                "rule": rule,
                "precision": precision,
                "seconds_per_step": statistics.median(times[rule, precision]),
                "images_per_second": D_STEPS * BATCH / statistics.median(times[rule, precision]),
                "speedup_over_fp32": ratio((rule, "fp32 contiguous"), (rule, precision)),
                "cost_over_dense": ratio((rule, precision), ("dense", precision)) - 1,
                "peak_mib": peak_memory(size, rule, precision),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument(
        "--rounds", type=int, default=5, help="at the published size; three times as many at the small one"
    )
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        make(*arguments.cell).step()
        print(high_water_mark())
        return
    rows = [row for size in SIZES for row in measure(size, arguments.rounds * (1 if size == "published" else 3))]
    if arguments.json:
        machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "cuda": torch.cuda.is_available()}
        print(json.dumps({"machine": machine, "rows": rows}, indent=2))
        return
    print("| size | rule | arithmetic | real images/s | s/step | over fp32 | pruning costs | peak memory |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        cost = "" if row["rule"] == "dense" else f"{row['cost_over_dense']:+.1%}"
        print(
            f"| {row['size']} | {row['rule']} | {row['precision']} | {row['images_per_second']:.0f} "
            f"| {row['seconds_per_step']:.2f} | {row['speedup_over_fp32']:.2f}x | {cost} | {row['peak_mib']:.0f} MiB |"
        )


if __name__ == "__main__":
    main()
