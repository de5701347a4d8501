"""Hostile training states, each made by what it holds or is instead of what it should."""

from __future__ import annotations

import copy
import hashlib
import io
import math
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NUMBERS: dict[str, Any] = {
    "of 400 digits": 10**400,
    "of 71 bits": 2**70,
    "of 63 bits": 2**63,
    "below 0": -1,
    "NaN": math.nan,
    "infinite": math.inf,
    "a truth value": True,
    "a tensor": torch.tensor(1),
    "a word": "1",
    "nothing": None,
    "a list": [1],
}
COUNTS = ("training/images", "training/ema/updates", "rollbacks", "tick/0", "tick/1")  # in a state, whole numbers
FLOATS = ("tick/2",)
NETWORKS = ("training/g", "training/d", "training/ema/network")


def odd_tensors(like: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Tensors instead of one like this, which has two dimensions at least."""
    many = 10**11  # numbers: 400 GB
    return {
        "one number for all": lambda: torch.zeros(1).expand(like.shape),
        "400 GB of one number": lambda: torch.zeros(1).expand(many),
        "400 GB of one number, in its form": lambda: torch.zeros(1).expand(many, *like.shape[1:]),
        "of no content": lambda: torch.zeros(like.shape, device="meta"),
        "400 GB of no content": lambda: torch.zeros(many, device="meta"),
        "sparse": lambda: like.to_sparse(),
        "sparse, of 400 GB": lambda: torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.int64), [1.0], (many,)),
        "in sparse rows": lambda: like.flatten(1).to_sparse_csr(),
        "nested": lambda: torch.nested.nested_tensor([like[0], like[0]]),
        "quantised": lambda: torch.quantize_per_tensor(like, 0.1, 0, torch.qint8),
        "double": like.double,
        "complex": lambda: like.to(torch.complex64),
        "half": like.half,
        "of whole numbers": lambda: like.to(torch.int64),
        "of truth values": like.bool,
        "flat": like.flatten,
        "empty": lambda: torch.zeros(0),
        "of one row more": lambda: torch.cat([like, like[:1]]),
    }


def rows(count: int, **odd: Any) -> list[dict[str, Any]]:
    """Evaluations at the beginning of a run, the last one with these values."""
    plain = {"kimg": 0.0, "score": 1.0, "diversity": 1.0, "density_g": 1.0, "density_d": 1.0, "phase": "prune"}
    return [{"tick": tick, **plain, **(odd if tick == count - 1 else {})} for tick in range(count)]


ODD_ROWS: dict[str, Callable[[], Any]] = {
    "within each other": lambda: nested_lists(6, 1000),
    "no list": lambda: 3,
    "of words": lambda: ["a"],
    "a tensor": lambda: torch.zeros(3),
    "with a tensor": lambda: rows(1, r_v=torch.zeros(3)),
    "with a tensor for a score": lambda: rows(1, score=torch.zeros(())),
    "of bytes": lambda: rows(1, note=bytearray(9)),
    "of another tick": lambda: rows(2)[1:],
    "of a later time": lambda: rows(1, kimg=1e9),
    "of no time": lambda: rows(1, kimg=math.nan),
    "without a score": lambda: rows(1, score=math.nan),
    "of a negative density": lambda: rows(1, density_g=-1.0),
    "of a number of 400 digits": lambda: rows(1, flips=10**400),
}


def nested_lists(levels: int, width: int) -> list[Any]:
    """Few bytes in a file, width**levels values for who looks at each."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found] * width
    return found


def placed(state: Any, place: str, value: Any) -> Any:
    """A state with another value at a place like 'training/g/linear.weight', '*' being the first there."""
    state = copy.copy(state)
    name, _, rest = place.partition("/")
    key: Any = int(name) if isinstance(state, list) else next(iter(state)) if name == "*" else name
    state[key] = placed(state[key], rest, value) if rest else value
    return state


def at(state: Any, place: str) -> Any:
    for name in place.split("/"):
        state = state[int(name) if isinstance(state, list) else name]
    return state


def weight_in(network: Any) -> str:
    """The name of a tensor that has two dimensions at least."""
    return next(name for name, tensor in network.items() if tensor.dim() > 1)


def odd_states(good: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """What stands in a state file instead of this good state, by description."""
    made: dict[str, Callable[[], Any]] = {}
    for place in (*COUNTS, *FLOATS):
        for what, number in NUMBERS.items():
            made[f"{place} {what}"] = lambda place=place, number=number: placed(good, place, number)
    for what, make in ODD_ROWS.items():
        made[f"rows {what}"] = lambda make=make: placed(good, "rows", make())
    for place in NETWORKS:
        network = at(good, place)
        name = weight_in(network)
        for what, tensor in odd_tensors(network[name]).items():
            made[f"{place} {what}"] = lambda place=place, name=name, tensor=tensor: placed(
                good, place, {**at(good, place), name: tensor()}
            )
        made[f"{place} a list"] = lambda network=network, place=place: placed(good, place, list(network.values()))
        made[f"{place} numbers"] = lambda network=network, place=place: placed(good, place, dict.fromkeys(network, 1))
        made[f"{place} numbered"] = lambda network=network, place=place: placed(
            good, place, dict(enumerate(network.values()))
        )
        made[f"{place} without one"] = lambda network=network, place=place, name=name: placed(
            good, place, {key: value for key, value in network.items() if key != name}
        )
        made[f"{place} with one more"] = lambda network=network, place=place: placed(
            good, place, {**network, "more": torch.zeros(3)}
        )
    for place in ("training", "training/ema", "training/opt_d", "training/pruners", "training/batches", "origin"):
        for what, value in {"a number": 3, "a tensor": torch.zeros(3), "a list": [3], "a dict": {"a": 3}}.items():
            made[f"{place} {what}"] = lambda place=place, value=value: placed(good, place, value)
    for place in ("training/random", "training/loss_sums", "training/batches/queue"):
        for what, make in {
            "400 GB of one number": lambda: torch.zeros(1).expand(10**11),
            "a number": lambda: 3,
            "empty": lambda: torch.zeros(0),
        }.items():
            made[f"{place} {what}"] = lambda place=place, make=make: placed(good, place, make())
    made["random numbers that are none"] = lambda: placed(
        good, "training/random", torch.full_like(good["training"]["random"], 255)
    )
    made["no dict"] = lambda: [good]
    made["nothing"] = lambda: None
    made["of format x"] = lambda: {**good, "format": "x", "training": 3}
    made["an old one whose mask is no mask of its weight"] = lambda: old_product(30_000)
    return made


def old_product(side: int) -> dict[str, Any]:
    """Of format 2, when masks lay beside the weights: their product would have side x side numbers."""
    chain = "linear.parametrizations.weight"
    g = {f"{chain}.original": torch.zeros(side, 1), f"{chain}.0.mask": torch.zeros(1, side)}
    g[f"{chain}.0.threshold"] = torch.zeros(side)
    training = {"g": g, "d": {}, "pruners": [{"phase": "prune", "rule": {"steps": 0}}], "schedule": None}
    return {"format": 2, "rows": [], "rollbacks": 0, "training": training}


# ---- files ----


def saved(state: Any) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some kinds of tensors are said to be in beta
        torch.save(state, stream)
    return stream.getvalue()


def name_of(content: bytes, kimg: float) -> str:
    return f"state-{kimg:010.3f}-{hashlib.sha256(content).hexdigest()[:16]}.pt"


def write_state(folder: Path, state: Any, kimg: float) -> Path:
    """Under its true hash."""
    folder.mkdir(parents=True, exist_ok=True)
    content = state if isinstance(state, bytes) else saved(state)
    path = folder / name_of(content, kimg)
    path.write_bytes(content)
    return path


def repacked(content: bytes, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> bytes:
    """A state's archive with other files in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(stream, "w") as archive:
        for entry in source.infolist():
            for name, inside in change(entry.filename, source.read(entry)):
                archive.writestr(name, inside)
    return stream.getvalue()


def claiming(content: bytes, count: int) -> bytes:
    """A state whose first tensor says that it has so many bytes, which the file does not hold."""

    def claim(name: str, inside: bytes) -> list[tuple[str, bytes]]:
        if name.endswith("/data.pkl"):
            number = b"J" + count.to_bytes(4, "little")
            inside = re.sub(rb"(?<=X\x03\x00\x00\x00cpuq.)(K.|M..|J....)", number, inside, count=1, flags=re.S)
        return [(name, inside)]

    return repacked(content, claim)


def odd_contents(good: bytes) -> dict[str, Callable[[], bytes]]:
    """What stands in a state file instead of these bytes, under its true hash."""

    def twice(name: str, inside: bytes) -> list[tuple[str, bytes]]:
        return [(name, inside), (name.upper(), inside)] if name.endswith("/data.pkl") else [(name, inside)]

    def pickled(make: Callable[[], bytes]) -> Callable[[str, bytes], list[tuple[str, bytes]]]:
        numbers = {"/data.pkl": make, "/data/0": lambda: bytes(4)}
        return lambda name, inside: [
            (name, next((new() for end, new in numbers.items() if name.endswith(end)), inside))
        ]

    return {
        "empty": lambda: b"",
        "a word": lambda: b"hello",
        "half": lambda: good[: len(good) // 2],
        "with a pickle twice": lambda: repacked(good, twice),
        "of a million evaluations": lambda: repacked(good, pickled(lambda: pickle.dumps({"rows": rows(1_000_000)}, 2))),
        "of 9 million lists": lambda: repacked(good, pickled(lambda: b"\x80\x02(" + b"]" * 9_000_000 + b"l.")),
        "of a million tensors": lambda: repacked(good, pickled(lambda: many_tensors(1_000_000))),
        "of a long number": lambda: repacked(
            good, pickled(lambda: b"\x80\x02\x8b" + (1 << 26).to_bytes(4, "little") + b"\1" * (1 << 26) + b".")
        ),
    }


def of_many_files(count: int) -> bytes:
    """A zip that is nothing but its directory."""
    directory = b"".join(b"PK\1\2" + bytes(24) + b"\7\0" + bytes(16) + b"%07d" % number for number in range(count))
    return directory + end_of_zip(len(directory))


def end_of_zip(size: int) -> bytes:
    return b"PK\5\6" + bytes(4) + b"\xff\xff\xff\xff" + size.to_bytes(4, "little") + bytes(4) + bytes(2)


def write_long_directory(path: Path, size: int) -> None:
    """A sparse zip that is nothing but its directory."""
    with path.open("wb") as file:
        file.write(b"PK\1\2")
        file.seek(size)
        file.write(end_of_zip(size))


def many_tensors(count: int) -> bytes:
    """A pickle that makes the same tensor many times, at three bytes each."""
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpuK\1tQ"
    arguments = b"(" + storage + b"K\0K\1\x85K\1\x85\x89ccollections\nOrderedDict\n)Rtq\1"
    return b"\x80\x02(ctorch._utils\n_rebuild_tensor_v2\nq\0" + arguments + b"](" + b"h\0h\1R" * count + b"et."


def odd_places(folder: Path) -> dict[str, Callable[[Path], None]]:
    """What is there instead of a file."""

    def sparse(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(1 << 40)

    return {
        "a pipe": os.mkfifo,
        "a link to a device": lambda path: path.symlink_to("/dev/zero"),
        "a link to nothing": lambda path: path.symlink_to("nowhere"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a folder": lambda path: path.mkdir(),
        "a terabyte": sparse,
    }
