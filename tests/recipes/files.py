"""Recipes written for tests: the shipped `default` with some values changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lampq_tvm.files import tomllib
from lampq_tvm.recipes.find import find_recipe, recipe_file
from lampq_tvm.recipes.schema import Recipe

# What `default` says of the layers behind GELU and of weights of 2 bits, before its rule for everything.
FITTED = {"types": ["fc2"], "bits": [2, 3, 4], "activations": "fitted"}
FIRST = (FITTED, {"bits": [2], "weights": "asymmetric"})


def changed(path: Path, base: str = "default", **values: Any) -> Path:
    """A recipe's file: `base` with keys of its tables (a dict), or whole keys, replaced; None removes one."""
    table = tomllib.loads(recipe_file(base).read_text())
    for key, value in values.items():
        table[key] = {**table[key], **value} if isinstance(value, dict) else value
    path.write_text(to_toml({k: v for k, v in table.items() if v is not None}))
    return path


def recipe(path: Path, base: str = "default", **values: Any) -> Recipe:
    """The same, read."""
    return find_recipe(changed(path, base, **values))


def to_toml(table: dict[str, Any]) -> str:
    """TOML text of a table of values, tables and lists of tables."""
    plain = [f"{k} = {'nan' if v != v else json.dumps(v)}" for k, v in table.items() if not _nested(v)]
    for key, value in table.items():
        if _nested(value):
            for one in value if isinstance(value, list) else [value]:
                head = f"[[{key}]]" if isinstance(value, list) else f"[{key}]"
                plain += ["", head, to_toml({k: v for k, v in one.items() if v is not None})]
    return "\n".join(plain) + "\n"


def _nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))
