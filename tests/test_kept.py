"""Compiled code is kept whole, by everything that it is made of."""

from __future__ import annotations

import itertools

import pytest
import tvm

from lampq_tvm.kernels.elementwise import build_add
from tests import kept
from tests.boards import target_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "FOLDER", tmp_path)
    return tmp_path


def test_what_is_kept_is_made_once(folder):
    made = iter((b"first", b"second", b"third"))
    found = [kept.kept(lambda: next(made), "a", part) for part in (1, 1, 2, 1, 2)]
    assert found == [b"first", b"first", b"second", b"first", b"second"]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:40] + b"x" + data[41:], lambda data: b""])
def test_a_damaged_file_is_made_again(folder, damage):
    kept.kept(lambda: b"kernel" * 9, "a")
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert kept.kept(lambda: b"made again", "a") == b"made again"
    assert kept.kept(lambda: b"never made", "a") == b"made again"


def test_a_kernel_of_another_size_or_level_is_another(folder):
    cases = [((2, 8), "neon"), ((3, 8), "neon"), ((2, 8), "dotprod")]
    found = set()
    for (sizes, isa), _ in itertools.product(cases, range(2)):
        module = tvm.IRModule({"kernel": build_add(*sizes, isa).with_attr("global_symbol", "kernel")})
        found.add(kept.assembly(module, target_of(isa)))
    assert len(found) == len(list(folder.iterdir())) == len(cases)
