"""From an artifact's payload to the arrays that the kernels read, by the recipes of the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from lampq_tvm.artifact.bits import unpack_bits
from lampq_tvm.artifact.container import HINT, Artifact
from lampq_tvm.errors import CorruptError
from lampq_tvm.files import reason
from lampq_tvm.runtime.words import pack_words


def artifact_params(artifact: Artifact) -> list[np.ndarray]:
    """The constants of an artifact, in the order of its manifest.

    Raises:
        CorruptError: the payload does not hold what the manifest makes them of.
    """
    try:
        return list(kernel_params(artifact.manifest["params"], load_tensors(artifact.sections["payload.safetensors"])))
    except (SafetensorError, KeyError, ValueError, IndexError, OverflowError) as e:
        raise CorruptError(f"its payload does not match its manifest ({reason(e)})", hint=HINT) from e


def kernel_params(recipes: list[dict[str, Any]], payload: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    """The arrays of the recipes, in order.

    A recipe's `from` is `array` (a payload tensor as it is, in another shape, in a wider dtype or `times` below itself),
    `values` (numbers in the recipe), `weights` (a bit stream unpacked, padded with zeros and laid out [Np / lanes, Kp / group,
    lanes * group]), `pairs` (of 2-bit weights: places in a table of all pairs, [Np / lanes, Kp / 2, lanes]), `words` (weights
    for a GPU, [N, words] uint32), `correction` (-shift times the sum over k of the weights, [N] int32) or `bias` (of attention
    scores: table entries put in their places, for every pattern or for every group). Where weights have a `zero` a row, [N], it
    is taken off their codes; where they have `levels`, [2^bits], their codes stand for these, from the lowest code on.
    """
    for recipe in recipes:
        match recipe["from"]:
            case "array":
                array = payload[recipe["tensor"]]
                array = array.reshape(recipe.get("shape", array.shape)).astype(recipe.get("dtype", array.dtype), copy=False)
                yield np.tile(array, (recipe["times"], 1)) if "times" in recipe else array
            case "values":
                yield np.array(recipe["values"], recipe["dtype"])
            case "weights" | "pairs" as layout:
                yield lay_out(_codes(recipe, payload), recipe["padded"], recipe["lanes"], recipe["group"], layout)
            case "words":
                yield pack_words(_codes(recipe, payload), recipe["layout"], recipe["words"])
            case "correction":
                sums = _codes(recipe, payload).sum(1, dtype=np.int64)
                yield (-recipe["shift"] * sums).astype(np.int32)
            case "bias":
                at = payload[recipe["at"]]
                at = at[payload[recipe["pattern"]]] if "pattern" in recipe else at
                yield spread(payload[recipe["tensor"]], at, recipe["padded"])
            case other:
                raise ValueError(f"its parameters are made by a rule ({other}) that this version does not know")


def _codes(recipe: dict[str, Any], payload: Mapping[str, np.ndarray]) -> np.ndarray:
    if recipe.get("layout") == "f16":  # stored as they are
        return payload[recipe["tensor"]].reshape(recipe["shape"])
    codes = unpack_bits(payload[recipe["tensor"]], recipe["bits"], tuple(recipe["shape"]))
    if "levels" in recipe:
        found: np.ndarray = payload[recipe["levels"]][codes.astype(np.int64) + (1 << (recipe["bits"] - 1))]
        return found
    if "zero" not in recipe:
        return codes
    multiplied: np.ndarray = (codes.astype(np.int16) - payload[recipe["zero"]][:, None]).astype(np.int8)
    return multiplied


def lay_out(codes: np.ndarray, padded: list[int], lanes: int, group: int, layout: str = "weights") -> np.ndarray:
    """Codes [N, K] int8 to the kernels' layout [Np / lanes, Kp / group, lanes * group], zeros beyond N and K.

    Args:
        layout: `pairs` for codes -2..1 and a group of 2: first + 2 + 4 * (second + 2), [Np / lanes, Kp / 2, lanes].
    """
    n, k = padded
    full = np.zeros((n, k), np.int8)
    full[: codes.shape[0], : codes.shape[1]] = codes
    laid = full.reshape(n // lanes, lanes, k // group, group).transpose(0, 2, 1, 3)
    if layout == "pairs":
        laid = (laid[..., :1] + 2) + 4 * (laid[..., 1:] + 2)
    return np.ascontiguousarray(laid).reshape(n // lanes, k // group, -1)


def spread(table: np.ndarray, at: np.ndarray, padded: list[int]) -> np.ndarray:
    """Table [heads, entries] at places [groups, T, T]: [groups, heads, rows, columns] = `padded`, zeros beyond T."""
    full = np.zeros(padded, table.dtype)
    _, rows, columns = at.shape
    full[:, :, :rows, :columns] = table[:, at].swapaxes(0, 1)
    return full
