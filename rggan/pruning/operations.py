"""How each operation of PyTorch passes on the labels of channels. One that is not here keeps what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten

from rggan.pruning.labels import ELASTIC, FIXED, Dim, Labels, blocks

# fmt: off
POINTWISE = frozenset((
    "add", "sub", "mul", "div", "rsub", "neg", "relu", "leaky_relu", "tanh", "sigmoid", "silu", "gelu", "elu",
    "softplus", "mish", "exp", "log", "sqrt", "rsqrt", "reciprocal", "abs", "pow", "square", "clamp", "clamp_min",
    "clamp_max", "hardtanh", "lerp", "addcmul", "addcdiv", "maximum", "minimum", "where", "sin", "cos", "erf", "log1p",
    "expm1", "_prelu_kernel", "clone", "detach", "alias", "_to_copy", "contiguous", "lift_fresh", "native_dropout",
    "eq", "ne", "gt", "lt", "ge", "le",
))
# fmt: on
SPATIAL = {
    **{f"{kind}{n}d": n for n in (1, 2, 3) for kind in ("avg_pool", "_adaptive_avg_pool", "adaptive_avg_pool")},
    **{f"{kind}{n}d": n for n in (1, 2, 3) for kind in ("upsample_nearest", "reflection_pad", "replication_pad")},
    **{"upsample_linear1d": 1, "upsample_bilinear2d": 2, "upsample_bicubic2d": 2, "upsample_trilinear3d": 3},
    **{f"max_pool{n}d_with_indices": n for n in (2, 3)},
}
NORMS = ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
REDUCING = ("sum", "mean", "var", "std", "amax", "amin", "linalg_vector_norm", "prod")
MADE = ("new_full", "new_zeros", "new_ones", "new_empty")


class Operations:
    """The labels of results, of those of the arguments. A subclass knows the tensors.

    rigid: whether channels stay that a view splits from others or that are sliced: the sizes may be written down in the
        network.
    """

    channels: Labels
    rigid: bool

    def of(self, tensor: Tensor) -> list[Dim]:
        """The labels of a tensor, for each dimension."""
        raise NotImplementedError

    def reads(self, data: Tensor, place: int, weight: Tensor | None, column: int, bias: Any, whole: bool) -> None:
        """A sum over a dimension of data, times a dimension of a weight (None: 1), was computed.

        whole: whether each place of the result sums over all of the weight.
        """

    def passed(self, name: str, args: Any, out: Any) -> list[list[Dim]] | None:
        """The labels of the results; None: no operation that is known here."""
        if name in MADE or not any(isinstance(t, Tensor) for t in tree_flatten(args)[0]):
            return []
        if name.endswith("_like"):
            return [self.of(args[0])]
        if name in POINTWISE:
            return [self.pointwise([a for a in args if isinstance(a, Tensor)], out)]
        if name in SPATIAL:
            return self.spatial(self.of(args[0]), SPATIAL[name])
        if name in NORMS:
            x = self.of(args[0])
            vectors = [self.of(t)[0] for t in args[1:5] if isinstance(t, Tensor)]
            return [[x[0], self.channels.tie(x[1], *vectors), *x[2:]]]
        if name in REDUCING:
            return [self.reduced(name, args, out)]
        rule: Any = getattr(self, f"op_{name.strip('_')}", None)
        return None if rule is None else rule(*args)

    def knows(self, name: str) -> bool:
        """Whether an operation has a rule of its own."""
        return name in (*SPATIAL, *NORMS, *REDUCING, *MADE) or hasattr(self, f"op_{name.strip('_')}")

    def pointwise(self, operands: list[Tensor], out: Any) -> list[Dim]:
        out = out if isinstance(out, Tensor) else out[0]
        dims: list[Dim] = []
        for d in range(-out.dim(), 0):
            met = [self.of(t)[d] for t in operands if t.dim() >= -d and t.shape[d] == out.shape[d]]
            dims.append(None if out.shape[d] == 1 else self.channels.tie(*met))
        return dims

    def spatial(self, x: list[Dim], places: int) -> list[list[Dim]]:
        self.channels.pin(*x[len(x) - places :])
        return [[*x[: len(x) - places], *[None] * places]] * 2

    def reduced(self, name: str, args: Any, out: Tensor) -> list[Dim]:
        x, dims = args[0], self.of(args[0])
        among = 2 if name == "linalg_vector_norm" else 1
        asked = args[among] if len(args) > among and isinstance(args[among], int | list | tuple) else None
        asked = [asked] if isinstance(asked, int) else asked or range(x.dim())
        gone = {d % x.dim() for d in asked} if x.dim() else set()
        for d in gone:
            if name == "sum":
                self.reads(x, d, None, 0, None, True)
            else:
                self.channels.pin(dims[d])
        keep = out.dim() == x.dim()
        return [None if d in gone else dim for d, dim in enumerate(dims) if keep or d not in gone]

    # ---- one method for each other operation: op_ and its name, with its arguments ----

    def op_convolution(self, x: Tensor, w: Tensor, bias: Any, *args: Any) -> list[list[Dim]]:
        _, padding, _, transposed, _, groups = args[:6]
        own, data = self.of(w), self.of(x)
        rows, columns = (1, 0) if transposed else (0, 1)
        self.channels.pin(*own[2:], *data[2:])
        vector = self.of(bias)[0] if isinstance(bias, Tensor) else None
        if groups > 1 and groups == x.shape[1] == w.shape[0] and w.shape[1] == 1:  # each channel for itself
            out = self.channels.tie(data[1], own[0], *([vector] if isinstance(bias, Tensor) else []))
            return [[data[0], out, *[None] * (x.dim() - 2)]]
        if groups > 1:
            self.channels.pin(data[1], *own, vector)
            return [[data[0], *[None] * (x.dim() - 1)]]
        self.channels.tie(data[1], own[columns])
        plain = not transposed and not any(padding)
        self.reads(x, 1, w, columns, bias, plain)
        out = self.channels.tie(own[rows], *([vector] if isinstance(bias, Tensor) else []))
        return [[data[0], out, *[None] * (x.dim() - 2)]]

    def op_mm(self, a: Tensor, b: Tensor, bias: Any = None) -> list[list[Dim]]:
        one, other = self.of(a), self.of(b)
        self.channels.tie(one[-1], other[-2])
        batch = [self.channels.tie(*both) for both in zip(one[:-2], other[:-2], strict=True)]
        self.reads(a, a.dim() - 1, b, b.dim() - 2, bias, True)
        return [[*batch, one[-2], other[-1]]]

    op_bmm = op_mm

    def op_addmm(self, bias: Tensor, a: Tensor, b: Tensor, *_: Any) -> list[list[Dim]]:
        (dims,) = self.op_mm(a, b, bias)
        own = self.of(bias)
        met = [own[-1]] if bias.dim() and bias.shape[-1] == b.shape[-1] else []
        self.channels.pin(*own[:-1])
        return [[*dims[:-1], self.channels.tie(dims[-1], *met)]]

    op_baddbmm = op_addmm

    def op_embedding(self, w: Tensor, places: Tensor, *_: Any) -> list[list[Dim]]:
        own = self.of(w)
        self.channels.pin(own[0])
        return [[*[None] * places.dim(), own[1]]]

    def op_softmax(self, x: Tensor, dim: int, *_: Any) -> list[list[Dim]]:
        self.channels.pin(self.of(x)[dim])
        return [self.of(x)]

    def op_native_group_norm(self, x: Tensor, *args: Any) -> list[list[Dim]]:
        self.channels.pin(self.of(x)[1], *(self.of(t)[0] for t in args[:2] if isinstance(t, Tensor)))
        return [self.of(x)]

    def op_native_layer_norm(self, x: Tensor, shape: Sequence[int], *args: Any) -> list[list[Dim]]:
        self.channels.pin(*self.of(x)[-len(shape) :], *(d for t in args if isinstance(t, Tensor) for d in self.of(t)))
        return [self.of(x)]

    def op_glu(self, x: Tensor, dim: int = -1) -> list[list[Dim]]:
        dims = list(self.of(x))
        if labels := dims[dim]:
            half = len(labels) // 2
            dims[dim] = self.channels.tie(labels[:half], labels[half:])
        return [dims]

    def op_pixel_shuffle(self, x: Tensor, factor: int) -> list[list[Dim]]:
        *before, c, h, w = self.of(x)
        parts, _ = self.channels.parts(c, (x.shape[-3] // factor**2, factor**2))
        self.channels.pin(h, w, parts[1])
        return [[*before, parts[0], None, None]]

    def op_constant_pad_nd(self, x: Tensor, pad: Sequence[int], *_: Any) -> list[list[Dim]]:
        padded = len(pad) // 2
        return self.spatial(self.of(x), padded)[:1]

    def op_cat(self, tensors: Sequence[Tensor], dim: int = 0) -> list[list[Dim]]:
        tensors = [t for t in tensors if t.dim() > 1 or t.numel()]
        dim %= tensors[0].dim()
        others = [d for d in range(tensors[0].dim()) if d != dim]
        dims = [self.channels.tie(*(self.of(t)[d] for t in tensors)) for d in others]
        known = any(self.of(t)[dim] for t in tensors)
        joined = [label for t in tensors for label in self.of(t)[dim] or [FIXED] * t.shape[dim]]
        dims.insert(dim, joined if known else None)
        return [dims]

    def op_view(self, x: Tensor, shape: Sequence[int]) -> list[list[Dim]]:
        old, new = list(x.shape), list(shape)
        if -1 in new:
            rest = 1
            for n in new:
                rest *= n if n != -1 else 1
            new[new.index(-1)] = x.numel() // max(1, rest)
        dims, own = [], self.of(x)
        for a, b in blocks(old, new):
            if len(a) == len(b) == 1:
                dims.append(own[a[0]])
                continue
            labels = self.channels.flat([old[i] for i in a], [own[i] for i in a])
            parts, united = self.channels.parts(labels, [new[i] for i in b])
            if united and self.rigid:
                self.channels.pin(labels)
            dims += parts
        return [dims]

    op_unsafe_view = op_reshape = op_view

    def op_expand(self, x: Tensor, shape: Sequence[int], *_: Any, **__: Any) -> list[list[Dim]]:
        own, more = self.of(x), len(shape) - x.dim()
        kept = [
            ELASTIC if size not in (-1, 1) and had == 1 else dim
            for size, had, dim in zip(shape[more:], x.shape, own, strict=True)
        ]
        return [[*[ELASTIC] * more, *kept]]

    def op_repeat(self, x: Tensor, times: Sequence[int]) -> list[list[Dim]]:
        more = len(times) - x.dim()
        own: list[Dim] = [dim and dim * n for dim, n in zip(self.of(x), times[more:], strict=True)]
        return [[*[None] * more, *own]]

    def op_permute(self, x: Tensor, order: Sequence[int]) -> list[list[Dim]]:
        return [[self.of(x)[d] for d in order]]

    def op_t(self, x: Tensor) -> list[list[Dim]]:
        return [self.of(x)[::-1]]

    def op_transpose(self, x: Tensor, one: int, other: int) -> list[list[Dim]]:
        dims = list(self.of(x))
        dims[one], dims[other] = dims[other], dims[one]
        return [dims]

    def op_unsqueeze(self, x: Tensor, dim: int) -> list[list[Dim]]:
        dims = list(self.of(x))
        dims.insert(dim if dim >= 0 else dim + x.dim() + 1, None)
        return [dims]

    def op_squeeze(self, x: Tensor, dim: Any = None) -> list[list[Dim]]:
        among = range(x.dim()) if dim is None else [d % x.dim() for d in ([dim] if isinstance(dim, int) else dim)]
        return [[own for d, own in enumerate(self.of(x)) if not (d in among and x.shape[d] == 1)]]

    def op_select(self, x: Tensor, dim: int, _: int) -> list[list[Dim]]:
        dims = list(self.of(x))
        del dims[dim]
        return [dims]

    def op_unbind(self, x: Tensor, dim: int = 0) -> list[list[Dim]]:
        self.channels.pin(self.of(x)[dim])
        return self.op_select(x, dim, 0) * x.shape[dim]

    def op_slice(self, x: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> list[list[Dim]]:
        if self.rigid and (start or (end is not None and end < x.shape[dim])):
            self.channels.pin(self.of(x)[dim])
        return self.part(x, dim, start, end, step)

    def part(self, x: Tensor, dim: int, start: Any, end: Any, step: int = 1) -> list[list[Dim]]:
        dims = list(self.of(x))
        dims[dim] = labels[start:end:step] if (labels := dims[dim]) else labels
        return [dims]

    def op_split(self, x: Tensor, size: Any, dim: int = 0) -> list[list[Dim]]:
        whole = x.shape[dim]
        sizes = [min(size, whole - i) for i in range(0, whole, size)] if isinstance(size, int) else size
        found, first = [], 0
        for each in sizes:
            found += self.part(x, dim, first, first + each)
            first += each
        return found

    op_split_with_sizes = op_split
