"""Every family of networks trains with and without pruning, under every augmentation, with classes and without."""

import copy
import io
import itertools

import pytest
import torch

from rggan import Generator, TrainConfig, merged_state_dict
from rggan.data import load_images
from rggan.generation.build import build
from rggan.networks import FAMILIES
from rggan.pruning import Pruner
from rggan.training.sparsity import selection
from rggan.training.trainer import Training

MADE_OF_OTHERS = "projected-stylegan2"  # G of one family and D of another: one cell
FAMILIES_APART = tuple(name for name in FAMILIES.builtin if name != MADE_OF_OTHERS)
FACTORS = (FAMILIES_APART, ("dense", "RG-GAN"), ("none", "diff", "ada"), ("unconditional", "conditional"))
CELLS = [
    ("sngan", "dense", "none", "unconditional"),
    ("sngan", "RG-GAN", "diff", "conditional"),
    ("sngan", "RG-GAN", "ada", "unconditional"),
    ("stylegan2", "RG-GAN", "none", "conditional"),
    ("stylegan2", "dense", "diff", "unconditional"),
    ("stylegan2", "RG-GAN", "ada", "conditional"),
    ("fastgan", "RG-GAN", "none", "unconditional"),
    ("fastgan", "RG-GAN", "diff", "conditional"),
    ("fastgan", "dense", "ada", "conditional"),
    ("biggan", "RG-GAN", "none", "conditional"),
    ("biggan", "dense", "diff", "conditional"),
    ("biggan", "RG-GAN", "ada", "unconditional"),
    ("projected", "dense", "none", "unconditional"),
    ("projected", "RG-GAN", "diff", "conditional"),
    ("projected", "RG-GAN", "ada", "unconditional"),
    (MADE_OF_OTHERS, "RG-GAN", "diff", "conditional"),
]
STEPS = 24
WIDTHS = {
    "sngan": 8,
    "stylegan2": 8,
    "fastgan": 2,
    "biggan": 4,
    "projected": 2,
    "projected-stylegan2": 8,
}  # in channels they are much alike


def training(network, arm, aug, cond):
    pruned = {"target_g": 0.5, "target_d": 0.5, "ramp": 0.1}
    options = {
        **{
            "width_g": WIDTHS[network],
            "width_d": WIDTHS[network],
            "z_dim": 16,
            "batch": 8,
            "d_steps": 1,
            "score_samples": 16,
            "kimg": 0.32,
        },
        **{"precision": "fp32", "aug": aug, "cond": cond == "conditional", "device": "cpu"},
        **({"rule": "none"} if arm == "dense" else pruned),
        **({"ada_kimg": 0.1, "ada_target": 0.1} if aug == "ada" else {}),
        **({"mapping_layers": 2, "style_mixing": 0.5, "path_length": 1.0} if network.endswith("stylegan2") else {}),
    }
    data = load_images("digits", 16 if network == "sngan" else 32, max_images=40)
    run = Training(TrainConfig.of(network, **options), data, data)
    if run.ada is not None:
        run.ada.p = 0.5
    return run


@pytest.mark.slow
@pytest.mark.parametrize("size", ["512x512", "512x384"])
@pytest.mark.parametrize("network", ["fastgan", "stylegan2"])
def test_a_step_of_both_networks_at_512_pixels(network, size):
    """With every penalty and augmentation that a step can have there."""
    own = {"path_length": 1.0, "style_mixing": 0.5} if network == "stylegan2" else {}
    small = {"width_g": 2, "width_d": 2, "z_dim": 8, "batch": 2, "score_samples": 4, "d_steps": 1}
    config = TrainConfig.of(network, **small, **own, resolution=size, device="cpu", precision="fp32", aug="diff")
    data = load_images("digits", size, max_images=4)
    run = Training(config, data, data)
    before = [p.detach().clone() for p in (*run.gan.g.parameters(), *run.gan.d.parameters())]
    run.step()
    after = [*run.gan.g.parameters(), *run.gan.d.parameters()]
    assert all(p.isfinite().all() for p in after)
    changed = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert changed > 0.9 * len(after)
    height, width = map(int, size.split("x"))
    assert Generator(run.gan.g, run.description).images([0]).shape == (1, 1, height, width)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_the_cells_cover_every_pair():
    for one, other in itertools.combinations(range(4), 2):
        pairs = {(cell[one], cell[other]) for cell in CELLS if cell[0] != MADE_OF_OTHERS}
        assert pairs == set(itertools.product(FACTORS[one], FACTORS[other]))


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_it_trains_resumes_to_the_bit_and_merges(cell):
    _, arm, aug, _ = cell
    run = training(*cell)
    for step in range(STEPS):
        if step == STEPS // 2:
            file = io.BytesIO()
            torch.save(run.state_dict(), file)
        run.step()
    assert run.is_finite()
    assert (run.ada is not None and run.ada.p != 0.5) == (aug == "ada")

    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed = training(*cell)
    resumed.load_state_dict(state)
    for _ in range(STEPS // 2):
        resumed.step()
    assert same(run.state_dict(), resumed.state_dict())

    drawn = run.evaluator.latents[0]
    run.gan.g.eval()
    with torch.no_grad():
        pictures = run.gan.g(*drawn)
    plain = build(run.description["network"])
    plain.load_state_dict(merged_state_dict(run.gan.g))
    with torch.no_grad():
        assert torch.equal(plain.eval()(*drawn), pictures)
    if arm == "dense":
        assert run.densities() == (1.0, 1.0)
        return
    assert all(0.35 < density < 0.75 for density in run.densities())
    state = merged_state_dict(run.gan.g)
    for layer in run.prune_g.layers:  # in the network itself, not only in the masks
        name = layer.name.removesuffix(".weight")
        kept = state.get(layer.name, state.get(f"{name}.parametrizations.weight.original"))
        assert ((kept == 0) == (layer.mask == 0)).all(), layer.name
    run.prune_g.integrate()
    with torch.no_grad():
        assert not torch.equal(run.gan.g(*drawn), pictures)


@pytest.mark.slow
@pytest.mark.parametrize("network", FAMILIES.builtin)
def test_an_all_ones_mask_changes_no_bit(network):
    torch.manual_seed(1)
    options = {"resolution": 32, "width_g": 8, "width_d": 8, "z_dim": 16, "batch": 4, "score_samples": 4}
    config = TrainConfig.of(network, **options)
    description = {"name": network, "resolution": [32, 32], "channels": 3, "width": 8, "z_dim": 16, "classes": 0}
    g, d = build(description), FAMILIES.get(network).discriminator(32, 3, config.width_d)
    twins = copy.deepcopy((g, d))
    for module in twins:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
        Pruner(module, optimizer, select=selection(network))
    z = torch.randn(4, 16)
    results = []
    for generator, discriminator in ((g, d), twins):
        torch.manual_seed(2)
        discriminator(generator(z)).mean().backward()
        both = (generator, discriminator)
        results.append([p.grad for module in both for p in module.parameters() if p.grad is not None])
    by_shape = [sorted((tuple(x.shape), x.flatten().tolist()) for x in result) for result in results]
    assert by_shape[0] == by_shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("network", FAMILIES.builtin)
def test_what_is_pruned(network):
    """All convolutions and linear layers, but not those from and to pictures (SNGAN: these too, as published)."""
    description = {"name": network, "resolution": [64, 64], "channels": 3, "width": 4, "z_dim": 16, "classes": 3}
    for module in (build(description), FAMILIES.get(network).discriminator(64, 3, 4, classes=3)):
        kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Linear)
        expected = {
            name
            for name, part in module.named_modules()
            if isinstance(part, kinds)
            and (network == "sngan" or name.rpartition(".")[2] not in ("to_rgb", "from_rgb"))
            and not name.startswith("projection.")
        }
        optimizer = torch.optim.Adam(module.parameters())
        pruner = Pruner(module, optimizer, select=selection(network))
        assert {layer.name.removesuffix(".weight") for layer in pruner.layers} == expected
        assert not pruner.skipped


@pytest.mark.slow
@pytest.mark.parametrize("network", FAMILIES.builtin)
def test_label_changes_picture_and_judgement(network):
    description = {"name": network, "resolution": [32, 32], "channels": 1, "width": 8, "z_dim": 16, "classes": 2}
    g, d = build(description).eval(), FAMILIES.get(network).discriminator(32, 1, 8, classes=2).eval()
    if network == "sngan":  # whose classes all begin with the same gains
        torch.nn.init.normal_(g.blocks[0].norm1.gain.weight)
    z, zero, one = torch.randn(4, 16), torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    assert not torch.equal(g(z, zero), g(z, one))
    x = torch.randn(4, 1, 32, 32)
    assert not torch.equal(d(x, zero), d(x, one))
    with pytest.raises(ValueError, match="generator is class-conditional"):
        g(z)
    with pytest.raises(ValueError, match="discriminator is class-conditional"):
        d(x)


@pytest.mark.slow
@pytest.mark.parametrize("network", FAMILIES.builtin)
def test_a_saved_snapshot_is_the_generator_that_was_scored(network, tmp_path):
    run = training(network, "RG-GAN", "none", "unconditional")
    run.step()
    snapshot = run.snapshot()
    generator = Generator(snapshot, {"network": run.description["network"], "classes": []})
    generator.save(tmp_path)
    assert torch.equal(Generator.from_pretrained(tmp_path).images(range(3)), generator.images(range(3)))


@pytest.mark.slow
@pytest.mark.parametrize("network", FAMILIES.builtin)
def test_a_look_draws_no_random_numbers(network):
    """A run that was stopped before its first evaluation makes the first pictures once more when it goes on."""
    run = training(network, "RG-GAN", "none", "unconditional")
    before = torch.get_rng_state()
    run.evaluator.judge(run.snapshot())
    assert torch.equal(torch.get_rng_state(), before)
