"""What a smaller generator saves, measured: weights, bytes, multiplications, milliseconds, and what pictures lose."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from rggan.errors import UserError
from rggan.export.onnx import opened, to_onnx
from rggan.export.sparse import SEEDS, loss
from rggan.export.traced import whole as whole_of
from rggan.files import json_text, write_whole
from rggan.generation.discreet import told as discreet
from rggan.generation.generator import Generator
from rggan.memory import refuse

BATCHES = (1, 64)
WARM_UP = 3  # calls before the clock counts
LEAST_ROUNDS = 15
SECONDS = 4.0  # a batch size at least, unless its rounds take longer
SLOWER = 0.95  # of the time, above which zeros are said to bring nothing
ZEROS = 0.1  # of the weights, from which they are spoken of

Runner = Callable[[int], Callable[[], object]]  # a batch's size -> what makes such a batch, ready to be timed


@dataclass(frozen=True)
class Cost:
    """What one generator costs.

    zeros: how many of its parameters are 0. bytes: of its file. macs: multiply-accumulates of one picture.
    milliseconds: {runtime: {batch: median of a whole batch}}.
    """

    name: str
    parameters: int
    zeros: int
    bytes: int
    macs: int
    milliseconds: dict[str, dict[int, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Receipt:
    """Two generators side by side.

    difference: the largest between their pictures of the same seeds, in levels of 0 to 255; None where their latents or
    sizes differ. scores: {metric: (whole, small)}, each as `rggan evaluate --json` has it.
    """

    whole: Cost
    small: Cost
    device: str
    threads: int
    difference: int | None
    scores: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What others may have: of places the last part (`discreet`)."""
        return {**asdict(self), "scores": discreet(self.scores)}

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        write_whole(path, (json_text(self.to_json(), indent=2) + "\n").encode())

    def lines(self) -> list[str]:
        """A table in Markdown, and what it does not say by itself."""
        a, b = self.whole, self.small
        rows: list[tuple[str, str, str, float | None]] = [
            ("parameters", f"{a.parameters:,}", f"{b.parameters:,}", a.parameters / b.parameters),
            ("of them zeros", f"{a.zeros:,}", f"{b.zeros:,}", None),
            ("file, MB", f"{a.bytes / 1e6:.2f}", f"{b.bytes / 1e6:.2f}", a.bytes / b.bytes),
            ("multiplications a picture, millions", f"{a.macs / 1e6:.1f}", f"{b.macs / 1e6:.1f}", a.macs / b.macs),
        ]
        for runtime, batch, before, after in self.times():
            name = f"{runtime}, batch {batch}, ms"
            rows.append((name, f"{before:.2f}", f"{after:.2f}", before / after))
        for metric, numbers in self.scores.items():
            rows.append((metric, told(numbers[0]), told(numbers[1]), None))
        found = ["| | whole | small | times less |", "|---|---:|---:|---:|"]
        found += [f"| {name} | {x} | {y} | {'' if ratio is None else f'{ratio:.2f}'} |" for name, x, y, ratio in rows]
        return [*found, "", *self.notes()]

    def times(self) -> Iterator[tuple[str, int, float, float]]:
        """(runtime, batch, milliseconds of the whole, of the small one) for all that both were timed with."""
        for runtime, before in self.whole.milliseconds.items():
            after = self.small.milliseconds.get(runtime, {})
            yield from ((runtime, batch, time, after[batch]) for batch, time in before.items() if batch in after)

    def notes(self) -> list[str]:
        """Sentences about what people would else misread."""
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        found = [f"Medians of turns of the two, in one process, on {self.device} with {threads}."]
        if self.difference is not None:
            same = "are the same" if self.difference == 0 else f"differ by at most {self.difference} of 255 levels"
            found.append(f"The pictures of {len(SEEDS)} seeds {same}.")
        share = self.small.zeros / self.small.parameters
        if share > ZEROS and all(after > SLOWER * before for _, _, before, after in self.times()):
            found.append(
                f"{share:.0%} of the small one's weights are zeros, and it is no faster: a zero in a tensor takes the "
                "time of any number. `shrink` takes out whole rows of them."
            )
        for metric, (before, after) in self.scores.items():
            found.append(f"{metric}: {IN_WORDS[compared(before, after)]}")
        return found


def told(number: Mapping[str, Any]) -> str:
    """A value and its interval.

    >>> told({"value": 0.5, "interval": [0.25, 0.75]}), told({"value": 12.345678, "interval": None})
    ('0.5 (0.25 to 0.75)', '12.35')
    """
    value, interval = number["value"], number.get("interval")
    return f"{value:.4g}" + (f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval else "")


Verdict = Literal["better", "worse", "not told apart"]
IN_WORDS: dict[Verdict | None, str] = {
    "better": "the intervals do not overlap: the small one is better",
    "worse": "the intervals do not overlap: the small one is worse",
    "not told apart": "the intervals overlap, so the two are not told apart",
    None: "without intervals nothing says whether the two differ",
}


def compared(before: Mapping[str, Any], after: Mapping[str, Any]) -> Verdict | None:
    """How the second number is, beside the first; None: one has no interval.

    >>> whole = {"value": 1.0, "interval": [0.9, 1.1]}
    >>> [compared(whole, {"value": x, "interval": [x - 0.1, x + 0.1]}) for x in (1.1, 1.5, 0.5)]
    ['not told apart', 'worse', 'better']
    """
    if not before.get("interval") or not after.get("interval"):
        return None
    (low, high), (lower, higher) = before["interval"], after["interval"]
    if low <= higher and lower <= high:
        return "not told apart"
    return "better" if (after["value"] < before["value"]) == before.get("lower_is_better", True) else "worse"


def receipt(
    whole: Path,
    small: Path,
    batches: Sequence[int] = BATCHES,
    seconds: float = SECONDS,
    device: str = "cpu",
    onnx: bool = False,
) -> Receipt:
    """Measure two generators against each other: run or snapshot folders, or weights files.

    Args:
        batches: pictures that are made at once. seconds: of timing for each of them, at least. onnx: time them in
            onnxruntime too, on the CPU, as exported.

    Raises:
        UserError: no generator; a batch below 1; with `onnx`, what the export refuses.
    """
    if any(batch < 1 for batch in batches):
        raise UserError(f"A batch has at least one picture, not {min(batches)}.")
    generators = [Generator.from_pretrained(path, device) for path in (whole, small)]
    for network in (generator.config["network"] for generator in generators):
        values = network["z_dim"] + network["channels"] * math.prod(network["resolution"])
        refuse("`batch`", max(batches, default=1), 4 * values)
    costs = [cost(generator, path) for generator, path in zip(generators, (whole, small), strict=True)]
    for runtime, runner in ({"PyTorch": in_pytorch} | ({"onnxruntime": in_onnxruntime} if onnx else {})).items():
        runners = [runner(generator) for generator in generators]
        for batch in batches:
            found = in_turns([run(batch) for run in runners], seconds)
            for one, median in zip(costs, found, strict=True):
                one.milliseconds.setdefault(runtime, {})[batch] = median
    difference = loss(*generators)[1] if alike(*generators) else None
    return Receipt(costs[0], costs[1], device, torch.get_num_threads(), difference)


def alike(one: Generator, other: Generator) -> bool:
    """Whether their pictures have one size and one kind of label."""
    names = ("resolution", "channels", "classes", "z_dim")
    return all(one.config["network"][name] == other.config["network"][name] for name in names)


def in_pytorch(generator: Generator) -> Runner:
    """Its network as Python calls it, with the latents of the seeds from 0 on."""

    def ready(batch: int) -> Callable[[], object]:
        inputs = [given for given in generator.latents(range(batch), None) if given is not None]

        @torch.no_grad()  # inference mode hides parametrised weights from the counter of multiplications
        def run() -> object:
            made = generator.network(*inputs)
            if made.device.type != "cpu":
                made.sum().item()  # what a device still computes is waited for
            return made

        return run

    return ready


def in_onnxruntime(generator: Generator) -> Runner:
    """The network as `rggan export --onnx` writes it, on the CPU."""
    part = whole_of(generator)
    session = opened(to_onnx(part).content)

    def ready(batch: int) -> Callable[[], object]:
        inputs = {name: value.numpy() for name, value in part.drawn(batch, seed=0).items()}
        return lambda: session.run(None, inputs)

    return ready


def in_turns(calls: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """The median milliseconds of each, which take turns, so that what slows the machine slows all.

    >>> turns = []
    >>> times = in_turns([lambda: turns.append("a"), lambda: turns.append("b")], 0.0)
    >>> "".join(turns[2 * WARM_UP :][:6]), len(times)
    ('ababab', 2)
    """
    for call in calls:
        for _ in range(WARM_UP):
            call()
    spent: list[list[float]] = [[] for _ in calls]
    until = time.perf_counter() + seconds
    while len(spent[0]) < LEAST_ROUNDS or time.perf_counter() < until:
        for call, found in zip(calls, spent, strict=True):
            started = time.perf_counter()
            call()
            found.append(1000 * (time.perf_counter() - started))
    return [statistics.median(found) for found in spent]


def cost(generator: Generator, path: Path) -> Cost:
    """What it has and does; without times."""
    assert generator.origin is not None  # it was read
    zeros = sum(int((weight == 0).sum()) for weight in generator.network.parameters())
    size = generator.origin.stat().st_size
    return Cost(path.resolve().name, generator.parameters, zeros, size, multiplications(generator))


def multiplications(generator: Generator) -> int:
    """Multiply-accumulates of one picture: those of convolutions and of products of matrices."""
    run = in_pytorch(generator)(1)
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2
