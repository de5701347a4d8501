"""Whether this processor and this torch sum as the ones that recorded."""

import functools
import json
from pathlib import Path

import pytest

from tests.recorded.runs import row

FILE = Path(__file__).with_name("rows.json")
ROWS = {(row["family"], row["rule"]): row["seen"] for row in json.loads(FILE.read_text())["rows"]}


@functools.cache
def as_recorded(family):
    """Whether it does here, without a pruner, what was recorded."""
    return row(family, "none")["seen"] == ROWS[family, "none"]


def same_arithmetic(family):
    """Skips where it does not."""
    if not as_recorded(family):
        pytest.skip("without any pruner, too, this processor computes other bits than the one that recorded")
