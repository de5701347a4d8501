"""What a generator's file, a run, a snapshot or an export holds: for its owner, before it goes to others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rggan.bounded import parse_json, read_regular, regular_size
from rggan.errors import UserError, listed, one_line
from rggan.export.header import read_header
from rggan.generation.discreet import told
from rggan.generation.storage import form_of, read_generator
from rggan.run.folder import Run
from rggan.run.places import find_weights

PAGE = ("index.html", "generator.js")  # of `rggan export --web`
BEFORE = b'"use strict";\nconst GENERATOR = '
KINDS = {1: "grey", 3: "RGB", 4: "RGBA"}
WIDE, LONGEST, MOST = 12, 300, 24  # columns of the names of lines, letters of one, lines of one kind
CLEANED = "an older rggan wrote it; in Python, Generator.from_pretrained({!r}).save(OUT) writes it without"


@dataclass(frozen=True)
class Info:
    """
    kind: 'generator', 'run', 'ONNX' or 'page'. path: what was looked at. bytes: of its file, or of the page's files.
    network: how it is built. zeros: of its parameters. classes: their names. trained: how.
    run: of a run, its name, kimg, data and evaluations. places: name in `trained` -> what stands in the file of it and
    is more than the last part of a path, which files that are written now do not hold. traces: of an ONNX file, see
    `Header`.
    """

    kind: str
    path: str
    bytes: int = 0
    format: str = ""
    network: Mapping[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    zeros: int | None = None
    classes: list[str] = field(default_factory=list)
    trained: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    traces: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """One screen; names that come from the file are on one line each, without control characters."""
        found = [one_line(f"{name:<{WIDE}}{text}") for name, text in self.told()]
        return [line if len(line) <= LONGEST else f"{line[:LONGEST]}..." for line in found]

    def told(self) -> Iterator[tuple[str, str]]:
        if self.run:
            yield "run", str(self.run["name"])
            yield (
                "trained",
                f"{self.run['kimg']:.4g} kimg; evaluated {self.run['evaluations']} times by `rggan evaluate`",
            )
            yield "data", f"{self.run['data']} (as its config.json, data.jsonl and log.txt have it: the run's own)"
        if self.kind == "run":
            yield "generator", "none yet"
            return
        yield "file", f"{self.path}: {self.bytes / 1e6:.2f} MB, {self.format}"
        if self.network:
            yield "network", network(self.network)
        if self.parameters is not None:
            zeros = f", {self.zeros / self.parameters:.1%} of them 0" if self.zeros else ""
            yield "parameters", f"{self.parameters:,}{zeros}"
        if self.classes:
            yield "classes", f"{len(self.classes)}: {listed(self.classes, 8)}"
        single = {name: value for name, value in self.trained.items() if isinstance(value, str | int | float)}
        for name, value in islice(single.items(), MOST):
            yield f"{name} ", f"{value:.6g}" if isinstance(value, float) else str(value)
        yield "shared", "what stands above, and the weights: of places the last part, no user and no host"
        for name, value in islice(self.places.items(), MOST):
            yield "but", f"the file holds {name} {value}: {CLEANED.format(self.path)}"
        if self.traces:
            yield "but", "the file holds paths of the program's code where it was exported: export it anew"


def network(found: Mapping[str, Any]) -> str:
    """
    >>> network({"name": "sngan", "resolution": [16, 24], "channels": 3, "width": 8, "z_dim": 128, "classes": 0})
    'sngan, 24x16 RGB; width 8, z_dim 128'
    """
    height, width = found["resolution"]
    kind = KINDS.get(found["channels"], f"{found['channels']} channels")
    others = {name: value for name, value in found.items() if name not in ("name", "resolution", "channels", "shapes")}
    rest = ", ".join(f"{name} {value}" for name, value in others.items() if value)
    return f"{found['name']}, {width}x{height} {kind}; {rest}{', without its silent rows' if 'shapes' in found else ''}"


def info(path: Path) -> Info:
    """What is there. Reads no pictures, and runs nothing.

    path: a run or snapshot folder, a generator.safetensors, an ONNX file, or the folder of an exported page.

    Raises:
        UserError: nothing of the kind, or it is damaged.
    """
    if path.suffix.lower() == ".onnx":
        return of_onnx(path)
    if (path / PAGE[1]).is_file() and (path / PAGE[0]).is_file():
        return of_page(path)
    run = Run.at(path)
    if (weights := find_weights(path)) is None and run is not None:
        return Info("run", str(path), run=of_run(run))
    made, config = read_generator(path)  # says what is wrong
    assert weights is not None
    trained = found if isinstance(found := config.get("trained"), dict) else {}
    discreet = told(trained)
    size = sum(weight.numel() for weight in made.parameters())
    return Info(
        "generator",
        str(weights),
        weights.stat().st_size,
        form_of(weights),
        config["network"],
        size,
        sum(int((weight == 0).sum()) for weight in made.parameters()),
        config["classes"],
        discreet,
        {} if run is None else of_run(run),
        {name: str(value) for name, value in trained.items() if discreet[name] != value and isinstance(value, str)},
    )


def of_run(run: Run) -> dict[str, Any]:
    try:
        rows = run.rows()
        count = len(run.evaluations())
    except OSError as error:
        raise UserError(f"Cannot read {run}: {error.strerror or error}.") from error
    data = (run.options() or {}).get("data")
    name = run.path.resolve().name
    return {"name": name, "kimg": rows[-1]["kimg"] if rows else 0, "data": data, "evaluations": count}


def of_onnx(path: Path) -> Info:
    try:
        header = read_header(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as ONNX: {getattr(error, 'strerror', None) or error}.") from error
    form = f"ONNX, opset {header.opset}, by {header.producer or 'an unknown program'}"
    return Info("ONNX", str(path), path.stat().st_size, form, trained=header.metadata, traces=header.traces)


def of_page(path: Path) -> Info:
    try:
        content = read_regular(path / PAGE[1])
        if not content.startswith(BEFORE):
            raise ValueError("it is none of rggan's")
        found = parse_json(content.removeprefix(BEFORE).rstrip().removesuffix(b";"))
        if not isinstance(found, dict):
            raise ValueError("it holds no description")
        size = sum(regular_size(each) for each in path.iterdir() if each.is_file())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path / PAGE[1]} cannot be read as that of an exported page: {reason}.") from error
    kept = {name: value for name, value in found.items() if name not in ("check", "classes", "counts")}
    names = found.get("classes")
    classes = list(map(str, names)) if isinstance(names, list) else []
    return Info("page", str(path), size, "a page for browsers", classes=classes, trained=kept)
