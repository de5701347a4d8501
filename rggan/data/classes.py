"""The classes of a set of pictures: their names and numbers, and subsets with equally many of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rggan.data.picture import Picture
from rggan.errors import listed


def class_names(pictures: Sequence[Picture]) -> tuple[str, ...]:
    """Returns the sorted classes (numbers by value); none if a picture has no class, or all have the same."""
    names = {picture.class_name for picture in pictures}
    if len(names) < 2 or "" in names:
        return ()
    numbers = all(name.isascii() and name.isdecimal() and len(name) < 20 for name in names)
    return tuple(sorted(names, key=lambda name: (int(name), name)) if numbers else sorted(names))


def balanced_subset(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Returns sorted indices of `count` items, drawn by `seed`, as class-balanced as possible.

    >>> balanced_subset(np.array([0] * 90 + [1] * 10), 20, seed=0).tolist()[-10:]
    [90, 91, 92, 93, 94, 95, 96, 97, 98, 99]
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)  # random rank of an item within its class
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    # `order` is random, and the sort is stable: ties between classes are broken randomly.
    return np.sort(order[np.argsort(rank[order], kind="stable")][:count])


def present(
    labels: NDArray[np.int64], classes: tuple[str, ...]
) -> tuple[NDArray[np.int64], tuple[str, ...], list[str]]:
    """Returns (labels, classes, notes) without the classes that no picture is of.

    >>> present(np.array([0, 2, 2]), ("cat", "cow", "dog"))
    (array([0, 1, 1]), ('cat', 'dog'), ['classes without a picture are left out: cow'])
    """
    used = np.unique(labels)
    if not classes or len(used) == len(classes):
        return labels, classes, []
    left = [name for index, name in enumerate(classes) if index not in used]
    notes = [f"classes without a picture are left out: {listed(left)}"]
    if len(used) == 1:
        return labels, (), notes
    return np.searchsorted(used, labels), tuple(classes[index] for index in used), notes
