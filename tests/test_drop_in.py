"""The README's ten lines on GANs that were not written for them, and every block of docs/drop-in.md."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.modules.conv import _ConvNd
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import spectral_norm as hook_spectral_norm

from rggan.pruning import (
    SET,
    OverfitSchedule,
    PeriodicSchedule,
    Pruner,
    PruningWarning,
    Ramp,
    Regrowth,
    RigL,
    Rule,
    ScoreSchedule,
    Threshold,
    merged_state_dict,
)
from tests.conftest import train_steps

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```python\n(.*?)```", re.S)
SNIPPET = next(block for block in BLOCK.findall((ROOT / "README.md").read_text()) if "Pruner" in block)
PAGE = (ROOT / "docs" / "drop-in.md").read_text()

SIZE, LATENT = 16, 12
Networks = tuple[nn.Module, nn.Module]


def monai_gan() -> Networks:
    """MONAI's, as they come: residual units, instance norm, dropout, a sigmoid at D's end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.networks.nets import Discriminator, Generator  # takes seconds: only where it is needed

        g = Generator(latent_shape=(LATENT,), start_shape=(8, 4, 4), channels=(8, 1), strides=(2, 2), num_res_units=1)
        return g, Discriminator((1, SIZE, SIZE), channels=(8, 16), strides=(2, 2), num_res_units=1)


def initialise(module: nn.Module) -> None:
    """As DCGAN tutorials do, by `model.apply`."""
    name = type(module).__name__
    if "Conv" in name:
        nn.init.normal_(module.weight.data, 0.0, 0.02)
    elif "BatchNorm" in name:
        nn.init.normal_(module.weight.data, 1.0, 0.02)
        nn.init.constant_(module.bias.data, 0)


class DCGenerator(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(LATENT, 2 * width, 4, 1, 0, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(True),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True),
            nn.ConvTranspose2d(width, 1, 4, 2, 1, bias=False), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z[:, :, None, None])


class DCDiscriminator(nn.Module):
    def __init__(self, width: int = 8, norm: Callable[[nn.Module], nn.Module] = hook_spectral_norm) -> None:
        super().__init__()
        self.main = nn.Sequential(
            norm(nn.Conv2d(1, width, 4, 2, 1, bias=False)), nn.LeakyReLU(0.2, inplace=True),
            norm(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)), nn.LeakyReLU(0.2, inplace=True),
            norm(nn.Conv2d(2 * width, 1, 4, 1, 0, bias=False)), nn.Flatten(), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.main(images)


def tutorial_dcgan() -> Networks:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the hook-style norm deprecated
        return DCGenerator().apply(initialise), DCDiscriminator().apply(initialise)


class TiedGenerator(nn.Module):
    """The same hidden layer twice, behind a projection that does not train."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.frozen = nn.Linear(LATENT, width).requires_grad_(False)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.last = nn.Linear(width, SIZE * SIZE)

    def forward(self, z: Tensor) -> Tensor:
        hidden = torch.relu(self.second(torch.relu(self.first(self.frozen(z)))))
        return torch.tanh(self.last(hidden)).view(-1, 1, SIZE, SIZE)


def tied_gan() -> Networks:
    d = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1), nn.Sigmoid())
    return TiedGenerator(), d


def adam(network: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))


def tutorial_epoch(
    g: nn.Module, d: nn.Module, opt_g: torch.optim.Optimizer, opt_d: torch.optim.Optimizer, steps: int = 4
) -> None:
    """The loop of the tutorials: two backwards into D's gradients, then one through D into G's."""
    bce, batch = nn.BCELoss(), 8
    for _ in range(steps):
        opt_d.zero_grad()
        bce(d(torch.rand(batch, 1, SIZE, SIZE)), torch.ones(batch, 1)).backward()
        fake = g(torch.randn(batch, LATENT))
        bce(d(fake.detach()), torch.zeros(batch, 1)).backward()
        opt_d.step()
        opt_g.zero_grad()
        bce(d(fake), torch.ones(batch, 1)).backward()
        opt_g.step()


def run_snippet(g: nn.Module, d: nn.Module, train: Callable[..., None] = tutorial_epoch) -> dict[str, Any]:
    """Execute the README's block; it integrates once, and ends in a phase that prunes. Its names, and what was seen."""
    scores, seen = iter([5, 4, 3, 2, 1, 6, 0.5]), []

    def evaluate(_: nn.Module) -> float:
        seen.append((names["schedule"].phase, names["prune_g"].density(), names["prune_d"].density()))
        return next(scores)

    names: dict[str, Any] = {"torch": torch, "G": g, "D": d, "opt_g": adam(g), "opt_d": adam(d), "epochs": 7}
    names |= {"train_one_epoch": train, "evaluate": evaluate, "seen": seen}
    exec(SNIPPET, names)
    assert [phase for phase, _, _ in seen] == ["prune"] * 6 + ["dense"]
    assert names["schedule"].phase == "prune"
    assert max(seen[5][1:]) < 1
    assert seen[6][1:] == (1, 1)
    return names


@torch.no_grad()
def assert_merged(network: nn.Module, plain: nn.Module, state: dict[str, Tensor], pruner: Pruner, x: Tensor) -> None:
    """A network that never saw a pruner takes the state strictly, and does the same; masks have their part in it."""
    assert pruner.density() < 1
    plain.load_state_dict(state, strict=True)
    network.eval(), plain.eval()
    pruned = network(x)
    assert torch.equal(plain(x), pruned)
    pruner.integrate()
    assert not torch.equal(network(x), pruned)
    pruner.prune()
    assert torch.equal(network(x), pruned)


def test_snippet_is_short():
    assert len(SNIPPET.strip().splitlines()) <= 10


@pytest.mark.parametrize(
    ("make", "skipped"),
    [
        pytest.param(monai_gan, [], id="monai", marks=pytest.mark.slow),
        pytest.param(tutorial_dcgan, [], id="dcgan"),
        pytest.param(tied_gan, ["frozen.weight"], id="tied"),
    ],
)
def test_snippet_runs_on_networks_not_written_for_it(make, skipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    g, d = make()
    layers = [m for network in (g, d) for m in network.modules() if isinstance(m, nn.Linear | _ConvNd)]
    weights = {id(m._parameters.get("weight_orig", m._parameters.get("weight"))) for m in layers}
    names = run_snippet(g, d)
    pruned = [layer for pruner in (names["prune_g"], names["prune_d"]) for layer in pruner.layers]
    assert len(pruned) == len(weights) - len(skipped) >= 4  # nothing is left out silently
    assert [*names["prune_g"].skipped, *names["prune_d"].skipped] == skipped
    plain_g, plain_d = make()
    z, images = torch.randn(4, LATENT), torch.rand(4, 1, SIZE, SIZE)
    assert_merged(g, plain_g, torch.load("generator.pt"), names["prune_g"], z)
    assert_merged(d, plain_d, merged_state_dict(d), names["prune_d"], images)


def test_tied_weight_has_one_mask_and_the_frozen_layer_is_skipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    g, d = tied_gan()
    frozen = g.frozen.weight.clone()
    pruner = run_snippet(g, d)["prune_g"]
    assert [layer.name for layer in pruner.layers] == ["first.weight", "last.weight"]
    mask = pruner.layers[0].mask
    assert 0 < (g.second.weight == 0).sum() == (mask == 0).sum()
    assert list(pruner.skipped) == ["frozen.weight"]
    assert "frozen" in pruner.skipped["frozen.weight"]
    assert torch.equal(g.frozen.weight, frozen)
    assert torch.equal(torch.load("generator.pt")["first.weight"], torch.load("generator.pt")["second.weight"])


@pytest.mark.slow
def test_compiled_networks_train_and_show_every_change_of_the_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch._dynamo.reset()
    norm = nn.utils.parametrizations.spectral_norm
    g, d = DCGenerator(), DCDiscriminator(norm=norm)
    compiled: dict[str, nn.Module] = {}

    def train(g, d, opt_g, opt_d):
        """Compiled at its first call: after the Pruner."""
        for name, network in (("g", g), ("d", d)):
            compiled.setdefault(name, torch.compile(network, backend="aot_eager"))
        tutorial_epoch(compiled["g"], compiled["d"], opt_g, opt_d, steps=2)

    names = run_snippet(g, d, train)
    z, images = torch.randn(4, LATENT), torch.rand(4, 1, SIZE, SIZE)
    DCGenerator().load_state_dict(torch.load("generator.pt"), strict=True)
    assert_merged(d, DCDiscriminator(norm=norm), merged_state_dict(compiled["d"]), names["prune_d"], images)
    assert_merged(g, DCGenerator(), merged_state_dict(compiled["g"]), names["prune_g"], z)
    for pruner, network, fast, x in (
        (names["prune_g"], g, compiled["g"], z),
        (names["prune_d"], d, compiled["d"], images),
    ):
        network.eval()
        for layer in pruner.layers:
            layer.threshold.fill_(0.5)
        pruner.refresh()
        with torch.no_grad():
            fast(x)  # compiles what eval mode does
            with torch.compiler.set_stance("fail_on_recompile"):
                outputs = []
                for change in (pruner.integrate, pruner.prune, pruner.integrate):
                    change()
                    outputs.append(fast(x))
                    torch.testing.assert_close(outputs[-1], network(x))
        assert (outputs[0] - outputs[1]).abs().max() > 1e-4
        assert torch.equal(outputs[0], outputs[2])
    torch._dynamo.reset()


def small_gan() -> Networks:
    g = nn.Sequential(nn.Linear(LATENT, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 10))
    return g, nn.Sequential(nn.Linear(10, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1))


# Rank 0's scores go up and down; those of rank 1 down and up: by itself it would always decide otherwise.
def by_score(*pruners: Pruner) -> ScoreSchedule:
    return ScoreSchedule(*pruners, weights=(0.5, 0.5))


def by_turns(*pruners: Pruner) -> PeriodicSchedule:
    return PeriodicSchedule(*pruners, prune=2, dense=1)


class LargestHalf(Rule):
    """It masks at once: processes begin with other weights, and so with other masks."""

    @torch.no_grad()
    def refresh(self, layers):
        for layer in layers:
            layer.mask.copy_(layer.weight.abs() >= layer.weight.abs().median())

    begin = update = refresh


CASES: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
    "target": (lambda: Threshold(target=Ramp(0.4, steps=8), lr=0.05, every=2), by_score),
    "regrowth": (lambda: Threshold("hard", lr=0.1, regrowth=Regrowth(budget=0.02, every=3)), by_turns),
    "set": (lambda: SET(0.4, every=2), by_turns),
    "rigl": (lambda: RigL(0.4, every=2, until=30), by_turns),
    "overfit": (lambda: Threshold(lr=0.05), OverfitSchedule),
    "own": (LargestHalf, by_turns),
}


def distributed_run(rank: int, make_rule: Callable[[], Any], make_schedule: Callable[..., Any], ddp: bool) -> dict:
    torch.manual_seed(rank)  # other data in each process, and other weights until DDP sends the first one's round
    networks = small_gan()
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-2) for network in networks]
    pruners = [Pruner(network, opt, make_rule()) for network, opt in zip(networks, optimizers, strict=True)]
    schedule = make_schedule(*pruners)
    # D's masks are not even sent round: they must agree by themselves
    g = DistributedDataParallel(networks[0]) if ddp else networks[0]
    d = DistributedDataParallel(networks[1], broadcast_buffers=False) if ddp else networks[1]
    masks, phases = [], []
    for step in range(20):
        real, z = torch.randn(8, 10) + 1, torch.randn(8, LATENT)
        logits = d(real)
        loss = torch.relu(1 - logits).mean() + torch.relu(1 + d(g(z).detach())).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        (-d(g(z))).mean().backward()
        optimizers[0].step()
        turn = (step // 2 + rank) % 2
        if isinstance(schedule, OverfitSchedule):
            schedule.observe(logits.detach() + (100 if turn else -100))
        masks.append([layer.mask.clone() for pruner in pruners for layer in pruner.layers])
        if step % 2:
            schedule.step(float(turn))
        phases.append(schedule.phase)
    plain = small_gan()[0]
    plain.load_state_dict(merged_state_dict(g), strict=True)
    same = torch.equal(plain.eval()(z), networks[0].eval()(z))
    weights = [layer.dense() for pruner in pruners for layer in pruner.layers]
    return {"masks": masks, "phases": phases, "merged": same, "real": real, "weights": weights}


def distributed(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {name: distributed_run(rank, *case, ddp=True) for name, case in CASES.items()}
    found["alone"] = distributed_run(rank, *CASES["target"], ddp=False)
    sharded = fully_shard(nn.Sequential(nn.Linear(4, 4)), mesh=dist.device_mesh.init_device_mesh("cpu", (2,)))
    try:
        Pruner(sharded, torch.optim.SGD(sharded.parameters(), lr=0.1))
    except ValueError as error:
        found["sharded"] = str(error)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, Any]]:
    """What two processes found, all cases in one go."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(distributed, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_same_masks_at_every_step(ranks, case):
    first, second = (rank[case] for rank in ranks)
    assert not torch.equal(first["real"], second["real"])
    assert first["phases"] == second["phases"]
    assert sum(a != b for a, b in zip(first["phases"], first["phases"][1:], strict=False)) >= 2
    assert all(torch.equal(a, b) for a, b in zip(first["weights"], second["weights"], strict=True))
    flat = [[torch.cat([mask.flatten() for mask in step]) for step in run["masks"]] for run in (first, second)]
    assert all(torch.equal(a, b) for a, b in zip(*flat, strict=True))
    pruned = [masks for masks in flat[0] if masks.min() == 0]
    assert 4 <= len(pruned) < 20
    assert any(not torch.equal(pruned[0], masks) for masks in pruned[1:])  # they move
    assert first["merged"]
    assert second["merged"]


@pytest.mark.slow
def test_without_ddp_the_same_two_processes_drift_apart(ranks):
    """The test above can fail: masks follow the data."""
    first, second = (rank["alone"]["masks"][-1] for rank in ranks)
    assert any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture
def page(tmp_path, monkeypatch) -> Callable[[str], dict[str, Any]]:
    """Runs the page's blocks, in order and in one namespace, up to the one that contains a string."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = iter(BLOCK.findall(PAGE))

    def run(until: str = "") -> dict[str, Any]:
        for block in blocks:
            exec(block, names)
            if until and until in block:
                return names
        assert not until, f"no block is left with {until}"
        return names

    return run


def test_page_keeps_to_its_limits():
    blocks = BLOCK.findall(PAGE)
    assert SNIPPET in blocks
    for own in ("(Rule):", "(Schedule):"):
        (block,) = (block for block in blocks if own in block)
        assert len(block.partition("class ")[2].strip().splitlines()) <= 20
        exec(block, {"__name__": "a_file"})  # with what it imports
    assert len(PAGE.splitlines()) <= 310


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's and Accelerate's own
def test_page_runs_and_does_what_it_says(page, capsys):
    names = page("torch.save(G.state_dict()")
    assert names["schedule"].decisions == 3
    names["gan"]()[0].load_state_dict(torch.load("generator.pt"), strict=True)

    pruner = page("print(prune_net)")["prune_net"]
    assert {layer.name: layer.dim for layer in pruner.layers} == {"styled.weight": 1, "up.weight": 1}
    assert pruner.unselected == {"last.weight": "excluded"}
    assert all(name in capsys.readouterr().out for name in ("styled.weight",))
    pruner = page("select=select")["prune_other"]
    assert {layer.name: layer.dim for layer in pruner.layers} == {"styled.weight": 1, "up.weight": 1}
    assert pruner.unselected == {"last.weight": "not selected"}

    names["prune_g"].prune()
    page("prune_g.pruned_copy(average)")
    plain = names["gan"]()[0]
    plain.load_state_dict(names["smooth"].state_dict(), strict=True)
    layers = names["prune_g"].layers
    assert names["prune_g"].density() < 1
    assert all(torch.equal(plain[i].weight == 0, layer.mask == 0) for i, layer in zip((0, 3), layers, strict=True))

    page("class LitG")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    batches = torch.randn(6, 8, 16)
    first = names["LitG"]()
    trainer = names["lightning"].Trainer(max_epochs=2, default_root_dir=".", enable_checkpointing=False, **quiet)
    trainer.fit(first, batches)
    assert first.pruner.density() == pytest.approx(0.5, abs=0.01)
    assert first.pruner.steps == [12]
    trainer.save_checkpoint("lit.ckpt")
    second = names["LitG"]()
    trainer = names["lightning"].Trainer(max_epochs=3, default_root_dir=".", enable_checkpointing=False, **quiet)
    trainer.fit(second, batches, ckpt_path="lit.ckpt")
    assert second.pruner.rule.steps == 18
    assert second.pruner.density() == pytest.approx(0.5, abs=0.01)

    page("accelerator.prepare")
    model, optimizer, pruner = (names[name] for name in ("model", "optimizer", "prune_model"))
    for _ in range(3):
        optimizer.zero_grad()
        names["accelerator"].backward(model(torch.randn(8, 16)).square().mean())
        optimizer.step()
    assert pruner.steps == [3]
    with torch.no_grad():
        z = torch.randn(8, 16)
        before = names["fast_g"](z)
        names["prune_g"].integrate()
        assert not torch.equal(names["fast_g"](z), before)

    page("when_g = PeriodicSchedule")
    keys = ("G", "opt_g", "prune_g", "when_g")
    new = [names[key] for key in keys]
    saved = torch.load("checkpoint.pt")
    assert saved[0].keys() == names["gan"]()[0].state_dict().keys()
    g, optimizer, pruner, schedule = new
    twin = [names["gan"]()[0]]
    twin += [torch.optim.Adam(twin[0].parameters(), 1e-3)]
    twin += [Pruner(twin[0], twin[1], Threshold(target=Ramp(0.3, steps=40)))]
    twin += [PeriodicSchedule(twin[2], prune=2, dense=2, fade=6)]
    for part, state in zip(twin[::-1], saved[::-1], strict=True):  # in any other order
        part.load_state_dict(state)
    for g, optimizer, pruner, schedule in (new, twin):
        random = torch.Generator().manual_seed(1)
        for _ in range(8):
            train_steps(g, optimizer, lambda random=random: torch.randn(8, 16, generator=random), 5)
            schedule.step()
        assert schedule.flips == 4
        assert 0.25 < pruner.density() < 0.5  # the ramp counts steps of pruning alone
    for key, value in new[0].state_dict().items():
        assert torch.equal(value, twin[0].state_dict()[key]), key
    assert all(torch.equal(a.dense(), b.dense()) for a, b in zip(new[2].layers, twin[2].layers, strict=True))

    page("prune_g.follow(opt_g)")
    train_steps(names["G"], names["opt_g"], lambda: torch.randn(8, 16), 3)
    assert names["prune_g"].steps == [3]

    page("ledger.look()")
    prune_g, prune_d = names["prune_g"], names["prune_d"]
    assert prune_g.density() == pytest.approx(0.3, abs=1 / prune_g.total)
    assert names["pruned"] == pytest.approx(0.7 * prune_g.total, abs=1)
    first, second = prune_d.densities().values()  # whole rows come as near as they can
    assert 0.7 < first < 0.9
    assert second == 1  # D's last layer is one row: it keeps it
    for layer in prune_d.layers:
        rows = layer.mask.flatten(1)
        assert (rows == rows[:, :1]).all()

    page("when_d.observe")
    assert [names[when].decisions for when in ("when_g", "when_d")] == [3, 3]
    assert -1 <= names["when_d"].overfitting <= 1
    page()


@pytest.mark.slow
def test_own_rule_keeps_the_largest_weights_of_each_neuron_and_lets_others_return(page):
    names = page("(Rule):")
    g, d, opt_g, opt_d = names["gan"]()
    pruners = [Pruner(g, opt_g, names["LargestPerNeuron"](10)), Pruner(d, opt_d, names["LargestPerNeuron"](10))]

    def check() -> list[Tensor]:
        for layer in (layer for pruner in pruners for layer in pruner.layers):
            mask, sizes = (v.movedim(layer.dim, 0).flatten(1) for v in (layer.mask, layer.dense().abs()))
            assert (mask.sum(dim=1) == min(10, mask.shape[1])).all()
            least, most = sizes.where(mask > 0, torch.inf), sizes.where(mask == 0, 0)
            assert (least.amin(dim=1) >= most.amax(dim=1)).all()
        return [layer.mask.clone() for pruner in pruners for layer in pruner.layers]

    first = check()
    assert pruners[0].density() < 1
    before = pruners[0].layers[0].dense()
    for _ in range(5):
        names["train_one_epoch"](g, d, opt_g, opt_d)
    last = check()
    assert any(((a == 0) & (b > 0)).any() for a, b in zip(first, last, strict=True))  # some are back
    always_masked = (first[0] == 0) & (last[0] == 0)
    assert not torch.equal(pruners[0].layers[0].dense()[always_masked], before[always_masked])
    pruners[0].integrate()
    assert pruners[0].density() == 1
    pruners[0].prune()
    check()
    names["gan"]()[0].load_state_dict(merged_state_dict(g), strict=True)


@pytest.mark.slow
def test_own_schedule_prunes_after_each_milestone(page):
    names = page("(Schedule):")
    g, d, opt_g, opt_d = names["gan"]()
    pruners = Pruner(g, opt_g), Pruner(d, opt_d)
    make = names["AfterMilestone"]
    schedule = make(*pruners, optimizer=opt_g, length=2)
    rates = torch.optim.lr_scheduler.MultiStepLR(opt_g, milestones=[2, 6])
    phases = []
    for epoch in range(10):
        names["train_one_epoch"](g, d, opt_g, opt_d)
        rates.step()
        if epoch == 6:  # resumed in the middle of a phase that prunes
            state, schedule = schedule.state_dict(), make(*pruners, optimizer=opt_g, length=2)
            schedule.load_state_dict(state)
        phases.append(schedule.step())
        assert {pruner.phase for pruner in pruners} == {phases[-1]}
    assert [phase[0] for phase in phases] == list("dppddppddd")


def two(model: nn.Module) -> None:
    optimizers = adam(model), adam(model)
    for optimizer in optimizers:
        Pruner(model, optimizer)


def lbfgs(model: nn.Module) -> None:
    Pruner(model, torch.optim.LBFGS(model.parameters()))


class Wrapped(DistributedDataParallel):
    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module = module


def own_layers() -> nn.Module:
    model = nn.Module()
    model.kernel = nn.Parameter(torch.ones(3, 3))
    return model


ERRORS: dict[str, Callable[[nn.Module], Any]] = {
    "this optimizer does not train it": lambda model: Pruner(model, adam(nn.Linear(4, 4))),
    "all its weights are frozen": lambda model: Pruner(model.requires_grad_(False), adam(model)),
    "no layer is selected": lambda _: Pruner(m := own_layers(), adam(m)),
    "a Pruner takes a rule third": lambda model: Pruner(model, adam(model), 0.5),
    "is a learning-rate scheduler": lambda m: Pruner(m, torch.optim.lr_scheduler.ConstantLR(adam(m))),
    "already has a Pruner": two,
    "is wrapped by DistributedDataParallel": lambda model: Pruner(Wrapped(model), adam(model)),
    "asks for the loss several times": lbfgs,
    "has no dimension": lambda model: Pruner(model, adam(model), include={"weight": 7}),
    "the score must be a finite number": lambda m: ScoreSchedule(Pruner(m, adam(m))).step(float("nan")),
    "has nothing to go by": lambda m: OverfitSchedule(Pruner(m, adam(m))).step(),
    "a target density lies above 0": lambda _: Threshold(target=30),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_the_page_quotes(message):
    """And leave the model as it was."""
    assert f"| `{message}` |" in PAGE
    model = nn.Linear(4, 4)
    before = model.weight.detach().clone()
    with pytest.raises(ValueError, match=re.escape(message)):
        ERRORS[message](model)
    assert type(model) is nn.Linear
    assert torch.equal(model.weight, before)


def stranger(model: nn.Module) -> None:
    pruner, other = Pruner(model, adam(model)), adam(model)
    train_steps(model, other, lambda: torch.ones(2, 4))
    assert pruner.steps == [0]


def idle(model: nn.Module) -> None:
    schedule = ScoreSchedule(Pruner(model, adam(model)))
    schedule.step(1.0), schedule.step(1.0)


def forgotten(model: nn.Module) -> None:
    old = nn.Linear(4, 4)
    old_optimizer, optimizer = adam(old), adam(model)
    train_steps(old, old_optimizer, lambda: torch.ones(2, 4))
    Pruner(model, optimizer)
    optimizer.load_state_dict(old_optimizer.state_dict())
    train_steps(model, optimizer, lambda: torch.ones(2, 4))


def half_reached(_: nn.Module) -> None:
    model = nn.ModuleDict({"own": own_layers(), "linear": nn.Linear(3, 1)})
    Pruner(model, adam(model))


WARNINGS: dict[str, Callable[[nn.Module], Any]] = {
    "its Pruner reaches": half_reached,
    "that its Pruner does not know trains": stranger,
    "did not step since the last decision": idle,
    "its Pruner was not": forgotten,
}


@pytest.mark.parametrize("message", WARNINGS)
def test_warnings_say_what_the_page_quotes_once(message):
    assert f"| `{message}` (warning) |" in PAGE
    with pytest.warns(PruningWarning, match=re.escape(message)) as caught:
        WARNINGS[message](nn.Linear(4, 4))
    assert len(caught) == 1


@pytest.mark.slow
def test_sharded_weights_are_refused_in_the_words_of_the_page(ranks):
    quoted = re.findall(r"^\| `(.+?)` (?:\(warning\) )?\|", PAGE, re.M)
    (message,) = set(quoted) - set(ERRORS) - set(WARNINGS)
    assert all(message in rank["sharded"] for rank in ranks)
