"""What several tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rggan.data import ImageSet, load_images
from rggan.metrics import extract, feature_network
from rggan.run.outdir import runs


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def train_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Callable[[], Tensor], steps: int = 1
) -> None:
    """A few steps on the mean square of the outputs: any loss that moves the weights will do."""
    for _ in range(steps):
        optimizer.zero_grad()
        model(batch()).square().mean().backward()
        optimizer.step()


@pytest.fixture
def signals_are_heard() -> Iterator[None]:
    """Here and in processes that a test starts, also where the tests run under nohup, which has SIGHUP ignored, or in
    the background of a script, which has SIGINT."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def folders(outdir: Path) -> list[Path]:
    """The folders of the runs in `outdir`, oldest first."""
    return [run.path for run in runs(outdir)]


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    """scikit-learn's digits at 16x16: real images."""
    return load_images("digits", 16)


@pytest.fixture(scope="session")
def features(digits: ImageSet) -> Tensor:
    """Their features by the steering network."""
    return extract(feature_network("steering"), digits.images)


@pytest.fixture(scope="session", autouse=True)
def _names_of_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests train on by name is noted in a folder of theirs."""
    own = tmp_path_factory.mktemp("named")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rggan.data.named.folder", lambda: own)
        yield
