"""Writes a cleaned copy of a set of pictures: only valid ones, rotated upright, in sRGB, under safe names."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, ImageOps

from rggan.data.audit.doctor import Health, read_profile, told_names
from rggan.data.decode import BadPicture, open_file, open_picture, orientation
from rggan.data.parallel import in_order
from rggan.data.picture import Picture
from rggan.data.workers import Told
from rggan.errors import UserError, make_folder
from rggan.files import part_of

CHUNK = 32  # pictures held in memory until they are written
NAME_LENGTH = 80  # of a file or folder; file systems allow 255
JPEG_ENDINGS = (".jpg", ".jpeg")


def write_copy(pictures: Sequence[Picture], health: Health, out: Path, near: bool = False) -> dict[str, Any]:
    """Writes the usable pictures into a new folder, with one subfolder per class.

    Leaves out unreadable and uniform pictures, and all but the first of exact duplicates (with `near`, also of
    near-duplicates). JPEGs that need no change are copied byte for byte, all others become PNG.

    Args:
        health: the result of `inspect` for the same pictures.
        out: must not exist, or be an empty folder; appears when everything is written.

    Returns:
        {'written': count, 'left_out': {name: reason}}

    Raises:
        UserError: `out` is in use or cannot be written; no picture is left.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is already there; give a new or an empty folder for the copy.")
    part = part_of(out)
    names = told_names(pictures)
    left_out = unwanted(health, near)
    chosen = [(name, picture) for name, picture in zip(names, pictures, strict=True) if name not in left_out]
    make_folder(out.parent)
    written: list[Path] = []
    try:
        part.mkdir()
    except FileExistsError as error:
        raise UserError(f"{part} is left of a copy that was interrupted; remove it and try again.") from error
    except OSError as error:
        raise UserError(f"Cannot write the copy {out}: {error.strerror or error}.") from error
    try:
        write_all(chosen, part, left_out, written)
        if out.exists():
            out.rmdir()
        part.rename(out)
    except OSError as error:  # a write error: unreadable pictures are left out
        remove(part, written)
        raise UserError(f"Cannot write the copy {out}: {error.strerror or error}.") from error
    except BaseException:
        remove(part, written)
        raise
    return {"written": len(written), "left_out": left_out}


def remove(part: Path, written: Sequence[Path]) -> None:
    """Remove a copy that failed: what was written, and the folders that are then empty."""
    with contextlib.suppress(OSError):  # the first error is the one to tell
        for path in written:
            path.unlink(missing_ok=True)
        for folder in [path for path in part.iterdir() if path.is_dir()]:
            folder.rmdir()
        part.rmdir()


def unwanted(health: Health, near: bool) -> dict[str, str]:
    """{name: why it is left out}"""
    reasons = {name: f"cannot be read: {reason}" for name, reason in health.unreadable}
    for name in health.uniform:
        reasons.setdefault(name, "of one colour only")
    for how, groups in (("the same as", health.same), ("nearly the same as", health.near if near else [])):
        for first, *others in groups:
            for name in others:
                reasons.setdefault(name, f"{how} {first}")
    return reasons


def write_all(chosen: Sequence[tuple[str, Picture]], root: Path, left_out: dict[str, str], written: list[Path]) -> None:
    """Adds the files to `written`, each as it is made; pictures that can no longer be read are added to `left_out`."""
    taken: dict[str, int] = {}
    folders: dict[str, str] = {"": ""}
    for name, picture, result in mended_in_order(chosen):
        if isinstance(result, BadPicture):
            left_out[name] = f"cannot be read: {result}"
            continue
        ending, content = result
        if picture.class_name not in folders:
            folders[picture.class_name] = free(safe(picture.class_name, "class"), "", taken)
        folder = folders[picture.class_name]
        stem = safe(os.path.splitext(re.split(r"[/\\]", picture.name)[-1])[0], "picture")
        target = root / free(f"{folder}/{stem}" if folder else stem, ending, taken)
        if not target.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{picture.name!a} would be written outside of the copy; rename it.")
        target.parent.mkdir(exist_ok=True)
        with target.open("xb") as file:  # never overwrites
            written.append(target)
            file.write(content)
    if not written:
        raise UserError("No picture is left that is worth a copy; look at what rggan check says of them.")


def mended_in_order(
    chosen: Sequence[tuple[str, Picture]],
) -> Iterator[tuple[str, Picture, tuple[str, bytes | bytearray] | BadPicture]]:
    """Yields (name, picture, its file or why there is none), decoded and encoded in parallel."""
    pictures = [picture for _, picture in chosen]
    for (name, picture), result in zip(chosen, in_order(pictures, "mended", mended_from, CHUNK), strict=True):
        yield name, picture, result


def safe(name: str, otherwise: str) -> str:
    """Returns a name of [A-Za-z0-9._-] that is neither hidden nor a path.

    >>> safe("../My cat.v2", "class"), safe("…", "class")
    ('My-cat.v2', 'class')
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:NAME_LENGTH].rstrip("._-") or otherwise


def free(name: str, ending: str, taken: dict[str, int]) -> str:
    """Returns name + ending, numbered if that is taken (ignoring case), and marks it as taken.

    taken: names in lower case, each with the last number given to it.

    >>> taken = {"cat.png": 1}
    >>> free("Cat", ".png", taken), free("cat", ".png", taken)
    ('Cat-2.png', 'cat-3.png')
    """
    found = name + ending
    wanted = found.lower()
    number = taken.get(wanted, 1)
    while found.lower() in taken:
        number += 1
        found = f"{name}-{number}{ending}"
    taken[found.lower()] = 1
    taken[wanted] = number
    return found


def mended_task(picture: Picture, content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The extension and content of a picture's file in the copy; no content if the file is fine as it is."""
    image = open_picture(picture)
    if picture.shape is None:
        with open_file(content, picture.formats) as stored:
            profile = stored.info.get("icc_profile") or b""
            foreign = profile != b"" and not read_profile(profile)[1]
            upright = orientation(stored) not in range(2, 9)
            if stored.format == "JPEG" and stored.mode in ("L", "RGB") and upright and not foreign:
                ending = Path(picture.name).suffix.lower()
                return {"ending": ending if ending in JPEG_ENDINGS else ".jpg"}, []
            if foreign:
                image = to_srgb(image, stored, profile)
    image.info = {}  # metadata of the old pixels: profile, transparency, comments
    stream = io.BytesIO()
    image.save(stream, "png")
    return {"ending": ".png"}, [stream.getvalue()]


def mended_from(
    picture: Picture, content: bytes | None, found: Told | str
) -> tuple[str, bytes | bytearray] | BadPicture:
    """(extension, content) of its file in the copy, or why it cannot be read."""
    if content is None or isinstance(found, str):
        return BadPicture(found)
    told, parts = found
    return str(told["ending"]), parts[0] if parts else content


def to_srgb(image: Image.Image, stored: Image.Image, profile: bytes) -> Image.Image:
    """Converts the decoded `image` of a stored one from its profile to sRGB; unchanged if the profile does not fit."""
    source = image.convert({"LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode))
    if stored.mode == "CMYK":  # the decoded image was converted to RGB without the profile
        source = ImageOps.exif_transpose(stored)
    try:
        meant = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(source, meant, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    assert converted is not None  # None only for in-place conversion
    if image.mode in ("L", "LA"):
        converted = converted.convert("L")
    if image.mode in ("LA", "RGBA"):
        converted.putalpha(image.getchannel("A"))
    return converted
