"""Constants that many operators have in common are stored once: tables of token numbers, angles of a rotary embedding."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.lower.kernel import Call, Recipe

FIELDS = ("zero", "levels", "index", "at", "pattern", "cos", "sin", "partner")
PART = ".part.w"  # weights of the high plane of a layer whose input takes two: those of the low one


def shared_names(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
    """Name -> name of the first tensor that is equal to it: of later tensors of `FIELDS`, of weights of parts."""
    first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    names = {}
    for name, array in tensors.items():
        if name.rpartition(".")[2] in FIELDS:
            original = first.setdefault((array.dtype.str, array.shape, array.tobytes()), name)
            if original != name:
                names[name] = original
        elif name.endswith(PART) and np.array_equal(array, tensors.get(low := name.removesuffix(PART) + ".w", ())):
            names[name] = low
    return names


def with_shared(calls: Sequence[Call], names: Mapping[str, str]) -> list[Call]:
    """The calls with their constants taken from where they are stored."""
    return [dataclasses.replace(call, recipes=tuple(renamed(recipe, names) for recipe in call.recipes)) for call in calls]


def renamed(recipe: Recipe, names: Mapping[str, str]) -> Recipe:
    """A recipe whose constants are taken from where they are stored."""
    return {k: names.get(v, v) if k in ("tensor", "zero", "levels", "at", "pattern") else v for k, v in recipe.items()}
