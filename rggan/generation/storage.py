"""The generator's file: weights with the config in their metadata, validated before anything is built from it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rggan.bounded import parse_json, read_regular, regular_size
from rggan.errors import UserError, make_folder
from rggan.files import nearest_place, write_whole
from rggan.generation import packed
from rggan.generation.build import build
from rggan.generation.discreet import discreet
from rggan.memory import is_used_up
from rggan.networks import FAMILIES
from rggan.registry import PLACE
from rggan.run.places import CONFIG, WEIGHTS, find_weights

FORMAT = 4  # the newest; in format 1 "resolution" was one number, and the config was in config.json only
SHRUNK = 3  # of a network with "shapes" (see `build`), which earlier versions cannot read; others are of format 2
PACKED = 4  # tensors as `packed` stores them, of any network
KEY = "rggan"  # of the config in the weights' metadata
LARGEST_CONFIG = 1 << 24  # bytes
LARGEST_HEADER = LARGEST_CONFIG + (1 << 20)  # bytes of what stands before the tensors
MOST_VALUES = 3_000_000  # of a config: names and numbers of 1,000,000 classes
MOST_IMAGES = 1 << 60  # of all classes together: their sum is an int64
RANGES = {"channels": (1, 4), "width": (1, 65536), "z_dim": (1, 65536), "classes": (0, 1_000_000)}
TYPES = {torch.float32: "F32", torch.int64: "I64"}  # as the header names them


def read_generator(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Returns the network and its config from a run folder (its best snapshot), a snapshot folder or a weights file.

    Raises:
        UserError: there is none, or its file is damaged, of another program or newer than this version.
    """
    weights = find_weights(path)
    if weights is None:
        if os.path.exists(path):
            raise UserError(f"There is no {WEIGHTS} in {path}; give a run or snapshot folder.")
        hint = nearest_place(path, lambda place: find_weights(place) is not None)
        raise UserError(f"There is nothing at {path}{hint or '; give a run or snapshot folder.'}")
    with damage_told(weights), opened(weights) as file:
        config = read_config(file, weights.with_name(CONFIG))
        newer = config["format"] > FORMAT
        if not newer:
            in_parts = config["format"] == PACKED
            config = migrate(config)
            check_config(config)
            network = read_network(file, config["network"], in_parts)
    if newer:
        raise UserError(f"{weights} was written by a newer rggan (format {config['format']}): upgrade to read it.")
    return network, config


def described(path: Path) -> dict[str, Any] | None:
    """Returns what the file of a generator says of its network, without its weights; None where there is no file.

    path: as for `read_generator`.

    Raises:
        UserError: the file is damaged or of another program.
    """
    weights = find_weights(path)
    if weights is None:
        return None
    with damage_told(weights), opened(weights) as file:
        config = migrate(read_config(file, weights.with_name(CONFIG)))
        check_config(config)
        with torch.device("meta"):
            build(config["network"])  # its shapes may be none of its network
    return dict(config["network"])


def form_of(weights: Path) -> str:
    """How a readable generator's file is written, in words. Raises UserError for a damaged one."""
    with damage_told(weights), safe_open(weights, "pt") as file:
        number = read_config(file, weights.with_name(CONFIG))["format"]
    return f"format {number}{', packed' if number == PACKED else ''}"


def write_generator(network: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Writes generator.safetensors atomically, and then config.json.

    The config is read from the metadata of the weights, so that no interruption leaves two files that do not match.
    config.json is a human-readable copy.

    Raises:
        UserError: the folder cannot be created. OSError: e.g. the disk is full.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_state(state, migrate(config), folder)


def write_packed(network: nn.Module, config: dict[str, Any], folder: Path, kind: packed.Kind = "fp32") -> None:
    """`write_generator` in less room: zeros of the weights as bits, and their values as `kind`."""
    state = packed.pack(network.state_dict(), packed.weights(network), kind)
    write_state(state, migrate(config) | {"format": PACKED}, folder)


def write_state(state: dict[str, Tensor], config: dict[str, Any], folder: Path) -> None:
    config = discreet(config)  # generators are passed on: what they hold is for everybody
    make_folder(folder)
    # One key only: safetensors writes several in any order, and the same generator shall be the same file.
    write_whole(folder / WEIGHTS, save(state, {KEY: json.dumps(config)}))
    write_whole(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def migrate(config: dict[str, Any]) -> dict[str, Any]:
    """Converts a config to the current format.

    >>> migrate({"format": 1, "network": {"resolution": 32}})
    {'format': 2, 'network': {'resolution': [32, 32]}}
    """
    network = dict(config["network"])
    if isinstance(network["resolution"], int):
        network["resolution"] = [network["resolution"]] * 2
    return {"format": 0} | config | {"format": SHRUNK if "shapes" in network else 2, "network": network}


class NamesCode(UserError):
    """A valid file, but of a network whose code is not installed and that the user did not name."""


@contextmanager
def damage_told(weights: Path) -> Iterator[None]:
    """Converts any exception of json, safetensors or torch on an invalid file into a UserError."""
    try:
        yield
    except NamesCode as error:
        raise UserError(f"The generator in {weights}: {error}") from error
    except Exception as error:
        if is_used_up(error):
            raise
        text = str(error) or type(error).__name__
        reason = "".join(letter if letter.isprintable() else " " for letter in text[:200]).strip().rstrip(".")
        raise UserError(f"The generator in {weights} is damaged or foreign: {reason}.") from error


def opened(weights: Path) -> Any:
    """`safe_open`, which parses the header, of a file whose header is not above `LARGEST_HEADER`."""
    regular_size(weights)
    with weights.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > LARGEST_HEADER:
        raise ValueError(f"its header of {length:,} bytes is longer than that of any generator")
    return safe_open(weights, "pt")


def read_config(file: Any, beside: Path) -> dict[str, Any]:
    """Returns the config from the metadata of opened weights, or from the config.json next to them (format 1)."""
    text = (file.metadata() or {}).get(KEY)
    if text is None and not beside.is_file():
        raise ValueError(f"neither its metadata nor a {CONFIG} beside it say what it is")
    content = read_regular(beside, LARGEST_CONFIG) if text is None else text
    config = parse_json(content, LARGEST_CONFIG, MOST_VALUES)
    if not isinstance(config, dict) or type(config.get("format")) is not int:
        raise ValueError("its config has no format")
    return config


def check_config(config: dict[str, Any]) -> None:
    """Raises ValueError for an invalid config, before anything is built from it."""
    network, classes = config["network"], config["classes"]
    if not FAMILIES.knows(name := network["name"]):
        if PLACE.fullmatch(str(name)):
            raise NamesCode(
                f"its network {name} is code that is not installed; to let it run, name it: `trust` {name} (in Python "
                f"rggan.registry.trust({str(name)!r}))."
            )
        raise ValueError(f"there is no network {name}")
    ranges = RANGES | {name: (low, high) for name, (_, low, high) in FAMILIES.get(name).arguments.items()}
    for name, (low, high) in ranges.items():
        if type(network[name]) is not int or not low <= network[name] <= high:
            raise ValueError(f"{name} is not a number from {low} to {high}")
    if unknown := set(network) - {"name", "resolution", "shapes", *ranges}:
        raise ValueError(f"no {network['name']} network has {', '.join(sorted(unknown))}")
    if network["channels"] == 2:
        raise ValueError("pictures have 1, 3 or 4 channels, not 2")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes are not a list of names")
    if network["classes"] and len(classes) != network["classes"]:
        raise ValueError(f"{len(classes)} names for {network['classes']} classes")
    if not of_shapes(network.get("shapes", {})):
        raise ValueError("its shapes are none")
    counts = config.get("class_counts")
    if counts is None:
        return
    known = isinstance(counts, list) and len(counts) == network["classes"] and all(type(n) is int for n in counts)
    if not known or min(counts) < 0 or not 0 < sum(counts) <= MOST_IMAGES:
        raise ValueError("its class_counts are no numbers of images, one for each class")


def of_shapes(found: Any) -> bool:
    """Whether these are shapes of tensors by name.

    >>> of_shapes({"linear.weight": [8, 4]}), of_shapes({"linear.weight": [8, -4]})
    (True, False)
    """
    return isinstance(found, dict) and all(
        isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape) for shape in found.values()
    )


def read_network(file: Any, description: dict[str, Any], in_parts: bool = False) -> nn.Module:
    """Returns the described network with the weights of an opened file; allocates memory only after both match.

    in_parts: whether its tensors are stored as in `packed`.
    """
    with torch.device("meta"):
        network = build(description)
    expected = network.state_dict()
    keys = set(file.keys())
    if (packed.names(keys) if in_parts else keys) != set(expected):
        raise ValueError(f"its tensors are not those of the {description['name']} network that its config describes")
    check, read = (packed.check, packed.unpack) if in_parts else (check_tensor, read_tensor)
    for name, value in expected.items():
        check(file, name, value)
    state = {name: read(file, name, value) for name, value in expected.items()}
    for name, value in state.items():
        if not value.isfinite().all():
            raise ValueError(f"{name} has NaN or infinite values")
    network.load_state_dict(state, assign=True)
    return network


def check_tensor(file: Any, name: str, like: Tensor) -> None:
    """Raises ValueError if a tensor of an opened file is not `like` this one, by its header."""
    header = file.get_slice(name)
    shape, kind = list(like.shape), TYPES[like.dtype]
    if header.get_shape() != shape or header.get_dtype() != kind:
        found = f"{header.get_dtype()} {header.get_shape()}"
        raise ValueError(f"{name} is {found}, but its config describes {kind} {shape}")


def read_tensor(file: Any, name: str, like: Tensor) -> Tensor:
    """Copied, because safetensors returns views of the file, which may change or be deleted."""
    found: Tensor = file.get_tensor(name).clone()
    return found
