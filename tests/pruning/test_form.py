"""A state of another form is refused before anything of it is used."""

import copy

import pytest
import torch

from rggan import TrainConfig
from rggan.data import load_images
from rggan.pruning.form import fitted, fitted_adam, fitted_numbers
from rggan.training.trainer import Training

pytestmark = pytest.mark.slow  # all together they take seconds


def training(rule="threshold"):
    data = load_images("digits", 16, max_images=20)
    sizes = {"width_g": 8, "width_d": 8, "z_dim": 8, "batch": 8, "score_samples": 4, "d_steps": 1}
    return Training(TrainConfig(rule=rule, device="cpu", precision="fp32", **sizes), data, data)


@pytest.fixture(scope="module")
def run():
    made = training()
    made.step()
    return made


@pytest.mark.parametrize("rule", ["threshold", "hard", "published", "none"])
def test_own_state_fits_before_and_after_steps(rule):
    made = training(rule)
    for _ in range(2):
        state = copy.deepcopy(made.state_dict())
        other = training(rule)
        other.load_state_dict(state)
        other.step()
        torch.set_rng_state(state["random"])  # the random numbers are the process's, not the training's
        made.step()
        assert torch.equal(made.gan.g.to_rgb.bias, other.gan.g.to_rgb.bias)


def test_thresholds_momenta_are_kept_while_nothing_moves_them():
    """A published run that is continued in a dense phase and stopped again there."""
    made = training("published")
    made.step()
    state = copy.deepcopy(made.state_dict())
    other = training("published")
    other.load_state_dict(state)
    again = other.state_dict()["pruners"][0]["rule"]["adam"]["state"]
    assert torch.equal(again[0]["exp_avg_sq"], state["pruners"][0]["rule"]["adam"]["state"][0]["exp_avg_sq"])


def spoiled(state, path, value):
    state = copy.deepcopy(state)
    *way, last = path
    inside = state
    for key in way:
        inside = inside[key]
    if value is KeyError:
        del inside[last]
    else:
        inside[last] = value(inside[last]) if callable(value) else value
    return state


BAD = [
    (("g", "linear.bias"), lambda x: x[:-1]),
    (("g", "linear.bias"), lambda x: x.double()),
    (("g", "linear.bias"), lambda x: x.to_sparse()),
    (("g", "linear.bias"), [1.0]),
    (("g", "linear.bias"), KeyError),
    (("d",), {}),
    (("opt_g", "state", 0, "exp_avg"), lambda x: x.flatten()[:2]),
    (("opt_g", "state", 0, "exp_avg_sq"), 3),
    (("opt_g", "state", 0, "step"), 1),
    (("opt_d", "state", 1), KeyError),
    (("opt_d", "state"), None),
    (("opt_d",), []),
    (("pruners",), []),
    (("pruners", 0, "phase"), "sleep"),
    (("schedules",), [None, None]),
    (("schedules", 0, "scores"), ["a"]),
    (("schedules", 0, "scores"), [0.0] * 6),
    (("schedules", 0, "decisions"), "many"),
    (("schedules", 0, "phase"), 0),
    (("schedules", 0, "flips"), 1.5),
    (("pruners", 0, "fading"), [3, 2]),
    (("pruners", 0, "fading"), "soon"),
    (("pruners", 0, "rule"), {}),
    (("pruners", 0, "rule", "steps"), -1),
    (("pruners", 1, "rule", "steps"), 2.5),
    (("ledgers",), []),
    (("ledgers", 0, "kept"), lambda x: x[:-1]),
    (("ledgers", 1, "back", 0), lambda x: x.float()),
    (("logit_sums",), torch.zeros(2)),
    (("balance",), KeyError),
    (("ema", "updates"), None),
    (("ema", "network"), {}),
    (("batches", "queue"), lambda x: x + 10**6),
    (("batches", "queue"), lambda x: x.float()),
    (("batches", "queue"), torch.zeros(10**4, dtype=torch.int64)),
    (("batches", "random"), torch.zeros(3, dtype=torch.uint8)),
    (("images",), -1),
    (("images",), 1.5),
    (("random",), torch.zeros(3, dtype=torch.uint8)),
]


@pytest.mark.parametrize(
    ("path", "value"), BAD, ids=[f"{'.'.join(map(str, path))}-{i}" for i, (path, _) in enumerate(BAD)]
)
def test_what_does_not_fit_is_refused_and_changes_nothing(run, path, value):
    before = copy.deepcopy(run.state_dict())
    with pytest.raises((ValueError, KeyError, TypeError, RuntimeError)):
        run.load_state_dict(spoiled(before, path, value))
    after = run.state_dict()
    for part in ("g", "d"):
        assert all(torch.equal(value, after[part][name]) for name, value in before[part].items())
    assert after["images"] == before["images"]
    assert after["schedules"] == before["schedules"]


def test_settings_of_the_optimizer_are_not_taken_from_a_file(run):
    state = copy.deepcopy(run.state_dict())
    state["opt_g"]["param_groups"][0] |= {"lr": 99.0, "betas": (2.0, 2.0), "params": [7]}
    run.load_state_dict(state)
    assert run.gan.opt_g.param_groups[0]["lr"] == 2e-4
    assert run.gan.opt_g.param_groups[0]["betas"] == (0.0, 0.9)


def test_tensors_that_show_memory_twice_are_made_dense():
    shown = torch.zeros(1).expand(5)
    clean = fitted(torch.zeros(5), shown)
    clean[0] = 1
    assert clean.tolist() == [1, 0, 0, 0, 0]


def test_small_parts():
    with pytest.raises(ValueError, match=r"state\[1\] is a str, not a int"):
        fitted([1, 2], [1, "2"])
    with pytest.raises(ValueError, match="other parts"):
        fitted({"a": 1}, {"a": 1, "b": 2})
    with pytest.raises(ValueError, match="3 entries, not 2"):
        fitted([1, 2], [1, 2, 3])
    assert fitted_adam([torch.zeros(2)], "groups", {"state": {}, "param_groups": 0}, "x")["param_groups"] == "groups"
    with pytest.raises(ValueError, match="3 numbers, not 0 to 2"):
        fitted_numbers([1, 2, 3], 2, "scores")


def test_a_state_of_another_layout_takes_the_layout_of_the_weights():
    """fp32 is contiguous, bf16 channels-last; fused Adam reads weights and moments in the order of memory."""
    data = load_images("digits", 16, max_images=20)
    sizes = {"width_g": 8, "width_d": 8, "z_dim": 8, "batch": 8, "score_samples": 4, "device": "cpu"}
    old, new = (Training(TrainConfig(precision=p, **sizes), data, data) for p in ("fp32", "bf16"))
    old.step()
    new.load_state_dict(copy.deepcopy(old.state_dict()))
    moved = 0
    for mine, its in zip(old.gan.opt_g.param_groups[0]["params"], new.gan.opt_g.param_groups[0]["params"], strict=True):
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(old.gan.opt_g.state[mine][key], new.gan.opt_g.state[its][key])
            assert new.gan.opt_g.state[its][key].stride() == its.stride()
        moved += its.stride() != mine.stride()
    assert moved > 3
