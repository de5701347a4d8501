"""Labels of channels: those that leave a network together, or not at all, have the same one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

FIXED = 0  # the label of what stays
Dim = list[int] | None  # labels along one dimension; None: nothing of it can leave
ELASTIC: list[int] = []  # a dimension that was expanded: it takes the size of what it meets


class Labels:
    """Labels, of which some are the same."""

    def __init__(self) -> None:
        self.parent = [FIXED]

    def fresh(self, count: int) -> list[int]:
        first = len(self.parent)
        self.parent += range(first, first + count)
        return self.parent[first:]

    def root(self, label: int) -> int:
        while self.parent[label] != label:
            self.parent[label] = label = self.parent[self.parent[label]]
        return label

    def unite(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self.parent[high] = low  # what is one with the fixed one is fixed

    def pin(self, *dims: Dim) -> None:
        for dim in dims:
            for label in dim or ():
                self.unite(label, FIXED)

    def tie(self, *dims: Dim) -> Dim:
        """Those of dimensions of one size, which become one dimension."""
        known = [dim for dim in dims if dim]
        if not known:
            return ELASTIC if dims and all(dim is not None for dim in dims) else None
        if any(dim is None for dim in dims):
            self.pin(*known)
        for dim in known[1:]:
            for one, other in zip(known[0], dim, strict=True):
                self.unite(one, other)
        return known[0]

    def flat(self, shape: Sequence[int], dims: Sequence[Dim]) -> Dim:
        """Labels of neighbouring dimensions that become one."""
        known = [i for i, dim in enumerate(dims) if dim]
        if len(known) != 1:
            self.pin(*dims)
            return None
        (place,) = known
        shaped = torch.tensor(dims[place]).view([-1 if i == place else 1 for i in range(len(shape))])
        return [int(label) for label in shaped.expand(*shape).flatten().tolist()]

    def parts(self, labels: Dim, shape: Sequence[int]) -> tuple[list[Dim], bool]:
        """Labels of one dimension that becomes several, and whether some had to become one for it."""
        dims: list[Dim] = [None] * len(shape)
        if not labels:
            return dims, False
        shaped = torch.tensor([self.root(label) for label in labels]).view(*shape)
        wide = [i for i, size in enumerate(shape) if size > 1]
        for place in wide:
            rows = shaped.movedim(place, 0).flatten(1)
            if bool((rows == rows[:, :1]).all()):
                dims[place] = [int(label) for label in rows[:, 0].tolist()]
                return dims, False
        rows = shaped.movedim(wide[0], 0).flatten(1)
        for row in rows.tolist():
            for label in row[1:]:
                self.unite(row[0], label)
        dims[wide[0]] = [int(label) for label in rows[:, 0].tolist()]
        return dims, True


def blocks(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Neighbouring dimensions of one shape and those of another that they become.

    >>> list(blocks([2, 128], [2, 8, 4, 4]))
    [([0], [0]), ([1], [1, 2, 3])]
    """
    i = j = 0
    while i < len(old) or j < len(new):
        a, b = [i] * (i < len(old)), [j] * (j < len(new))
        p, q = (old[i] if a else 1), (new[j] if b else 1)
        i, j = i + len(a), j + len(b)
        while p != q:
            if p < q:
                a.append(i)
                p, i = p * old[i], i + 1
            else:
                b.append(j)
                q, j = q * new[j], j + 1
        yield a, b
