"""The files of a generator that go to others: weights, config, a sheet of samples, the model card."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor, nn

from rggan.data.pictures import grid
from rggan.generation.card import SAMPLES, card, metadata
from rggan.generation.discreet import discreet
from rggan.generation.outputs import fingerprint
from rggan.generation.sheets import labelled_rows
from rggan.generation.storage import PACKED, migrate, read_config, read_generator, write_generator, write_state
from rggan.run.folder import Row, Run
from rggan.run.places import CONFIG, WEIGHTS

COLUMNS, WIDEST = 8, 1024  # of a sheet: pictures in a row, pixels at most
ROWS = 16  # classes that the sheet shows, a row each


class Drawing(Protocol):
    """What is needed of a `Generator`."""

    network: nn.Module
    config: dict[str, Any]
    origin: Path | None

    @property
    def parameters(self) -> int: ...

    def images(self, seeds: Sequence[int], label: int | str | None = None) -> Tensor: ...


def published(generator: Drawing, name: str, license: str | None = None) -> dict[str, bytes]:
    """{file name: content}, of which none has a training picture, or more of a place than its last part.

    Args:
        name: on the Hub, as ada/faces. license: its identifier there.

    Needs huggingface_hub.
    """
    config = discreet(generator.config)
    run, changed = None, True
    if generator.origin is not None:
        run, changed = Run.around(generator.origin), not unchanged(generator, generator.origin)
    evaluations = [] if run is None or changed or generator.origin is None else of_weights(run, generator.origin)
    head = {} if run is None else run.data_head()
    # A generator that was never read from a file is as its maker says: its config may tell how it was trained.
    text = card(
        name, config, generator.parameters, head, evaluations, license, changed and generator.origin is not None
    )
    with TemporaryDirectory() as folder:
        if generator.origin is None or changed:
            write_generator(generator.network, config, Path(folder))
        else:
            write_anew(generator.origin, config, Path(folder))
        files = {each: (Path(folder) / each).read_bytes() for each in (WEIGHTS, CONFIG)}
    return {
        **files,
        SAMPLES: sheet(generator),
        "README.md": (front(name, config, evaluations, license) + text).encode(),
    }


def unchanged(generator: Drawing, origin: Path) -> bool:
    """Whether its weights are still those of the file."""
    there, here = read_generator(origin)[0].state_dict(), generator.network.state_dict()
    return there.keys() == here.keys() and all(torch.equal(there[name], here[name].cpu()) for name in there)


def write_anew(origin: Path, config: dict[str, Any], folder: Path) -> None:
    """The generator of this file with another config; weights that take less room there (`packed`) stay so."""
    with safe_open(origin, "pt") as file:
        stored = {name: file.get_tensor(name) for name in set(file.keys())}
        form = read_config(file, origin.with_name(CONFIG))["format"]
    write_state(stored, migrate(config) | ({"format": PACKED} if form == PACKED else {}), folder)


def of_weights(run: Run, weights: Path) -> list[Row]:
    """The run's evaluations of these weights, oldest first."""
    own = fingerprint(weights)
    return [row for row in run.evaluations() if row.get("weights") == own]


def sheet(generator: Drawing) -> bytes:
    """PNG: eight seeds of each class, or as many rows of seeds as columns."""
    columns = max(2, min(COLUMNS, WIDEST // generator.config["network"]["resolution"][1]))
    names = generator.config["classes"]
    if 0 < len(names) <= ROWS:
        rows = [generator.images(range(columns), number) for number in range(len(names))]
        made = labelled_rows(torch.cat(rows), names)
    else:
        made = grid(generator.images(range(columns * columns)), columns)
    stream = io.BytesIO()
    made.save(stream, "png")
    return stream.getvalue()


def front(name: str, config: dict[str, Any], evaluations: Sequence[Row], license: str | None) -> str:
    """The metadata of the card, YAML between lines of ---."""
    hub = import_module("huggingface_hub")
    told = metadata(name, config, evaluations, license)
    results = [hub.EvalResult(**each) for each in told.pop("eval_results")]
    data = hub.ModelCardData(**told, eval_results=results or None)
    return f"---\n{data.to_yaml()}\n---\n\n"
