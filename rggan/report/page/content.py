"""What the page of a run shows, gathered from its folder; whatever is missing there is left out."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from rggan.bounded import read_json
from rggan.errors import UserError
from rggan.generation.generator import Generator
from rggan.report.page.charts import Chart
from rggan.report.page.curves import LayerMap, layer_maps, run_charts
from rggan.report.page.doctor import Findings, findings
from rggan.report.page.options import Option, command, described
from rggan.report.page.sheets import BUDGET, CRISP, Layout, Sheet, embedded, film, read_picture, sheet_files
from rggan.report.plot import Row, known
from rggan.report.verdict import Scale, Verdict, verdict
from rggan.run.folder import Run
from rggan.run.places import BEST, CONFIG, LAST, REALS, replays

SCORES = {"frechet": "Fréchet distance", "kernel": "kernel distance"}
KINDS = {1: "grey", 3: "RGB", 4: "RGBA"}
SEEDS = 64  # samples of a sheet


@dataclass(frozen=True)
class Samples:
    """The film of a run. all: how many sheets there are. labels: the class of each sample, if they have one."""

    sheets: list[Sheet]
    all: int
    layout: Layout | None
    labels: list[str]
    crisp: bool


@dataclass(frozen=True)
class Content:
    """A run as the page shows it.

    name: of its folder, which is all that a page tells of where it lies. head: of data.jsonl. score_of: where its score
    comes from, which compares with no other.
    """

    name: str
    rows: list[Row]
    options: dict[str, Any]
    head: dict[str, Any]
    samples: Samples
    charts: list[Chart]
    maps: list[LayerMap]
    reals: str | None
    nearest: list[tuple[str, str]]
    doctor: Findings
    facts: list[tuple[str, str]]
    described: list[Option]
    command: list[tuple[str, str]]
    versions: dict[str, str]
    score_of: dict[str, Any]
    evaluations: list[Row] = field(default_factory=list)

    @property
    def best(self) -> Row | None:
        return min(self.rows, key=lambda row: row["score"], default=None)

    @property
    def verdict(self) -> Verdict | None:
        """None before the first evaluation."""
        return verdict(self.rows, Scale.of(self.head), self.options, self.name) if self.rows else None


def gather(run: Run, look: bool = True, budget: int = BUDGET) -> Content:
    """Raises UserError where files of the run are there and cannot be read.

    Args:
        look: look over the run's pictures, if nobody did and they are still there.
        budget: bytes for the film.
    """
    try:
        rows = run.rows()
        rows = [row for row in rows if known(row["kimg"]) and known(row["score"])]
        evaluations = run.evaluations()
    except OSError as error:
        raise UserError(f"Cannot read {run}: {error.strerror or error}.") from error
    options, head, trained = run.options() or {}, run.data_head(), last_snapshot(run)
    kind = SCORES.get(str(trained.get("score_kind")), "distance to real pictures")
    reals = read_picture(run.path / REALS)
    samples = gather_samples(run, rows, head, budget)
    return Content(
        name=run.path.resolve().name,
        rows=rows,
        options=options,
        head=head,
        samples=samples,
        charts=run_charts(rows, levels(head), f"{kind}, lower is better"),
        maps=layer_maps(rows),
        reals=None if reals is None else embedded(reals, samples.crisp),
        nearest=nearest_sheets(run),
        doctor=findings(run, look),
        facts=facts(rows, options, head),
        described=described(options),
        command=command(options),
        versions=noted_versions(head),
        score_of=provenance if isinstance(provenance := trained.get("score_provenance"), dict) else {},
        evaluations=evaluations,
    )


def last_snapshot(run: Run) -> dict[str, Any]:
    """What the last snapshot tells of its training; {} if there is none."""
    with contextlib.suppress(OSError, ValueError):
        config = read_json(run.last / CONFIG)
        if isinstance(config, dict) and isinstance(trained := config.get("trained"), dict):
            return trained
    return {}


def levels(head: Mapping[str, Any]) -> dict[str, float]:
    """Scores to compare with, by name.

    >>> levels({"scale": {"halves": 0.1, "noise": 40.0}})
    {'two sets of real pictures': 0.1, 'noise': 40.0}
    """
    scale = Scale.of(head)
    return {} if scale is None else {"two sets of real pictures": scale.halves, "noise": scale.noise}


def gather_samples(run: Run, rows: Sequence[Row], head: Mapping[str, Any], budget: int) -> Samples:
    exact = {round(row["kimg"]): row["kimg"] for row in rows}  # file names have whole kimg
    files = [(exact.get(kimg, kimg), path) for kimg, path in sheet_files(run.path)]
    sample = sample_size(head)
    crisp = sample is not None and max(sample) <= CRISP
    layout = None
    if files and sample is not None:
        with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError), Image.open(files[-1][1]) as last:
            layout = Layout.of(last.size, sample)
    return Samples(film(files, crisp, budget), len(files), layout, labels(run) if files else [], crisp)


def sample_size(head: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width); None where it is not told.

    >>> sample_size({"size": [16, 24]}), sample_size({})
    ((16, 24), None)
    """
    size = head.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        return None
    return size[0], size[1]


def labels(run: Run) -> list[str]:
    """The class of each sample on a sheet; [] for a generator without classes, or that cannot be read."""
    try:
        generator = Generator.from_pretrained(run.last)
        _, drawn = generator.latents(range(SEEDS), None)
    except (UserError, OSError, ValueError, KeyError):
        return []
    return [] if drawn is None else [generator.classes[label] for label in drawn.tolist()]


def nearest_sheets(run: Run) -> list[tuple[str, str]]:
    """(snapshot, picture) of each sheet of nearest training pictures that there is."""
    sheets = {snapshot: read_picture(run.path / replays(snapshot)) for snapshot in (BEST, LAST)}
    return [(snapshot, embedded(sheet)) for snapshot, sheet in sheets.items() if sheet is not None]


def facts(rows: Sequence[Row], options: Mapping[str, Any], head: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a reader wants to know first."""
    told = []
    if rows:
        best, last = min(rows, key=lambda row: row["score"]), rows[-1]
        told += [
            ("Trained", f"{last['kimg']:.4g} kimg"),
            ("Best score", f"{best['score']:.4g} at {best['kimg']:.4g} kimg"),
            ("Weights in use", f"G {last['density_g']:.0%}, D {last['density_d']:.0%}"),
        ]
    told.append(("Networks", f"{options.get('network', '?')}, pruned by {options.get('rule', '?')}"))
    if isinstance(count := head.get("images"), int):
        size, channels = sample_size(head), KINDS.get(head.get("channels", 0), "")
        side = "" if size is None else f", {size[0]}x{size[1]}"  # height first, as in `resolution`
        told.append(("Pictures", f"{count:,}{side} {channels}".strip()))
    return told


def noted_versions(head: Mapping[str, Any]) -> dict[str, str]:
    """Those that the run began with; {} for a run that did not note them."""
    found = head.get("versions")
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
