"""No command asks the network that was not told to by name: nothing is looked up, connected to or listened on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rggan.cli.main import COMMANDS, main
from tests.faults import privacy
from tests.faults.test_privacy import ONNX, TINY

pytestmark = pytest.mark.slow  # they train
SMALL = ["--samples", "8", "--replicates", "2", "--metrics", "kid", "--memorisation", "off"]
LADDER = ["--targets", "0.5", "--recover", "0.64", "--samples", "8", "--replicates", "2"]
ELSEWHERE = {"demo"}  # a page on this machine is what it is asked for


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and short runs on them, two of each rule."""
    folder = tmp_path_factory.mktemp("offline")
    pictures = privacy.pictures(folder / "pictures")
    for rule in ("threshold", "none"):
        words = ["train", str(pictures), "--outdir", str(folder / "runs"), *TINY, "--rule", rule, "--seeds", "0-1"]
        assert main(words) == 0
    return folder


COMMAND_LINES = {
    "check": [["check", "{pictures}"]],
    "train": [["train", "{pictures}", "--outdir", "{out}", *TINY], ["train", "--resume", "{two}", "--kimg", "0.024"]],
    "generate": [["generate", "{one}", "--seeds", "0-2", "--outdir", "{out}"]],
    "export": [
        ["export", "{one}", "--sparse", "{out}/sparse", "--weights", "int8"],
        *([["export", "{one}", "--onnx", "{out}/a.onnx"]] if ONNX else []),
    ],
    "ladder": [["ladder", "{one}", "--outdir", "{out}", *LADDER]],
    "receipt": [["receipt", "{one}", "{two}", "--seconds", "0", "--batch", "1"]],
    "evaluate": [["evaluate", "{one}", "{two}", "{three}", "{four}", *SMALL]],
    "compare": [["compare", "{one}", "{two}", "--", "{three}", "{four}", "--metric", "kid"]],
    "show": [["show", "{one}", "--film"], ["show", "{one}", "{two}", "--out", "{out}/both.html"]],
    "info": [["info", "{one}"]],
    "plot": [["plot", "{one}"], ["plot", "{one}", "{two}", "--out", "{out}/plot.png"]],
}


def test_every_command_is_tried() -> None:
    assert COMMAND_LINES.keys() == COMMANDS.keys() - ELSEWHERE


def asked(events: list[tuple[str, tuple[Any, ...]]]) -> list[str]:
    """What was asked of the network; sockets between processes of this machine are none of it."""
    return [
        f"{event} {arguments!r}"
        for event, arguments in events
        if not (isinstance(arguments[0], socket.socket) and arguments[0].family == socket.AF_UNIX)
    ]


@pytest.mark.parametrize("command", [name for name in COMMAND_LINES if name != "compare"])
def test_no_command_asks_the_network(command: str, place: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """`rggan compare` goes with `rggan evaluate`, whose numbers it needs."""
    monkeypatch.chdir(tmp_path)
    runs = dict(zip(("one", "two", "three", "four"), sorted((place / "runs").glob("0*")), strict=True))
    names = {"pictures": place / "pictures", "out": tmp_path / "out", **runs}
    lines = COMMAND_LINES[command] + (COMMAND_LINES["compare"] if command == "evaluate" else [])
    with privacy.seen(*privacy.ASKED) as events:
        for words in lines:
            assert main([word.format(**names) for word in words]) == 0, words
    assert asked(events) == []


@pytest.fixture
def listening() -> Iterator[int]:
    """A port of this machine on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        yield server.getsockname()[1]


def test_what_is_asked_is_seen(listening: int) -> None:
    """By which the tests above would fail."""
    with privacy.seen(*privacy.ASKED) as events:
        socket.create_connection(("localhost", listening)).close()
    assert {event for event, _ in events} >= {"socket.connect", "socket.getaddrinfo"}
    assert asked(events)
    with privacy.seen(*privacy.ASKED) as events, socket.socket(socket.AF_UNIX) as own:
        own.bind("")
    assert events
    assert asked(events) == []
