"""An endless, seeded stream of training batches; images are stored on the device if they fit."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import torch
from torch import Tensor

from rggan import ranks
from rggan.data.images import ImageSet

Drawn = tuple[Tensor, Tensor | None, Tensor | None]


def placed(data: ImageSet, device: torch.device) -> Tensor:
    """The images on a device, uint8 [N, C, H, W], contiguous; a mapped set passes through memory a part at a time."""
    if not data.mapped:
        return data.images.to(device)
    images = torch.empty(len(data), *data.shape, dtype=torch.uint8, device=device)
    for place, part in zip(images.split(1000), data.parts(1000), strict=True):
        place.copy_(part)
    return images


class Batches:
    """Endless shuffled batches: every image once per epoch; batches may span two epochs.

    With fewer images than a batch, images are drawn with replacement. Where ranks share a batch, each draws all of it,
    and reads its own images.

    >>> from rggan.data import load_images
    >>> x, labels = Batches(load_images("digits", 16, max_images=10), batch=4).next()
    >>> x.shape, labels.dtype
    (torch.Size([4, 1, 16, 16]), torch.int64)
    """

    def __init__(self, data: ImageSet, batch: int, seed: int = 0, mirror: bool = False, device: str = "cpu") -> None:
        self.data, self.device, self.shape = data, torch.device(device), tuple(data.shape)
        # On a GPU the whole set is stored there if it takes less than half of the free memory, else batches are copied.
        there = self.device.type == "cuda" and (not data.mapped or ranks.world.here > 1)
        if there:
            size = len(data) * math.prod(data.shape)
            there = size < torch.cuda.mem_get_info(self.device)[0] / 2
        self.images = placed(data, self.device) if there else None
        self.labels = None if data.labels is None else data.labels.to(device)
        self.batch = batch  # of all ranks
        self.share = slice(ranks.rank(), None, ranks.count())
        rows = batch // ranks.count()
        self.random = torch.Generator().manual_seed(seed)
        self.queue = torch.empty(0, dtype=torch.int64)
        # What was drawn last lies at fixed places on the device, where a recorded step finds it.
        self.index = torch.zeros(rows, dtype=torch.int64, device=self.device)
        self.flips = torch.zeros(rows, 1, 1, 1, device=self.device) if mirror else None
        self.pixels = None if there else torch.empty(rows, *data.shape, dtype=torch.uint8, device=self.device)
        # What is read from a disk, or copied to a GPU, is read one batch ahead.
        ahead = not there and (data.mapped or self.device.type == "cuda")
        self.reader = ThreadPoolExecutor(1, "rggan-batches") if ahead else None
        self.ahead: Future[Drawn] | None = None
        self.before = self.order()  # where the order stood before the batch that is read ahead

    def indices(self) -> Tensor:
        """Returns the next batch's indices, int64 [batch], on the CPU."""
        count = len(self.data)
        if count < self.batch:
            return torch.randint(count, (self.batch,), generator=self.random)
        if len(self.queue) < self.batch:
            self.queue = torch.cat([self.queue, torch.randperm(count, generator=self.random)])
        taken, self.queue = self.queue[: self.batch], self.queue[self.batch :]
        return taken

    def next(self) -> tuple[Tensor, Tensor | None]:
        """Draws a batch and returns it, as `drawn` does."""
        self.draw()
        return self.drawn()

    def draw(self) -> None:
        """Draw the next batch: on the CPU, so that its order is that of every device."""
        if self.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise RuntimeError("images are drawn on the host, which no recording repeats")
        index, pixels, flips = self.taken()
        self.index.copy_(index, non_blocking=True)
        if self.pixels is not None and pixels is not None:
            self.pixels.copy_(pixels, non_blocking=True)
        if self.flips is not None and flips is not None:
            self.flips.copy_(flips, non_blocking=True)
        if self.reader is not None:
            self.before = self.order()
            self.ahead = self.reader.submit(self.read)

    def taken(self) -> Drawn:
        """Returns what was read ahead, or what is next; where reading fails, it is still the next."""
        ahead, self.ahead = self.ahead, None
        before = self.order() if ahead is None else self.before
        try:
            return self.read() if ahead is None else ahead.result()
        except BaseException:
            self.load_state_dict(before)
            raise

    def read(self) -> Drawn:
        """Returns this rank's next indices, their pixels if not on the device, and a number in 0..1 for each flip."""
        index = self.indices()[self.share]
        pixels = None if self.pixels is None else self.data.at(index)
        if pixels is not None and self.device.type == "cuda":
            pixels = pixels.pin_memory()
        flips = None if self.flips is None else torch.rand(self.batch, 1, 1, 1, generator=self.random)[self.share]
        return index, pixels, flips

    def reseed(self, seed: int) -> None:
        """Draw another order from here on."""
        self.load_state_dict(self.state_dict())
        self.random.manual_seed(seed)

    def order(self) -> dict[str, Any]:
        """What decides the next batch that is read."""
        return {"random": self.random.get_state(), "queue": self.queue.clone()}

    def drawn(self) -> tuple[Tensor, Tensor | None]:
        """Returns this rank's part of the batch that was drawn last: (images float32 in -1..1 [rows, C, H, W], labels
        int64 [rows] or None)."""
        if self.pixels is not None:
            x = self.pixels.float()
        else:
            assert self.images is not None
            x = self.images[self.index].float()
        x = x.div_(127.5).sub_(1)
        if self.flips is not None:
            x = torch.where(self.flips < 0.5, x.flip(3), x)
        return x, None if self.labels is None else self.labels[self.index]

    def gather(self) -> None:
        """Make `state_dict` whole, where parts of it are with other ranks; all of them call it together."""

    def state_dict(self) -> dict[str, Any]:
        return self.order() if self.ahead is None else self.before

    def checked(self, state: dict[str, Any]) -> dict[str, Any]:
        """Returns the state if it is valid for this stream.

        Raises:
            ValueError: it is not. KeyError: a part is missing.
        """
        random, queue = state["random"], state["queue"]
        torch.Generator().set_state(random)  # raises for an invalid generator state
        most = len(self.data) + self.batch
        if not isinstance(queue, Tensor) or queue.dtype != torch.int64 or queue.dim() != 1 or len(queue) > most:
            raise ValueError("the queue is no list of indices")
        if len(queue) and not (int(queue.min()) >= 0 and int(queue.max()) < len(self.data)):
            raise ValueError("the queue has indices of images that are not there")
        return {"random": random.clone(), "queue": queue.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`; use `checked` first for untrusted ones."""
        if self.ahead is not None:
            wait([self.ahead])
            self.ahead = None
        self.random.set_state(state["random"])
        self.queue = state["queue"]
