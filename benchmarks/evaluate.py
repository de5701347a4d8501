"""Speed and memory of scoring a generator: directly, and by way of PNG files.

    python -m benchmarks.evaluate [--json] [--samples 10000] [--rounds 3]

Each way makes the same 32x32 RGB samples of an untrained SNGAN generator with 48 channels, takes features by the
reporting network and the Fréchet distance to a ready reference. 'PNG' makes the pictures as `rggan generate` does,
writes one file each without flushing, reads them back as any folder of pictures and scores them. The ways take turns
within one run; a ratio is the median over rounds of the ratio within a round. Peak memory is that of a fresh process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.step import high_water_mark
from rggan import Generator
from rggan.data import load_images
from rggan.data.pictures import to_pil
from rggan.evaluation.features import Precision, collect
from rggan.evaluation.subject import Samples
from rggan.generation.build import build
from rggan.metrics import Balls, Frechet, Statistics, feature_network, prdc

NETWORK = {"name": "sngan", "resolution": [32, 32], "channels": 3, "width": 48, "z_dim": 128, "classes": 0}
LIMIT = 10_000  # of the images that KID and neighbours keep, as `rggan evaluate` does
NEIGHBOURS, DIMENSIONS = 50_000, 256


def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(build(NETWORK), {"network": NETWORK, "classes": []})


def reference() -> Frechet:
    dim = feature_network("reporting").dim
    return Frechet(Statistics(torch.zeros(dim).double(), torch.eye(dim).double()))


def direct(source: Generator, judge: Frechet, samples: int, precision: Precision) -> float:
    network = feature_network("reporting")
    found = collect(network, Samples(source, range(samples)), ["whole"], LIMIT, "samples", precision)
    return judge(found["whole"].statistics)


def by_files(source: Generator, judge: Frechet, samples: int) -> float:
    network = feature_network("reporting")
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, samples, 1000):
            for seed, image in enumerate(source.images(range(start, min(start + 1000, samples))), start):
                to_pil(image).save(Path(folder, f"seed{seed:06d}.png"))
        images = load_images(folder, 32)
    return judge(collect(network, images, ["whole"], LIMIT, "samples")["whole"].statistics)


def speed(samples: int, rounds: int) -> dict[str, Any]:
    source, judge = generator(), reference()
    ways: dict[str, Callable[[], float]] = {
        "PNG": lambda: by_files(source, judge, samples),
        "direct fp32": lambda: direct(source, judge, samples, "fp32"),
        "direct bf16": lambda: direct(source, judge, samples, "bf16"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    scores = {}
    direct(source, judge, 500, "fp32")  # warm-up
    for turn in range(rounds):
        for name in ways if turn % 2 == 0 else reversed(ways):
            started = time.perf_counter()
            scores[name] = ways[name]()
            times[name].append(time.perf_counter() - started)
    return {
        name: {
            "seconds": statistics.median(times[name]),
            "faster_than_png": statistics.median(a / b for a, b in zip(times["PNG"], times[name], strict=True)),
            "score": scores[name],
        }
        for name in ways
    }


def neighbours(count: int) -> float:
    """Seconds for precision, recall, density and coverage of `count` against as many, neighbours included."""
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(count, DIMENSIONS, generator=random) for _ in range(2))
    started = time.perf_counter()
    prdc(Balls(x), Balls(y))
    return time.perf_counter() - started


def fresh(*cell: str) -> dict[str, float]:
    """A cell in a process of its own: {"seconds", "peak_mib"}."""
    command = [sys.executable, "-m", "benchmarks.evaluate", "--cell", *cell]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def run_cell(what: str, count: int) -> dict[str, float]:
    if what == "samples":
        started = time.perf_counter()
        direct(generator(), reference(), count, "fp32")
        seconds = time.perf_counter() - started
    else:
        seconds = neighbours(count)
    return {"seconds": seconds, "peak_mib": high_water_mark()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(run_cell(arguments.cell[0], int(arguments.cell[1]))))
        return
    found = {
        "machine": {"torch": torch.__version__, "threads": torch.get_num_threads()},
        "samples": arguments.samples,
        "speed": speed(arguments.samples, arguments.rounds),
        "memory": {str(count): fresh("samples", str(count)) for count in (10_000, 20_000, 40_000)},
        "neighbours": {str(count): fresh("neighbours", str(count)) for count in (10_000, NEIGHBOURS)},
    }
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print("| way | seconds | over PNG | Fréchet distance |\n|---|---|---|---|")
    for name, row in found["speed"].items():
        print(f"| {name} | {row['seconds']:.1f} | {row['faster_than_png']:.2f}x | {row['score']:.4f} |")
    print("\n| | seconds | peak memory |\n|---|---|---|")
    for name, row in found["memory"].items():
        print(f"| {int(name):,} samples, direct | {row['seconds']:.1f} | {row['peak_mib']:.0f} MiB |")
    for name, row in found["neighbours"].items():
        print(
            f"| neighbours and PRDC, {int(name):,} x {int(name):,} | {row['seconds']:.1f} | {row['peak_mib']:.0f} MiB |"
        )


if __name__ == "__main__":
    main()
