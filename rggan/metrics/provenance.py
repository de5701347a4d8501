"""The provenance of a metric's value. Values of different provenance must not be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rggan.pretrained import LITE0, LITE1
from rggan.run.naming import INCEPTION

# The fields that must be equal in two values that are compared, with their display names.
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
# What networks were trained on that a discriminator looks through or that see pictures: features of one data set are
# relatives (Kynkäänniemi et al. 2023).
IMAGENET, CIFAR10 = "ImageNet", "CIFAR-10"
TRAINED_ON = {LITE0.name: IMAGENET, LITE1.name: IMAGENET, "imagenet": IMAGENET}
TRAINED_ON |= {"reporting": CIFAR10, "steering": CIFAR10}


@dataclass(frozen=True)
class Provenance:
    """Everything that determines a value except the generator itself.

    metric_code, metric_hash: the import path of a metric that is not built in, and the SHA-256 of its module's source;
        "" for built-in ones.
    precision: 'fp32' or 'bf16', of generator and extractor.
    samples, reference_images: the number of images on each side. seeds: of the samples; "" for images that were not
    generated here. class_mix: how classes were sampled, as in the training 'data' or 'even'; None: no classes.
    ema: whether the generator is an EMA; None: unknown, or no generator.
    looked_through: the frozen network that its discriminator looked through; "": none. steered_by: the extractor whose
        score selected it; "": no generator of a run.
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
    looked_through: str = ""
    steered_by: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns all fields, without the code of a built-in metric and without an empty class mix or network."""
        told = dataclasses.asdict(self)
        where_there = ("metric_code", "metric_hash", "class_mix", "looked_through", "steered_by")
        return {name: value for name, value in told.items() if value or name not in where_there}


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Lists the differences of two provenances (as JSON) that forbid a comparison; [] if there are none.

    >>> differences({"samples": 5000, "view": "whole"}, {"samples": 10000, "view": "whole"})
    ['number of samples (5000 and 10000)']
    """

    def shown(values: dict[str, Any], name: str) -> str:
        value = values.get(name)
        if name.endswith("_hash"):  # show the readable name too, which may be the same for different contents
            return f"{values.get(name.removesuffix('_hash'))} {str(value)[:8]}"
        return str(value)

    return [
        f"{called} ({shown(a, name)} and {shown(b, name)})"
        for name, called in COMPARED.items()
        if a.get(name) != b.get(name)
    ]


def favour(provenance: Mapping[str, Any]) -> str:
    """Why the extractor of a number (provenance as JSON) flatters a run, as half a sentence; "": nothing is known.

    >>> favour({"extractor": "imagenet", "looked_through": "lite1", "steered_by": "steering"})
    'its D looked through lite1, and both networks were trained on ImageNet'
    >>> favour({"extractor": "imagenet", "steered_by": "imagenet", "ema": True})
    'imagenet also selected its snapshot'
    >>> favour({"extractor": "reporting", "looked_through": "lite1", "steered_by": "steering"})
    ''
    """
    extractor, looked = str(provenance.get("extractor")), provenance.get("looked_through")
    seen = IMAGENET if provenance.get("extractor_hash") == INCEPTION else TRAINED_ON.get(extractor)
    if looked and looked == extractor:
        return f"its D looked through {looked}"
    if looked and seen is not None and TRAINED_ON.get(looked) == seen:
        return f"its D looked through {looked}, and both networks were trained on {seen}"
    # Until it was told, every run was steered by the small network.
    if provenance.get("ema") is not None and provenance.get("steered_by", "steering") == extractor:
        return f"{extractor} also selected its snapshot"
    return ""
