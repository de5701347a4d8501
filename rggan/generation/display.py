"""Pictures and generators as a notebook shows them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import Any, SupportsIndex, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rggan.data.pictures import grid
from rggan.generation.discreet import shown

MOST = 64  # pictures that a list shows
SIDE = 1024  # of a sheet, in pixels, at most


class Pictures(list[Image.Image]):
    """A list of pictures; a notebook shows the first 64 of them as a sheet.

    >>> pictures = Pictures(Image.new("L", (32, 32), shade) for shade in range(4))
    >>> pictures == list(pictures), type(pictures[:2]).__name__
    (True, 'Pictures')
    >>> Image.open(io.BytesIO(pictures._repr_png_())).size
    (70, 70)
    """

    @overload
    def __getitem__(self, place: SupportsIndex) -> Image.Image: ...

    @overload
    def __getitem__(self, place: slice) -> Pictures: ...

    def __getitem__(self, place: SupportsIndex | slice) -> Image.Image | Pictures:
        return Pictures(super().__getitem__(place)) if isinstance(place, slice) else super().__getitem__(place)

    def _repr_png_(self) -> bytes | None:
        """None, for the list's own text, where there is none or they are of different sizes or kinds."""
        if len({(picture.mode, picture.size) for picture in self}) != 1:
            return None
        return png(torch.stack([pixels(picture) for picture in self[:MOST]]))


def pixels(picture: Image.Image) -> Tensor:
    """A grey, RGB or RGBA picture -> uint8 [C, H, W]."""
    values = torch.from_numpy(np.array(picture))
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1)


def png(images: Tensor, columns: int | None = None) -> bytes:
    """The sheet of uint8 [N, C, H, W], scaled down where it is larger than a screen."""
    sheet = grid(images, columns)
    sheet.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    sheet.save(stream, "png")
    return stream.getvalue()


def card(images: Tensor, text: str) -> str:
    """HTML: a row or two of samples, uint8 [N, C, H, W], over a text."""
    picture = base64.b64encode(png(images, columns=4)).decode()
    return f'<figure><img src="data:image/png;base64,{picture}"><figcaption>{html.escape(text)}</figcaption></figure>'


def about(config: Mapping[str, Any], parameters: int) -> str:
    """What a generator is, in one line, from its config.json; `parameters`: how many it has.

    >>> network = {"name": "sngan", "resolution": [16, 24], "channels": 3, "classes": 0}
    >>> trained = {"data": "leaves", "kimg": 120.0, "score": 0.1234, "density_g": 0.5}
    >>> print(about({"network": network, "classes": []}, 70000))
    sngan generator: 24x16 RGB, 70,000 parameters
    >>> config = {"network": network, "trained": trained, "classes": ["oak", "ash"]}
    >>> print(about(config, 70000).partition("parameters")[2])
    , 50 % of the prunable ones kept, 2 classes; trained on leaves for 120 kimg, score 0.1234
    """
    network, trained = config["network"], config.get("trained") or {}
    height, width = network["resolution"]
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(network["channels"], f"{network['channels']} channels")
    told = f"{network['name']} generator: {width}x{height} {kind}, {parameters:,} parameters"
    if trained.get("density_g", 1) < 1:
        told += f", {100 * trained['density_g']:.0f} % of the prunable ones kept"
    if config.get("classes"):
        told += f", {len(config['classes'])} classes"
    if trained.keys() >= {"data", "kimg", "score"}:
        told += (
            f"; trained on {shown(str(trained['data']))} for {trained['kimg']:.4g} kimg, score {trained['score']:.4g}"
        )
    return told
