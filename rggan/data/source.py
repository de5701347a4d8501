"""Where pictures lie: folder, zip, array, CIFAR archive or Hugging Face dataset, as sorted named byte readers."""

from __future__ import annotations

import fnmatch
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path, PurePosixPath

from PIL import Image

from rggan.errors import UserError

MAX_BYTES = 128 * 2**20  # of one file: no picture is larger, and no header may make us allocate more
LABELS = "dataset.json"  # where StyleGAN's dataset_tool writes the classes


@dataclass(frozen=True)
class Picture:
    """One undecoded picture.

    name: its path inside the source. read: gives its bytes; raises OSError or ValueError where it cannot.
    label: its class where the source itself names one; None: what its folder says.
    shape: [height, width, channels] of raw uint8 pixels (channels 1, 3 or 4); None: an encoded file.

    >>> Picture("cat/1.png", bytes).class_name, Picture("cat/1.png", bytes, label="7").class_name
    ('cat', '7')
    """

    name: str
    read: Callable[[], bytes]
    label: str | None = None
    shape: tuple[int, int, int] | None = None

    @property
    def folder(self) -> str:
        """The top-level folder that holds it ('' at the root): its class, where folders are classes."""
        parts = PurePosixPath(self.name).parts
        return parts[0] if len(parts) > 1 else ""

    @property
    def class_name(self) -> str:
        """Its label, or else its folder; '' where it has no class."""
        return self.folder if self.label is None else self.label


def list_pictures(data: str | Path, pattern: str = "*") -> list[Picture]:
    """The pictures of `data`, sorted by name.

    A folder (nested) or zip of pictures, with the classes of a dataset.json at its root where there is one;
    a .npy or .npz array; CIFAR-10 or CIFAR-100 as published; 'hf:NAME' or 'hf:NAME:SPLIT' for a Hugging Face
    dataset. `pattern` is a shell pattern on the file name, without its folders. In folders and zips, hidden
    files and files that are no pictures by their ending are passed over.

    Raises:
        UserError: nothing there, of no known form, damaged as a whole, or no picture that fits.
    """
    # Imported here, for each of them needs `Picture`.
    from rggan.data.archive import list_zip
    from rggan.data.arrays import list_array
    from rggan.data.cifar import is_cifar, list_cifar
    from rggan.data.hub import PREFIX, list_hub

    path = Path(data)
    ending = path.suffix.lower()
    if str(data).startswith(PREFIX):
        pictures = list_hub(str(data))
    elif not os.path.exists(path):  # unlike Path.exists it takes what it may not look at as not there
        raise UserError(f"There is nothing at {path}; give a folder or a zip of pictures.")
    elif not path.is_dir() and not path.is_file():
        raise foreign(path)  # a pipe or device would block whoever reads it
    elif is_cifar(path):
        pictures = list_cifar(path)
    elif path.is_dir():
        pictures = labelled(list_folder(path), pattern, path)
    elif ending in (".npy", ".npz"):
        pictures = list_array(path)
    else:
        files = list_zip(path)
        if files is None:
            raise foreign(path)
        pictures = labelled(files, pattern, path)

    pictures = sorted((p for p in pictures if fits(p, pattern)), key=lambda picture: picture.name)
    if not pictures:
        called = "" if pattern == "*" else f" named {pattern}"
        raise UserError(f"No pictures{called} in {data} (PNG, JPEG and whatever else Pillow reads).")
    return pictures


def foreign(path: Path) -> UserError:
    return UserError(
        f"{path} is neither a folder nor a zip of pictures, nor a .npy or .npz array, nor CIFAR-10 or CIFAR-100 as "
        "published (folder, .tar.gz or one of its batches); give one of these, or hf:NAME for a Hugging Face dataset."
    )


def fits(picture: Picture, pattern: str) -> bool:
    return fnmatch.fnmatchcase(PurePosixPath(picture.name).name, pattern)


def list_folder(root: Path) -> list[Picture]:
    """All files below a folder, each folder once: links to folders are followed, so that a cycle of links ends."""
    files = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise UserError(f"Cannot list the folder {error.filename}: {error.strerror}.") from error

    def folders(top: str) -> Iterator[tuple[str, list[str]]]:
        waiting = [top]
        for start in waiting:  # grows meanwhile: links wait until what they may point to was met under its own name
            for folder, inside, names in os.walk(start, onerror=refuse):
                real = os.path.realpath(folder)
                if real in seen:
                    inside.clear()
                    continue
                seen.add(real)
                inside.sort()
                waiting += [link for name in inside if os.path.islink(link := os.path.join(folder, name))]
                yield folder, names

    for folder, names in folders(str(root)):
        for name in names:
            path = Path(folder, name)
            inner = os.fsencode(path.relative_to(root).as_posix())  # bytes that are no UTF-8 stay visible: \xff
            files.append(Picture(inner.decode(errors="backslashreplace"), partial(read_file, path)))
    return files


def read_file(path: str | Path) -> bytes:
    """The content of a regular file of at most `MAX_BYTES`.

    Raises:
        OSError: it cannot be read. ValueError: it is larger.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe would block
            raise OSError("it is no regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(too_large(status.st_size))
        return Path(path).read_bytes()
    except OSError as error:
        raise OSError(error.strerror or str(error)) from error  # without the path, that the caller names


def too_large(size: int) -> str:
    return f"its {size:,} bytes are more than this reads ({MAX_BYTES:,})"


@cache
def picture_formats() -> tuple[str, ...]:
    """What this Pillow reads by itself: not EPS, for which it starts Ghostscript, nor formats that it only names.

    >>> "PNG" in picture_formats(), "EPS" in picture_formats()
    (True, False)
    """
    Image.init()
    return tuple(sorted(set(Image.OPEN) - {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}))


@cache
def picture_endings() -> frozenset[str]:
    """Lower-case file endings of these formats ('.png', '.jpg', ...)."""
    return frozenset(end for end, form in Image.registered_extensions().items() if form in picture_formats())


def labelled(files: list[Picture], pattern: str, source: Path) -> list[Picture]:
    """The pictures among all files of a folder or zip that fit, with the labels of its dataset.json.

    Raises:
        UserError: a damaged dataset.json, or one that has labels, but none for one of these pictures.
    """

    def wanted(picture: Picture) -> bool:
        path = PurePosixPath(picture.name)
        # '..' in a zip is not hidden: reading it says what is wrong
        hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in path.parts)
        return not hidden and path.suffix.lower() in picture_endings() and fits(picture, pattern)

    pictures = [file for file in files if wanted(file)]
    labels = next((read_labels(file, source) for file in files if file.name == LABELS), None)
    if not labels:
        return pictures
    for picture in pictures:
        if picture.name not in labels:
            raise UserError(f"{picture.name} has no label in {LABELS} of {source}; add it, or remove the picture.")
    return [replace(picture, label=str(labels[picture.name])) for picture in pictures]


def read_labels(file: Picture, source: Path) -> dict[str, int] | None:
    """{"labels": [["00000/img00000000.png", 6], ...]} -> {name: label}; null -> None.

    Raises:
        UserError: it cannot be read, is no such JSON, or a label is no single integer.
    """
    try:
        content = json.loads(file.read())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"Cannot read {LABELS} of {source}: {error}; mend or remove it.") from error
    if not isinstance(content, dict) or "labels" not in content:
        raise UserError(f'{LABELS} of {source} has no "labels"; write it as dataset_tool does, or remove it.')
    pairs = content["labels"]
    if pairs is None:
        return None
    if not isinstance(pairs, list) or not all(is_pair(pair) for pair in pairs):
        raise UserError(f"The labels in {LABELS} of {source} must be pairs of a file name and one integer.")
    return dict(pairs)


def is_pair(pair: object) -> bool:
    """
    >>> is_pair(["a.png", 3]), is_pair(["a.png", [0, 1]]), is_pair(["a.png", True])
    (True, False, False)
    """
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and type(pair[1]) is int
