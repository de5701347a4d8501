"""One picture -> pixels: any format, mode, depth and orientation becomes 8-bit grey, RGB or RGBA at one size."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from rggan.data.picture import Picture, every_format, picture_formats, scaled
from rggan.errors import UserError, first_line

Resize = Literal["crop", "fit", "stretch"]
CHANNELS = {"grey": 1, "rgb": 3, "rgba": 4}
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I")
PNG = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")  # chunks of a PNG
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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

    `info` has the largest value, 'peak', of one of more than 8 bits, and is 'coarse' if it has colours; else it is
    empty. A JPEG of more than `max_pixels` is decoded at a half, a quarter or an eighth of its size.

    Raises:
        BadPicture: it cannot be read, has more than `max_pixels`, or has pixels without a known range.
    """
    content = b""
    try:
        content = picture.read()
        if picture.shape is not None:
            return raw(picture, content)
        try:
            with open_file(content, picture.formats) as image:
                return upright(image, picture)
        except BadPicture:
            raise
        except Exception:
            if not content.startswith(PNG):
                raise
            with open_file(essential(content), picture.formats) as image:  # a part behind the pixels
                return upright(image, picture)
    except (BadPicture, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many types
        raise BadPicture(why(error, content)) from error


def opened(picture: Picture) -> Image.Image:
    """Opens a picture, reading only its header; the size is not checked."""
    content = picture.read()
    return raw(picture, content) if picture.shape is not None else open_file(content, picture.formats)


def raw(picture: Picture, content: bytes) -> Image.Image:
    assert picture.shape is not None
    pixels = np.frombuffer(content, dtype=np.uint8).reshape(picture.shape)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if picture.levels is not None and (levels := picture.levels()).dtype.kind == "u":
        image.info["peak"] = float(levels.max())
    return image


def header_size(picture: Picture) -> tuple[int, int]:
    """Returns (width, height) from the header; zeros if it cannot be read, which decoding will report."""
    try:
        with opened(picture) as image:
            return image.size
    except Exception:
        return 0, 0


def open_file(content: bytes, formats: Sequence[str] = ()) -> Image.Image:
    """Opens an encoded picture, whatever its size; damaged parts of a PNG that are no pixels do not matter.

    formats: that are read besides the common ones.
    """
    known = picture_formats(tuple(formats))
    try:
        return Image.open(io.BytesIO(content), formats=known)
    except Image.DecompressionBombError:  # by Pillow's own limit, which comes before `max_pixels`
        for name in known:
            factory, accept = Image.OPEN[name]
            if accept is not None and accept(content[:16]) is True:
                return factory(io.BytesIO(content), "")
        raise
    except Exception:
        if not content.startswith(PNG) or (left := essential(content)) == content:
            raise
        return Image.open(io.BytesIO(left), formats=known)


def essential(png: bytes) -> bytes:
    """A PNG without its texts, and without other ancillary chunks whose checksum is wrong."""
    kept, place = [PNG], len(PNG)
    while place + 12 <= len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        end = place + 12 + length
        ancillary = kind[0:1].islower()
        good = png[end - 4 : end] == struct.pack(">I", zlib.crc32(png[place + 4 : end - 4])) if ancillary else True
        if good and kind not in TEXTS:
            kept.append(png[place:end])
        place = end
    return b"".join(kept)


def why(error: Exception, content: bytes) -> str:
    """Returns why a picture with this content cannot be read."""
    if not isinstance(error, UnidentifiedImageError):
        return first_line(error)
    if content.startswith(PNG):
        return "a damaged part of the file (checksum)"
    if content[4:8] == b"ftyp" and content[8:12] in HEIF_BRANDS:
        return 'HEIC, by its content: convert it to JPEG, or pip install "rggan[heif]"'
    if (name := unusual_format(content)) is not None:
        return f"a picture of the format {name}, which `formats` {name} reads"
    return "no picture, by its content"


def unusual_format(content: bytes) -> str | None:
    """Returns the format that its first bytes tell, of those that are read only where they are asked for."""
    for name in sorted(set(every_format()) - set(picture_formats())):
        with contextlib.suppress(Exception):  # of a plug-in
            accept = Image.OPEN[name][1]
            if accept is not None and accept(content[:16]) is True:
                return name
    return None


def upright(image: Image.Image, picture: Picture) -> Image.Image:
    """Decodes an opened picture. Raises BadPicture, and whatever Pillow raises."""
    width, height = image.size
    if width * height > picture.max_pixels:
        fitting = (s for s in (2, 4, 8) if -(-width // s) * -(-height // s) <= picture.max_pixels)
        if (scale := next(fitting, None)) is not None:
            image.draft(None, (width // scale, height // scale))  # does nothing if it is no JPEG
    if image.width * image.height > picture.max_pixels:
        raise BadPicture(f"{width}x{height} pixels are more than `max_pixels` ({picture.max_pixels:,})")
    coarse = not image.mode.startswith("I") and is_deep(image)
    image.load()
    turned = orientation(image)
    image = eight_bit(image, picture.white_level)
    if coarse:
        high = max(np.asarray(image.convert("RGB")).max(), 0)
        image.info = {"peak": 257.0 * float(high), "coarse": True}
    return image.transpose(TURNS[turned]) if turned in TURNS else image


def is_deep(image: Image.Image) -> bool:
    """Whether an opened file stores 16 bits in each channel."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def is_stack(image: Image.Image) -> bool:
    """Whether an opened file has several frames or pages, of which the first is used."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a broken second frame is never used
        return False


def orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation; 1, upright, where that is damaged."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # what is no EXIF raises many types
        return 1


def eight_bit(image: Image.Image, white: float | None = None) -> Image.Image:
    """Converts to 8 bits: deeper grey is scaled (65535, or `white`, is 255); palettes, CMYK and others become RGB or
    RGBA."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        kind = "floating-point" if image.mode == "F" else "32-bit"
        if white is None and (image.mode == "F" or values.min() < 0 or values.max() > 65535):
            raise BadPicture(f"{kind} pixels have no known range; give `white_level`, or convert it to 8 or 16 bits")
        grey = Image.fromarray(scaled(values, white))
        grey.info["peak"] = float(values.max())
        return grey
    transparent = image.has_transparency_data
    if image.mode in GREY_MODES:
        found = converted(image, "LA" if transparent else "L")
    else:
        found = converted(image, "RGBA" if transparent else "RGB")
    found.info = {}
    return found


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
