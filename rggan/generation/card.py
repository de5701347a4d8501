"""The model card of a generator: what it is, how good, whether it copies, and how to use it, for who finds it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rggan.errors import one_line
from rggan.generation.discreet import shown
from rggan.metrics.provenance import favour
from rggan.registry import PLACE
from rggan.run.folder import Row
from rggan.run.versions import versions

SAMPLES = "samples.png"
TASK = "unconditional-image-generation"  # the Hub's name of it; the classes of a conditional one are no task of its own
KINDS = {1: "grey", 3: "RGB", 4: "RGBA"}
SCORES = {"frechet": "Fréchet distance", "kernel": "kernel distance"}
Numbers = list[tuple[str, Row]]


def plain(value: object) -> str:
    """As Markdown shows it unchanged: names may be anything.

    >>> print(plain("a_b <img> |"))
    a\\_b \\<img\\> \\|
    """
    return re.sub(r"([\\`*_\[\]<>|~$&#!])", r"\\\1", one_line(str(value)))


def card(
    name: str,
    config: Mapping[str, Any],
    parameters: int,
    head: Mapping[str, Any],
    evaluations: Sequence[Row],
    license: str | None = None,
    changed: bool = False,
) -> str:
    """The card below its metadata, Markdown; the picture in it is `SAMPLES`, beside it.

    Args:
        name: on the Hub, as ada/faces. parameters: of the network.
        head: of the run's data.jsonl; {}: it is not known.
        evaluations: of `rggan evaluate`, of these weights, oldest first.
        changed: the weights are others than those that were trained, so that no number of the run is theirs.
    """
    network, trained = config["network"], config.get("trained") or {}
    height, width = network["resolution"]
    kind = KINDS.get(network["channels"], "")
    pictures = plain(shown(str(trained["data"]))) if "data" in trained else "pictures"
    found, told = numbers(evaluations), memorisation(evaluations)
    parts = [
        f"# {name}",
        f"Draws {width}x{height} {kind} pictures like those of {pictures}: a GAN, trained with rggan.",
        f"![Samples]({SAMPLES})",
        legend(config),
        "## Use",
        use(name, network["name"]),
        "## How good it is",
        *([table(found)] if found else []),
        *notes(found),
        *([] if found or changed else ["No number of `rggan evaluate` was taken of these weights."]),
        *([] if changed else score(trained)),
        *(["The weights were changed after the training, so its numbers are left out."] if changed else []),
        "## Does it copy its training pictures?",
        told or "It was not tested (`rggan evaluate` does) on these weights: it may.",
        "## Training",
        facts(config, parameters, head, pictures),
        "## Licence",
        f"{license}."
        if license
        else "None is given: without one others may look at it, and need its owner's word to use it.",
        "What may be done with pictures like the training pictures also depends on the rights in those.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def legend(config: Mapping[str, Any]) -> str:
    """What is on the sheet."""
    names = config.get("classes") or []
    if not names:
        return "Seeds from 0 on, not chosen, without truncation."
    return f"Seeds from 0 on, not chosen, without truncation. Classes: {', '.join(map(plain, names))}."


def use(name: str, network: str) -> str:
    """Three lines, and the command; a network of somebody's own needs its code as well."""
    lines = [
        "```python",
        'from rggan import Generator  # pip install "rggan[hub]"',
        "",
        f'pictures = Generator.from_pretrained("{name}")(16, seed=0)  # PIL images; the same seed is the same picture',
        'pictures[0].save("picture.png")',
        "```",
        "",
        f"On the command line: `rggan generate {name} --outdir out`.",
    ]
    if PLACE.fullmatch(network):
        lines.append(f"Its network is code of its own, {plain(network)}, which must be installed and trusted.")
    return "\n".join(lines)


def numbers(evaluations: Sequence[Row]) -> Numbers:
    """The newest number of each name."""
    found: dict[str, Row] = {}
    for row in reversed(evaluations):
        for name, number in row.items():
            if isinstance(number, dict) and isinstance(number.get("value"), int | float):
                found.setdefault(name, number)
    return list(found.items())


def table(found: Numbers) -> str:
    lines = [
        "| number | value | 95 % interval | better | samples | real pictures | features |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, number in found:
        by, ends = provenance(number), number.get("interval")
        known = isinstance(ends, list) and len(ends) == 2
        lower = number.get("lower_is_better")
        seeds = f" (seeds {by['seeds']})" if by.get("seeds") else ""
        split = "" if by.get("reference_split") in (None, "all") else f"; {by['reference_split']}"
        cells = [
            name,
            f"{number['value']:.4g}",
            f"{ends[0]:.4g} to {ends[1]:.4g}" if known and ends else "",
            "" if lower is None else "lower" if lower else "higher",
            f"{by.get('samples')}{seeds}",
            f"{by.get('reference_images')} of {shown(str(by.get('reference')))}{split}",
            f"{shown(str(by.get('extractor')))} {str(by.get('extractor_hash'))[:8]}, {by.get('view')}",
        ]
        lines.append(f"| {' | '.join(map(plain, cells))} |")
    return "\n".join(lines)


def provenance(number: Row) -> dict[str, Any]:
    return found if isinstance(found := number.get("provenance"), dict) else {}


def notes(found: Numbers) -> list[str]:
    """What a reader of the table has to know, a sentence each."""
    by = [provenance(number) for _, number in found]
    told = list(dict.fromkeys(f"Flattering: {why}." for why in map(favour, by) if why))
    if any(each.get("reference_split") == "the images that the run was trained on" for each in by):
        told.append("Compared with its own training pictures, a generator that copies them scores well.")
    if found:
        told.append("Only numbers of the same features, counts and real pictures compare.")
    return [plain(" ".join(told))] if told else []


def score(trained: Mapping[str, Any]) -> list[str]:
    """The score by which the training chose its snapshot, and what it is of."""
    by = trained.get("score_provenance")
    if not isinstance(trained.get("score"), int | float) or not isinstance(by, dict):
        return []
    kind = SCORES.get(str(trained.get("score_kind")), "distance")
    of = f"{by.get('samples')} samples to {by.get('reference_images')} pictures, {shown(str(by.get('reference')))}"
    features = f"features {shown(str(by.get('extractor')))} {str(by.get('extractor_hash'))[:8]}"
    return [
        plain(f"In training its score was {trained['score']:.4g} ({kind} of {of}; {features}; lower is better).")
        + " The best snapshot is chosen by this score, which flatters it."
    ]


def memorisation(evaluations: Sequence[Row]) -> str:
    """What the newest test for copies found; "" where there is none."""
    rows = [row["memorisation"] for row in evaluations if isinstance(row.get("memorisation"), dict)]
    known = ("rate", "samples", "expected", "p_value", "replays", "yardstick", "yardstick_count")
    if not rows or not rows[-1].keys() >= set(known):
        return ""
    rate, samples, expected, p_value, replays, yardstick, count = (rows[-1][name] for name in known)
    real = "held-out pictures" if yardstick == "held-out" else "training pictures, each against the others"
    verdict = "**It replays training pictures.**" if replays else "That is not more than chance explains."
    return (
        f"{rate:.1%} of {samples} samples look like copies of a training picture; flipped, shifted, slightly cropped, "
        f"brighter and recompressed ones count. Of fresh real pictures {expected:.1%} would look so too, judged by "
        f"{count} {real} (p = {p_value:.1g}). {verdict} A low rate does not show that something new is made: "
        "recombined or strongly changed training pictures are not found."
    )


def facts(config: Mapping[str, Any], parameters: int, head: Mapping[str, Any], pictures: str) -> str:
    network, trained = config["network"], config.get("trained") or {}
    count, held_out = head.get("images"), head.get("held_out")
    lines = [f"network: {network['name']}, width {network['width']}, {parameters:,} parameters"]
    if isinstance(density := trained.get("density_g"), int | float) and density < 1:
        lines[0] += f", {density:.0%} of the prunable ones in use"
    data = pictures
    if isinstance(count, int):
        data = f"{count:,} of {pictures}" + (f", and {held_out:,} held out" if held_out else "")
    lines.append(f"pictures: {data}")
    if isinstance(kimg := trained.get("kimg"), int | float):
        lines.append(f"length: {kimg:.4g} kimg (thousands of real pictures that D saw)")
    if "rule" in trained:
        lines.append(f"pruning: rule {plain(trained['rule'])}; seed {plain(trained.get('seed'))}")
    lines.append(f"written by rggan {versions()['rggan']}")
    return "\n".join(f"- {line}" for line in lines)


def metadata(name: str, config: Mapping[str, Any], evaluations: Sequence[Row], license: str | None) -> dict[str, Any]:
    """The arguments of `huggingface_hub.ModelCardData`, but for the numbers, which are those of its `EvalResult`."""
    data = shown(str((config.get("trained") or {}).get("data", "")))
    told: dict[str, Any] = {"library_name": "rggan", "pipeline_tag": TASK, "model_name": name.partition("/")[2]}
    told["tags"] = ["gan", "rggan", config["network"]["name"]]
    told |= {"license": license} if license else {}
    told |= {"datasets": [data[3:].partition(":")[0]]} if data.startswith("hf:") else {}
    results = []
    for metric, number in numbers(evaluations):
        by = provenance(number)
        reference = shown(str(by.get("reference")))
        args = {key: by.get(key) for key in ("samples", "reference_images", "reference_hash", "extractor_hash")}
        result = {"task_type": TASK, "dataset_name": reference, "dataset_type": reference, "dataset_args": args}
        results.append({**result, "metric_type": metric, "metric_value": number["value"]})
    return {**told, "eval_results": results}
