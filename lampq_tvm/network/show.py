"""A network as rows that a person can read: operators with their fields, shapes and the kinds of their constants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lampq_tvm.network.op import Op, Shape, op_to_json


def operator_rows(ops: Iterable[Op], shapes: Mapping[str, Shape], tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row an operator: its JSON row, `shape` of its output without the batch, and `constants` such as `int8 [192, 192]`."""
    owned: dict[str, dict[str, str]] = {}
    for key, array in tensors.items():
        name, _, field = key.rpartition(".")
        owned.setdefault(name, {})[field] = f"{array.dtype} {list(array.shape)}"
    return [{**op_to_json(op), "shape": list(shapes[op.name]), "constants": owned.get(op.name, {})} for op in ops]
