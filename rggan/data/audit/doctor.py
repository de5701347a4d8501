"""One pass over a set of pictures: its statistics, and problems for training."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms, ImageStat

from rggan.data.audit.duplicates import near_duplicates, thumbnail
from rggan.data.decode import BadPicture, converted, is_stack, open_file, open_picture, orientation, why
from rggan.data.depth import told_range
from rggan.data.parallel import CHUNK, in_order
from rggan.data.picture import Picture
from rggan.data.workers import Told

TINY = 16  # the smallest training resolution
OPAQUE = 250  # alpha from which a pixel counts as opaque; some editors write 254 everywhere
GREY = 2  # of 255: maximum difference of the channels of a grey picture, after JPEG
FLAT = 1.0  # standard deviation below which a picture counts as uniform
ODD = 0.1  # maximum relative deviation of an aspect ratio from the most frequent one
LONG = 2  # aspect ratio above which a picture counts as odd in any case
FEW = 500  # pictures below which a discriminator soon memorises them
UNBALANCED = 3  # ratio of the largest to the smallest class
NO_PROFILE = "none"
SRGB_LEVELS = 8  # of 255: colour differences from sRGB below this are not visible
PROBE = np.array([[(v, v, v) for v in (16, 64, 128, 192, 240)] + [(190, 70, 70), (70, 190, 70), (70, 70, 190)] * 2])


@dataclass(frozen=True)
class Record:
    """The properties of one picture. reason: why it cannot be read; None: it can, and the other fields are valid."""

    length: int = 0
    digest: bytes = b""
    reason: str | None = None
    size: tuple[int, int] = (0, 0)  # width, height; upright
    mode: str = ""
    alpha: bool = False
    transparent: bool = False
    coloured: bool = False
    grey: bool = False  # though stored in colours
    turned: bool = False
    animated: bool = False
    uniform: bool = False
    profile: str = NO_PROFILE
    foreign: bool = False  # a profile other than sRGB
    thumbnail: tuple[bytes | bytearray, bytes | bytearray] = (b"", b"")
    peak: float = 0.0  # its largest value, if it has more than 8 bits
    coarse: bool = False  # it has more than 8 bits, and colours


@dataclass(frozen=True)
class Health:
    """The result of `inspect`; names are those of `told_names`, groups are in the set's order.

    unreadable: (name, reason). same: groups of equal bytes. near: groups of near-duplicates, with only the first of
    each exact group. mixed: how many groups of `same` span several classes. sizes: 'WxH' after EXIF rotation
    -> count, the most frequent first. shortest: min, median, max of the shorter sides (0: none is readable).
    ratio: the most frequent width:height. odd: names of those beyond 2:1, or over 10 % from that ratio.
    alpha, transparent: with an alpha channel; with a pixel that is not opaque. coloured, grey: with colours;
    stored in colours without any. foreign: the profiles that are not sRGB. animated: with several frames.
    balance: largest class / smallest (1 below two classes). peak: largest value of pictures of more than 8 bits (0:
    there are none). coarse: some of these have colours.
    """

    count: int
    total_bytes: int
    unreadable: list[tuple[str, str]]
    same: list[list[str]]
    near: list[list[str]]
    mixed: int
    sizes: dict[str, int]
    shortest: tuple[int, int, int]
    ratio: str
    odd: list[str]
    tiny: list[str]
    uniform: list[str]
    animated: list[str]
    alpha: int
    transparent: int
    coloured: int
    grey: int
    turned: int
    modes: dict[str, int]
    profiles: dict[str, int]
    foreign: dict[str, int]
    classes: dict[str, int]
    balance: float
    peak: float = 0.0
    coarse: bool = False

    @property
    def readable(self) -> int:
        return self.count - len(self.unreadable)

    def smaller_than(self, size: tuple[int, int]) -> int:
        """Returns how many would be enlarged at (height, width)."""
        sides = [(*map(int, name.split("x")), count) for name, count in self.sizes.items()]
        return sum(count for width, height, count in sides if height < size[0] or width < size[1])

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def inspect(pictures: Sequence[Picture], progress: Callable[[int], None] | None = None) -> Health:
    """Reads and decodes every picture once; keeps only a record of a few hundred bytes for each.

    Args:
        progress: is called with the number of pictures done, every `CHUNK` pictures and at the end.

    >>> pixels = bytes(range(256)) * 4
    >>> health = inspect([Picture(name, lambda: pixels, shape=(32, 32, 1)) for name in ("cat/a", "dog/b")])
    >>> health.count, health.same, health.mixed, health.sizes, health.modes
    (2, [['cat/a', 'dog/b']], 1, {'32x32': 2}, {'L': 2})
    """
    records: list[Record] = []
    for record in in_order(pictures, "record", record_from):
        records.append(record)
        if progress is not None and (len(records) % CHUNK == 0 or len(records) == len(pictures)):
            progress(len(records))
    return summarise(told_names(pictures), [picture.class_name for picture in pictures], records)


def told_names(pictures: Sequence[Picture]) -> list[str]:
    """Returns a unique name for each picture: its own, or 'a.png (2)' if an archive has a.png twice."""
    told, seen = [], Counter[str]()
    for picture in pictures:
        seen[picture.name] += 1
        again = seen[picture.name]
        told.append(picture.name if again == 1 else f"{picture.name} ({again})")
    return told


def record_task(picture: Picture, content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """What a record tells of a picture, but for its file; see `worker`."""
    fields = header(picture, content)
    try:
        fields |= look(open_picture(picture))
    except BadPicture as error:
        fields["reason"] = str(error)
    return fields, list(fields.pop("thumbnail", ()))


def record_from(picture: Picture, content: bytes | None, found: Told | str) -> Record:
    """The record of one picture; unreadable files get one too."""
    if content is None:
        return Record(reason=str(found))
    told: dict[str, Any] = {"length": len(content), "digest": hashlib.sha256(content).digest()}
    if isinstance(found, str):
        return Record(**told, reason=found)
    fields, thumbnail = found
    if thumbnail:
        small, detail = thumbnail
        told["thumbnail"] = (small, detail)
    return Record(**told, **{**fields, "size": tuple(fields["size"])})


def header(picture: Picture, content: bytes) -> dict[str, Any]:
    """Returns the fields of a record that decoding discards. Raises BadPicture."""
    if picture.shape is not None:
        height, width, channels = picture.shape
        return {"size": (width, height), "mode": {1: "L", 3: "RGB", 4: "RGBA"}.get(channels, "?")}
    try:
        with open_file(content, picture.formats) as image:
            icc = image.info.get("icc_profile")
            profile, srgb = read_profile(icc) if icc else (NO_PROFILE, True)
            animated, turned = is_stack(image), orientation(image) in range(2, 9)
            fields = {"turned": turned, "animated": animated, "profile": profile, "foreign": not srgb}
            return {"size": image.size, "mode": image.mode, **fields}
    except MemoryError:
        raise
    except Exception as error:  # as in open_picture
        raise BadPicture(why(error, content)) from error


def look(image: Image.Image) -> dict[str, Any]:
    """Returns the fields of a record that depend on pixels, for a picture of `open_picture`."""
    fields: dict[str, Any] = {"size": image.size, "alpha": image.mode in ("LA", "RGBA")}
    fields |= {"peak": image.info.get("peak", 0.0), "coarse": image.info.get("coarse", False)}
    flat = image
    deviations = []
    if fields["alpha"]:
        alpha = image.getchannel("A")
        fields["transparent"] = bool(np.asarray(alpha).min() < OPAQUE)
        deviations += ImageStat.Stat(alpha).stddev  # a white drawing on transparency is not uniform
        flat = on_white(image)
    deviations += ImageStat.Stat(flat).stddev
    if image.mode in ("RGB", "RGBA"):
        red, green, blue = flat.split()
        pairs = ((red, green), (green, blue), (blue, red))
        grey = all(np.asarray(ImageChops.difference(a, b)).max() <= GREY for a, b in pairs)
        fields |= {"grey": grey, "coloured": not grey}
    return {**fields, "uniform": max(deviations) < FLAT, "thumbnail": thumbnail(flat)}


def on_white(image: Image.Image) -> Image.Image:
    """LA or RGBA -> RGB."""
    rgba = converted(image, "RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")


@lru_cache(maxsize=64)
def read_profile(icc: bytes) -> tuple[str, bool]:
    """Returns (description of a colour profile, whether it is visually equivalent to sRGB).

    Profiles equivalent to sRGB have many names, so a few colours are converted instead.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        name = ImageCms.getProfileDescription(profile).strip() or "without a name"
        space = profile.profile.xcolor_space.strip()
        if space not in ("RGB", "GRAY"):
            return name, False
        colors = PROBE if space == "RGB" else PROBE[:, :5, :]
        probe = Image.fromarray(colors.astype(np.uint8)).convert("RGB" if space == "RGB" else "L")
        seen = ImageCms.profileToProfile(probe, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return name, bool(np.abs(np.asarray(seen, dtype=int) - colors).max() <= SRGB_LEVELS)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "damaged", True  # cannot be converted: its values are used unchanged


def summarise(names: Sequence[str], classes: Sequence[str], records: Sequence[Record]) -> Health:
    """Records -> Health."""
    readable = [i for i, record in enumerate(records) if record.reason is None]
    groups: dict[bytes, list[int]] = {}
    for i in readable:
        groups.setdefault(records[i].digest, []).append(i)
    firsts = [members[0] for members in groups.values()]
    same = [members for members in groups.values() if len(members) > 1]
    near = (
        near_duplicates(*(rows_of([records[i].thumbnail[part] for i in firsts]) for part in (0, 1))) if firsts else []
    )
    ratios = {i: shape(*records[i].size) for i in readable}
    commonest = Counter(ratios.values()).most_common(1)[0][0] if readable else Fraction(1)
    sides = [min(records[i].size) for i in readable]
    of_class = Counter(name for name in classes if name)

    def called(wanted: Callable[[int], bool]) -> list[str]:
        return [names[i] for i in readable if wanted(i)]

    def odd(i: int) -> bool:
        width, height = records[i].size
        too_long = max(width, height) > LONG * min(width, height)
        return too_long or not 1 / (1 + ODD) <= width / height / float(commonest) <= 1 + ODD

    def counted(values: Sequence[str]) -> dict[str, int]:
        return dict(Counter(values).most_common())

    return Health(
        count=len(records),
        total_bytes=sum(record.length for record in records),
        unreadable=[(name, r.reason) for name, r in zip(names, records, strict=True) if r.reason is not None],
        same=[[names[i] for i in members] for members in same],
        near=[[names[firsts[i]] for i in members] for members in near],
        mixed=sum(len({classes[i] for i in members}) > 1 for members in same),
        sizes=counted([f"{records[i].size[0]}x{records[i].size[1]}" for i in readable]),
        shortest=(min(sides), int(statistics.median(sides)), max(sides)) if sides else (0, 0, 0),
        ratio=f"{commonest.numerator}:{commonest.denominator}",
        odd=called(odd),
        tiny=called(lambda i: min(records[i].size) < TINY),
        uniform=called(lambda i: records[i].uniform),
        animated=called(lambda i: records[i].animated),
        alpha=sum(record.alpha for record in records),
        transparent=sum(record.transparent for record in records),
        coloured=sum(record.coloured for record in records),
        grey=sum(record.grey for record in records),
        turned=sum(records[i].turned for i in readable),
        modes=counted([records[i].mode for i in readable]),
        profiles=counted([records[i].profile for i in readable]),
        foreign=counted([records[i].profile for i in readable if records[i].foreign]),
        classes=dict(sorted(of_class.items())),
        peak=max((record.peak for record in records), default=0.0),
        coarse=any(record.coarse for record in records),
        balance=max(of_class.values()) / min(of_class.values()) if len(of_class) > 1 else 1.0,
    )


def rows_of(rows: Sequence[bytes | bytearray]) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1).astype(np.float32)


def shape(width: int, height: int) -> Fraction:
    """Returns width:height as a fraction of small numbers: 1024x683 is 3:2 too.

    >>> shape(1024, 683), shape(500, 750), shape(1920, 1080)
    (Fraction(3, 2), Fraction(2, 3), Fraction(16, 9))
    """
    ratio = Fraction(max(width, height), min(width, height)).limit_denominator(10)
    return ratio if width >= height else 1 / ratio


def kept_whole(ratio: Fraction, fill: int) -> tuple[int, int]:
    """Returns a (height, width) that networks support, close to width:height, with a shorter side of at most `fill`.

    Networks double 4 to 7 pixels until the shorter side is in 16..256, so both sides are multiples of a power of two.

    >>> kept_whole(Fraction(3, 2), 64), kept_whole(Fraction(3, 4), 200), kept_whole(Fraction(16, 9), 1080)
    ((64, 96), (256, 192), (256, 448))
    """
    long = float(max(ratio, 1 / ratio))
    fits = [(base, base << k) for base in range(4, 8) for k in range(2, 7) if base << k <= max(16, min(256, fill))]
    error = {base: abs(round(base * long) / base / long - 1) for base in range(4, 8)}
    best = min(error[base] for base, _ in fits)
    base, short = max(((b, s) for b, s in fits if error[b] <= best + 0.02), key=lambda pair: pair[1])
    sides = (short, round(base * long) * (short // base))
    return sides if ratio >= 1 else sides[::-1]


def advice(health: Health, size: tuple[int, int] | None = None, white: float | None = None) -> list[str]:
    """Returns advice on the problems found, the most serious first; a single sentence if there are none.

    Args:
        size: (height, width) of the training; None: not known yet. white: the white level; None: 65535.
    """
    n, readable = health.count, health.readable
    if not readable:
        return [f"None of the {n} pictures can be read: look at the reasons, and at whether this is the right folder."]
    copies = sum(len(group) - 1 for group in health.same)
    near = sum(len(group) - 1 for group in health.near)
    ratio, ordinary = Fraction(health.ratio.replace(":", "/")), readable - len(health.odd)
    told = []

    def say(part: int, does: str) -> None:
        if part:
            told.append(f"{are(part, n)} {does}")

    say(len(health.unreadable), "unreadable: pass `skip_bad`, or write a copy without them with `fix` OUT.")
    if health.mixed:
        which = "One file lies" if health.mixed == 1 else f"{health.mixed} files lie"
        told.append(f"{which} in several classes at once: take out what is in the wrong one.")
    if (sentence := told_range(health.peak, white, health.coarse)) is not None:
        told.append(f"{sentence[0].upper()}{sentence[1:]}.")
    say(copies, "an exact copy of another: `fix` OUT leaves the copies out.")
    say(len(health.uniform), "of one colour only: `fix` OUT leaves them out.")
    say(len(health.tiny), f"below {TINY} pixels and would be enlarged until blurred: remove what is too small to use.")
    if size is not None:
        enlarged = "(height x width) and would be enlarged: take a smaller `resolution`, or larger pictures."
        say(health.smaller_than(size), f"smaller than {size[0]}x{size[1]} {enlarged}")
    say(near, "nearly the same as another: look at them, and leave them out with `fix` OUT and `near` if you agree.")
    if readable < FEW:
        told.append(
            f"Only {readable} pictures: `aug` diff (the default) and `mirror` (where left and right may change places) "
            "help; more pictures help more."
        )
    if health.balance >= UNBALANCED:
        told.append(
            f"Classes are unbalanced {health.balance:.0f}:1: with `cond` the small ones are learnt worse; `max_images` "
            "takes equally from each."
        )
    say(health.transparent, "transparent: `channels` rgba keeps it, otherwise they lie on `background` white.")
    if size is None and ratio != 1 and ordinary > readable / 2:
        height, width = kept_whole(ratio, health.shortest[1])
        told.append(
            f"Most pictures are {health.ratio}: `resolution` {height}x{width} keeps all of the picture, "
            f"a square cuts {1 - float(min(ratio, 1 / ratio)):.0%} off."
        )
    cut = "the middle is cut out; `resize` fit keeps all of it, on the background."
    others = "(they are of many shapes)" if len(health.odd) > readable / 2 else "as the others"
    say(len(health.odd), f"not {health.ratio} {others}: {cut}")
    colors = shown(", ".join(list(health.foreign)[:3]))
    say(sum(health.foreign.values()), f"in {colors}, no sRGB, which training ignores: `fix` OUT converts it.")
    say(len(health.animated), "of several frames or pages: only the first one is used.")
    if not health.coloured:
        say(health.grey, "grey, though stored in colours: `channels` grey is all that they need.")
    elif readable - health.coloured < readable / 2:
        say(readable - health.coloured, "grey among coloured ones: remove what should not be grey.")
    return told or [f"Nothing to mend: all {n} pictures can be read, and no two are alike."]


def are(part: int, count: int) -> str:
    """
    >>> are(3, 9), are(1, 9), are(9, 9)
    ('3 of 9 pictures are', '1 of 9 pictures is', 'All 9 pictures are')
    """
    if part == count > 1:
        return f"All {count} pictures are"
    return f"{part} of {count} pictures {'is' if part == 1 else 'are'}"


def shown(text: str) -> str:
    """Removes terminal control characters from a name.

    >>> shown("a\\x1b[2Jb.png")
    'a?[2Jb.png'
    """
    return "".join(character if character.isprintable() else "?" for character in text)
