"""Adaptive discriminator augmentation (Karras, Aittala, Hellsten, Laine, Lehtinen and Aila 2020, "Limited Data").

Pixel blitting, geometric and colour transformations (appendix B, the paper's "bgc"), each of each image with a
probability p that follows how far D overfits (section 3). All of it can be differentiated twice, as a gradient penalty
needs.

Different from the paper: instead of warping at twice the size between two wavelet filters, each output pixel averages
2x2 bilinear samples, which aliases less than one sample would, and blurs more than the filters do; and an image that
was only flipped, turned by quarters and shifted by whole pixels stays exact.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rggan import ranks

SHIFT = 0.125  # of the size: largest integer translation, and standard deviation of the fractional one
SCALE, STRETCH = 0.2, 0.2  # standard deviations, in powers of two
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0  # standard deviations; the last two in powers of two
SAMPLES = 2  # along each side of an output pixel


class AdaptiveAugment:
    """Float images [N, C, H, W], around -1..1, C 1 (grey), 3 (RGB) or 4 (RGBA) -> the same shape, not clamped.

    Each transformation is applied to each image with probability p, on its own. Alpha moves with the picture; colours
    leave it alone. float64 stays float64, all else is computed in and returned as float32, under autocast too; but at
    p = 0 the very tensor is returned, and nothing drawn. Random numbers come from the global stream of the images'
    device; each call above p = 0 draws equally many, whatever p is, and none waits for a GPU.

    Args:
        target: r_t, the mean sign of D's outputs on real images that p holds; above it p rises, below it falls.
        kimg: within so many thousands of real images p may go from 0 to 1.
        p: the probability at the beginning, 0..1.

    >>> augment = AdaptiveAugment(target=0.6, kimg=0.1)
    >>> augment.observe(torch.ones(50))  # D is right about all of 50 real images
    >>> augment.step()
    >>> augment.p, augment(torch.zeros(2, 3, 8, 8)).shape
    (0.5, torch.Size([2, 3, 8, 8]))
    """

    def __init__(self, target: float = 0.6, kimg: float = 500.0, p: float = 0.0) -> None:
        self.target, self.images = target, kimg * 1000
        self.there: Tensor | None = None  # p on a GPU, where a recorded step finds it
        self.p = p
        self.signs: Tensor | None = None  # sum over images of their mean sign, kept where it was computed
        self.seen = 0

    def observe(self, on_real: Tensor) -> None:
        """Add D's outputs on a batch of real images, [N] or [N, ...] for patches. Non-blocking."""
        signs = on_real.detach().sign().reshape(len(on_real), -1).mean(dim=1, dtype=torch.float64).sum()
        self.signs = signs if self.signs is None else self.signs + signs
        self.seen += len(on_real)

    def step(self) -> None:
        """Move p by what was observed since the last step (section 3.1), and forget it. Waits for a GPU."""
        if self.signs is None:
            return
        r_t = self.signs.item() / self.seen
        direction = (r_t > self.target) - (r_t < self.target)
        # In images, which are whole, no error adds up over steps, however many there are.
        moved = round(self.p * self.images + direction * self.seen, 6)
        self.p = min(1.0, max(0.0, moved / self.images))
        self.signs, self.seen = None, 0

    @property
    def p(self) -> float:
        """The probability of each transformation, 0..1."""
        return self._p

    @p.setter
    def p(self, p: float) -> None:
        self._p = p
        if self.there is not None:
            self.there.fill_(p)

    def __call__(self, x: Tensor) -> Tensor:
        if self.p <= 0:
            return x
        x = x if x.dtype == torch.float64 else x.float()
        if x.device.type == "cpu":
            return recoloured(moved(x, self.p), self.p)
        if self.there is None:
            self.there = torch.full((), self.p, dtype=torch.float64, device=x.device)
        return recoloured(moved_alike(x, self.there), self.there)

    def state_dict(self) -> dict[str, Any]:
        """p and what was observed since the last step: plain numbers, from which training goes on exactly."""
        return {"p": self.p, "signs": 0.0 if self.signs is None else self.signs.item(), "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.p, self.seen = state["p"], state["seen"]
        self.signs = torch.tensor(state["signs"], dtype=torch.float64) if self.seen else None


def chosen(matrices: Tensor, p: float | Tensor) -> Tensor:
    """Each of [N, M, M] with probability p, else the identity."""
    coins = torch.rand(len(matrices)) < p
    return torch.where(coins[:, None, None], matrices, torch.eye(matrices.shape[-1], dtype=matrices.dtype))


def scaling(*factors: Tensor) -> Tensor:
    """Factors [N], one an axis -> homogeneous matrices, float64.

    >>> scaling(torch.tensor([2.0]), torch.tensor([3.0])).tolist()
    [[[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    return torch.diag_embed(torch.stack([*factors, torch.ones_like(factors[0])], dim=1).double())


def translation(*shifts: Tensor) -> Tensor:
    """Shifts [N], one an axis -> homogeneous matrices, float64.

    >>> translation(torch.tensor([5.0]), torch.tensor([7.0])).tolist()
    [[[1.0, 0.0, 5.0], [0.0, 1.0, 7.0], [0.0, 0.0, 1.0]]]
    """
    matrix = torch.eye(len(shifts) + 1, dtype=torch.float64).repeat(len(shifts[0]), 1, 1)
    matrix[:, :-1, -1] = torch.stack(shifts, dim=1).double()
    return matrix


def rotation(cosine: Tensor, sine: Tensor) -> Tensor:
    """Of an angle's cosine and sine [N]: from x towards y, [N, 3, 3], float64.

    >>> rotation(torch.tensor([0.0]), torch.tensor([1.0])).tolist()
    [[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    matrix = torch.eye(3, dtype=torch.float64).repeat(len(cosine), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = cosine.double()
    matrix[:, 0, 1], matrix[:, 1, 0] = -sine.double(), sine.double()
    return matrix


def any_angle(n: int) -> Tensor:
    """Uniform in -pi..pi, [N], float64."""
    return (torch.rand(n, dtype=torch.float64) * 2 - 1) * math.pi


def geometry(n: int, height: int, width: int, p: float | Tensor) -> Tensor:
    """Where output pixels come from: matrices float64 [N, 3, 3], each transformation in it with probability p.

    They map (x, y, 1) to (x, y, 1), in pixels from the middle of the picture, so that a rotation is one in a rectangle
    too; which turns by half at a time, not by quarters, when it is blitted. The transformations come in the order of
    appendix B; as the inverses are what is multiplied, the first stands on the left.
    """
    turns = torch.randint(4, (n,)) if height == width else 2 * torch.randint(2, (n,))
    # Exact, as the cosine of a rounded pi / 2 is not.
    cosine, sine = (((turns == up).double() - (turns == up + 2).double()) for up in (0, 1))
    whole = (torch.rand(2, n) * 2 - 1) * SHIFT
    scale = torch.exp2(-torch.randn(n) * SCALE)
    before, after = any_angle(n), any_angle(n)
    stretch = torch.exp2(torch.randn(n) * STRETCH)
    part = torch.randn(2, n) * SHIFT
    either = 1 - (
        math.sqrt(1 - p) if isinstance(p, float | int) else (1 - p).sqrt()
    )  # the two rotations: at least one of them with probability p
    matrix = chosen(scaling(1 - 2.0 * torch.randint(2, (n,)), torch.ones(n)), p)
    for inverse, probability in (
        (rotation(cosine, sine), p),
        (translation((whole[0] * width).round(), (whole[1] * height).round()), p),
        (scaling(scale, scale), p),
        (rotation(before.cos(), before.sin()), either),
        (scaling(1 / stretch, stretch), p),
        (rotation(after.cos(), after.sin()), either),
        (translation(part[0] * width, part[1] * height), p),
    ):
        matrix = matrix @ chosen(inverse, probability)
    return matrix


def moved(x: Tensor, p: float) -> Tensor:
    """Flipped, turned, shifted, scaled: float images [N, C, H, W] -> the same shape; only the images drawn are sampled.

    Where pixels are only permuted they are taken as they are: averaging over a pixel's parts would just blur them.
    """
    matrix = ranks.own(geometry(ranks.whole(len(x)), x.shape[2], x.shape[3], p))
    changed = (matrix != torch.eye(3, dtype=torch.float64)).flatten(1).any(dim=1)
    whole = permuting(matrix)
    out = x
    for those, samples in ((changed & whole, 1), (changed & ~whole, SAMPLES)):
        if those.any():
            rows = those.nonzero()[:, 0]
            out = out.index_copy(0, rows, sample(x[rows], matrix[those].to(x), samples))
    return out


def moved_alike(x: Tensor, p: float | Tensor) -> Tensor:
    """What `moved` gives, by the same operations whatever was drawn: for a GPU, which then need not be waited for.

    All images are sampled; the places in a pixel coincide where pixels are only permuted.
    """
    with x.device:  # where all of it is drawn
        matrix = ranks.own(geometry(ranks.whole(len(x)), x.shape[2], x.shape[3], p))
    return sample(x, matrix.to(x), SAMPLES, (~permuting(matrix)).to(x)[:, None, None])


def permuting(matrix: Tensor) -> Tensor:
    """Which of [N, 3, 3] are nothing but flips, quarter turns and whole shifts: boolean [N]."""
    return (matrix == matrix.round()).flatten(1).all(dim=1)


def sample(x: Tensor, matrix: Tensor, samples: int = 1, spread: Tensor | float = 1.0) -> Tensor:
    """Bilinear, mirrored at the outermost pixels' centres for any distance.

    Each output pixel is the mean over samples x samples places in it. By `gather`, whose derivative can be
    differentiated again; that of `grid_sample` cannot.

    Args:
        x: float [N, C, H, W].
        matrix: [N, 3, 3] of the same dtype, from the output's pixels to those of x as in `geometry`.
        spread: of the places in a pixel, 0 (all in its centre) to 1; a number or [N, 1, 1].

    >>> x = torch.arange(4.0).view(1, 1, 1, 4)
    >>> sample(x, translation(torch.tensor([1.5]), torch.tensor([0.0])).float())
    tensor([[[[1.5000, 2.5000, 2.5000, 1.5000]]]])
    """
    height, width = x.shape[2:]
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    to_x, to_y = (matrix[:, i, :, None, None].unbind(dim=1) for i in range(2))
    offsets = [(i + 0.5) / samples - 0.5 for i in range(samples)]
    total: Tensor | None = None
    for dy in offsets:
        y = torch.arange(height, device=x.device, dtype=x.dtype)[:, None] + (dy * spread - middle_y)
        for dx in offsets:
            place = torch.arange(width, device=x.device, dtype=x.dtype) + (dx * spread - middle_x)
            # No matrix product: autocast, or a GPU's TF32, would round it to few bits.
            at_x = to_x[0] * place + to_x[1] * y + (to_x[2] + middle_x)
            at_y = to_y[0] * place + to_y[1] * y + (to_y[2] + middle_y)
            part = bilinear(x, at_x, at_y)
            total = part if total is None else total + part
    assert total is not None
    return total / samples**2


def bilinear(x: Tensor, at_x: Tensor, at_y: Tensor) -> Tensor:
    """Values of [N, C, H, W] at pixel positions [N, H', W'], of any distance -> [N, C, H', W']."""
    n, c, height, width = x.shape
    at_x, at_y = mirrored(at_x, width), mirrored(at_y, height)
    left, top = at_x.long(), at_y.long()
    right, lower = (at_x - left)[:, None], (at_y - top)[:, None]  # shares; 0 at the last pixel, where none follows
    next_x, next_y = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    flat, top, next_y = x.flatten(2), top * width, next_y * width

    def at(index: Tensor) -> Tensor:
        return flat.gather(2, index.flatten(1)[:, None].expand(n, c, -1)).view(n, c, *at_x.shape[1:])

    upper = at(top + left) * (1 - right) + at(top + next_x) * right
    return upper * (1 - lower) + (at(next_y + left) * (1 - right) + at(next_y + next_x) * right) * lower


def mirrored(position: Tensor, size: int) -> Tensor:
    """Any position -> 0..size - 1, reflected at the first and last pixel's centre as often as it takes.

    >>> mirrored(torch.tensor([-7.0, -1.5, 0.0, 3.0, 3.25, 6.0, 7.5]), 4).tolist()
    [1.0, 1.5, 0.0, 3.0, 2.75, 0.0, 1.5]
    """
    if size == 1:
        return torch.zeros_like(position)
    position = position.remainder(2 * (size - 1))
    return torch.minimum(position, 2 * (size - 1) - position)


def hue(angle: Tensor) -> Tensor:
    """Rotations by angles [N] about the grey axis (Rodrigues' formula), [N, 4, 4], float64."""
    angle = angle.double()[:, None, None]
    along = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    whole = torch.eye(3, dtype=torch.float64)
    across = (whole.roll(1, dims=0) - whole.roll(1, dims=1)) / math.sqrt(3)  # the cross product with the grey axis
    matrix = torch.eye(4, dtype=torch.float64).repeat(len(angle), 1, 1)
    matrix[:, :3, :3] = along + angle.cos() * (whole - along) + angle.sin() * across
    return matrix


def colours(n: int, p: float | Tensor, grey: bool = False) -> Tensor:
    """Matrices float64 [N, 4, 4] on (r, g, b, 1), each transformation in it with probability p (appendix B's order).

    Grey images get brightness, contrast and luma flip only: hue and saturation have no grey to change.
    """
    along = torch.zeros(4, 4, dtype=torch.float64)
    along[:3, :3] = 1 / 3  # projects onto the grey axis
    rest = torch.eye(4, dtype=torch.float64) - along
    brightness = torch.randn(n) * BRIGHTNESS
    contrast = torch.exp2(torch.randn(n) * CONTRAST)
    flips = torch.randint(2, (n, 1, 1))
    changes = [
        translation(brightness, brightness, brightness),
        scaling(contrast, contrast, contrast),
        rest + along * (1 - 2.0 * flips),
    ]
    if not grey:
        saturation = torch.exp2(torch.randn(n) * SATURATION)
        changes += [hue(any_angle(n)), along + rest @ scaling(saturation, saturation, saturation)]
    matrix = torch.eye(4, dtype=torch.float64).expand(n, 4, 4)
    for change in changes:
        matrix = chosen(change, p) @ matrix
    return matrix


def recoloured(x: Tensor, p: float | Tensor) -> Tensor:
    """Brightness, contrast, luma flip, hue and saturation of float images [N, C, H, W]; alpha stays as it is."""
    with x.device:  # where all of it is drawn
        matrix = ranks.own(colours(ranks.whole(len(x)), p, grey=x.shape[1] == 1)).to(x)
    if x.shape[1] == 1:  # what the matrix makes of (x, x, x)
        return x * matrix[:, 0, :3].sum(dim=1)[:, None, None, None] + matrix[:, 0, 3][:, None, None, None]
    columns = matrix[:, :3, :, None, None].unbind(dim=2)
    # No matrix product: autocast, or a GPU's TF32, would round it to few bits.
    rgb = x[:, :1] * columns[0] + x[:, 1:2] * columns[1] + x[:, 2:3] * columns[2] + columns[3]
    return rgb if x.shape[1] == 3 else torch.cat([rgb, x[:, 3:]], dim=1)
