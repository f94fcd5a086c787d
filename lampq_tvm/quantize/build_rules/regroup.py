"""Tokens in another order: codes stay codes, floats stay floats."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.regroup import Regroup
from lampq_tvm.quantize.build_rules import CODES, PAYLOAD, REALS
from lampq_tvm.quantize.builder import Builder, Wanted
from lampq_tvm.quantize.operators.regroup import QRegroup


@REALS.register(Regroup)
def regroup_float(b: Builder, op: Regroup) -> str:
    """Of float32 values."""
    return _regroup(b, op.name, op, b.real(op.inputs[0]), np.zeros(1, np.float32))


@CODES.register(Regroup)
def regroup_codes(b: Builder, op: Regroup, wanted: Wanted) -> str:
    """Of codes; an empty place holds the code of zero."""
    codes = b.codes_of(op.inputs[0], wanted.reader, wanted.y)
    return _regroup(b, wanted.name, op, codes, wanted.y.entries(np.zeros(1)))


def _regroup(b: Builder, name: str, op: Regroup, source: str, fill: npt.NDArray[Any]) -> str:
    index = b.model.tensors[f"{op.name}.index"]
    index = index.astype(np.min_scalar_type(-1 - int(index.max())))  # the narrowest that has -1
    return b.add(QRegroup(name, (source,), op.rows), index=index, fill=fill)


@PAYLOAD.register(Regroup)
def regroup_bytes(model: ImportedModel, op: Regroup, floats: Collection[str]) -> int:
    """The index, and what fills empty places."""
    index = model.tensors[f"{op.name}.index"]
    return np.min_scalar_type(-1 - int(index.max())).itemsize * index.size + 4
