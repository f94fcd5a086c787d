"""A file that says which class each folder is: timm's text (a name a line), or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lampq_tvm.errors import UsageError
from lampq_tvm.files import read_bytes

MOST_CLASSES = 1 << 31
HINT = 'give names by line in the order of the classes, a JSON list of names, or JSON {"folder": class, ...}'


def read_class_map(path: Path, classes: int | None) -> dict[str, int]:
    """The class of each folder that a file names.

    Args:
        path: the file.
        classes: number of the model's classes, where it is known. A list must name all of them; a dictionary may name some.

    Raises:
        UsageError: the file is missing, broken, or does not fit the model.
    """
    text = _text(path)
    names: dict[str, int] | list[str]
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "["):
        names = _json(path, text)
    else:
        names = [line.strip() for line in text.rstrip().split("\n")]
    if isinstance(names, dict):
        for name, index in names.items():
            if not 0 <= index < (MOST_CLASSES if classes is None else classes):
                limit = "" if classes is None else f" of a model with {classes} classes"
                raise UsageError(f"{name!a} is said to be class {index}{limit}", where=str(path), hint="classes count from 0")
        return names
    if classes is not None and len(names) != classes:
        what = f"names {len(names)} classes, the model has {classes}"
        raise UsageError(what, where=str(path), hint='name all in their order, or some as JSON {"folder": class}')
    _check_names(path, names)
    return {name: index for index, name in enumerate(names)}


def _text(path: Path) -> str:
    """The file's text."""
    try:
        return read_bytes(path, "the class map").decode("utf-8-sig")
    except ValueError as e:
        raise UsageError("the class map is not UTF-8", where=str(path), hint=HINT) from e


def _json(path: Path, text: str) -> dict[str, int] | list[str]:
    """A list of names, or classes by name."""
    pairs: list[str] = []

    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs.extend(name for name, _ in items)
        return dict(items)

    try:
        found = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as e:
        raise UsageError("the class map is no JSON", where=str(path), hint=HINT) from e
    if isinstance(found, list) and found and all(isinstance(name, str) for name in found):
        return found
    if isinstance(found, dict) and found and all(type(index) is int for index in found.values()):
        _check_names(path, pairs)
        return found
    raise UsageError("the class map is neither a list of names nor classes by name", where=str(path), hint=HINT)


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Raise UsageError for a name that is empty or stands twice."""
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            what = f"the class map names {name!a} twice" if name else "the class map has an empty name"
            raise UsageError(what, where=str(path), hint=HINT)
        seen.add(name)
