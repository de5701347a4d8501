"""An input form: PLACE is a number of striped pictures, in two classes of which one is rare."""

import numpy as np

from rggan.data import Form, Picture

SIDE = 16


def pixels(index: int) -> bytes:
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[index % 4 :: 4 if index % 10 else 2] = 255 - index
    return image.tobytes()


def pictures(data: str, pattern: str) -> list[Picture]:
    names = [f"{'coarse' if index % 10 else 'fine'}/{index:03d}.png" for index in range(int(data))]
    return [Picture(name, lambda i=i: pixels(i), shape=(SIDE, SIDE, 1)) for i, name in enumerate(names)]


FORM = Form("stripes", str.isdecimal, pictures)
