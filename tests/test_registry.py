"""Names, entry points and places of code: what is found, and what is refused with which sentence."""

from importlib.metadata import EntryPoint

import pytest

from rggan import UserError, registry
from rggan.registry import Registry


class Thing:
    pass


def thing(found):
    if not isinstance(found, Thing):
        raise TypeError("Thing")
    return found


ONE, OTHER, NO_THING = Thing(), Thing(), 3
HERE = "tests.test_registry"


@pytest.fixture
def things():
    return Registry("--thing", {"one": f"{HERE}:ONE"}, "rggan.things", thing)


@pytest.fixture
def installed(monkeypatch):
    points = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])
    return lambda name, value: points.append(EntryPoint(name, value, "rggan.things"))


def test_names_are_built_in_installed_or_a_place(things, installed):
    installed("other", f"{HERE}:OTHER")
    assert things.names() == ["one", "other"]
    assert things.get("one") is ONE
    assert things.get("other") is OTHER
    assert things.get(f"{HERE}:OTHER") is OTHER
    places = {"one": "ONE", "other": "OTHER", f"{HERE}:OTHER": "OTHER"}
    assert [things.place(name) for name in places] == [f"{HERE}:{place}" for place in places.values()]


def test_a_place_is_known_once_it_was_asked_for(things):
    assert things.knows("one")
    assert not things.knows(f"{HERE}:ONE")
    things.get(f"{HERE}:ONE")
    assert things.knows(f"{HERE}:ONE")


def test_listing_names_imports_nothing(things, installed):
    installed("broken", "no_such_module:THING")
    assert things.names() == ["one", "broken"]
    with pytest.raises(UserError, match=r"^--thing broken: No module named 'no_such_module'\.$"):
        things.get("broken")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("third", "--thing third: there are one, or package.module:OBJECT."),
        (f"{HERE}:NONE", f"--thing {HERE}:NONE: module '{HERE}' has no attribute 'NONE'."),
        (f"{HERE}:NO_THING", f"--thing {HERE}:NO_THING: it is no Thing."),
        ("../evil:X", "--thing ../evil:X: there are one, or package.module:OBJECT."),
        ("a b:X", "--thing a b:X: there are one, or package.module:OBJECT."),
    ],
)
def test_what_is_none_is_refused(things, name, sentence):
    with pytest.raises(UserError) as error:
        things.get(name)
    assert str(error.value) == sentence


def test_a_module_that_fails_is_told(things, tmp_path, monkeypatch):
    (tmp_path / "failing_module.py").write_text("raise RuntimeError('no card\\nat all')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"^--thing failing_module:X: at all\.$"):
        things.get("failing_module:X")


def test_names_that_clash_are_refused(things, installed):
    installed("one", f"{HERE}:OTHER")
    with pytest.raises(UserError, match="has the name of a built-in one"):
        things.names()


def test_two_packages_with_one_name_are_refused(things, installed):
    installed("other", f"{HERE}:OTHER")
    installed("other", f"{HERE}:ONE")
    with pytest.raises(UserError, match="has the name of tests"):
        things.get("other")
