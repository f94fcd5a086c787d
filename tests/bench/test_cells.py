"""A results file is the memory of its bench: rows stay until what they came from changes."""

from __future__ import annotations

import json

import pytest

from bench.common.cells import Cells

NAMES = ("model", "recipe")


def filled(path, made, *, depends=1):
    cells = Cells(path, NAMES)
    for recipe in ("a", "b"):
        cells.get(
            {"model": "m", "recipe": recipe}, [recipe, depends], lambda recipe=recipe: made.append(recipe) or {"top1": 0.5}
        )
    return cells


def test_a_row_is_made_once_and_again_when_its_origin_changes(tmp_path):
    path, made = tmp_path / "rows.json", []
    filled(path, made)
    filled(path, made)
    assert made == ["a", "b"]
    cells = Cells(path, NAMES)
    cells.get({"model": "m", "recipe": "b"}, ["b", 2], lambda: made.append("b") or {"top1": 0.25})
    assert made == ["a", "b", "b"]
    rows = json.loads(path.read_text())["rows"]
    assert [(row["recipe"], row["top1"]) for row in rows] == [("a", 0.5), ("b", 0.25)]  # at its old place


def test_rows_that_a_run_does_not_ask_for_stay(tmp_path):
    path = tmp_path / "rows.json"
    filled(path, [])
    Cells(path, NAMES).get({"model": "n", "recipe": "a"}, 1, lambda: {"top1": 1.0})
    assert [row["model"] for row in json.loads(path.read_text())["rows"]] == ["m", "m", "n"]


def test_a_killed_run_loses_the_row_in_flight(tmp_path):
    path, made = tmp_path / "rows.json", []

    def dies():
        raise KeyboardInterrupt

    cells = Cells(path, NAMES)
    cells.get({"model": "m", "recipe": "a"}, ["a", 1], lambda: {"top1": 0.5})
    with pytest.raises(KeyboardInterrupt):
        cells.get({"model": "m", "recipe": "b"}, ["b", 1], dies)
    filled(path, made)
    assert made == ["b"]


def test_rows_that_do_not_say_what_they_came_from_are_made_again(tmp_path):
    path, made = tmp_path / "rows.json", []
    path.write_text(json.dumps({"rows": [{"model": "m", "recipe": "a", "top1": 0.1}]}))
    filled(path, made)
    assert made == ["a", "b"]
