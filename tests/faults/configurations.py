"""What the drill trains: each family, augmentation, rule, schedule, precision and form of data, as small as it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from rggan.pretrained import LITE1
from tests.data.streams import write_tar

COUNT = 48  # pictures
SMALL = (
    *("--width-g", "8", "--width-d", "8", "--z-dim", "8", "--batch", "8", "--score-samples", "16"),
    *("--kimg", "0.128", "--snap", "0.032", "--d-steps", "1"),
)
TINY = ("--width-g", "2", "--width-d", "2", "--batch", "4", "--kimg", "0.048", "--snap", "0.016")


def pictures() -> NDArray[np.uint8]:
    """[COUNT, 16, 16], of digits."""
    return np.kron(load_digits().images[:COUNT].astype(np.uint8) * 15, np.ones((2, 2), dtype=np.uint8))


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def digits(folder: Path) -> str:
    return "digits"


def as_files(folder: Path) -> str:
    """PNGs and JPEGs in folders of two classes."""
    for number, pixels in enumerate(pictures()):
        place = folder / "files" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        kind = ("PNG", "JPEG")[number % 3 == 0]
        (place / f"{number}.{kind.lower()}").write_bytes(encoded(pixels, kind))
    return str(folder / "files")


def as_array(folder: Path) -> str:
    np.save(folder / "array.npy", pictures())
    return str(folder / "array.npy")


def as_zip(folder: Path) -> str:
    """Colours with transparency, of 24 x 16 pixels."""
    with ZipFile(folder / "set.zip", "w") as archive:
        for number, pixels in enumerate(pictures()):
            wide = np.dstack([np.pad(pixels, ((0, 0), (4, 4)))] * 4)
            archive.writestr(f"{number}.png", encoded(wide))
    return str(folder / "set.zip")


def as_shards(folder: Path, count: int = 4) -> str:
    """Tars of pictures with classes."""
    place, each = folder / "shards", COUNT // count
    place.mkdir(exist_ok=True)
    for shard in range(count):
        members = {}
        for number in range(shard * each, (shard + 1) * each):
            members[f"{number}.png"] = encoded(pictures()[number])
            members[f"{number}.cls"] = str(number % 2).encode()
        write_tar(place / f"{shard}.tar", members)
    return str(place)


@dataclass(frozen=True)
class Configuration:
    """A training. data: writes the pictures into a folder and returns what to call them. options: of `rggan train`."""

    data: Callable[[Path], str]
    options: tuple[str, ...]


def of(
    words: str, data: Callable[[Path], str] = digits, network: str = "sngan", small: tuple[str, ...] = ()
) -> Configuration:
    given = words.split()
    precision = () if "--precision" in given else ("--precision", "fp32")
    count = ("--max-images", str(COUNT)) if data is digits else ()
    return Configuration(data, ("--network", network, *count, *SMALL, *small, *precision, *given))


tiny = partial(of, small=TINY)
CACHED = "--memory-share 1e-12"
STREAM = "--shuffle-buffer 16"

CONFIGURATIONS = {
    "threshold": of("--networks both --cond --mirror"),
    "threshold, bf16": of("--networks both --cond --mirror --precision bf16"),
    "published, ada": of("--rule published --aug ada --ada-kimg 0.1"),
    "hard, regrow": of("--rule hard --target-g 0.5 --target-d 0.5 --regrow 0.2 --keep 1"),
    "dense": of("--rule none --aug none --keep 1"),
    "dense, dynamic D, penalties": of(
        "--rule none --dynamic-d 0.5 --lecam 0.1 --dropout-d 0.1 --gamma 0.1 --loss nonsaturating --lr-decay 0.5"
    ),
    "auto": of("--networks d --target-d auto --adapt-kimg 0.02", as_files),
    "auto by balance": of("--networks both --target-d auto --signal balance --adapt-kimg 0.02 --aug none"),
    "magnitude, finale": of("--rule magnitude --target-g 0.3 --target-d 0.5 --finale 0.4 --fade 0.02"),
    "hard, rewind": of("--rule hard --target-g 0.5 --target-d 0.5 --ramp 0.06 --rewind 0.03"),
    "oneshot, bf16": of("--rule oneshot --target-g 0.5 --target-d 0.5 --precision bf16"),
    "set, balance": of("--rule set --target-g 0.5 --target-d 0.5 --balance"),
    "rigl, bf16": of("--rule rigl --target-g 0.5 --target-d 0.5 --precision bf16"),
    "static": of("--rule static --target-g 0.5 --target-d 0.5 --distribution erk"),
    "rows": of("--granularity row --rule magnitude --target-g 0.5 --target-d 0.5"),
    "periodic": of("--networks both --schedule periodic --period 1 --lr-dense 0.5 --fade 0.01"),
    "overfit and always": of("--networks both --schedule-g always --schedule-d overfit --dead-band 0.1"),
    "cached": of(f"{CACHED} --cond --networks both", as_files),
    "mapped": of(f"{CACHED} --networks d", as_array),
    "zip, transparent": of(f"{CACHED} --channels rgba --resolution 16x24 --networks d", as_zip),
    "shards": of(f"{STREAM} --resolution 16 --networks both", as_shards),
    "shards, classes, bf16": of(f"{STREAM} --resolution 16 --cond --precision bf16", as_shards),
    "stylegan2, ada": tiny("--aug ada --ada-kimg 0.1 --networks both", network="stylegan2"),
    "stylegan2, bf16": tiny(
        "--style-mixing 0.9 --path-length 2 --gamma 0.1 --precision bf16 --mapping-layers 3", network="stylegan2"
    ),
    "fastgan": tiny("--networks d --target-d auto", as_files, "fastgan"),
    "fastgan, rows, bf16": tiny("--granularity row --target-g 0.7 --precision bf16", network="fastgan"),
    "biggan": tiny("--cond --networks both", network="biggan"),
    "biggan, dense": tiny("--cond --rule none --aug none --keep 1", network="biggan"),
}
if LITE1.installed():
    CONFIGURATIONS["projected"] = tiny("--networks both", network="projected")
    CONFIGURATIONS["projected, stylegan2"] = tiny("--schedule never --networks both", network="projected-stylegan2")
