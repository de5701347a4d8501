"""What a discriminator looked through, and what selected a snapshot, stand beside the numbers that they flatter."""

import pytest
import torch

from rggan import Generator
from rggan.cli.main import main
from rggan.evaluation.subject import Reading, open_subject
from rggan.metrics.provenance import TRAINED_ON, favour
from rggan.networks import FAMILIES
from rggan.networks.fastgan import FastGANGenerator
from rggan.pretrained import LITE0, LITE1
from rggan.run.naming import INCEPTION

OTHERS = ("mine.pt", "reporting", "package.module:features")


@pytest.fixture
def projected(tmp_path) -> str:
    """An untrained generator whose discriminator would look through Lite1, selected by the steering network."""
    torch.manual_seed(0)
    network = {"name": "projected", "resolution": [32, 32], "channels": 3, "width": 2, "z_dim": 8, "classes": 0}
    trained = {"score_provenance": {"extractor": "steering"}}
    made = Generator(FastGANGenerator(32, 3, 2, 8), {"network": network, "classes": [], "trained": trained})
    made.save(tmp_path / "projected")
    return str(tmp_path / "projected")


def test_a_generator_tells_what_its_discriminator_looked_through_and_what_selected_it(projected, generator) -> None:
    found = open_subject(projected, Reading(), "cpu")
    assert (found.looked_through, found.steered_by) == (LITE1.name, "steering")
    plain = open_subject(generator, Reading(), "cpu")
    assert (plain.looked_through, plain.steered_by) == ("", "")


def test_networks_of_one_data_set_are_relatives() -> None:
    looked = {"looked_through": LITE1.name, "steered_by": "steering", "ema": True}
    assert favour({"extractor": "imagenet", **looked}).endswith("trained on ImageNet")
    assert favour({"extractor": "any.pt", "extractor_hash": INCEPTION, **looked}).endswith("trained on ImageNet")
    assert favour({"extractor": "theirs", "looked_through": "theirs"}) == "its D looked through theirs"
    for extractor in OTHERS:
        assert favour({"extractor": extractor, **looked}) == ""
    for name in FAMILIES.builtin:  # one that looks through a network whose data nobody told would never be flattered
        assert FAMILIES.get(name).looks_through in ("", *TRAINED_ON)
    assert {LITE0.name, LITE1.name} <= set(TRAINED_ON)


def test_what_selected_a_snapshot_flatters_it_in_runs_of_before_too() -> None:
    assert favour({"extractor": "steering", "ema": True}) == "steering also selected its snapshot"
    assert favour({"extractor": "steering", "ema": True, "steered_by": "imagenet"}) == ""
    assert favour({"extractor": "imagenet", "ema": True, "steered_by": "imagenet"}) != ""
    assert favour({"extractor": "steering", "ema": None}) == ""  # pictures


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "note"), [("imagenet", "trained on ImageNet"), ("steering", "selected"), ("reporting", None)]
)
def test_evaluate_says_it_in_the_table_and_in_the_provenance(projected, told, features: str, note: str | None) -> None:
    (found,) = told(
        *("evaluate", projected, "--reference", "digits", "--resolution", "32", "--channels", "rgb", "--max-images"),
        *("8", "--samples", "8", "--replicates", "1", "--memorisation", "off", "--metrics", "kid"),
        *("--features", features),
    )
    where = found["kid"]["provenance"]
    assert (where["looked_through"], where["steered_by"]) == ("lite1", "steering")
    assert [note in each for each in found["notes"]] == ([] if note is None else [True])


@pytest.mark.parametrize("flattered", ["first", "second"])
def test_compare_refuses_where_the_extractor_flatters_one_arm(run_of, refused, capfd, flattered) -> None:
    values = {"first": [("a0", 0, 90.0, "threshold"), ("a1", 1, 44.0, "threshold")]}
    values["second"] = [("b0", 0, 100.0, "none"), ("b1", 1, 50.0, "none")]
    names = {}
    for side, runs in values.items():
        looked = {"looked_through": "lite1"} if side == flattered else {}
        where = {"extractor": "imagenet", "steered_by": "steering", **looked}
        names[side] = [run_of(*run, **where) for run in runs]
    arms = ("compare", *names["first"], "--", *names["second"])
    said = refused(*arms)
    assert f"imagenet flatters {names[flattered][0]} beside" in said
    assert "--allow-relatives" in said
    capfd.readouterr()
    assert main([*arms[:3], "--allow-relatives", *arms[3:]]) == 0
    assert f"note: imagenet flatters {names[flattered][0]}" in capfd.readouterr().out


def test_compare_takes_arms_that_are_flattered_alike_or_not_at_all(run_of, capfd) -> None:
    looked = {"looked_through": "lite1", "steered_by": "steering"}
    for mine, theirs in (
        ({"extractor": "imagenet", **looked}, {"extractor": "imagenet", **looked}),
        ({"extractor": "reporting", "steered_by": "imagenet"}, {"extractor": "reporting", **looked}),
        ({"extractor": "steering", "steered_by": "steering"}, {"extractor": "steering"}),  # of before it was told
    ):
        one = [run_of(f"a{seed}", seed, 90.0 - 7 * seed, "threshold", **mine) for seed in (0, 1)]
        other = [run_of(f"b{seed}", seed, 100.0 - 9 * seed, **theirs) for seed in (0, 1)]
        assert main(["compare", *one, "--", *other]) == 0
        assert "flatters" not in capfd.readouterr().out
