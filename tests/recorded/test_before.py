"""A run folder and generators that commit 0cc3085 wrote: the same bits follow from them now."""

import json
import shutil
from pathlib import Path

import pytest

from tests.recorded.arithmetic import same_arithmetic
from tests.recorded.before import FAMILIES, followed, pictures

HERE = Path(__file__).parent
KNOWN = json.loads((HERE / "before.json").read_text())
(RUN,) = (HERE / "run-2").iterdir()


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", FAMILIES)
def test_generators_of_before_make_the_same_pictures(family):
    same_arithmetic(family)
    assert pictures(HERE / "generators" / family) == KNOWN["pictures"][family]


def test_a_run_of_before_goes_on_to_the_same_bits(tmp_path):
    same_arithmetic("sngan")
    shutil.copytree(RUN, run := tmp_path / RUN.name)
    assert pictures(run) == KNOWN["pictures"]["run"]
    assert followed(run) == KNOWN["run"]
