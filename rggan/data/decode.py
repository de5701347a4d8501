"""One picture -> pixels: any format, mode, depth and orientation becomes 8-bit grey, RGB or RGBA at one size."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from rggan.data.picture import Picture, picture_formats
from rggan.errors import UserError

Resize = Literal["crop", "fit", "stretch"]
CHANNELS = {"grey": 1, "rgb": 3, "rgba": 4}
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I")
MAX_PIXELS = 64_000_000  # of one picture: 256 MB decoded, with several copies


class BadPicture(ValueError):
    """A picture that cannot be used; the message says why."""


def parse_color(name: str) -> tuple[int, int, int]:
    """'white', '#ff8800' -> (255, 255, 255), (255, 136, 0).

    Raises:
        UserError: no colour of that name.

    >>> parse_color("#ff8800")
    (255, 136, 0)
    """
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise UserError(f"`background` {name}: give a colour name like white, or one like #ff8800.") from error
    return red, green, blue


def parse_size(size: int | str | Sequence[int]) -> tuple[int, int]:
    """64, '64', '64x96' or (64, 96) -> (height, width).

    Raises:
        UserError: anything else, or a side below 1 or above 65,536.

    >>> parse_size("64x96"), parse_size(32)
    ((64, 96), (32, 32))
    """
    sides: list[object] = [size] if isinstance(size, int) else list(size.split("x") if isinstance(size, str) else size)
    texts = [str(side).strip() for side in sides]
    if len(texts) not in (1, 2) or not all(t.isascii() and t.isdecimal() and 0 < int(t[:9]) <= 65536 for t in texts):
        raise UserError(f"`resolution` takes a side in pixels like 64, or HEIGHTxWIDTH like 64x96, not {size}.")
    return int(texts[0]), int(texts[-1])


def open_picture(picture: Picture) -> Image.Image:
    """Decodes a picture: EXIF orientation applied, 8 bits, mode L, LA, RGB or RGBA (with 'A' if it has transparency).

    Raises:
        BadPicture: it cannot be read, is larger than `MAX_PIXELS`, or has pixels without a known range.
    """
    try:
        with opened(picture) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadPicture(f"{width}x{height} pixels are more than this reads ({MAX_PIXELS:,})")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return eight_bit(image)
    except BadPicture:
        raise
    except (Exception, RecursionError) as error:  # Pillow's plug-ins raise arbitrary exceptions
        text = str(error).strip().rstrip(".")
        if isinstance(error, UnidentifiedImageError):
            text = "no picture, by its content"
        raise BadPicture(text or type(error).__name__) from error


def opened(picture: Picture) -> Image.Image:
    """Opens a picture, reading only its header; the size is not checked."""
    content = picture.read()
    if picture.shape is not None:
        raw = np.frombuffer(content, dtype=np.uint8).reshape(picture.shape)
        return Image.fromarray(raw[:, :, 0] if raw.shape[2] == 1 else raw)
    return Image.open(io.BytesIO(content), formats=picture_formats())


def eight_bit(image: Image.Image) -> Image.Image:
    """Converts to 8 bits: 16-bit grey is scaled (65535 is 255); palettes, CMYK and others become RGB or RGBA."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise BadPicture("32-bit pixels have no known range; convert it to 8 or 16 bits")
        return Image.fromarray((values // 257).astype(np.uint8))
    if image.mode == "F":
        raise BadPicture("floating-point pixels have no known range; convert it to 8 or 16 bits")
    transparent = image.has_transparency_data
    if image.mode in GREY_MODES:
        return converted(image, "LA" if transparent else "L")
    return converted(image, "RGBA" if transparent else "RGB")


def converted(image: Image.Image, mode: str) -> Image.Image:
    """Converts the mode; returns the image itself if it has that mode (a copy may take hundreds of MB)."""
    return image if image.mode == mode else image.convert(mode)


def to_pixels(
    image: Image.Image,
    size: tuple[int, int],
    channels: int,
    resize: Resize = "crop",
    background: tuple[int, int, int] = (255, 255, 255),
) -> NDArray[np.uint8]:
    """A picture of `open_picture` -> uint8 [height, width, channels].

    Args:
        size: (height, width). channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        resize: 'crop' cuts out the centre, 'fit' pads the whole picture with the background, 'stretch' distorts.
        background: transparent pictures are composited on it with 1 or 3 channels; with 4 it replaces the invisible
            colour of fully transparent pixels.

    >>> to_pixels(Image.new("RGBA", (64, 32), (255, 0, 0, 0)), (16, 16), channels=3)[0, 0].tolist()
    [255, 255, 255]
    """
    height, width = size
    alpha = image.mode in ("LA", "RGBA")
    if alpha and channels != 4:
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), converted(image, "RGBA"))
    image = converted(image, {1: "L", 3: "RGB", 4: "RGBA"}[channels])
    if resize == "stretch":
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    elif resize == "crop":
        image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    else:
        under = Image.new("RGB", (1, 1), background).convert("L").getpixel((0, 0)) if channels == 1 else background
        color = (*background, 0) if channels == 4 else under
        image = ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS, color=color)  # type: ignore[arg-type]
    pixels = np.asarray(image).reshape(height, width, channels)
    if channels == 4:
        pixels = np.where(pixels[:, :, 3:] == 0, np.array([*background, 0], dtype=np.uint8), pixels)
    return pixels
