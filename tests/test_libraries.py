"""The Pruner inside other people's training libraries, as their users write it."""

import copy
import logging
import warnings

import pytest
import torch
from torch import nn

from rggan.pruning import Pruner, Ramp, Threshold
from tests.conftest import train_steps

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # seconds each; the libraries' own warnings


def networks():
    torch.manual_seed(0)
    g = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 8))
    return g, nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))


def rule():
    return Threshold(target=Ramp(0.4, 8), every=2)


def adam(network):
    return torch.optim.Adam(network.parameters(), 1e-3)


def gan_step(g, d, opt_g, opt_d, real, backward):
    fake = g(2 * real[:, :4] - 1)  # a trainer draws numbers of its own
    loss = torch.relu(1 - d(real)).mean() + torch.relu(1 + d(fake.detach())).mean()
    opt_d.zero_grad(), backward(loss), opt_d.step()
    loss = -d(fake).mean()
    opt_g.zero_grad(), backward(loss), opt_g.step()


def by_hand(batches):
    g, d = networks()
    optimizers = adam(g), adam(d)
    pruners = [Pruner(network, optimizer, rule()) for network, optimizer in zip((g, d), optimizers, strict=True)]
    for real in batches:
        gan_step(g, d, *optimizers, real, torch.Tensor.backward)
    return pruners


def assert_same(pruners, others):
    for pruner, other in zip(pruners, others, strict=True):
        assert pruner.density() == pytest.approx(0.4, abs=0.02)
        for a, b in zip(pruner.layers, other.layers, strict=True):
            assert torch.equal(a.weight, b.weight)
            assert torch.equal(a.dense(), b.dense())


@pytest.fixture(scope="module")
def lightning():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return library


@pytest.fixture
def batches():
    return torch.rand(10, 8, 8, generator=torch.Generator().manual_seed(2))


def trained_by_lightning(lightning, module, batches, **options):
    trainer = lightning.Trainer(
        **{"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False},
        **{"enable_progress_bar": False, "enable_model_summary": False, **options},
    )
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))


def test_lightning_with_manual_optimization_trains_as_by_hand(lightning, batches):
    """It wraps optimizers, and passes a closure where the user passes none."""

    class Gan(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.g, self.d = networks()

        def configure_optimizers(self):
            optimizers = [adam(self.g), adam(self.d)]
            self.pruners = [Pruner(self.g, optimizers[0], rule()), Pruner(self.d, optimizers[1], rule())]
            return optimizers

        def training_step(self, batch, index):
            gan_step(self.g, self.d, *self.optimizers(), batch, self.manual_backward)

    module = Gan()
    trained_by_lightning(lightning, module, batches)
    assert_same(module.pruners, by_hand(batches))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightning_with_automatic_optimization_trains_as_by_hand(lightning, batches, accumulate):
    class Fit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.g = networks()[0]

        def configure_optimizers(self):
            optimizer = adam(self.g)
            self.pruner = Pruner(self.g, optimizer, rule())
            return optimizer

        def training_step(self, batch, index):
            return (self.g(batch[:, :4]) - batch).square().mean()

    module = Fit()
    both = torch.cat([batches, batches])
    trained_by_lightning(lightning, module, both, accumulate_grad_batches=accumulate)
    g = networks()[0]
    optimizer = adam(g)
    pruner = Pruner(g, optimizer, rule())
    for i, batch in enumerate(both):
        if i % accumulate == 0:
            optimizer.zero_grad()
        ((g(batch[:, :4]) - batch).square().mean() / accumulate).backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
    assert module.pruner.steps == [20 // accumulate]
    assert_same([module.pruner], [pruner])


@pytest.mark.parametrize("order", ["pruner first", "prepared first", "unwrapped"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate_in_any_order(order, precision, batches):
    library = pytest.importorskip("accelerate")
    library.state.AcceleratorState._reset_state(True)  # one precision a process, but for tests
    accelerator = library.Accelerator(cpu=True, mixed_precision=precision, gradient_accumulation_steps=2)
    g = networks()[0]
    optimizer = adam(g)
    if order == "pruner first":
        pruner = Pruner(g, optimizer, rule())
    model, wrapped = accelerator.prepare(g, optimizer)
    if order == "prepared first":
        pruner = Pruner(model, wrapped, rule())
    if order == "unwrapped":
        pruner = Pruner(accelerator.unwrap_model(model), wrapped.optimizer, rule())
    assert pruner.optimizers == [optimizer]
    for batch in torch.cat([batches, batches]):
        with accelerator.accumulate(model):
            accelerator.backward((model(batch[:, :4]) - batch).square().mean())
            wrapped.step(), wrapped.zero_grad()
    assert pruner.steps == [10]
    assert pruner.density() == pytest.approx(0.4, abs=0.02)
    assert all(((layer.weight == 0) == (layer.mask == 0)).all() for layer in pruner.layers)
    networks()[0].load_state_dict(accelerator.get_state_dict(model), strict=True)


def test_gradient_scaling_scales_nothing_of_what_the_rule_sees(batches):
    """Gradients that a fused step unscales by itself, and one overflow that leaves the step out."""
    runs = []
    for scaled in (False, True):
        g = networks()[0]
        optimizer = adam(g)
        pruner = Pruner(g, optimizer, rule())
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=scaled, growth_interval=10**6)
        for i, batch in enumerate(torch.cat([batches, batches])):
            optimizer.zero_grad()
            loss = (g(batch[:, :4]) - batch).square().mean()
            scaler.scale(loss).backward()
            if i == 7 and scaled:
                g[0].weight.grad[0] = torch.inf
            if i == 7 and not scaled:
                continue
            scaler.step(optimizer), scaler.update()
        runs.append(pruner)
    assert runs[0].steps == runs[1].steps == [19]
    for a, b in zip(*[run.layers for run in runs], strict=True):
        assert torch.equal(a.mask, b.mask)
        torch.testing.assert_close(a.weight, b.weight, rtol=1e-5, atol=1e-7)


def test_monais_generator_is_pruned_whole_and_exports_as_a_plain_network():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nets = pytest.importorskip("monai.networks.nets")
    options = {
        "latent_shape": (6,),
        "start_shape": (8, 4, 4),
        "channels": (8, 1),
        "strides": (2, 2),
        "num_res_units": 1,
    }
    g, plain = nets.Generator(**options), nets.Generator(**options)
    optimizer = adam(g)
    pruner = Pruner(g, optimizer, density=0.3)
    assert pruner.reach() == 1
    train_steps(g, optimizer, lambda: torch.randn(4, 6), 11)
    z = torch.randn(2, 6)
    g.eval(), plain.eval()
    plain.load_state_dict(g.state_dict(), strict=True)
    exported = torch.export.export(g, (z,))
    with torch.no_grad():
        assert torch.equal(plain(z), g(z))
        torch.testing.assert_close(exported.module()(z), g(z))
        torch.testing.assert_close(copy.deepcopy(g)(z), g(z))
    zeros = sum(int((value == 0).sum()) for name, value in exported.state_dict.items() if name.endswith("weight"))
    assert zeros >= 0.65 * pruner.total
