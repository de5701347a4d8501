"""Where a number comes from. Numbers of different provenance are not to be compared."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

# What must be the same in two numbers that are compared, and what people call it.
COMPARED = {
    "metric": "metric",
    "metric_hash": "code of the metric",
    "extractor_hash": "extractor",
    "resize": "resize",
    "view": "view",
    "precision": "precision",
    "size": "size of the images",
    "channels": "channels",
    "samples": "number of samples",
    "reference_hash": "reference",
    "reference_images": "number of reference images",
    "ema": "average of the generator",
    "class_mix": "mix of classes",
}


@dataclass(frozen=True)
class Provenance:
    """Everything that decides a number but the generator itself.

    metric_code, metric_hash: where a metric that is not built in was found, and the SHA-256 of its module's source;
        "" for those that are.
    precision: 'fp32' or 'bf16', of generator and extractor.
    samples, reference_images: how many images of each side went into it. seeds: of the samples; "" for images
    that were not made here. class_mix: how often the classes of a generator were drawn, as in its training 'data' or
    'even'; None: it has none. ema: whether the generator is an average over its training; None: unknown, or none.
    """

    metric: str
    extractor: str
    extractor_hash: str
    resize: str
    view: str
    precision: str
    size: str
    channels: int
    samples: int | None
    reference: str
    reference_hash: str
    reference_split: str
    reference_images: int | None
    ema: bool | None
    seeds: str
    metric_code: str = ""
    metric_hash: str = ""
    class_mix: str | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it, but a metric's code where it is built in, and the mix of classes where there are none."""
        told, where_there = dataclasses.asdict(self), ("metric_code", "metric_hash", "class_mix")
        return {name: value for name, value in told.items() if value or name not in where_there}


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """In what two provenances (as JSON) differ that forbids comparing their numbers; [] where they may be.

    >>> differences({"samples": 5000, "view": "whole"}, {"samples": 10000, "view": "whole"})
    ['number of samples (5000 and 10000)']
    """

    def shown(values: dict[str, Any], name: str) -> str:
        value = values.get(name)
        if name.endswith("_hash"):  # the name is what people know, but it may be the same for different contents
            return f"{values.get(name.removesuffix('_hash'))} {str(value)[:8]}"
        return str(value)

    return [
        f"{called} ({shown(a, name)} and {shown(b, name)})"
        for name, called in COMPARED.items()
        if a.get(name) != b.get(name)
    ]
