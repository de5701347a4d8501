"""The share of one rank is that of the whole batch, for everything that needs no message between ranks."""

import pytest
import torch
from torch import nn

from rggan import ranks
from rggan.augment.ada import AdaptiveAugment
from rggan.augment.diffaugment import diff_augment
from rggan.data import Batches, load_images
from rggan.generation.sampler import Sampler
from rggan.networks.fastgan import NoiseInjection
from rggan.networks.stylegan2 import StyleGAN2Generator, minibatch_deviation
from rggan.networks.synced import synchronise
from rggan.training.hearts import connection_lost
from rggan.training.limits import drop_out

COUNTS = (2, 3, 4)


def shares(count, monkeypatch, compute):
    """What each of so many ranks computes, from the same random state; and that the state is the same afterwards."""
    states = set()
    for number in range(count):
        world = ranks.World(number, count)
        monkeypatch.setattr(ranks, "world", world)
        monkeypatch.setattr(ranks, "shared", world)
        torch.manual_seed(0)
        yield number, compute(lambda rows, n=number: rows[n::count])
        states.add(torch.get_rng_state().numpy().tobytes())
    monkeypatch.undo()
    torch.manual_seed(0)
    compute(lambda rows: rows)
    states.add(torch.get_rng_state().numpy().tobytes())
    assert len(states) == 1


def mixing(images):
    """Styles of latents, of which some take their later layers from others."""
    generator = StyleGAN2Generator(32, channels=1, width=2, z_dim=8)
    generator.style_mixing = 0.5
    generator.mapping.w_average = None
    generator.mapping.training = False
    torch.manual_seed(5)
    return lambda own: generator.styles(own(images.flatten(1)[:, :8]))


def noisy(images):
    noise = NoiseInjection()
    noise.strength.data.fill_(1.0)
    return lambda own: noise(own(images).contiguous(memory_format=torch.channels_last))


def dropping(images):
    d = nn.Module()
    d.blocks = nn.ModuleList([nn.Identity()])
    drop_out(d, 0.4)
    return lambda own: d.blocks[0](own(images).contiguous(memory_format=torch.channels_last))


CASES = {
    "DiffAugment": lambda images: lambda own: diff_augment(own(images)),
    "of two batches": lambda images: lambda own: diff_augment(torch.cat([own(images[:12]), own(images[12:])])),
    "ADA": lambda images: lambda own: AdaptiveAugment(p=0.7)(own(images)),
    "style mixing": mixing,
    "noise": noisy,
    "dropout": dropping,
    "a direction": lambda images: lambda own: ranks.drawn_like(own(images), torch.randn_like),
    "latents and labels": lambda images: (
        lambda own: torch.stack(
            [part.float().reshape(len(part), -1)[:, 0] for part in Sampler(4, images.device, torch.arange(9)).draw(24)],
            1,
        )
    ),
    "groups": lambda images: lambda own: minibatch_deviation(own(images)),
}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", CASES)
def test_ranks_together_compute_what_one_process_computes(name, count, monkeypatch):
    if name == "groups" and 24 // count % 4:
        pytest.skip("a group lies on several ranks, which needs messages: tests/training/test_ranks.py")
    images = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    compute = CASES[name](images)
    torch.manual_seed(0)
    whole = compute(lambda rows: rows)
    assert name == "groups" or not torch.equal(whole[0], whole[1])
    for number, share in shares(count, monkeypatch, compute):
        if name == "of two batches":
            wanted = torch.cat([whole[:12][number::count], whole[12:][number::count]])
        else:
            wanted = whole[number::count]
        assert torch.allclose(share, wanted, atol=1e-6)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("images", [40, 7])  # more and fewer than a batch
def test_batches_of_ranks_are_one_order(count, images, monkeypatch):
    data = load_images("digits", 16, max_images=images)
    alone = Batches(data, 12, seed=3, mirror=True)
    each = []
    for number in range(count):
        monkeypatch.setattr(ranks, "world", ranks.World(number, count))
        each.append(Batches(data, 12, seed=3, mirror=True))
    for _ in range(9):
        whole, labels = alone.next()
        for number, batches in enumerate(each):
            x, own = batches.next()
            assert torch.equal(x, whole[number::count])
            assert torch.equal(own, labels[number::count])
    assert all(torch.equal(one.state_dict()["queue"], alone.state_dict()["queue"]) for one in each)


def test_outside_a_step_nothing_is_shared(monkeypatch):
    monkeypatch.setattr(ranks, "world", ranks.World(1, 2))
    assert ranks.whole(3) == 3
    assert torch.equal(ranks.own(torch.arange(4)), torch.arange(4))
    with ranks.sharing():
        assert ranks.whole(3) == 6
        assert ranks.own(torch.arange(4)).tolist() == [1, 3]
    assert ranks.whole(3) == 3


def test_batch_norm_of_several_ranks_is_pytorchs_own_where_nothing_is_shared():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    other.load_state_dict(plain.state_dict())
    synchronise(other)
    x = torch.randn(5, 3, 8, 8)
    for mode in (True, False):
        assert torch.equal(plain.train(mode)(x), other.train(mode)(x))
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_by_its_own_formula_is_pytorchs(momentum, affine, monkeypatch):
    """As one of several ranks, all of which hold the same rows: their means are this one's."""
    plain, other = (nn.BatchNorm2d(4, momentum=momentum, affine=affine).double() for _ in range(2))
    synchronise(other)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(ranks, "gathered", lambda rows: rows.expand(3, -1))
    x, y = (torch.randn(6, 4, 5, 5, dtype=torch.float64).requires_grad_() for _ in range(2))
    y.data.copy_(x.data)
    a = plain(x)
    monkeypatch.setattr(ranks, "shared", ranks.World(0, 1 << 20))  # so many values that none is lost to their mean
    b = other(y)
    assert torch.allclose(a, b)
    weights = torch.randn_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    assert torch.allclose(x.grad, y.grad)
    assert torch.allclose(plain.running_mean, other.running_mean)
    unbiased = plain.running_var if momentum is None else (plain.running_var - 0.9) / 0.1
    biased = other.running_var if momentum is None else (other.running_var - 0.9) / 0.1
    assert torch.allclose(unbiased * (149 / 150), biased, rtol=1e-5)


def test_what_is_no_lost_connection_is_told_as_it_is():
    assert not connection_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not connection_lost(KeyError("gloo"))
