"""rggan info: what is in a file as its owner sees it, and what is left out of it for others; hostile files are told."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from rggan import Generator
from rggan.cli.main import main
from rggan.export.header import read_header
from rggan.export.web import plain
from rggan.report.info import BEFORE
from tests.faults import privacy


def told(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["info", *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["info", *map(str, words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("rggan: ")


def as_json(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(capsys, path, "--json"))
    return found


def test_a_generator_is_counted_as_its_network_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = privacy.generator(data="/home/ada/faces", density_g=0.5, rule="threshold")
    with torch.no_grad():
        next(made.network.parameters())[0] = 0
    made.save(tmp_path)
    network = Generator.from_pretrained(tmp_path).network
    found = as_json(capsys, tmp_path)
    assert found["parameters"] == sum(weight.numel() for weight in network.parameters())
    assert found["zeros"] == sum(int((weight == 0).sum()) for weight in network.parameters()) > 0
    assert found["bytes"] == (tmp_path / "generator.safetensors").stat().st_size
    assert found["network"] == made.config["network"]
    assert found["trained"] == {"kimg": 1.0, "score": 0.5, "data": "faces", "density_g": 0.5, "rule": "threshold"}
    assert (found["places"], found["run"]) == ({}, {})
    lines = told(capsys, tmp_path).splitlines()
    assert len(lines) <= 24
    assert "network     sngan, 16x16 grey; width 2, z_dim 2" in lines
    assert "data        faces" in lines


def test_a_run_is_told_with_its_best_snapshot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = privacy.stranger(tmp_path / "run", "/home/ada/faces")
    found = as_json(capsys, run)
    assert found["run"] == {"name": "run", "kimg": 1.0, "data": "/home/ada/faces", "evaluations": 0}
    assert found["path"] == str(run / "best" / "generator.safetensors")
    for part in ("best", "last"):
        (run / part / "generator.safetensors").unlink()
        (run / part / "config.json").unlink()
    assert "generator   none yet" in told(capsys, run)


def test_what_an_old_file_holds_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = privacy.of_before(tmp_path / "old", "/home/ada/faces")
    assert as_json(capsys, old)["places"] == {"data": "/home/ada/faces"}
    assert as_json(capsys, old)["trained"]["data"] == "faces"


def test_an_onnx_file_is_read_as_its_library_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    node = helper.make_node("Relu", ["x"], ["y"], doc_string="d")
    value = [helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph([node], "g", [value[0]], [value[1]]),
        producer_name="somebody",
        opset_imports=[helper.make_opsetid("other", 3), helper.make_opsetid("", 19)],
    )
    helper.set_model_props(model, {"network": "sngan", "classes": '["é"]'})
    onnx.save(model, tmp_path / "a.onnx")
    header = read_header(tmp_path / "a.onnx")
    assert header == ("somebody", 19, {"network": "sngan", "classes": '["é"]'}, False)
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value='File "/home/ada/x.py"')
    model.graph.node[0].CopyFrom(node)
    onnx.save(model, tmp_path / "b.onnx")
    assert read_header(tmp_path / "b.onnx").traces
    assert "export it anew" in told(capsys, tmp_path / "b.onnx")
    assert "export it anew" not in told(capsys, tmp_path / "a.onnx")


def page(folder: Path, content: bytes) -> Path:
    folder.mkdir()
    (folder / "index.html").write_text("page")
    (folder / "generator.js").write_bytes(content)
    return folder


def test_an_exported_page_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told_of = {"name": "faces</script>", "classes": ["a", "b"], "size": 8, "check": {"pixels": "AA=="}}
    folder = page(tmp_path / "page", BEFORE + plain(told_of).encode() + b";\n")
    found = as_json(capsys, folder)
    assert (found["kind"], found["classes"], found["trained"]) == (
        "page",
        ["a", "b"],
        {"name": "faces</script>", "size": 8},
    )


LONG = bytes([8 << 3 | 2, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F])  # a text of 34 GB
ONNX = {
    "empty": (b"", "it names no opset"),
    "text": (b"no onnx at all, but a text that goes on", "it is no ONNX file"),
    "too long": (LONG, "it ends too early"),
    "endless number": (b"\x08" + b"\xff" * 20, "it is no ONNX file"),
    "many parts": (b"\x08\x01" * 5000, "it has more than 1000 parts"),
    "large text": (bytes([14 << 3 | 2, 0x80, 0x80, 0x80, 1]) + bytes(1 << 21), "a text of it has 2,097,152 bytes"),
}


@pytest.mark.parametrize("kind", ONNX)
def test_hostile_onnx_files_are_told(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, why = ONNX[kind]
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    assert refused(capsys, path) == f"{path} cannot be read as ONNX: {why}."


def test_other_hostile_files_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, tmp_path / "none").startswith(f"There is nothing at {tmp_path / 'none'}")
    os.mkfifo(fifo := tmp_path / "f.onnx")
    assert refused(capsys, fifo) == f"{fifo} cannot be read as ONNX: it is no regular file."
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    assert "is damaged or foreign" in refused(capsys, tmp_path / "a.safetensors")
    for number, (content, why) in enumerate(
        (
            (b"alert(1)", "it is none of rggan's"),
            (BEFORE + b"[" * 100_000, "its JSON has more than 64 levels"),
            (BEFORE + b"[]", "it holds no description"),
            (BEFORE + b"[" + b"[]," * 2_000_000 + b"[]]", "its JSON has more than 1,000,000 values"),
        )
    ):
        folder = page(tmp_path / f"page{number}", content)
        told_of = f"{folder / 'generator.js'} cannot be read as that of an exported page: {why}."
        assert refused(capsys, folder) == told_of


def test_whatever_a_file_holds_it_is_one_screen_of_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = {f"n{number}\n": "\x1b[2J" + "a" * 5000 for number in range(500)}
    privacy.generator(**trained, nan=float("nan"), data=3).save(tmp_path)
    shown = told(capsys, tmp_path)
    assert len(shown.splitlines()) <= 40
    assert max(map(len, shown.splitlines())) <= 310
    assert "\x1b" not in shown
    assert as_json(capsys, tmp_path)["trained"]["nan"] is None
