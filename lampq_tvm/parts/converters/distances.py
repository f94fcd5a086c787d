"""Distances between the rows of two matrices."""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax
from tvm.ir import Expr

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.parts.converters.emit import emit


def cdist(node: fx.Node, importer: Any) -> Expr:
    """Euclidean distance of every row [.., M, K] from every other [.., N, K]."""
    a, b, p = importer.retrieve_args(node)[:3]
    if float(p) != 2.0:
        raise UnsupportedError(f"distances of power {p:g}", where=node.name)
    away = relax.op.subtract(relax.op.expand_dims(a, -2), relax.op.expand_dims(b, -3))
    squares = emit(importer, relax.op.square(emit(importer, away)))
    return emit(importer, relax.op.sqrt(emit(importer, relax.op.sum(squares, axis=-1))))


CONVERTERS = {"_cdist_forward.default": cdist}
