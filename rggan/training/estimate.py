"""What a training would take: parameters, memory and time, measured on a few real steps."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rggan.config import TrainConfig
from rggan.data import ImageSet
from rggan.training.trainer import Training

SECONDS = 3.0  # of steps that are timed
SAMPLE = 256  # pictures that the measurement trains on
BESIDES = 3  # of a weight's size: its gradient and Adam's two averages


@dataclass(frozen=True)
class Estimate:
    """What one training with these options takes.

    width_g, width_d, kimg: the options of these names. size: (height, width). parameters_g, parameters_d: of both
    networks. memory_mb: the measured peak of this process or on the accelerator, and all decoded images (where the
    system does not tell a process's peak: weights, gradients and Adam's averages instead, without what a step needs
    besides). sec_per_kimg: seconds for a thousand real images, without evaluations. hours: of the whole run at that
    speed.
    """

    network: str
    width_g: int
    width_d: int
    kimg: float
    size: tuple[int, int]
    channels: int
    parameters_g: int
    parameters_d: int
    device: str
    precision: str
    memory_mb: float
    sec_per_kimg: float
    hours: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        height, width = self.size
        kind = {1: "grey", 3: "RGB", 4: "RGBA"}[self.channels]
        widths = str(self.width_g) if self.width_g == self.width_d else f"{self.width_g} and {self.width_d}"
        return [
            f"network    {self.network} at {height}x{width} {kind}, width {widths}: {self.parameters_g:,} + "
            f"{self.parameters_d:,} parameters",
            f"memory     about {self.memory_mb:,.0f} MB on {self.device}",
            f"time       about {duration(self.hours)} for {self.kimg:g} kimg, besides evaluations: "
            f"{self.sec_per_kimg:.2f} s per kimg in {self.precision}, measured here",
        ]


def estimate(config: TrainConfig, data: ImageSet, images: int | None = None, seconds: float = SECONDS) -> Estimate:
    """Train for a few seconds in memory, on `data` (a sample is enough), and measure.

    images: how many the whole set has (for the memory); without it, as many as `data`.

    >>> from rggan.data import load_images
    >>> config = TrainConfig(width_g=8, width_d=8, batch=8, score_samples=2)
    >>> estimate(config, load_images("digits", 16, max_images=20), seconds=0.1).size
    (16, 16)
    """
    with torch.random.fork_rng(devices=[]):
        training = Training(config, data, data)
        cuda = training.gan.device.type == "cuda"
        forget_peak()
        if cuda:
            torch.cuda.reset_peak_memory_stats(training.gan.device)
        for _ in range(4 if cuda else 1):  # slower: memory is taken, kernels are chosen, steps are recorded
            training.step()
        if cuda:
            torch.cuda.synchronize(training.gan.device)
        steps, started = 0, time.perf_counter()
        while steps == 0 or time.perf_counter() - started < seconds:
            training.step()
            steps += 1
            if cuda:
                torch.cuda.synchronize(training.gan.device)
    per_step = (time.perf_counter() - started) / steps
    counts = [sum(p.numel() for p in network.parameters()) for network in (training.gan.g, training.gan.d)]
    channels, height, width = data.shape
    pixels = (images or len(data)) * channels * height * width
    peak = torch.cuda.max_memory_allocated(training.gan.device) if cuda else peak_memory()
    memory = (peak or 4 * (1 + BESIDES) * sum(counts)) + pixels
    sec_per_kimg = per_step / (config.batch * config.d_steps / 1000)
    return Estimate(
        network=config.network,
        width_g=config.width_g,
        width_d=config.width_d,
        kimg=config.kimg,
        size=(height, width),
        channels=channels,
        parameters_g=counts[0],
        parameters_d=counts[1],
        device=str(training.gan.device),
        precision="bf16" if training.gan.bf16 else "fp32",
        memory_mb=memory / 1e6,
        sec_per_kimg=sec_per_kimg,
        hours=sec_per_kimg * config.kimg / 3600,
    )


def sample_of(config: TrainConfig, data: ImageSet) -> tuple[TrainConfig, ImageSet]:
    """A few of the pictures, as much as `estimate` needs; without classes, of which they may lack some."""
    few = data.take(np.arange(min(len(data), SAMPLE)) * len(data) // min(len(data), SAMPLE))
    return dataclasses.replace(config, cond=False), few


def duration(hours: float) -> str:
    """
    >>> duration(0.004), duration(0.5), duration(1.25), duration(60)
    ('1 minute', '30 minutes', '1.2 hours', '60 hours')
    """
    minutes = max(1, round(60 * hours))
    if minutes < 60:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{hours:.1f} hours" if hours < 10 else f"{hours:.0f} hours"


def forget_peak() -> None:
    """Let this process's peak of memory be counted anew, where Linux can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
    """Bytes of memory that this process took at its peak; None where the system does not tell."""
    try:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None
