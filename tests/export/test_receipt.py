"""The receipt of a smaller generator: counted by hand, measured in turns, said in words."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rggan import Generator, UserError
from rggan.cli.main import main
from rggan.export.receipt import Cost, Receipt, multiplications, receipt
from rggan.networks.sngan import SNGANGenerator

NETWORK = {"name": "sngan", "resolution": [16, 16], "channels": 1, "z_dim": 8, "classes": 0}


def made(width: int, zeros: float = 0.0) -> Generator:
    torch.manual_seed(0)
    network = SNGANGenerator((16, 16), 1, width, z_dim=8)
    with torch.no_grad():
        for weight in network.parameters():
            weight.flatten()[: int(zeros * weight.numel())] = 0
    return Generator(network, {"network": {**NETWORK, "width": width}, "classes": []})


def saved(generator: Generator, folder: Path) -> Path:
    generator.save(folder)
    return folder


def test_multiplications_are_those_of_convolutions_and_matrices() -> None:
    """By hand, from the shapes of weights and of what they make."""
    generator = made(4)
    counted = 0

    def count(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal counted
        if isinstance(module, torch.nn.Conv2d):
            counted += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, torch.nn.Linear):
            counted += module.weight.numel()

    hooks = [module.register_forward_hook(count) for module in generator.network.modules()]
    with torch.no_grad():
        generator.network(torch.zeros(1, 8))
    for hook in hooks:
        hook.remove()
    assert multiplications(generator) == counted > 1000


def test_what_is_counted(tmp_path: Path) -> None:
    whole, small = saved(made(8), tmp_path / "whole"), saved(made(4, zeros=0.5), tmp_path / "small")
    found = receipt(whole, small, batches=(1, 3), seconds=0.0, onnx=True)
    for cost, place, zeros in ((found.whole, whole, 0.0), (found.small, small, 0.45)):
        network = Generator.from_pretrained(place).network
        assert cost.parameters == sum(weight.numel() for weight in network.parameters())
        assert cost.bytes == (place / "generator.safetensors").stat().st_size
        assert cost.zeros >= zeros * cost.parameters
        for runtime in ("PyTorch", "onnxruntime"):
            assert list(cost.milliseconds[runtime]) == [1, 3]
            assert min(cost.milliseconds[runtime].values()) > 0
    assert found.small.macs < found.whole.macs
    assert found.difference is not None
    assert found.difference > 0
    found.save(tmp_path / "receipt.json")
    read = json.loads((tmp_path / "receipt.json").read_text())
    assert read["whole"]["parameters"] == found.whole.parameters
    assert read["small"]["milliseconds"]["PyTorch"]["3"] == found.small.milliseconds["PyTorch"][3]


def test_the_same_generator_has_the_same_pictures(tmp_path: Path) -> None:
    place = saved(made(4), tmp_path / "whole")
    found = receipt(place, place, batches=(1,), seconds=0.0)
    assert found.difference == 0
    assert "The pictures of 64 seeds are the same." in found.notes()


def test_it_says_when_zeros_bring_no_speed() -> None:
    dense = Cost("whole", 100, 0, 400, 100, {"PyTorch": {1: 1.0}})
    zeros = replace(dense, name="small", zeros=50)
    found = Receipt(dense, zeros, "cpu", 1, None)
    assert any("50% of the small one's weights are zeros, and it is no faster" in note for note in found.notes())
    faster = replace(found, small=replace(zeros, milliseconds={"PyTorch": {1: 0.5}}))
    assert not any("zeros" in note for note in faster.notes())


def test_scores_are_told_apart_by_their_intervals() -> None:
    cost = Cost("whole", 100, 0, 400, 100)
    before = {"value": 1.0, "interval": [0.9, 1.1], "lower_is_better": True}
    for value, low, high, said in (
        (1.2, 1.05, 1.3, "not told apart"),
        (2.0, 1.9, 2.1, "worse"),
        (0.5, 0.4, 0.6, "better"),
    ):
        after = {"value": value, "interval": [low, high], "lower_is_better": True}
        notes = Receipt(cost, cost, "cpu", 1, None, {"kid": (before, after)}).notes()
        assert any(note.startswith("kid: ") and said in note for note in notes)


def test_an_empty_batch_is_refused(tmp_path: Path) -> None:
    place = saved(made(4), tmp_path / "whole")
    with pytest.raises(UserError, match="at least one picture, not 0"):
        receipt(place, place, batches=(1, 0))


def test_the_command_scores_both_and_writes_the_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, small = saved(made(8), tmp_path / "whole"), saved(made(4), tmp_path / "small")
    command = [
        "receipt",
        str(whole),
        str(small),
        "--batch",
        "1",
        "--seconds",
        "0",
        "--device",
        "cpu",
        "--reference",
        "digits",
    ]
    command += ["--samples", "20", "--out", str(tmp_path / "receipt.json")]
    assert main([*command, "--replicates", "1"]) == 2
    assert "--replicates must be at least 2" in capsys.readouterr().err
    assert not (tmp_path / "receipt.json").exists()
    assert main([*command, "--replicates", "2"]) in (0, None)
    told = json.loads((tmp_path / "receipt.json").read_text())
    for number in told["scores"]["kid"]:
        assert number["replicates"] == 2
        assert number["interval"][0] <= number["value"] <= number["interval"][1]
    assert "| kid |" in capsys.readouterr().out
