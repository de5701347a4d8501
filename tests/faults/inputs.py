"""Hostile sets of pictures: each kind writes one into an empty folder and returns the path to read.

Pickles in here make the file `folder`/marker, should anybody unpickle them.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from tests.data.test_cifar import files_of
from tests.faults import headers
from tests.faults.archives import Entry, deflated_zeros, entry, zipped
from tests.faults.hostile import NUMBERS, Evil, Seeds, large_png, mutated, one_picture, text_of
from tests.faults.work import LIGHT, WORKS


def ending(random: Random, kind: str) -> str:
    fitting = sorted(end for end, name in Image.registered_extensions().items() if name == kind)
    return random.choice((random.choice(fitting or [".png"]), ".png", ".jpg"))


def pictures(random: Random, folder: Path, seeds: Seeds) -> Path:
    """A folder of pictures, some of them damaged, with odd names, labels and things that are no files."""
    root = folder / "set"
    root.mkdir()
    names = []
    for number in range(random.choice((1, 2, 2, 3, 5))):
        kind, content = one_picture(random, seeds) if number else seeds.picture(random)
        name = f"{random.choice(('', '', 'a/', 'b/', '7/'))}{number}{ending(random, kind)}"
        if random.random() < 0.03:
            name = random.choice(("a\nb.png", "\x1b[2J.png", "n" * 250 + ".png", "ü\u2028.png", "9" * 200 + "/1.png"))
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
        names.append(name)
    if random.random() < 0.002:
        (root / "large.png").write_bytes(large_png(random.choice((1, 3, 4)), random.choice((8, 16))))
    if random.random() < 0.03:
        Path(os.fsdecode(bytes(root) + b"/\xff\xfe.png")).write_bytes(content)
    if random.random() < 0.05:
        place, act = root / "odd.png", random.choice(("pipe", "gone", "loop", "zero", "folder"))
        if act == "pipe":
            os.mkfifo(place)
        elif act == "folder":
            place.mkdir()
        else:
            place.symlink_to({"gone": "nowhere", "loop": ".", "zero": "/dev/zero"}[act])
    if random.random() < 0.1:
        labels = {"labels": [[name, random.randrange(3)] for name in names]}
        (root / "dataset.json").write_bytes(text_of(random, labels, seeds))
    return root


NAMES = [
    "../up.png", "../../../up.png", "/tmp/rggan-up.png", "C:\\up.png", "..\\..\\up.png", "a/../../up.png", "a\0b.png",
    "", "n" * 400 + ".png", "9" * 5000 + "/1.png", "7/1.png", "a\nb.png", "a\r\nb.png", "\x1b[2Jred.png",
    "\u2028.png", " .png", "x/", ".hidden.png", "A.png", "a.png", "con.png", "é/ü.png", "e\u0301.png", "//srv/x.png",
    "./1.png", "a//b.png", "..", "a (2).png", "dataset.json", "dir.png/1.png", "-rf.png", "a.eps", "a.zip",
    "\ud800.png", "\u202egnp.png",
]  # fmt: skip


def zips(random: Random, folder: Path, seeds: Seeds) -> Path:
    """A zip of pictures: odd names and contents, false headers, bombs, files within files, damaged bytes."""
    entries = []
    for number in range(random.choice((1, 2, 3, 4))):
        kind, content = one_picture(random, seeds) if random.random() < 0.5 else seeds.picture(random)
        name = f"{random.choice(('', 'a/', 'b/'))}{number}.{kind.lower()}"
        name = random.choice(NAMES) if random.random() < 0.3 else name
        entries.append(entry(name, content, deflated=random.random() < 0.7))
    act, last = random.random(), entries[-1]
    if act < 0.1:
        labels = {"labels": [[each.name.decode(errors="ignore"), number] for number, each in enumerate(entries)]}
        entries.append(entry("dataset.json", text_of(random, labels, seeds)))
    elif act < 0.2:
        entries += [
            replace(last, name=random.choice((b"%d.png" % i, last.name)), same_as=len(entries) - 1) for i in range(9)
        ]
    elif act < 0.4:
        field = random.choice(("size", "packed", "crc", "flags", "method", "attributes", "extra"))
        number = random.choice(NUMBERS[:12])
        odd: dict[str, Any] = {
            "attributes": 0o120777 << 16,
            "extra": random.randbytes(number % 300),
            "flags": number % 2**16,
        }
        entries[-1] = replace(last, **{field: odd.get(field, number % 2**16 if field == "method" else number)})
    elif act < 0.42:
        mib, told = random.choice(((1024, 2**30), (1024, 100), (1024, 2**28), (511, 511 * 2**20), (4, 2**32 - 2)))
        stored = deflated_zeros(mib)
        entries.append(Entry(b"bomb.png", stored, 8, 0, len(stored), told))
    elif act < 0.425:
        entries += [entry(f"{i}.png", b"x") for i in range(random.choice((300, 2000)))]
    elif act < 0.435:  # classes that are numbers, longer than Python reads them
        entries = [entry(f"{number}{'9' * 5000}/1.png", seeds.picture(random)[1]) for number in (1, 2)]
    elif act < 0.47:
        entries.append(entry(random.choice(("in.zip", "in.png")), zipped(entries)))
    content = zipped(entries, quoted=act > 0.95)
    if random.random() < 0.3:
        content = mutated(random, content, content)
    path = folder / random.choice(("set.zip", "set.zip", "set.ZIP", "set.dat"))
    path.write_bytes(content)
    return path


SHAPES = ["(3, 8, 8)", "(3, 8, 8, 3)", "()", "(3,)", "(True, 8, 8)", "('a',)", "3", "(1.5, 2, 3)", "(" * 3000]
SHAPES += [
    "(60000, 60000, 60000)",
    "(1, 60000, 60000)",
    "(-1, 8, 8)",
    f"({10**30}, 8, 8)",
    f"({2**62}, 4, 4)",
    "(2, 0, 8)",
]
TYPES = ["'|u1'", "'<u2'", "'|O'", "'<f8'", "'|V900000000'", "'<U99999999'", "[('a', '<f4')]", "'<M8[ns]'", "'<c16'"]
TYPES += ["'>f2'", "'<f16'", "('|u1', (3, 3))", "'\\n'", "'|u1,|u1'", "{}", "3"]


def npy(random: Random, folder: Path, seeds: Seeds) -> bytes:
    """An array of any sort, objects among them; or one with an odd header."""
    act = random.random()
    stream = io.BytesIO()
    version = random.choice(((1, 0), (2, 0), (3, 0)))
    if act < 0.5:
        array = random.choice(random.choice((seeds.arrays, seeds.pictured, seeds.pictured)))
        array = np.asfortranarray(array) if random.random() < 0.3 else array
        np.lib.format.write_array(stream, array, None if array.dtype.names else version)
    elif act < 0.6:
        objects = np.empty((2, 3, 3), dtype=object)
        objects[:] = Evil(random, folder / "marker")
        np.lib.format.write_array(stream, objects, version, allow_pickle=True)
    else:
        shape, kind = (random.choice(values) for values in (SHAPES, TYPES))
        shape, kind = random.choice(((shape, "'|u1'"), ("(3, 8, 8)", kind), (shape, kind)))
        order = random.choice(("False", "False", "True", "3", "None"))
        text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}\n"
        if random.random() < 0.2:
            text = random.choice(
                (f"__import__('os').mkdir({str(folder / 'marker')!r})", "[" * 9000, "{}", "\0", "{'descr': 1}\n")
            )
        length = random.choice((len(text), len(text), len(text), *NUMBERS)) % 2 ** (16 if version == (1, 0) else 32)
        size = length.to_bytes(2 if version == (1, 0) else 4, "little")
        stream.write(b"\x93NUMPY" + bytes(version) + size + text.encode() + random.randbytes(192))
    content = stream.getvalue()
    return mutated(random, content, b"") if random.random() < 0.15 else content


def arrays(random: Random, folder: Path, seeds: Seeds) -> Path:
    """A .npy or .npz of pictures, with labels or without."""
    path = folder / random.choice(("a.npy", "a.npz"))
    content = npy(random, folder, seeds)
    if path.suffix == ".npz":
        names = random.choice(
            (("images", "labels"), ("x", "y"), ("arr_0", "arr_1"), ("images", "images"), ("X", "../y"))
        )
        entries = [entry(f"{name}.npy", npy(random, folder, seeds), random.random() < 0.5) for name in names]
        entries[0] = entry(f"{names[0]}.npy", content, random.random() < 0.5)
        if random.random() < 0.2:
            entries[0] = replace(entries[0], size=random.choice(NUMBERS[:12]))
        content = zipped(entries[: random.choice((1, 2))])
        content = mutated(random, content, b"") if random.random() < 0.2 else content
    path.write_bytes(content)
    if path.suffix == ".npy" and random.random() < 0.02:  # a sparse file that holds what its header declares
        np.lib.format.open_memmap(path, "w+", np.uint8, random.choice(((1, 62000, 62000), (2, 20000, 20000, 3))))
    return path


@cache
def cifar_seeds() -> list[dict[str, bytes]]:
    return [files_of(form) for form in ("10-bin", "10-py2", "10-py3", "100-bin", "100-py2", "100-py3")]


def cifar(random: Random, folder: Path, seeds: Seeds) -> Path:
    """CIFAR in all its forms, one of its files damaged or a pickle that does something, or the archive damaged."""
    files = dict(random.choice(cifar_seeds()))
    name = random.choice(sorted(files))
    act = random.random()
    if act < 0.5:
        files[name] = mutated(random, files[name], random.choice(sorted(files.values())))
    elif act < 0.6:
        evil = Evil(random, folder / "marker")
        batch = {b"data": evil, b"labels": [evil], b"label_names": evil, "fine_labels": evil, "data": b"0" * 3072}
        files[name] = pickle.dumps(random.choice((evil, [evil], batch)), random.randrange(6))
    elif act < 0.7:
        key = random.choice((b"labels", b"fine_labels"))
        odd = [*range(3), *(seeds.odd(random) for _ in range(3)), "\ud800", "a\nb"]
        names: list[Any] = [random.choice(odd) for _ in range(random.choice((1, 10, 100)))]
        planes = np.zeros(
            (random.choice((0, 1, 3)), random.choice((3072, 3, 10**5))), dtype=random.choice(("u1", "f4"))
        )
        files[name] = pickle.dumps({key: names, b"data": planes, b"label_names": names}, random.choice((2, 2, 4)))
    elif act < 0.75:
        del files[name]
    form = random.choice(("folder", "folder", "single", "c.tar", "c.tar.gz", "c.tgz"))
    if form in ("folder", "single"):
        for inner, content in files.items():
            (folder / inner).write_bytes(content)
        return folder / name if form == "single" and name in files else folder
    stream = io.BytesIO()
    how = random.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=stream, mode="w", format=how) as archive:
        for inner, content in files.items():
            info = tarfile.TarInfo(random.choice(("", "cifar/", "../", "/")) + inner)
            info.size = len(content)
            if random.random() < 0.02:
                info.type = random.choice(
                    (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"S", b"x", b"L")
                )
                info.linkname = random.choice(("/dev/zero", inner, "../up"))
            archive.addfile(info, io.BytesIO(content))
    content = stream.getvalue()
    content = mutated(random, content, content) if random.random() < 0.3 else content
    if form != "c.tar":
        content = (
            gzip.compress(content, 1, mtime=0)
            if random.random() < 0.98
            else b"\x1f\x8b\x08\0\0\0\0\0\2\3" + deflated_zeros(600)
        )
        content = mutated(random, content, content) if random.random() < 0.2 else content
    (folder / form).write_bytes(content)
    return folder / form


def work(random: Random, folder: Path, seeds: Seeds) -> Path:
    """A good picture, and one that is much work for its pixels: a second's, and seldom as much as fits into a file."""
    kind = random.choice(sorted(WORKS | LIGHT))
    one, root = (WORKS | LIGHT)[kind], folder / "set"
    root.mkdir()
    count = one.count if random.random() < 0.02 else int(one.few * random.random() ** 3)
    (root / "good.png").write_bytes(LIGHT["PNG, empty pixels"].make(1))
    (root / f"work{one.ending}").write_bytes(one.make(count))
    return root


def tars(random: Random, folder: Path, seeds: Seeds) -> Path:
    """An archive called like CIFAR's whose headers are much work, packed or not, or damaged; or JSON in a zip."""
    made = headers.tars(short=True)
    content = made[random.choice(sorted(made))]
    act = random.random()
    if act < 0.15:
        lists = headers.empty_lists(int(10 ** random.uniform(1, 6)))
        picture = entry("a.png", random.choice(seeds.pictures["PNG"]))
        (folder / "set.zip").write_bytes(zipped([picture, entry("dataset.json", lists, deflated=True)]))
        return folder / "set.zip"
    if act < 0.3:
        content = headers.digits(random.choice((3, 300, 3000, 30_000)))
    elif act < 0.5:
        content = mutated(random, content, content)
    path = folder / random.choice(("cifar-10-python.tar", "cifar-10-binary.tar.gz", "c.tgz"))
    path.write_bytes(content if path.suffix == ".tar" else headers.gzipped(content))
    return path
