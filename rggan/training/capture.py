"""Parts of a training step, recorded once as CUDA graphs and replayed: without Python, and without single launches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rggan.errors import UserError, reason


class Counted(Protocol):
    """Whatever keeps numbers on the host that a step moves: a replay runs no Python, and moves them by as much."""

    def counts(self) -> list[int]: ...

    def set_counts(self, counts: Sequence[int]) -> None: ...


class Graph(Protocol):
    """A recording."""

    def record(self, part: Callable[[], Any]) -> Any:
        """Run Python once; what the device is told in it is kept, and not done. Returns what the part returns."""

    def replay(self) -> None:
        """Do it."""


@dataclass(frozen=True)
class Part:
    """Part of a step.

    Args:
        name: of it. run: Python that works on tensors at fixed places, and returns such. It draws random numbers on the
            device only, and reads nothing back.
        plan: what its Python depends on besides tensors; None: it must be run. Each plan is recorded apart.
        places: where the tensors lie that others may replace; where they change, recordings are dropped.
        counted: whose host-side numbers it moves.
        gradients: parameters whose gradients it leaves, at fixed places.
    """

    name: str
    run: Callable[[], Any]
    plan: Callable[[], Hashable | None]
    places: Callable[[], Hashable] = tuple
    counted: Sequence[Counted] = ()
    gradients: Sequence[nn.Parameter] = ()


@dataclass(frozen=True)
class Recording:
    """A recorded part: what it returns, by how much it moves each count, and the gradients that it leaves."""

    graph: Graph
    returned: Any
    moved: list[list[int]]
    gradients: list[Tensor | None]


class CudaGraph:
    """One recording on a GPU."""

    def __init__(self, stream: torch.cuda.Stream, pool: Any) -> None:
        self.graph, self.stream, self.pool = torch.cuda.CUDAGraph(), stream, pool

    def record(self, part: Callable[[], Any]) -> Any:
        # Other threads may go on with what they do: a state that is being written, say.
        with torch.cuda.graph(self.graph, self.pool, self.stream, capture_error_mode="thread_local"):
            return part()

    def replay(self) -> None:
        self.graph.replay()


class Recorder:
    """Runs parts; where it records, each plan's first time is run, the second is recorded, all others are replayed.

    Args:
        graphs: makes an empty recording; None: all parts are run. stream: on which everything is done.
        batch: for messages. insist: too little memory for a recording ends the run, instead of going on without.
        say: takes a sentence for the user.

    Attributes:
        recorded: by name and plan.

    >>> counting = Part("count", lambda: torch.ones(2).sum(), plan=lambda: ())
    >>> Recorder().run(counting)
    tensor(2.)
    """

    def __init__(
        self,
        graphs: Callable[[], Graph] | None = None,
        stream: torch.cuda.Stream | None = None,
        batch: int = 0,
        insist: bool = False,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.graphs, self.stream, self.batch, self.insist, self.say = graphs, stream, batch, insist, say
        self.recorded: dict[tuple[str, Hashable], Recording] = {}
        self.ran: set[tuple[str, Hashable]] = set()
        self.places: dict[str, Hashable] = {}  # of each part, in its recordings
        self.fixed: dict[nn.Parameter, Tensor] = {}  # where gradients lie

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Context of a whole step: on the stream of the recordings, ordered with what is done outside."""
        if self.stream is None:
            yield
            return
        outside = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream):
            yield
        outside.wait_stream(self.stream)

    def forget(self) -> None:
        """Drop all recordings: tensors that they work on were replaced."""
        self.recorded, self.ran, self.places = {}, set(), {}

    def run(self, part: Part) -> Any:
        """Do a part, and return what it returns."""
        if self.graphs is None or (plan := part.plan()) is None:
            return self.settled(part)
        if self.places.get(part.name) != (places := part.places()):
            self.places[part.name] = places
            self.ran = {key for key in self.ran if key[0] != part.name}
            self.recorded = {key: one for key, one in self.recorded.items() if key[0] != part.name}
        key = (part.name, plan)
        if key not in self.recorded:
            if key not in self.ran:  # what is made lazily (optimizer states, libraries' handles) is made now
                self.ran.add(key)
                return self.settled(part)
            if not self.record(key, part):
                return self.settled(part)
            self.recorded[key].graph.replay()  # its counts moved while it was recorded
            return copied(self.recorded[key].returned)
        found = self.recorded[key]
        found.graph.replay()
        for counted, moved in zip(part.counted, found.moved, strict=True):
            counted.set_counts([n + by for n, by in zip(counted.counts(), moved, strict=True)])
        for parameter, gradient in zip(part.gradients, found.gradients, strict=True):
            parameter.grad = gradient
        return copied(found.returned)

    def record(self, key: tuple[str, Hashable], part: Part) -> bool:
        """Whether it could be recorded; where not, everything is as before, and nothing is recorded any more.

        Raises:
            UserError: there is not enough memory for it.
        """
        assert self.graphs is not None
        before = [counted.counts() for counted in part.counted]
        graph = self.graphs()
        try:
            returned = graph.record(lambda: self.settled(part))
        except Exception as error:  # whatever CUDA, or a network of somebody's own, cannot do while it is recorded
            for counted, counts in zip(part.counted, before, strict=True):
                counted.set_counts(counts)
            self.graphs = None
            self.forget()
            cause = next(
                (each for each in (error, error.__context__) if isinstance(each, torch.OutOfMemoryError)), None
            )
            if cause is not None and self.insist:
                raise UserError(
                    f"Not enough memory on the GPU to record a training step at `batch` {self.batch} "
                    f"({reason(cause)}): take a smaller one, or `capture` off. What was saved before is kept."
                ) from error
            at = f" at `batch` {self.batch}" if cause is not None else ""
            why = reason(cause or error.__context__ or error)  # what ends a recording fails too, and hides it
            self.say(f"a training step{at} cannot be recorded ({why}); going on without (`capture`).")
            return False
        after = [counted.counts() for counted in part.counted]
        moved = [[new - old for new, old in zip(*both, strict=True)] for both in zip(after, before, strict=True)]
        self.recorded[key] = Recording(graph, returned, moved, [p.grad for p in part.gradients])
        return True

    def settled(self, part: Part) -> Any:
        """Run it; where recordings may read its gradients, they are put where they always lie."""
        returned = part.run()
        if self.graphs is not None and (given := [p for p in part.gradients if p.grad is not None]):
            for parameter in given:
                if parameter not in self.fixed:
                    self.fixed[parameter] = torch.empty_like(parameter)
            places = [self.fixed[parameter] for parameter in given]
            with torch.no_grad():
                torch._foreach_copy_(places, [p.grad for p in given])  # type: ignore[misc]
            for parameter, place in zip(given, places, strict=True):
                parameter.grad = place
        return returned


def copied(returned: Any) -> Any:
    """A copy: recordings share their memory, so that the next one may write where this one's results lie."""
    if isinstance(returned, Tensor):
        return returned.clone()
    if isinstance(returned, tuple):
        each = [copied(part) for part in returned]
        return type(returned)(*each) if hasattr(returned, "_fields") else tuple(each)
    return returned


def make_recorder(capture: str, device: torch.device, own: bool, batch: int) -> Recorder:
    """The recorder that the option `capture` asks for: 'auto', 'on' or 'off'.

    own: whether code of somebody's own takes part in a step: 'auto' does not record it, as it may draw random numbers
        on the host or read values back.

    Raises:
        UserError: 'on' without a GPU.
    """
    if capture == "on" and device.type != "cuda":
        raise UserError(f"`capture` on records training steps for a CUDA GPU, and this run is on {device}.")
    if device.type != "cuda" or capture == "off" or (own and capture == "auto"):
        return Recorder()
    stream = torch.cuda.Stream(device)
    pool = torch.cuda.graph_pool_handle()
    return Recorder(lambda: CudaGraph(stream, pool), stream, batch, insist=capture == "on")
