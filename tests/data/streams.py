"""Shards for the tests of streams: each picture is one pixel that tells which it is."""

import io
import tarfile

from PIL import Image


def png(number, mode="RGB"):
    """A picture of one pixel."""
    stream = io.BytesIO()
    color = (number // 65536, number // 256 % 256, number % 256) if mode == "RGB" else number % 256
    Image.new(mode, (1, 1), color).save(stream, "png")
    return stream.getvalue()


def write_tar(path, members):
    """members: {name: content}."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def write_shards(folder, counts, labels=None):
    """One .tar for each count; the pictures of all of them are numbered from 0. Returns the numbers in each."""
    folder.mkdir(exist_ok=True)
    numbers, begun = [], 0
    for index, count in enumerate(counts):
        numbers.append(list(range(begun, begun + count)))
        members = {f"{number:06d}.png": png(number) for number in numbers[-1]}
        if labels is not None:
            members = {
                name: content
                for number in numbers[-1]
                for name, content in (
                    (f"{number:06d}.png", png(number)),
                    (f"{number:06d}.cls", str(labels(number)).encode()),
                )
            }
        write_tar(folder / f"{index:03d}.tar", members)
        begun += count
    return numbers


def numbers_in(images):
    """Of uint8 [N, 3, 1, 1]."""
    return [int(r) * 65536 + int(g) * 256 + int(b) for r, g, b in images.flatten(1).tolist()]
