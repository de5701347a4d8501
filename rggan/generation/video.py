"""Videos of pictures: GIF, WebP for transparent ones, and MP4 if PyAV is installed."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from rggan.data.pictures import to_pil


def opaque(image: Tensor) -> Tensor:
    """uint8 [C, H, W] with 1, 3 or 4 channels -> 1 or 3; RGBA is composited on white, as videos have no alpha.

    >>> opaque(torch.tensor([200, 100, 0, 51], dtype=torch.uint8).view(4, 1, 1)).flatten()
    tensor([244, 224, 204], dtype=torch.uint8)
    """
    if len(image) < 4:
        return image
    alpha = image[3:].float() / 255
    return (image[:3] * alpha + 255 * (1 - alpha)).round().to(torch.uint8)


def durations(frames: int, fps: int, unit: int) -> list[int]:
    """Milliseconds of each frame, in multiples of `unit`, rounded so that the errors do not accumulate.

    >>> durations(3, 24, 10)
    [40, 40, 40]
    >>> durations(4, 60, 10)
    [20, 10, 20, 20]
    """
    ends = [round(1000 * n / fps / unit) for n in range(frames + 1)]
    return [unit * (end - start) for start, end in pairwise(ends)]


class Gif:
    """A looping animated GIF; every frame has its own palette of 256 colours, on white where pictures are transparent.

    Consecutive identical pictures become one frame of longer duration. note: a comment in the file, below 256 bytes.

    >>> film = Gif(fps=24)
    >>> for shade in (0, 128, 255):
    ...     film.add(torch.full((3, 16, 24), shade, dtype=torch.uint8))
    >>> Image.open(io.BytesIO(film.content())).n_frames
    3
    """

    def __init__(self, fps: int, note: str = "") -> None:
        self.fps, self.note = fps, note
        self.pictures: list[Image.Image] = []

    def add(self, image: Tensor) -> None:
        """Add uint8 [C, H, W]; quantised immediately, which takes a third of the memory."""
        picture = to_pil(opaque(image))
        # Pillow's default, median cut, causes visible banding in smooth gradients.
        way = Image.Quantize.MAXCOVERAGE
        self.pictures.append(picture if picture.mode == "L" else picture.quantize(256, way))

    def content(self) -> bytes:
        stream = io.BytesIO()
        first, *rest = self.pictures
        times = durations(len(self.pictures), self.fps, unit=10)  # GIF counts hundredths of a second
        first.save(stream, "gif", save_all=True, append_images=rest, duration=times, loop=0, comment=self.note)
        return stream.getvalue()


class Webp:
    """A looping animated WebP, which keeps alpha exactly and plays in every browser. note: metadata (XMP) in the file.

    >>> film = Webp(fps=24)
    >>> for shade in (0, 128, 255):
    ...     film.add(torch.full((4, 16, 24), shade, dtype=torch.uint8))
    >>> picture = Image.open(io.BytesIO(film.content()))
    >>> picture.n_frames, picture.mode
    (3, 'RGBA')
    """

    def __init__(self, fps: int, note: str = "") -> None:
        self.fps, self.note = fps, note
        self.pictures: list[Image.Image] = []

    def add(self, image: Tensor) -> None:
        """Add uint8 [C, H, W]."""
        self.pictures.append(to_pil(image))

    def content(self) -> bytes:
        stream = io.BytesIO()
        first, *rest = self.pictures
        times = durations(len(self.pictures), self.fps, unit=1)
        how = {"duration": times, "loop": 0, "quality": 90, "xmp": self.note.encode()}
        first.save(stream, "webp", save_all=True, append_images=rest, **how)
        return stream.getvalue()


def video_library() -> Any:
    """Returns PyAV if it has an H.264 encoder, else None."""
    try:
        import av
    except ImportError:
        return None
    return av if "libx264" in av.codecs_available else None


class Mp4:
    """An MP4 (H.264) in memory, on white where pictures are transparent; encoded as they are added.

    Needs `video_library`.
    """

    def __init__(self, fps: int, size: tuple[int, int], note: str = "") -> None:
        """size: (height, width) of the pictures; odd sides repeat their last line, as H.264 needs even ones.

        note: a comment in the file.
        """
        self.av, self.rate, self.count = video_library(), fps, 0
        self.stream = io.BytesIO()
        self.container = self.av.open(self.stream, "w", format="mp4")
        self.container.metadata["comment"] = note
        self.track = self.container.add_stream("libx264", rate=fps, options={"crf": "17"})
        self.track.height, self.track.width = size[0] + size[0] % 2, size[1] + size[1] % 2
        self.track.pix_fmt = "yuv420p"  # supported by all players

    def add(self, image: Tensor) -> None:
        """Add uint8 [C, H, W]."""
        pixels = even(opaque(image).expand(3, -1, -1)).permute(1, 2, 0).contiguous().numpy()
        frame = self.av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = self.count, Fraction(1, self.rate)
        self.count += 1
        self.container.mux(self.track.encode(frame))

    def content(self) -> bytes:
        self.container.mux(self.track.encode())
        self.container.close()
        return self.stream.getvalue()


def even(image: Tensor) -> Tensor:
    """Pads [C, H, W] to even sides by repeating its last row and column.

    >>> even(torch.tensor([[[1, 2, 3]]]))
    tensor([[[1, 2, 3, 3],
             [1, 2, 3, 3]]])
    """
    if image.shape[1] % 2:
        image = torch.cat([image, image[:, -1:]], dim=1)
    if image.shape[2] % 2:
        image = torch.cat([image, image[:, :, -1:]], dim=2)
    return image
