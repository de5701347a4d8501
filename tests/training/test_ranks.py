"""Two and three ranks compute what one process computes: in double precision, where rounding does not add up."""

import multiprocessing
import os

import pytest
import torch
import torch.multiprocessing as mp
from torch.distributed import TCPStore

from rggan import ranks
from rggan.config import TrainConfig
from rggan.data import load_images
from rggan.errors import UserError
from rggan.training.agreement import Disagreement, check_agreement, same
from rggan.training.together import joined
from rggan.training.trainer import Training

pytestmark = pytest.mark.slow

STEPS = 50
HALF = 12  # steps of three ranks, and again of the one that goes on
TOLERANCE = 1e-6  # of weights; their sums differ in the last of 16 digits at each step
COMMON = {"kimg": 1.0, "width_g": 2, "width_d": 2, "z_dim": 8, "score_samples": 8, "device": "cpu", "d_steps": 1}
COMMON |= {"precision": "fp32", "batch": 4, "resolution": 32}
ADAPTIVE = {"target_d": "auto", "adapt_kimg": 0.05, "set_point": -0.9, "target_g": 0.5, "ramp": 0.1}
CASES = {
    "sngan": {"network": "sngan", "rule": "none", "mirror": True, "lecam": 0.1, "dropout_d": 0.2, "resolution": 16},
    "sngan, adaptive": {**ADAPTIVE, "network": "sngan", "aug": "ada", "ada_kimg": 0.1, "cond": True, "signal": "r_v"},
    "stylegan2": {"network": "stylegan2", "rule": "none", "style_mixing": 0.5, "path_length": 2.0},
    "stylegan2, adaptive": {**ADAPTIVE, "network": "stylegan2", "aug": "ada", "ada_kimg": 0.1, "batch": 8},
    "fastgan": {"network": "fastgan", "rule": "none", "gamma": 0.1},
    "fastgan, adaptive": {**ADAPTIVE, "network": "fastgan", "signal": "balance", "set_point": 0.9},
    "biggan": {"network": "biggan", "rule": "none", "cond": True},
    "biggan, adaptive": {**ADAPTIVE, "network": "biggan"},
    "rigl": {"network": "sngan", "rule": "rigl", "target_g": 0.5, "target_d": 0.5, "balance": True, "resolution": 16},
    "projected, adaptive": {**ADAPTIVE, "network": "projected"},
}
FEWER = {
    "projected, adaptive": 3,
    "rigl": 20,
    "stylegan2": 20,
    "fastgan": 20,
    "biggan": 20,
}  # steps, as each takes long
ON_THREE = {"sngan, adaptive": {"batch": 6, "signal": "r_t"}}


def training(options):
    config = TrainConfig(**{**COMMON, **options})
    some = 1000 if config.signal == "r_v" else 24  # from 1,000 on images are held out
    images, held_out = load_images("digits", config.resolution, max_images=some).split(0)
    return Training(config, images, held_out or images)


def found(one):
    """Whatever a training has computed, by name."""
    networks = {"g": one.gan.g, "d": one.gan.d, "ema": one.ema.network}
    told = {f"{name}.{key}": t.clone() for name, network in networks.items() for key, t in network.state_dict().items()}
    for pruner in one.pruners:
        told |= {f"mask of {layer.name}": layer.mask.clone() for layer in pruner.layers}
    told["densities"] = torch.tensor(one.densities())
    told["sums"] = torch.cat([one.loss_sums, one.logit_sums])
    told["p"] = torch.tensor(0.0 if one.ada is None else one.ada.p)
    told["random"] = torch.get_rng_state()
    return told


def stepped(options, steps):
    one = training(options)
    for _ in range(steps):
        one.step()
    check_agreement(one)
    return one


def in_double():
    """All that would be computed in single precision."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double


def environment(number, count, port):
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}


def work(number, count, port, cases, steps, folder):
    """The process of one rank: each case, and what it has computed into a file."""
    environment(number, count, port)
    in_double()
    with joined():
        told = {}
        for name, options in cases.items():
            one = stepped(options, steps or FEWER.get(name, STEPS))
            told[name] = found(one)
            if steps and number == 0:
                torch.save(one.state_dict(), folder / f"{name}.state")
    torch.save(told, folder / f"{count}-{number}")


def start(function, arguments, count):
    """Processes forked from one that has imported everything."""
    multiprocessing.set_forkserver_preload([__name__, "sklearn.datasets", "torch._dynamo"])
    mp.start_processes(function, arguments, nprocs=count, start_method="forkserver")


def together(count, cases, folder, steps=None):
    """What each of so many ranks computes."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    start(work, (count, store.port, cases, steps, folder), count)
    return [torch.load(folder / f"{count}-{number}") for number in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def alone(folder):
    (told,) = together(1, CASES, folder)
    return told


@pytest.fixture(scope="module")
def two(folder):
    return together(2, CASES, folder)


def differing(one, other):
    """Names of what is not the same to rounding; by how much."""
    assert one.keys() == other.keys()
    apart = {name: (one[name].double() - other[name].double()).abs().max().item() for name in one}
    return {name: value for name, value in apart.items() if value > TOLERANCE}


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_equal_one(name, alone, two):
    assert differing(alone[name], two[0][name]) == {}
    if "adaptive" in name and name not in FEWER:
        assert min(alone[name]["densities"]) < 0.9, "nothing was pruned, so that nothing was compared"


@pytest.mark.parametrize("name", CASES)
def test_ranks_hold_the_same_bits(name, two):
    assert [key for key, value in two[0][name].items() if not torch.equal(value, two[1][name][key])] == []


def test_state_of_three_ranks_goes_on_in_one_process(folder):
    cases = {name: {**CASES[name], **other} for name, other in ON_THREE.items()}
    start(one_after_the_other, (cases, folder), 1)
    whole = torch.load(folder / "whole")
    together(3, cases, folder, HALF)
    start(go_on, (cases, folder), 1)
    gone_on = torch.load(folder / "gone-on")
    for name in cases:
        assert differing(whole[name], gone_on[name]) == {}


def one_after_the_other(number, cases, folder):
    in_double()
    torch.save({name: found(stepped(options, 2 * HALF)) for name, options in cases.items()}, folder / "whole")


def go_on(number, cases, folder):
    in_double()
    told = {}
    for name, options in cases.items():
        one = training(options)
        state = torch.load(folder / f"{name}.state")
        for optimizer in (state["opt_g"], state["opt_d"]):
            for moments in optimizer["state"].values():
                moments["step"] = moments["step"].double()  # as the default type has it here
        one.load_state_dict(state)
        for _ in range(HALF):
            one.step()
        told[name] = found(one)
    torch.save(told, folder / "gone-on")


# ---- what ranks must agree on ----


def disagree(number, port, folder):
    environment(number, 2, port)
    torch.set_num_threads(1)
    told = {}
    with joined():
        one = training({**CASES["sngan, adaptive"], "signal": "r_t"})
        one.step()
        check_agreement(one)
        mask = one.prune_d.layers[2].mask
        if number == 1:
            mask.view(-1)[0] = 0.5
        told["name"] = one.prune_d.layers[2].name
        told["mask"] = sentence(Disagreement, lambda: check_agreement(one))
        mask.fill_(1)
        if number == 1:
            one.prune_g.phase = "dense"
        told["phase"] = sentence(Disagreement, lambda: check_agreement(one))
        options = {"lr": 0.1 + number, "seed": 0}
        told["options"] = sentence(UserError, lambda: same("options", options, "start all with the same command"))
        told["largest"] = ranks.largest(3 * number)
    torch.save(told, folder / f"told-{number}")


def sentence(kind, call):
    try:
        call()
    except kind as error:
        return str(error)


def test_what_differs_is_named_on_all_ranks(folder):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    start(disagree, (store.port, folder), 2)
    told = [torch.load(folder / f"told-{number}") for number in range(2)]
    assert told[0] == told[1]
    assert f"Rank 1 does not hold what rank 0 holds at kimg 0.0: the mask of {told[0]['name']} of D" in told[0]["mask"]
    assert "the phases and signals differs" in told[0]["phase"]
    assert told[0]["options"] == (
        "Rank 1 has other options than rank 0: lr 1.1 (rank 0: 0.1); start all with the same command."
    )
    assert told[0]["largest"] == 3
