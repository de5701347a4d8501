"""What pruning does at the optimizers' steps, timed by itself: a ratio of whole steps drowns on a noisy machine.

    python -m benchmarks.hooks [--steps 6] [--published]

Forward and backward passes are those of the network without a Pruner, so the hooks are all that pruning costs. One JSON
row a network: milliseconds of a training step and of its hooks, while pruning to half of the weights of both networks
and in a dense phase, at the widths and batches of `--cfg auto` for a CPU; --published takes SNGAN's published size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch

from benchmarks import networks, step
from benchmarks.timing import hook_seconds
from rggan.training.trainer import Training


def row(name: str, training: Training, steps: int) -> dict[str, Any]:
    training.step()
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        training.step()
        times.append(time.perf_counter() - started)
    whole, pruning = statistics.median(times), hook_seconds(training, steps)
    for pruner in training.pruners:
        pruner.integrate()
    dense = hook_seconds(training, max(1, steps // 3))
    found = {"network": name, "batch": training.config.batch, "d_steps": training.config.d_steps, "steps": steps}
    found |= {"weights": sum(pruner.total for pruner in training.pruners), "bf16": training.gan.bf16}
    found |= {"step_ms": 1000 * whole, "hooks_ms": 1000 * pruning, "dense_phase_ms": 1000 * dense}
    return found | {"share": pruning / whole, "dense_phase_share": dense / whole, "threads": torch.get_num_threads()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--published", action="store_true")
    arguments = parser.parse_args()
    if arguments.published:
        run = step.make("published", "threshold, target 0.5", "fp32 contiguous")
        print(json.dumps(row("sngan 32, published", run, arguments.steps)))
        return
    for name, side in networks.SIZES:
        print(json.dumps(row(f"{name} {side}", networks.make(name, side, "pruned"), arguments.steps)), flush=True)


if __name__ == "__main__":
    main()
