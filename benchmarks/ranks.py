"""What a training step takes on one rank and on several, on this machine's cores.

    python -m benchmarks ranks [--rounds 3] [--ranks 2] [--seconds 4] [--json]

The global batch is the same. One process has one thread, or as many as there are ranks; ranks have one thread each. The
cells take turns, so that their ratios hold on a noisy machine; a ratio is the median over rounds. Steps are those of
`rggan train`, dense and with an adaptive discriminator, on noise.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.multiprocessing as mp
from torch.distributed import TCPStore

from benchmarks.timing import on_noise
from rggan import TrainConfig, ranks
from rggan.training.together import joined

CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "SNGAN 32 px, 64 channels, batch 64": (32, {"network": "sngan", "width_g": 64, "width_d": 64, "batch": 64}),
    "StyleGAN2 32 px, 64 channels, batch 32": (32, {"network": "stylegan2", "width_g": 64, "width_d": 64, "batch": 32}),
    "FastGAN 64 px, 16 channels, batch 16": (64, {"network": "fastgan", "width_g": 16, "width_d": 16, "batch": 16}),
    "BigGAN 32 px, 16 channels, batch 64": (32, {"network": "biggan", "width_g": 16, "width_d": 16, "batch": 64}),
}
COMMON: dict[str, Any] = {"device": "cpu", "d_steps": 1, "score_samples": 2, "target_d": 0.5, "ramp": 0.01}


def work(number: int, count: int, threads: int, port: int, case: str, seconds: float, out: str) -> None:
    """One rank: steps for so long; the first writes how many images a second they were."""
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    torch.set_num_threads(threads)
    side, options = CASES[case]
    with joined():
        training = on_noise(TrainConfig(**{**COMMON, **options}), 256, side)
        for _ in range(2):
            training.step()
        steps, started = 0, time.perf_counter()
        once = None
        while once is None or steps < max(2, round(seconds / once)):  # as many on all ranks
            training.step()
            steps += 1
            if once is None:
                once = ranks.of_first(time.perf_counter() - started)
        rate = steps * options["batch"] / (time.perf_counter() - started)
    if number == 0:
        Path(out).write_text(json.dumps(rate))


def measured(count: int, threads: int, case: str, seconds: float) -> float:
    """Images a second."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with TemporaryDirectory() as folder:
        out = f"{folder}/rate"
        mp.spawn(work, (count, threads, store.port, case, seconds, out), nprocs=count)  # type: ignore[no-untyped-call]
        rate: float = json.loads(Path(out).read_text())
    return rate


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0, help="of steps in each cell")
    parser.add_argument("--json", action="store_true")


def main(arguments: argparse.Namespace) -> None:
    cells = {"1 process, 1 thread": (1, 1), f"1 process, {arguments.ranks} threads": (1, arguments.ranks)}
    cells |= {f"{arguments.ranks} ranks, 1 thread each": (arguments.ranks, 1)}
    told = {}
    for case in CASES:
        rates: dict[str, list[float]] = {name: [] for name in cells}
        for _ in range(arguments.rounds):
            for name, (count, threads) in cells.items():
                rates[name].append(measured(count, threads, case, arguments.seconds))
        first = rates[next(iter(cells))]
        told[case] = {
            name: {
                "images a second": statistics.median(found),
                "ratio": statistics.median(x / y for x, y in zip(found, first, strict=True)),
            }
            for name, found in rates.items()
        }
        if not arguments.json:
            print(case)
            for name, cell in told[case].items():
                print(f"    {name:<28} {cell['images a second']:8.1f} images/s   x {cell['ratio']:.2f}", flush=True)
    if arguments.json:
        print(json.dumps(told, indent=2))
