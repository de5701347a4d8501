"""What importing the package costs and needs, seen in processes of their own."""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions, requires
from pathlib import Path

import pytest

import rggan

pytestmark = pytest.mark.slow  # starts processes

PYTHON = Path(rggan.__file__).parents[1]


def run(code, *options, path=PYTHON):
    command = [sys.executable, *options, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


@pytest.fixture(scope="module")
def torch_alone(tmp_path_factory):
    """A folder of packages with torch, what torch requires, and this one. (`python -S` sees no others.)"""

    def plain(name):
        return re.sub(r"[-_.]+", "-", name).lower()

    needed, waiting = set(), ["torch"]
    while waiting:
        needed.add(name := waiting.pop())
        for line in requires(name) or ():
            other = plain(re.match(r"[\w.-]+", line)[0])
            if ";" not in line and other not in needed:
                waiting.append(other)
    folder = tmp_path_factory.mktemp("packages")
    place = Path(distribution("torch").locate_file(""))
    for top, owners in packages_distributions().items():
        if needed & {plain(owner) for owner in owners}:
            for found in {*place.glob(top), *place.glob(f"{top}.*")}:
                if found.suffix != ".dist-info" and not (folder / found.name).exists():
                    (folder / found.name).symlink_to(found)
    (folder / "rggan").symlink_to(Path(rggan.__file__).parent)
    return folder


def test_pruning_works_where_torch_alone_is_installed(torch_alone):
    code = """
import torch
from torch import nn
from rggan.pruning import Adaptive, Pruner, ScoreSchedule, Threshold, merged_state_dict

network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(network.parameters())
pruner = Pruner(network, optimizer, Threshold(target=0.5))
schedule = ScoreSchedule(pruner)
for _ in range(12):
    optimizer.zero_grad()
    network(torch.randn(3, 4)).sum().backward()
    optimizer.step()
schedule.step(1.0)
print(pruner.density() < 1, len(merged_state_dict(network)))
from rggan import Pruner as same
assert same is Pruner
"""
    found = run(code, "-S", path=torch_alone)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["True", "4"]


def test_there_nothing_else_is_installed(torch_alone):
    assert "No module named" in run("import rggan.config", "-S", path=torch_alone).stderr


def test_the_root_loads_nothing():
    heavy = ["numpy", "scipy", "matplotlib", "sklearn", "tyro", "rich", "torch", "PIL"]
    found = run(f"import sys, rggan; print([name for name in {heavy} if name in sys.modules])")
    assert found.stdout.strip() == "[]", found


def test_every_public_name_is_there_and_no_other():
    assert set(rggan.__all__) <= set(dir(rggan))
    for name in rggan.__all__:
        assert getattr(rggan, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Prunner'"):
        rggan.Prunner  # noqa: B018


def test_what_trains_nothing_does_not_wait_for_the_compiler():
    commands = ["check", "generate", "evaluate", "compare", "show", "plot", "export", "demo"]
    found = run(
        "import sys, rggan.pruning, rggan.config, rggan.training.train;"
        f"[__import__(f'rggan.cli.{{name}}') for name in {commands}]; print('torch._dynamo' in sys.modules)"
    )
    assert found.stdout.strip() == "False", found
