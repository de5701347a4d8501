"""Which files of a folder or zip are pictures, and what to tell of those that are passed over."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image

from rggan.data.picture import Picture, endings_of, every_format, parts_of, picture_endings, picture_formats

ENDING = re.compile(r"\.(?=[0-9]*[a-z])[a-z0-9]{1,6}", re.I)  # of a kind of file; a number or a date is none
BY_CONTENT = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "AVIF", "HEIF", "JPEG2000")  # formats with a long signature
HEAD = 16  # bytes by which Pillow recognises a format
MOST = 5  # endings that are told
BESIDE = ("thumbs.db", "desktop.ini")  # what Windows puts beside pictures
HINTS = {
    (".heic", ".heif", ".hif"): 'convert them to JPEG, or pip install "rggan[heif]"',
    (".avif",): "upgrade Pillow",
    (".dcm",): "convert them to 8-bit or 16-bit PNG",
    (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"): "export them as JPEG or PNG",
    (".svg", ".eps", ".pdf", ".ai"): "export them as PNG",
    (".mp4", ".mov", ".avi", ".mkv", ".webm"): "write out their frames as pictures",
    (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"): "unpack them, or give one zip as `data`",
    (".npy", ".npz"): "give one array as `data`",
}


class Member(NamedTuple):
    """A file of a folder or zip; read takes `limit`: read so many bytes at most."""

    name: str
    read: Callable[..., bytes]


def pictures_among(members: Sequence[Member]) -> tuple[list[Picture], list[Member]]:
    """Returns (the pictures, the other files) that are not hidden.

    Files without an ending are pictures if their first bytes say so.
    """
    pictures, others = list[Picture](), list[Member]()
    for member in members:
        parts = parts_of(member.name)
        # '..' in a zip is not hidden: reading it reports the error
        if not parts or any(part.startswith((".", "__MACOSX")) and part != ".." for part in parts):
            continue
        ending = ending_of(parts[-1])
        if ending.lower() in picture_endings() or (not ending and looks_like_picture(member)):
            pictures.append(Picture(member.name, member.read))
        elif parts[-1].lower() not in BESIDE:
            others.append(member)
    return pictures, others


def ending_of(name: str) -> str:
    """
    >>> ending_of("a.PNG"), ending_of("photo 3.5"), ending_of("a.jpg?width=9"), ending_of("a.7z")
    ('.PNG', '', '', '.7z')
    """
    _, dot, end = name.rpartition(".")
    return dot + end if ENDING.fullmatch(dot + end) else ""


def looks_like_picture(member: Member) -> bool:
    try:
        head = member.read(limit=HEAD)
    except Exception:  # of a disk or zip; it would be an unreadable picture at best
        return False
    accepts = [Image.OPEN[name][1] for name in BY_CONTENT if name in picture_formats()]
    return any(accept is not None and accept(head) is True for accept in accepts)


def unusual(ending: str) -> str:
    """A hint on files of a format that is read where it is asked for; "" for others.

    >>> unusual(".tga"), unusual(".txt")
    (' (`formats` TGA reads them)', '')
    """
    name = next((name for name in every_format() if ending in endings_of((name,))), None)
    return "" if name is None else f" (`formats` {name} reads them)"


def passed_over(names: Sequence[str]) -> list[str]:
    """Returns at most one note: how many files of which endings were passed over, and what to do with them.

    >>> passed_over(["1.HEIC", "2.heic", "README", "a.txt"])
    ['passed over: 2 .HEIC (convert them to JPEG, or pip install "rggan[heif]"), 1 without an ending, 1 .txt']
    """
    endings = [ending_of(name) for name in names]
    spelled = {ending.lower(): ending for ending in reversed(endings)}
    counted = Counter(ending.lower() for ending in endings).most_common()
    told = []
    for ending, count in counted[:MOST]:
        hint = next((f" ({text})" for known, text in HINTS.items() if ending in known), unusual(ending))
        told.append(f"{count:,} {spelled[ending] or 'without an ending'}{hint}")
    if more := sum(count for _, count in counted[MOST:]):
        told.append(f"{more:,} others")
    return [f"passed over: {', '.join(told)}"] if told else []
