"""What is asked of one picture: its pixels at a size, its own size, its largest value, a small copy of it.

Each task takes a `Picture` and its content, and answers with what JSON can hold and bytes besides (see `worker`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rggan.data.decode import CHANNELS, header_size, is_stack, open_file, open_picture, opened, to_pixels
from rggan.data.picture import Picture


class Pixels(NamedTuple):
    """The result of decoding one picture.

    values: [H, W, C]. grey: whether it is. peak: its largest value, where it has more than 8 bits. coarse: it has
    colours then. stack: it has several frames or pages.
    """

    values: NDArray[np.uint8]
    grey: bool
    peak: float = 0.0
    coarse: bool = False
    stack: bool = False


def pixels_task(picture: Picture, content: bytes, **how: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Decodes one picture. how: as `load_images` collects it. Raises BadPicture and whatever Pillow raises."""
    image = open_picture(picture)
    red, green, blue = how["background"]
    grey = image.mode == "L" or (image.mode == "LA" and red == green == blue)
    values = to_pixels(image, how["size"], depth_of(how), how["resize"], how["background"])
    stack = picture.shape is None and may_be_stack(content) and is_stack(opened(picture))
    told = {"grey": grey, "peak": image.info.get("peak", 0.0), "coarse": image.info.get("coarse", False)}
    return {**told, "stack": stack}, [values.tobytes()]


def pixels_from(found: tuple[dict[str, Any], Sequence[bytes | bytearray]] | str, how: dict[str, Any]) -> Pixels | str:
    """The answer of `pixels_task`; a text says why it cannot be read."""
    if isinstance(found, str):
        return found
    told, (values,) = found
    pixels = np.frombuffer(values, dtype=np.uint8).reshape(*how["size"], depth_of(how))
    return Pixels(pixels, bool(told["grey"]), float(told["peak"]), bool(told["coarse"]), bool(told["stack"]))


def depth_of(how: dict[str, Any]) -> int:
    """How many channels are decoded; with 'auto' grey ones are taken out of them later."""
    return CHANNELS.get(how["channels"], 3)


def may_be_stack(content: bytes) -> bool:
    """Whether a file is of a format that has frames or pages; by its first bytes, which is quick."""
    return content[:4] in (b"GIF8", b"II*\0", b"MM\0*", b"RIFF") or b"acTL" in content[:1024]


def size_task(picture: Picture, content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """(width, height) from the header; zeros if it cannot be read."""
    return {"size": header_size(picture)}, []


def largest_task(picture: Picture, content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The largest value of a picture of more than 8 bits; 0 of others."""
    with open_file(content, picture.formats) as image:
        fits = image.width * image.height <= picture.max_pixels
        deep = fits and (image.mode.startswith("I") or image.mode == "F")
        return {"largest": float(np.nanmax(np.asarray(image))) if deep else 0.0}, []


def small_task(picture: Picture, content: bytes, side: int) -> tuple[dict[str, Any], list[bytes]]:
    """The whole picture with a longer side of `side` pixels, RGB or RGBA; tiny ones are enlarged without smoothing."""
    image = open_picture(picture)
    method = Image.Resampling.NEAREST if max(image.size) <= side // 3 else Image.Resampling.LANCZOS
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.convert("RGBA" if image.mode in ("LA", "RGBA") else "RGB").resize(size, method)
    return {"mode": image.mode, "size": image.size}, [image.tobytes()]


def small_from(found: tuple[dict[str, Any], Sequence[bytes | bytearray]]) -> Image.Image:
    """The answer of `small_task`."""
    told, (values,) = found
    return Image.frombytes(told["mode"], tuple(told["size"]), values)
