"""Which device a name means; what there is, is pretended."""

import pytest
import torch

from rggan import UserError
from rggan.device import check_device, full_precision, what_mps_lacks


@pytest.fixture
def machine(monkeypatch):
    def pretend(cuda, mps):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("cuda", "mps", "made", "trained"),
    [(0, False, "cpu", "cpu"), (2, False, "cuda", "cuda"), (0, True, "mps", "cpu"), (1, True, "cuda", "cuda")],
)
def test_auto_takes_the_fastest_that_can(machine, cuda, mps, made, trained):
    machine(cuda, mps)
    assert check_device("auto").type == made
    assert check_device("auto", training=True).type == trained


def test_what_is_not_there_is_refused(machine):
    machine(1, False)
    assert check_device("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(UserError, match="no such CUDA GPU"):
        check_device("cuda:1")
    with pytest.raises(UserError, match="no Apple GPU"):
        check_device("mps")
    for name in ("gpu", "mps:0", "cuda:", "", "CPU"):
        with pytest.raises(UserError, match="choose auto, cpu, cuda, cuda:N or mps"):
            check_device(name)


def test_mps_does_not_train_and_says_why(machine):
    machine(0, True)
    assert check_device("mps").type == "mps"
    with pytest.raises(UserError, match="training counts in float64, which MPS does not have"):
        check_device("mps", training=True)


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device. If you want"),
        TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. Please"),
    ],
)
def test_what_mps_lacks_is_a_sentence(error):
    with (
        pytest.raises(UserError, match=r"`device` mps cannot do a step of this \(.*\): take cpu\.") as told,
        what_mps_lacks(),
    ):
        raise error
    assert "If you want" not in str(told.value)


def test_other_errors_stay_what_they_are():
    for error in (NotImplementedError("abstract"), TypeError("no number"), ValueError("MPS")):
        with pytest.raises(type(error)) as told, what_mps_lacks():
            raise error
        assert told.value is error


def test_full_precision_ends():
    before = torch.backends.cudnn.allow_tf32
    with full_precision():
        assert not torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), full_precision():
        raise KeyError
    assert torch.backends.cudnn.allow_tf32 == before
