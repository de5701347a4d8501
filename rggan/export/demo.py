"""A page on this machine that draws with a generator: what it draws, and the page itself, by Gradio (an extra)."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from PIL import Image

from rggan.data.pictures import grid
from rggan.errors import UserError
from rggan.generation.card import plain
from rggan.generation.discreet import discreet
from rggan.generation.display import about
from rggan.generation.generator import Generator
from rggan.generation.video import Gif, Webp
from rggan.generation.walks import walk

HERE = "127.0.0.1"  # the page is seen from this machine alone
MOST = 64  # pictures of a sheet
STOPS, FRAMES = 12, 48  # of a walk at most: seeds, and pictures between two of them
FPS = 24
SIDE = 512  # pixels that a sheet is enlarged to about, where it is lower; a film to half of it
BUTTONS = ["download", "fullscreen"]  # the third one would share a picture with the Hugging Face Hub
DRAWN = -1  # in the place of a class: each seed draws its own
Result = TypeVar("Result")


class Studio:
    """What the page draws; each argument is as the page's controls give it.

    >>> from rggan.networks.sngan import SNGANGenerator
    >>> network = {"name": "sngan", "resolution": [32, 32], "channels": 3, "width": 4, "z_dim": 8, "classes": 0}
    >>> studio = Studio(Generator(SNGANGenerator(32, 3, 4, z_dim=8), {"network": network, "classes": []}))
    >>> studio.sheet(7, 4).size
    (490, 490)
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.folder = TemporaryDirectory(prefix="rggan-demo-")  # of films; gone with the studio

    def sheet(self, seed: float, count: float, truncation: float = 1.0, label: int = DRAWN) -> Image.Image:
        """The pictures of the seeds from this one on, nearly square, row by row; enlarged where it would be small.

        Raises:
            UserError: a seed, class or truncation that the generator does not take; more than 64 pictures, or none.
        """
        first, count = whole("seed", seed), whole("number of pictures", count)
        if not 1 <= count <= MOST:
            raise UserError(f"The page shows 1 to {MOST} pictures at once, not {count}.")
        images = self.generator.images(range(first, first + count), None if label == DRAWN else label, truncation)
        made = grid(images)
        zoom = max(1, SIDE // made.height)
        return made.resize((zoom * made.width, zoom * made.height), Image.Resampling.NEAREST)

    def film(self, seed: float, stops: float, between: float, truncation: float = 1.0, label: int = DRAWN) -> str:
        """The file of a walk through the seeds from this one on and back: a GIF, or WebP of transparent pictures.

        Raises:
            UserError: as `sheet`; fewer than 2 seeds or more than 12; no picture between two, or more than 48.
        """
        first, stops, between = (
            whole("seed", seed),
            whole("number of seeds", stops),
            whole("number of pictures", between),
        )
        if not 2 <= stops <= STOPS or not 1 <= between <= FRAMES:
            raise UserError(f"A walk of the page has 2 to {STOPS} seeds and 1 to {FRAMES} pictures between two.")
        transparent = self.generator.config["network"]["channels"] == 4
        made = (Webp if transparent else Gif)(FPS)
        seeds = range(first, first + stops)
        zoom = max(1, SIDE // 2 // self.generator.config["network"]["resolution"][0])
        for image in walk(self.generator, seeds, between, None if label == DRAWN else label, truncation):
            made.add(image.repeat_interleave(zoom, dim=1).repeat_interleave(zoom, dim=2))
        path = Path(self.folder.name, f"walk-{first}-{stops}-{between}-{truncation:g}-{label}")
        path = path.with_name(path.name + (".webp" if transparent else ".gif"))
        path.write_bytes(made.content())
        return str(path)


def whole(name: str, value: float | None) -> int:
    """
    >>> whole("seed", 3.0)
    3
    >>> whole("seed", None)
    Traceback (most recent call last):
    rggan.errors.UserError: The seed is a whole number from 0 on, not None.
    """
    if value is None or value != value or value < 0 or value != int(value):
        raise UserError(f"The {name} is a whole number from 0 on, not {value}.")
    return int(value)


def library() -> Any:
    """Gradio, which is optional. It would tell its makers of each start, and is asked not to.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        return import_module("gradio")
    except ImportError as error:
        raise UserError('The demo needs one more library: pip install "rggan[demo]".') from error


def page(studio: Studio) -> Any:
    """The page, a `gradio.Blocks`, not yet started.

    Its functions also answer over HTTP: `/sheet` (seed, pictures, truncation, class) and `/film` (seed, seeds, pictures
    between two, truncation, class), the class as its number, or -1.

    Raises:
        UserError: Gradio is not installed.
    """
    gr, generator = library(), studio.generator
    title = generator.config["network"]["name"]
    least = 0.0 if generator.style_network is not None else 0.05
    classes = [("drawn by each seed", DRAWN), *((name, number) for number, name in enumerate(generator.classes))]
    with gr.Blocks(title=f"rggan: {title}", delete_cache=(3600, 3600)) as made:
        gr.Markdown(f"## {plain(title)}\n\n{plain(about(discreet(generator.config), generator.parameters))}")
        with gr.Row():
            seed = gr.Number(0, label="seed", precision=0, minimum=0, info="the same seed is the same picture")
            truncation = gr.Slider(
                least, 1, 1, step=0.05, label="truncation", info="below 1: less diverse, often better"
            )
            label = gr.Dropdown(classes, value=DRAWN, label="class", visible=len(classes) > 1)
        with gr.Tab("Grid"):
            count = gr.Slider(1, MOST, 16, step=1, label="pictures")
            with gr.Row():
                draw, further = gr.Button("Draw", variant="primary"), gr.Button("The next seeds")
            sheet = gr.Image(label="pictures", format="png", image_mode=None, interactive=False, buttons=BUTTONS)
        with gr.Tab("Walk"):
            with gr.Row():
                stops = gr.Slider(2, STOPS, 4, step=1, label="seeds")
                between = gr.Slider(1, FRAMES, 12, step=1, label="pictures between two")
            go = gr.Button("Walk from seed to seed", variant="primary")
            film = gr.Image(label="film", type="filepath", interactive=False, buttons=BUTTONS)
        asked = [seed, count, truncation, label]
        draws = told(gr, studio.sheet)
        draw.click(draws, asked, sheet, api_name="sheet")
        for trigger in (made.load, seed.submit, count.release, truncation.release, label.input):
            trigger(draws, asked, sheet, api_visibility="private")
        moved = further.click(lambda first, many: (first or 0) + many, [seed, count], seed, api_visibility="private")
        moved.then(draws, asked, sheet, api_visibility="private")
        go.click(told(gr, studio.film), [seed, stops, between, truncation, label], film, api_name="film")
    return made


def told(gr: Any, make: Callable[..., Result]) -> Callable[..., Result]:
    """The page shows a UserError as its sentence."""

    def made(*controls: Any) -> Result:
        try:
            return make(*controls)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return made


def start(made: Any, port: int | None = None, browser: bool = False) -> str:
    """Starts the page in a thread of its own; returns its address. `made.close()` ends it.

    Args:
        port: None: the first free one from 7860 on. browser: open it there.

    Raises:
        UserError: the port is taken.
    """
    try:
        _, address, _ = made.launch(
            server_name=HERE,
            server_port=port,
            inbrowser=browser,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,  # needs Node
            footer_links=[],
        )
    except OSError as error:
        raise UserError(f"The page cannot be started on the port {port or 'from 7860 on'}: it is taken.") from error
    return str(address)
