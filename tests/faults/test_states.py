"""Hostile training states: passed over with a line, or refused in a sentence, within the promised bounds."""

from __future__ import annotations

import copy
import io
import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from rggan import TrainConfig, UserError, train
from rggan.data import ImageSet, load_images
from rggan.pruning.form import fitted
from rggan.run.folder import Run
from rggan.training import transfer
from rggan.training.checkpoint import FORMAT, load
from rggan.training.loop import Loop
from rggan.training.trainer import Training
from tests.faults import states
from tests.faults.attempts import Heard
from tests.faults.fuzz import GROWTH, SECONDS, faults, mark_memory, memory

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch, of kinds of tensors that are in beta
OPTIONS = {
    **{"max_images": 40, "width_g": 4, "width_d": 4, "z_dim": 4, "batch": 8, "score_samples": 16, "resolution": 16},
    **{"precision": "fp32", "device": "cpu", "kimg": 8.0, "snap": 4.0, "schedule": "always"},
}


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return load_images("digits", 16, max_images=40)


def loop_in(folder: Path, data: ImageSet, **options: Any) -> Loop:
    config = TrainConfig(outdir=folder.parent, **{**OPTIONS, **options})
    return Loop(config, Training(config, data, data), data.identity, Run(folder), Heard(folder))


@pytest.fixture(scope="module")
def loop(data: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return loop_in(tmp_path_factory.mktemp("run"), data)


@pytest.fixture(scope="module")
def good(data: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A state after one step, without an evaluation."""
    before = loop_in(tmp_path_factory.mktemp("before"), data)
    before.training.step()
    stream = io.BytesIO()
    torch.save({"format": FORMAT, **before.state_dict()}, stream)
    return torch.load(io.BytesIO(stream.getvalue()), weights_only=True)


class Hung(BaseException):
    """It cannot be taken for an error of what is read."""


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """What takes too long ends as a failure."""

    def hung(number: int, frame: object) -> None:
        raise Hung(f"no end after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, hung)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def bounded(work: Callable[[], Any]) -> Any:
    """The result of work that takes no more than one input may."""
    resident = mark_memory()
    signal.alarm(int(SECONDS))
    try:
        return work()
    finally:
        signal.alarm(0)
        assert memory("VmHWM") - resident < GROWTH


def refused(work: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as told:
        bounded(work)
    assert not faults(str(told.value)), str(told.value)
    assert len(str(told.value)) < 1000
    return str(told.value)


def passed_over(loop: Loop, folder: Path, good: dict[str, Any]) -> str:
    """The line about the newest state, which is hostile; the one before was taken up."""
    states.write_state(folder / "checkpoints", good, 0.001)
    loop.run, loop.log = Run(folder), Heard(folder)
    loop.training.images = 0
    bounded(loop.load_newest)
    assert loop.training.images == good["training"]["images"]
    (line,) = loop.log.lines
    assert not faults(line), line
    assert len(line) < 1000
    return line


SKELETON = {
    **{"rows": [], "rollbacks": 0, "tick": [0, 0, 0.0], "origin": None},
    "training": {
        **{"g": {"weight": torch.zeros(2, 2)}, "d": {"weight": torch.zeros(2, 2)}},
        **{"ema": {"network": {"weight": torch.zeros(2, 2)}, "updates": 0}, "images": 0, "opt_d": {}, "pruners": []},
        **{"batches": {"queue": None}, "random": torch.zeros(2), "loss_sums": None},
    },
}  # from which the descriptions are taken
BAD = sorted(states.odd_states(SKELETON))


def made(make: Callable[[], Any]) -> Any:
    """What can be written: of some tensors torch makes, or saves, none."""
    try:
        return states.saved(make())
    except (RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        pytest.skip(f"torch {torch.__version__} saves none: {error}".splitlines()[0])


@pytest.mark.parametrize("what", BAD)
def test_a_hostile_state_is_passed_over(what: str, loop: Loop, good: dict[str, Any], tmp_path: Path) -> None:
    states.write_state(tmp_path / "checkpoints", made(states.odd_states(good)[what]), 0.002)
    line = passed_over(loop, tmp_path, good)
    assert "looking for the one before" in line


@pytest.mark.parametrize("what", sorted(states.odd_contents(b"")))
def test_a_hostile_file_is_passed_over(what: str, loop: Loop, good: dict[str, Any], tmp_path: Path) -> None:
    states.write_state(tmp_path / "checkpoints", states.odd_contents(states.saved(good))[what](), 0.002)
    line = passed_over(loop, tmp_path, good)
    assert "is damaged (" in line
    assert ("it holds too much beside its tensors" in line) == what.startswith("of ")
    assert ("it holds two files of one name" in line) == (what == "with a pickle twice")


def test_directories_of_zips_are_bounded(loop: Loop, good: dict[str, Any], tmp_path: Path) -> None:
    many = tmp_path / "many"
    states.write_state(many / "checkpoints", states.of_many_files(200_000), 0.002)
    assert "(it holds too many files)" in passed_over(loop, many, good)
    long = tmp_path / "long"
    (long / "checkpoints").mkdir(parents=True)
    states.write_long_directory(long / "checkpoints" / "state-000000.002.pt", 3 << 30)
    assert "(its directory is too long)" in passed_over(loop, long, good)


def test_a_tensor_that_claims_more_than_the_file_holds_ends_with_the_file(good: dict[str, Any], tmp_path: Path) -> None:
    path = states.write_state(tmp_path, states.claiming(states.saved(good), 2**31 - 1), 0.002)
    name = next(iter(good["training"]["g"]))
    found = load(path)["training"]["g"][name]
    assert found.untyped_storage().nbytes() <= path.stat().st_size
    assert torch.equal(found, good["training"]["g"][name])


@pytest.mark.parametrize("what", sorted(states.odd_places(Path())))
def test_what_is_no_file_is_never_opened(what: str, loop: Loop, good: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "checkpoints" / "state-000000.002-0123456789abcdef.pt"
    place.parent.mkdir()
    states.odd_places(tmp_path)[what](place)
    line = passed_over(loop, tmp_path, good)
    assert f"{place} is damaged (" in line
    assert ("no regular file" in line) == (what in ("a pipe", "a link to a device", "a folder"))
    assert ("bytes are more than" in line) == (what == "a terabyte")


def test_without_another_state_there_is_one_sentence(loop: Loop, tmp_path: Path) -> None:
    states.write_state(tmp_path / "checkpoints", {"format": FORMAT, "training": 3}, 0.002)
    loop.run, loop.log = Run(tmp_path), Heard(tmp_path)
    assert refused(loop.load_newest) == f"No checkpoint of {tmp_path} can be read; move the folder away to train anew."


def test_a_good_state_is_taken_up(loop: Loop, good: dict[str, Any], tmp_path: Path) -> None:
    """Of those above nothing else is amiss."""
    states.write_state(tmp_path / "checkpoints", good, 0.002)
    loop.run, loop.log = Run(tmp_path), Heard(tmp_path)
    loop.load_newest()
    assert loop.log.lines == []
    assert loop.training.images == good["training"]["images"]


def test_random_numbers_that_are_none_change_nothing(loop: Loop, good: dict[str, Any]) -> None:
    training = loop.training
    training.images, before = 77, copy.deepcopy(training.gan.g.state_dict())
    bad = states.odd_states(good)["random numbers that are none"]()["training"]
    bad = states.placed(bad, f"g/{states.weight_in(bad['g'])}", bad["g"][states.weight_in(bad["g"])] + 1)
    with pytest.raises(RuntimeError):
        training.load_state_dict(bad)
    assert training.images == 77
    assert all(torch.equal(tensor, before[name]) for name, tensor in training.gan.g.state_dict().items())


def test_tensors_that_ask_for_gradients_get_none() -> None:
    assert not fitted(torch.zeros(2), torch.ones(2, requires_grad=True)).requires_grad


# ---- another run that begins from it ----

PLACES_OF_INIT = ("training/d", "training/ema", "training/pruners", "no", "of format", "an old one", "training a")
OF_INIT = [what for what in BAD if what.startswith(PLACES_OF_INIT) and "updates" not in what]


@pytest.mark.parametrize("what", OF_INIT)
def test_a_hostile_init_is_refused(what: str, good: dict[str, Any], loop: Loop, tmp_path: Path) -> None:
    g, d, network = loop.training.gan.g, loop.training.gan.d, loop.training.description["network"]
    states.write_state(tmp_path / "their" / "checkpoints", made(states.odd_states(good)[what]), 0.002)
    before = copy.deepcopy((g.state_dict(), d.state_dict()))
    told = refused(lambda: transfer.start_from(tmp_path / "their", None, network, OPTIONS["width_d"], g, d))
    assert told.startswith(f"`init` {tmp_path / 'their'}: ")
    if what.startswith("training/ema"):  # what is loaded first
        assert all(torch.equal(tensor, before[0][name]) for name, tensor in g.state_dict().items())


@pytest.mark.parametrize("which", ["init", "init_d"])
@pytest.mark.parametrize("odd", ["one number for all", "sparse", "lost", "missing"])
def test_a_refused_beginning_writes_nothing(
    odd: str, which: str, good: dict[str, Any], data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = good["training"]["d"]
    name = states.weight_in(network)
    values = {
        "lost": lambda: torch.full_like(network[name], math.nan),
        "missing": lambda: None,
        **states.odd_tensors(network[name]),
    }
    bad = states.placed(good, "training/d", {**network, name: values[odd]()})
    states.write_state(tmp_path / "their" / "checkpoints", bad, 0.002)
    states.write_state(tmp_path / "good" / "checkpoints", good, 0.002)
    monkeypatch.setattr("rggan.training.train.read_fresh", lambda *given: data)
    named = {"init": tmp_path / "good"} | {which: tmp_path / "their"}
    config = TrainConfig(outdir=tmp_path / "runs", **named, **OPTIONS)
    assert f"`{which}` {tmp_path / 'their'}: " in refused(lambda: train(config, Console(quiet=True)))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("what", sorted(states.odd_places(Path())))
def test_an_init_that_is_no_file_is_refused(what: str, data: ImageSet, tmp_path: Path) -> None:
    place = tmp_path / "checkpoints" / "state-000000.002-0123456789abcdef.pt"
    place.parent.mkdir()
    states.odd_places(tmp_path)[what](place)
    told = refused(lambda: loop_in(tmp_path / "runs" / "new", data, init=tmp_path))
    assert told == f"`init` {tmp_path}: none of its training states can be read; give another run."


def test_a_good_init_is_taken(good: dict[str, Any], data: ImageSet, tmp_path: Path) -> None:
    states.write_state(tmp_path / "their" / "checkpoints", good, 0.002)
    begun = loop_in(tmp_path / "runs", data, init=tmp_path / "their").training
    network = good["training"]["ema"]["network"]
    assert all(torch.equal(tensor, network[name]) for name, tensor in begun.ema.network.state_dict().items())


def test_masks_of_another_form_are_left_out(good: dict[str, Any], data: ImageSet, tmp_path: Path) -> None:
    """Those behind D's spectral norm."""
    d = loop_in(tmp_path / "runs", data).training.gan.d
    before = copy.deepcopy(d.state_dict())
    for odd in (
        3,
        {},
        {"kept": 3, "hidden": None},
        {"kept": torch.zeros(()), "hidden": None},
        {"kept": torch.zeros(9)},
    ):
        transfer.masked_as_trained(d, {name: odd for name, _ in d.named_parameters()} | {"conv": odd})
    assert all(torch.equal(tensor, before[name]) for name, tensor in d.state_dict().items())


def test_shapes_of_a_hostile_state_are_none(good: dict[str, Any], loop: Loop, tmp_path: Path) -> None:
    """A resumed run of a shrunk G is built by its state."""
    network = loop.training.description["network"]
    for number, odd in enumerate((3, [3], {"a": 3}, dict.fromkeys(good["training"]["ema"]["network"], 3))):
        place = tmp_path / str(number)
        states.write_state(place, states.placed(good, "training/ema/network", odd), 0.001)
        assert transfer.shapes_in(place, network) is None
