"""Steps read nothing back from the device, whatever the family, and a family or a loss may bring its own."""

import copy
import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rggan import TrainConfig, UserError
from rggan.cli.main import main
from rggan.data import load_images
from rggan.losses import hinge_d, hinge_g
from rggan.networks import FAMILIES
from rggan.steps import LOSSES, Loss, Outcome, Steps
from rggan.training.setup import make_steps
from rggan.training.trainer import Training
from tests.extensions.relativistic import RelativisticSteps
from tests.replay import Waits

pytestmark = pytest.mark.slow  # trains

OWN = "tests.extensions.relativistic:LOSS"
SMALL = {"width_g": 8, "width_d": 8, "z_dim": 8, "batch": 4, "score_samples": 8, "device": "cpu", "precision": "fp32"}


class NothingIsRead(TorchDispatchMode):
    """Refuses what would wait for a GPU: `.item()`, `bool(tensor)`, indexing by a mask, copies of numbers."""

    def __init__(self):
        super().__init__()
        self.waits = Waits()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if self.waits(function, arguments):
            raise AssertionError(f"{function._schema.name} reads a value back")
        found = function(*arguments, **(options or {}))
        self.waits.made(function, found)
        return found


@pytest.fixture(scope="module")
def images():
    return load_images("digits", 32, max_images=40)


@pytest.mark.parametrize("cond", [False, True])
@pytest.mark.parametrize("network", FAMILIES.builtin)
def test_a_step_reads_nothing_back(network, cond, images):
    own = {"path_length": 1.0, "style_mixing": 0.5} if network == "stylegan2" else {}
    config = TrainConfig.of(network, **SMALL, cond=cond, rule="none", aug="diff", gamma=1.0, lecam=0.1, **own)
    run = Training(config, images, images)
    for _ in range(2):  # with the lazy penalties, and without
        with NothingIsRead():
            outcome = run.steps.discriminator_step(run.gan, *run.gan.real())
            with run.gan.fixed_d():
                run.steps.generator_step(run.gan, run.gan.latents())
        assert outcome.on_real.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in run.gan.trained_d)


@pytest.mark.parametrize("read", [torch.Tensor.item, bool, lambda x: torch.ones(1)[x > 0]])
def test_a_read_would_be_seen(read):
    with pytest.raises(AssertionError, match="reads a value back"), NothingIsRead():
        read(torch.ones(1))


def test_a_loss_brings_its_own_steps(images):
    config = TrainConfig(**SMALL, rule="none", aug="none", loss=OWN, gamma=0.5, d_steps=1)
    run = Training(config, images, images)
    assert isinstance(run.steps, RelativisticSteps)
    before = [p.detach().clone() for p in run.gan.d.parameters()]
    run.step()
    assert any(not torch.equal(p, old) for p, old in zip(run.gan.d.parameters(), before, strict=True))
    real, labels = run.gan.real()
    drawn = run.gan.latents()
    g, d = run.gan.g, run.gan.d
    loss = torch.nn.functional.softplus(d(real, *labels) - d(g(*drawn))).mean()
    by_hand = torch.autograd.grad(loss, list(g.parameters()))
    run.gan.real, run.gan.opt_g.param_groups[0]["lr"] = lambda: (real, labels), 0.0
    run.gan.opt_g.zero_grad()
    with run.gan.fixed_d():
        run.steps.generator_step(run.gan, drawn)
    for p, expected in zip(g.parameters(), by_hand, strict=True):
        torch.testing.assert_close(p.grad, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("network", ["fastgan", "stylegan2"])
def test_two_that_bring_steps_exclude_each_other(network):
    with pytest.raises(UserError, match="brings its own training steps, and so does"):
        TrainConfig.of(network, loss=OWN)


class Counting(Steps):
    """With a state of its own."""

    kept = (*Steps.kept, "seen", "calls")

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.seen, self.calls = torch.zeros(2), 0

    def generator_step(self, gan, drawn):
        self.seen = self.seen + gan.run_g(*drawn).detach().mean()
        self.calls += 1
        return super().generator_step(gan, drawn)


def own(monkeypatch, loss):
    """As `OWN` named it."""
    monkeypatch.setattr(LOSSES, "found", {**LOSSES.found, OWN: loss})


def test_what_steps_of_ones_own_keep_goes_on(images, monkeypatch):
    own(monkeypatch, Loss(LOSSES.get("hinge").d, LOSSES.get("hinge").g, steps=Counting))
    config = TrainConfig(**SMALL, rule="none", loss=OWN, d_steps=1)
    run, other = Training(config, images, images), Training(config, images, images)
    run.step()
    run.step()
    other.load_state_dict(copy.deepcopy(run.state_dict()))
    assert other.steps.calls == 2
    assert torch.equal(other.steps.seen, run.steps.seen)
    assert other.steps.seen.abs().min() > 0
    state = copy.deepcopy(run.state_dict())
    state["steps"]["seen"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"steps\.seen"):
        other.load_state_dict(state)


def test_a_state_with_one_objective_for_all_goes_on(images):
    config = TrainConfig.of("stylegan2", **SMALL, rule="none", path_length=1.0, lecam=0.1)
    run = Training(config, images, images)
    for _ in range(3):
        run.step()
    state, steps = copy.deepcopy(run.state_dict()), run.steps
    del state["steps"]
    averages = torch.stack([steps.real, steps.fake, steps.length])
    state["objective"] = {"averages": averages, "steps": [steps.steps_d, steps.steps_g], "averaging": True}
    other = Training(config, images, images)
    other.load_state_dict(state)
    assert steps.length > 0
    assert all(getattr(other.steps, name) == getattr(steps, name) for name in steps.kept)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (Loss(hinge_g, hinge_d), "`loss` .* fails: hinge_g.. takes 1 positional argument"),
        (Loss(hinge_d, hinge_g, steps=type("A", (Steps,), {"discriminator_step": lambda *a: (1, 2)})), "a tuple, not"),
        (
            Loss(hinge_d, hinge_g, steps=type("B", (Steps,), {"discriminator_step": Steps.generator_step})),
            "fails: .*positional argument",
        ),
        (
            Loss(
                hinge_d,
                hinge_g,
                steps=type("C", (Steps,), {"discriminator_step": lambda *a: Outcome(torch.ones(()), torch.ones(4))}),
            ),
            "lacks on_real",
        ),
    ],
)
def test_steps_that_fail_are_one_sentence(loss, sentence, images, monkeypatch):
    own(monkeypatch, loss)
    run = Training(TrainConfig(**SMALL, rule="none", aug="none", loss=OWN), images, images)
    with pytest.raises(UserError, match=sentence):
        run.step()


def test_a_step_that_leaves_its_graph_keeps_no_memory(images):
    run = Training(TrainConfig(**SMALL, rule="none", aug="none", loss=OWN, gamma=0.5, d_steps=1), images, images)
    run.step()
    assert not run.loss_sums.requires_grad
    assert not run.signals.on_real.requires_grad


def test_a_loss_says_what_it_has_no_use_for():
    with pytest.raises(UserError, match="`lecam` means nothing with a relativistic loss"):
        TrainConfig(loss=OWN, lecam=0.3)


def test_steps_that_cannot_be_made_leave_no_run(tmp_path, monkeypatch, capsys):
    own(monkeypatch, Loss(hinge_d, hinge_g, steps=lambda *arguments: 1 / 0))
    line = [
        "train",
        "digits",
        "--network",
        "sngan",
        "--loss",
        OWN,
        "--outdir",
        str(tmp_path / "runs"),
        "--device",
        "cpu",
        "--max-images",
        "20",
    ]
    for words in (line, [*line, "-n"]):
        assert main(words) == 2
        assert "--loss tests.extensions.relativistic:LOSS fails: division by zero." in capsys.readouterr().err
        assert not (tmp_path / "runs").exists()


def test_a_familys_steps_that_cannot_be_made_are_the_familys(monkeypatch):
    family = dataclasses.replace(FAMILIES.get("sngan"), steps=lambda *arguments: 1 / 0)
    monkeypatch.setattr(FAMILIES, "found", {**FAMILIES.found, "sngan": family})
    with pytest.raises(UserError, match="`network` sngan fails: division by zero"):
        make_steps(TrainConfig(), 1024, torch.device("cpu"))


def test_steps_that_are_none_are_one_sentence(monkeypatch):
    own(monkeypatch, Loss(hinge_d, hinge_g, steps=lambda *arguments: None))
    with pytest.raises(UserError, match="its steps are no Steps"):
        make_steps(TrainConfig(loss=OWN), 1024, torch.device("cpu"))
