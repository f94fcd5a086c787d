"""Which class each folder is."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lampq_tvm.data.class_map import read_class_map
from lampq_tvm.data.reading import Reading
from lampq_tvm.errors import UsageError, printable


def number_classes(
    root: Path, names: Sequence[str], filled: Sequence[str], classes: int | None, how: Reading
) -> dict[str, int]:
    """The class of each folder.

    Args:
        root: the folder that holds them.
        names: of all class folders.
        filled: of those that hold images.
        classes: number of the model's classes, where it is known.
        how: the order or the map that was asked for.

    Raises:
        UsageError: the map does not name a folder, the folders are not as many as the model's classes, or their order is open.
    """
    if how.class_map is not None:
        named = read_class_map(how.class_map, classes)
        for name in filled:
            if name not in named:
                what = f"the class map does not name the folder {printable(name)!r}"
                hint = f"it names {_few(list(named))}; add it, or take the folder away"
                raise UsageError(what, where=str(how.class_map), hint=hint)
        return named
    if classes is not None and len(names) != classes:
        empty = [name for name in names if name not in filled]
        also = f" ({len(empty)} without images: {_few(empty)})" if empty else ""
        what = f"{len(names)} class folders{also} for a model with {classes} classes"
        hint = f"there are {_few(names)}; --class-map FILE says which classes folders are"
        raise UsageError(what, where=str(root), hint=hint)
    return {name: index for index, name in enumerate(_ordered(root, names, how.class_order))}


def natural_key(name: str) -> list[Any]:
    """timm's key: text without case, with runs of digits as numbers.

    >>> sorted(["10", "9", "b2", "B10"], key=natural_key)
    ['9', '10', 'b2', 'B10']
    """
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.lower())]


def _ordered(root: Path, names: Sequence[str], order: str | None) -> list[str]:
    """The folders in the order of their classes."""
    text, natural = sorted(names), sorted(sorted(names), key=natural_key)
    same = next(((a, b) for a, b in itertools.pairwise(natural) if natural_key(a) == natural_key(b)), None)
    if same is not None and order != "text":
        what = f"the folders {printable(same[0])!r} and {printable(same[1])!r} have no natural order"
        raise UsageError(what, where=str(root), hint="give --class-order text, or --class-map FILE")
    if order is not None:
        return natural if order == "natural" else text
    hint = "give --class-order text (torchvision) or natural (timm), as the model was trained, or --class-map FILE"
    if text != natural:
        at = next(i for i, pair in enumerate(zip(text, natural, strict=True)) if pair[0] != pair[1])
        what = f"class {at} is {printable(text[at])!r} in the order of text, {printable(natural[at])!r} in the natural order"
        raise UsageError(what, where=str(root), hint=hint)
    composed = sorted(names, key=lambda name: unicodedata.normalize("NFC", name))
    if composed != sorted(names, key=lambda name: unicodedata.normalize("NFD", name)):
        what = "the order of the class folders depends on how their accents are stored"
        raise UsageError(what, where=str(root), hint="give --class-order text (as they are stored here), or --class-map FILE")
    return text


def _few(names: Sequence[str]) -> str:
    """The first names."""
    return ", ".join(printable(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
