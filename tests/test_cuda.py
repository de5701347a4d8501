"""What only a GPU shows: steps are recorded there, nothing in them waits for it, and they train to the same numbers."""

import copy

import pytest
import torch

from rggan import TrainConfig
from rggan.cli.main import main
from rggan.data import load_images
from rggan.networks.layers import blurred
from rggan.training.trainer import Training
from tests.training.test_capture import CASES, SMALL, assert_same, leaves

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
SMALL = {**SMALL, "device": "cuda"}
ATOMIC = {
    "stylegan2",
    "fastgan",
    "projected",
    "projected-stylegan2",
}  # some backward passes there add in an order of their own


@pytest.fixture(scope="module")
def images():
    return load_images("digits", 32, max_images=40)


@pytest.fixture(autouse=True)
def the_same_each_time(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def config_of(name, **more):
    own = {"target_g": 0.5, "target_d": 0.3, "gamma": 1.0, "lecam": 0.1, **CASES.get(name, {}), **more}
    return TrainConfig.of(own.pop("network"), **{**SMALL, **own})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_a_recorded_run_trains_as_one_that_is_not(name, precision, images):
    runs = {}
    for capture in ("off", "on"):
        runs[capture] = Training(config_of(name, precision=precision, capture=capture), images, images)
        for _ in range(36):  # lazy penalties are run, recorded and replayed
            runs[capture].step()
    recorder = runs["on"].recorder
    assert recorder.graphs is not None  # nothing failed
    assert {part for part, _ in recorder.recorded} >= {"gradients of d", "gradients of g"}
    ours, theirs = (dict(leaves(runs[capture].state_dict())) for capture in ("on", "off"))
    assert torch.equal(ours[".random_cuda"], theirs[".random_cuda"])
    if name in ATOMIC or precision == "bf16":
        for place in (".loss_sums", ".logit_sums"):
            torch.testing.assert_close(ours[place], theirs[place], rtol=0.05, atol=0.5)
        return
    assert_same(runs["on"].state_dict(), runs["off"].state_dict())


@pytest.mark.parametrize("capture", ["off", "on"])
@pytest.mark.parametrize(
    "name", ["sngan", "stylegan2", "fastgan", "projected", "biggan", "conditional", "penalty", "set", "rows"]
)
def test_a_step_never_waits_for_the_gpu(name, capture, images):
    run = Training(config_of(name, capture=capture, aug="diff", kimg=1000.0), images, images)
    for _ in range(36):
        run.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert run.losses_are_finite()


@pytest.mark.parametrize("capture", ["off", "on"])
def test_adaptive_augmentation_is_recorded(capture, images):
    run = Training(config_of("sngan", aug="ada", capture=capture), images, images)
    run.ada.p = 0.5
    for _ in range(30):
        run.step()
    assert 0 < run.ada.p < 1
    assert float(run.ada.there) == run.ada.p
    assert run.losses_are_finite()
    assert (run.recorder.graphs is not None) == (capture == "on")


def test_a_state_continues_to_the_same_numbers(images):
    run = Training(config_of("sngan", capture="on"), images, images)
    for _ in range(6):
        run.step()
    other = Training(config_of("sngan", capture="on"), images, images)
    for _ in range(4):  # it has recordings of its own by then
        other.step()
    state = copy.deepcopy(run.state_dict())
    for _ in range(5):
        run.step()
    other.load_state_dict(state)
    for _ in range(5):
        other.step()
    assert_same(other.state_dict(), run.state_dict())


def test_a_step_that_reads_a_value_back_goes_on_without_recordings(images, monkeypatch):
    run = Training(config_of("sngan", capture="on"), images, images)
    said, plain = [], run.steps.generator_step

    def reading(gan, drawn):
        outcome = plain(gan, drawn)
        outcome.loss.item()
        return outcome

    monkeypatch.setattr(run.steps, "generator_step", reading)
    run.recorder.say = said.append
    for _ in range(6):
        run.step()
    assert len(said) == 1
    assert run.losses_are_finite()


@pytest.mark.parametrize("padding", [1, 2])
def test_the_blur_is_that_of_a_convolution(padding):
    x = torch.randn(2, 5, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(blurred(x.cuda(), padding).cpu(), blurred(x, padding))


@pytest.mark.parametrize("network", ["stylegan2", "fastgan", "sngan"])
def test_networks_compute_there_what_they_do_on_a_cpu(network, images):
    run = Training(config_of(network, device="cpu", precision="fp32", path_length=0.0), images, images)
    layout = {"memory_format": torch.channels_last}
    x = torch.randn(4, 1, 32, 32)
    z, d, g = run.gan.latents(), run.gan.d.eval(), run.gan.g.eval()
    here = [d(x), g(*z)]
    d, g = d.to("cuda", **layout), g.to("cuda", **layout)
    there = [d(x.cuda().to(**layout)), g(*(part.cuda() for part in z))]
    for ours, theirs in zip(there, here, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=0.01, atol=0.01)  # convolutions are TF32's there


def test_a_run_from_the_command_line(tmp_path, capsys):
    options = ["--kimg", "0.4", "--snap", "0.2", "--width-g", "8", "--width-d", "8", "--score-samples", "32"]
    command = [
        "train",
        "digits",
        "--network",
        "sngan",
        "--outdir",
        str(tmp_path),
        "--device",
        "cuda",
        "--capture",
        "on",
        *options,
    ]
    assert main(command) in (0, None)
    assert "cannot be recorded" not in capsys.readouterr().out
