"""The file behind a memory-mapped array, which may be cut while it is read."""

from __future__ import annotations

from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rggan.errors import UserError


class MappedFile:
    """Tells in time that the file has become shorter: to read what is not there any more ends the process (SIGBUS).

    Args:
        array: a memory-mapped array; others are of no file. sentence: says that it was cut.
    """

    def __init__(self, array: NDArray[Any], sentence: str) -> None:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        self.mapping = base if isinstance(base, mmap) else None
        self.size, self.sentence = 0 if self.mapping is None else self.mapping.size(), sentence

    def check(self) -> None:
        """Call this right before rows of the array are read.

        Raises:
            UserError: the file is shorter than it was.
        """
        if self.mapping is not None and self.mapping.size() < self.size:
            raise UserError(self.sentence)
