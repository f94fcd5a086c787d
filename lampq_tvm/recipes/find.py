"""Recipes by name or by file."""

from __future__ import annotations

import difflib
from pathlib import Path

from lampq_tvm.errors import UsageError
from lampq_tvm.files import read_toml
from lampq_tvm.recipes import DEFAULT as DEFAULT
from lampq_tvm.recipes.schema import Recipe
from lampq_tvm.resources import PACKAGE

FOLDER = PACKAGE / "recipes"
OPTION = "--recipe"


def shipped() -> dict[str, Path]:
    """The recipes that come with the package: name -> file."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def recipe_file(given: str | Path) -> Path:
    """The file of a recipe: the one that is given (`mine.toml`, `./mine`), else the one of that name.

    Raises:
        UsageError: there is none of that name; the nearest names are offered.
    """
    if isinstance(given, Path) or given.endswith(".toml") or "/" in given:
        return Path(given)
    known = shipped()
    if given in known:
        return known[given]
    near = difflib.get_close_matches(given.lower(), known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "lampq recipes lists them; a file's name ends in .toml"
    raise UsageError(f"unknown recipe {given!r}", where=OPTION, hint=hint)


def find_recipe(given: str | Path = DEFAULT) -> Recipe:
    """A recipe by name or file.

    Raises:
        UsageError: there is none, or it is no recipe: the key that is unknown is named, and the nearest one.
        UnsupportedError: a newer version made it.
    """
    return read_toml(recipe_file(given), Recipe, "the recipe", strict=True)
