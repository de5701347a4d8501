"""Steps read nothing back from the device, whatever the family, and a family or a loss may bring its own."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rggan import TrainConfig, UserError
from rggan.data import load_images
from rggan.networks import FAMILIES
from rggan.steps import LOSSES
from rggan.training.setup import make_steps
from rggan.training.trainer import Training
from tests.extensions.relativistic import LOSS, RelativisticSteps

OWN = "tests.extensions.relativistic:LOSS"
SMALL = {"width_g": 8, "width_d": 8, "z_dim": 8, "batch": 4, "score_samples": 8, "device": "cpu", "precision": "fp32"}
READS = {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::equal", "aten::masked_select"}
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_"}  # by a mask: its length is read back


class NothingIsRead(TorchDispatchMode):
    """Refuses what would wait for a GPU: `.item()`, `bool(tensor)`, indexing by a mask."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function._schema.name
        masked = name in INDEXED and any(index is not None and index.dtype == torch.bool for index in arguments[1])
        if name in READS or masked:
            raise AssertionError(f"{name} reads a value back")
        return function(*arguments, **(options or {}))


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


def test_steps_that_cannot_be_made_are_one_sentence(monkeypatch):
    monkeypatch.setattr(LOSSES, "found", {**LOSSES.found, OWN: LOSS.__class__(LOSS.d, LOSS.g, steps=dict)})
    with pytest.raises(UserError, match="fails: "):
        make_steps(TrainConfig(loss=OWN), 1024, torch.device("cpu"))
    nothing = LOSS.__class__(LOSS.d, LOSS.g, steps=lambda *arguments: None)
    monkeypatch.setattr(LOSSES, "found", {**LOSSES.found, OWN: nothing})
    with pytest.raises(UserError, match="its steps are no Steps"):
        make_steps(TrainConfig(loss=OWN), 1024, torch.device("cpu"))
