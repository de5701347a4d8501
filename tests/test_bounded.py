import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rggan.bounded import json_lines, parse_json, read_json, read_regular

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def count(value):
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + sum(map(count, inner))


def levels(value):
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(levels, inner), default=0)


@given(VALUES)
def test_what_is_below_the_limits_is_parsed(value):
    assert parse_json(json.dumps(value), values=2 * count(value), levels=levels(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")) == value


@given(VALUES)
def test_what_is_deeper_is_refused(value):
    if levels(value):
        with pytest.raises(ValueError, match="levels"):
            parse_json(json.dumps(value), levels=levels(value) - 1)


@pytest.mark.parametrize(
    "text", [b"[" + b"[]," * 3000 + b"0]", b"[" + b"1," * 3000 + b"0]", b'{"a":{}' + b',"b":{}' * 3000]
)
def test_too_many_values_are_refused_before_they_are_parsed(text, monkeypatch):
    monkeypatch.setattr(json, "loads", lambda text: pytest.fail("parsed"))
    with pytest.raises(ValueError, match="more than 2,000 values"):
        parse_json(text, values=2000)


def test_brackets_and_commas_in_strings_do_not_count():
    text = json.dumps(["[,{" * 5000, '\\"[' * 100])
    assert parse_json(text, values=3) == json.loads(text)


@pytest.mark.parametrize(
    "text", [b'"' + b'\\"' * 2_000_000, b'"' * 4_000_001, b'"a\\', b"[" * 100_000, b'"[' * 100_000, b""]
)
def test_what_is_no_json_is_refused_quickly(text):
    with pytest.raises(ValueError, match=r"\S"):
        parse_json(text)


def test_files_are_bounded_before_they_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[1, 2]")
    assert read_json(path, most=6) == [1, 2]
    with pytest.raises(ValueError, match=r"its 6 bytes are more than this reads \(5\)"):
        read_regular(path, 5)
    with pytest.raises(OSError, match="no regular file"):
        read_regular(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        read_json(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="no regular file"):
        read_json(tmp_path / "device")


def test_lines_that_are_no_objects_are_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n[]\n{"a"\n\n' + '{"b": "' + "x" * 100 + '"}\n{"c": 2}')
    assert list(json_lines(path, 1000, line=50)) == [{"a": 1}, {"c": 2}]
    with pytest.raises(ValueError, match="more than this reads"):
        list(json_lines(path, 10))


@pytest.mark.parametrize("content", ["\n" * 100, "[]\n" * 100, '{"a": 1}\n' * 100, "[" + "[]," * 790 + "[]]"])
def test_lines_and_their_values_are_counted_together(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match="more than 780 lines and values"):
        list(json_lines(path, values=780))
    assert len(list(json_lines(path, values=2000))) == 100 * ("a" in content)
