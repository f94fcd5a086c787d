"""A file in a package's folder is an entry; an unknown name is one line that offers the nearest."""

from __future__ import annotations

import importlib
import sys

import pytest

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

ENTRY = "from room16 import KINDS\nKINDS.add({name!r}, {value})\n"


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A package whose files register themselves, and its folder."""
    folder = tmp_path / "room16"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from lampq_tvm.errors import UnsupportedError\n"
        "from lampq_tvm.registry import Registry\n"
        "KINDS = Registry('kind', 'room16', UnsupportedError)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("room16"), folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "room16"]:
        del sys.modules[name]


def test_a_file_is_an_entry(room):
    module, folder = room
    assert list(module.KINDS) == [] and len(module.KINDS) == 0
    (folder / "uniform.py").write_text(ENTRY.format(name="uniform", value=1))
    (folder / "log2.py").write_text(ENTRY.format(name="log2", value=2))
    importlib.invalidate_caches()
    assert module.KINDS["uniform"] == 1 and "log2" in module.KINDS and module.KINDS.get("log3") is None
    assert list(module.KINDS) == ["log2", "uniform"] and module.KINDS.values() == [2, 1]


def test_an_unknown_name_is_one_line(room):
    module, folder = room
    (folder / "log2.py").write_text(ENTRY.format(name="log2", value=2))
    importlib.invalidate_caches()
    with pytest.raises(UnsupportedError, match=r"^plan.json: unknown kind 'log3'; did you mean log2\?$"):
        module.KINDS.find("log3", where="plan.json")
    with pytest.raises(UnsupportedError, match=r"^unknown kind 'zzz'; known: log2$"):
        module.KINDS["zzz"]


def test_a_key_may_be_a_class_and_only_one_file_has_it():
    rules = Registry[type, str]("operator's rule")
    rules.register(int, float)("a number")
    assert rules[int] == rules[float] == "a number"
    with pytest.raises(AssertionError, match="two files register the operator's rule int"):
        rules.add(int, "another")
