"""What the README says is run: the drop-in snippet on a GAN written here, the tree against the files."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def dcgan():
    g = nn.Sequential(
        nn.Unflatten(1, (16, 1, 1)), nn.ConvTranspose2d(16, 16, 4), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    d = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 4), nn.Flatten(0))
    return g, d


def test_drop_in_snippet_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snippet = next(block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "Pruner" in block)
    assert len(snippet.strip().splitlines()) <= 10
    g, d = dcgan()
    opt_g, opt_d = (torch.optim.Adam(network.parameters(), lr=0.02) for network in (g, d))
    scores = iter([5, 4, 3, 2, 1, 0.9, 2.0])

    def train_one_epoch(g, d, opt_g, opt_d):
        for _ in range(3):
            z = torch.randn(8, 16)
            loss = torch.relu(1 - d(torch.rand(8, 1, 8, 8))).mean() + torch.relu(1 + d(g(z).detach())).mean()
            for optimizer, value in ((opt_d, loss), (opt_g, None)):
                optimizer.zero_grad()
                (-d(g(z)).mean() if value is None else value).backward()
                optimizer.step()

    names = {"torch": torch, "G": g, "D": d, "opt_g": opt_g, "opt_d": opt_d, "epochs": 7}
    names |= {"train_one_epoch": train_one_epoch, "evaluate": lambda g: next(scores)}
    exec(snippet, names)
    assert names["schedule"].phase == "dense"
    assert names["schedule"].decisions == 3
    names["schedule"].pruners[0].prune()
    assert names["prune_g"].density() < 1
    plain, _ = dcgan()
    plain.load_state_dict(torch.load("generator.pt"), strict=True)
    names["prune_g"].integrate()
    z = torch.randn(4, 16)
    assert torch.equal(plain.eval()(z), g.eval()(z))


def test_tree_names_every_room_and_nothing_that_is_not_there():
    block = re.search(r"```\nrggan/\n(.*?)```", README, re.S)
    assert block
    listed = set()
    for line in block[1].splitlines():
        match = re.match(r"( *)(\S+)", line)
        assert match, line
        path = ("rggan/" if match[1] else "") + match[2]
        assert (ROOT / path).exists(), path
        listed.add(path)
    rooms = {f"rggan/{p.parent.name}/" for p in (ROOT / "rggan").glob("*/__init__.py")}
    files = {f"rggan/{p.name}" for p in (ROOT / "rggan").glob("*.py") if not p.name.startswith("__")}
    assert rooms | files <= listed


@pytest.mark.parametrize(
    "document",
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", *[str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md")]],
)
def test_links_and_pictures_exist(document):
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_tests_that_the_method_page_names_exist():
    sources = "".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", (ROOT / "docs" / "method.md").read_text()):
        assert f"def {name}(" in sources, name
